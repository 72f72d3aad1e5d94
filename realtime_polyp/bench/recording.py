"""What recording a session costs: throughput of a file with and without it, in turn.

The file's packets are copied into the session while it is analysed, as those of a live source are; and they are only
referred to, as those of a file are.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from realtime_polyp.bench.comparisons import Ablation, measure_ablation
from realtime_polyp.bench.sessions import discard
from realtime_polyp.engines import decoding_device
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.facts import describe_session
from realtime_polyp.recording.live_original import LiveOriginal
from realtime_polyp.recording.original import FileOriginal
from realtime_polyp.recording.packets import CopiedPackets
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.summary import measure_fps


def measure_recording(config: RuntimeConfig, clip: Path, runs: int) -> dict[str, Any]:
    """Return frames/s of a whole file without a recording, with its packets copied, and with a reference to it.

    The ratios are relative to the first, of the same round.
    """
    pipeline = open_runtime(config).pipeline()
    variants = {
        "not recorded": partial(_run, config, clip, pipeline, None),
        "recorded, packets copied": partial(_run, config, clip, pipeline, "packets"),
        "recorded, file referred to": partial(_run, config, clip, pipeline, "reference"),
    }
    variants["not recorded"]()  # afterwards the file is in the system's cache
    return measure_ablation(Ablation("frames/s of a whole file", variants), runs, "record")


def _run(config: RuntimeConfig, clip: Path, pipeline: Pipeline, how: str | None) -> float:
    pipeline.reset()
    source = FileSource(clip, hardware=decoding_device(config.device))
    if how is None:
        return _time(Session(source, pipeline, discard))
    with recording_of(clip, pipeline, source=source if how == "packets" else None) as recorder:
        return _time(Session(source, pipeline, recorder.write, on_frame=recorder.capture))


def _time(session: Session) -> float:
    session.start()
    session.wait()
    return measure_fps(session)


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
