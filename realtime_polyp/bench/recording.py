"""What recording a session costs: throughput of a file with and without it, in turn.

The file's packets are copied into the session while it is analysed, as those of a live source are; and they are only
referred to, as those of a file are.
"""

import pickle
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from realtime_polyp.bench.comparisons import Timing, alternate, ratio
from realtime_polyp.bench.record_child import result_of
from realtime_polyp.bench.record_faults import write_inputs
from realtime_polyp.bench.sessions import discard
from realtime_polyp.engines import decoding_device
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.facts import describe_session
from realtime_polyp.recording.live_original import LiveOriginal
from realtime_polyp.recording.original import FileOriginal
from realtime_polyp.recording.packets import CopiedPackets
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.schema import SESSION_FILE
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.machine import peak_mb, resident_mb
from realtime_polyp.telemetry.summary import measure_fps


def measure_recording(config: RuntimeConfig, clip: Path, runs: int) -> dict[str, Any]:
    """Return frames/s and processor time per frame of a whole file without a recording, with its packets copied, and
    with a reference to it.

    The ratios are relative to the first, of the same round. On a busy machine those of processor time say more.
    """
    pipeline = open_runtime(config).pipeline()
    variants = {
        "not recorded": partial(_run, config, clip, pipeline, None),
        "recorded, packets copied": partial(_run, config, clip, pipeline, "packets"),
        "recorded, file referred to": partial(_run, config, clip, pipeline, "reference"),
    }
    variants["not recorded"]()  # afterwards the file is in the system's cache
    timings = alternate(variants, runs, "record")
    plain = timings["not recorded"]
    return {
        name: {
            "fps": round(statistics.median(one.fps for one in own), 2),
            "ratio": round(ratio([one.fps for one in own], [one.fps for one in plain]), 3),
            "cpu_ms": round(statistics.median(one.cpu_ms for one in own), 2),
            "cpu_ratio": round(ratio([one.cpu_ms for one in own], [one.cpu_ms for one in plain]), 3),
            "runs_fps": [round(one.fps, 2) for one in own],
        }
        for name, own in timings.items()
    }


def _run(config: RuntimeConfig, clip: Path, pipeline: Pipeline, how: str | None) -> Timing:
    pipeline.reset()
    source = FileSource(clip, hardware=decoding_device(config.device))
    if how is None:
        return _time(Session(source, pipeline, discard))
    with recording_of(clip, pipeline, source=source if how == "packets" else None) as recorder:
        return _time(Session(source, pipeline, recorder.write, on_frame=recorder.capture))


def _time(session: Session) -> Timing:
    cpu_s = time.process_time()
    session.start()
    session.wait()
    return Timing(measure_fps(session), (time.process_time() - cpu_s) / session.analyses.tally().shown * 1e3)


@contextmanager
def recording_of(clip: Path, pipeline: Pipeline, *, source: FileSource | None = None) -> Iterator[SessionRecorder]:
    """A recorder of a file, in a temporary folder; closed at the end. source: copy its packets."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        described = source or FileSource(clip)
        original = LiveOriginal(CopiedPackets(source.reader), folder) if source else None
        facts = describe_session(str(clip), described, pipeline)
        if source is None:
            described.close()
        chosen = original or FileOriginal(clip, folder, copies=False)
        recorder = SessionRecorder(folder, facts, chosen, waits=True)
        try:
            yield recorder
        finally:
            recorder.close()


def recorder_and(recorder: SessionRecorder | None, show: Callable[[Result], None]) -> Callable[[Result], None]:
    """Write each result, then show it."""

    def both(result: Result) -> None:
        if recorder:
            recorder.write(result)
        show(result)

    return both


def measure_hours(hours: float) -> dict[str, Any]:
    """Record that many hours of video as fast as the disk allows, with results made before and packets copied.

    Returns memory every fortieth of the time, as (hours recorded, MB), and the sizes of what was written.
    """
    samples: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name, tqdm(total=round(hours * 3600), unit="s", disable=None) as bar:
        inputs, folder = write_inputs(Path(name)), Path(name) / "session"
        folder.mkdir()
        results = pickle.loads((inputs / "results.pickle").read_bytes())  # written just now
        source = FileSource(inputs / "stream.ts", loop=True)
        feed = CopiedPackets(source.reader)
        facts = {"source": {"name": "stream.ts", "path": None}}
        recorder = SessionRecorder(folder, facts, LiveOriginal(feed, folder), waits=True)
        reader, next_s = source.reader, 0.0
        for number, frame in enumerate(source.frames()):
            if source.reader is not reader:  # the file begins anew
                reader = source.reader
                feed.attach(reader)
            if frame.pts_s >= next_s:
                next_s += hours * 3600 / 40
                samples.append((round(frame.pts_s / 3600, 3), round(resident_mb(), 1)))
                bar.update(round(frame.pts_s) - bar.n)
            if frame.pts_s >= hours * 3600:
                break
            recorder.capture(frame)
            recorder.write(result_of(frame, results[number % len(results)]))
        source.close()
        log_mb = (folder / f"{SESSION_FILE}-wal").stat().st_size / 2**20
        began_s = time.monotonic()
        recorder.close()
        close_s = time.monotonic() - began_s
        sizes = {file.name: round(file.stat().st_size / 2**20, 1) for file in folder.iterdir()}
        return {
            "hours": hours,
            "frames": number,
            "memory_mb": samples,
            "settled_mb": samples[len(samples) // 10][1],
            "end_mb": samples[-1][1],
            "peak_mb": round(peak_mb(), 1),
            "log_mb": round(log_mb, 1),
            "close_s": round(close_s, 2),
            "sizes_mb": sizes,
        }


def hours_text(report: dict[str, Any]) -> str:
    """The figures of `measure_hours`, as the terminal shows them."""
    first, last = report["settled_mb"], report["end_mb"]
    sizes = ", ".join(f"{name} {size:.0f} MB" for name, size in report["sizes_mb"].items())
    return (
        f"{report['hours']:g} hours of video recorded, {report['frames']} frames\n"
        f"resident memory: {first:.0f} MB after a tenth, {last:.0f} MB at the end ({last - first:+.0f} MB), "
        f"{report['peak_mb']:.0f} MB peak\n"
        f"{sizes}; log {report['log_mb']:.0f} MB before it was folded in; closed in {report['close_s']:.1f} s"
    )
