"""How fast this machine runs the line: python -m realtime_polyp.bench (make bench, make memory)."""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.options import EXIT_BAD_INPUT
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording import OutputError
from realtime_polyp.recording.paths import check_paths
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, SourceError
from realtime_polyp.summary import summary_of

_DEMO = Path(__file__).resolve().parents[1] / "assets" / "demo.mp4"
_CLIP_BIT_RATE = 8_000_000  # what recorders write at 1080p
_MEMORY_EVERY_S = 30.0
_EPILOG = """examples:
  python -m realtime_polyp.bench
  python -m realtime_polyp.bench --source video.mp4 --engine openvino --json bench.json
  python -m realtime_polyp.bench --memory-minutes 20"""


@dataclass(frozen=True)
class Setup:
    """What is measured, on what."""

    source: Path
    engine: str
    detector: str
    segmenter: str


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.bench",
        description="Frames a second of the whole line, headless, both models on every frame, and each stage's time.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", type=Path, help="a video; default: the demo clip, at 1080p 30 fps H.264")
    parser.add_argument("--engine", default="auto", help="default: %(default)s")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR, help="default: %(default)s")
    parser.add_argument("--segmenter", default=DEFAULT_SEGMENTER, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="the median run is reported (default: %(default)s)")
    parser.add_argument("--memory-minutes", type=float, help="loop the clip for so long and watch memory instead")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (SourceError, EngineError, OutputError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error


def run(options: argparse.Namespace) -> None:
    if options.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {options.runs}")
    check_paths(str(options.source or _DEMO), [options.json])
    with tempfile.TemporaryDirectory() as folder:
        minutes = options.memory_minutes
        source = options.source or (_DEMO if minutes else clip_1080p(Path(folder) / "1080p30.mp4"))
        setup = Setup(source, options.engine, options.detector, options.segmenter)
        report = memory(setup, minutes) if minutes else speed(setup, options.runs)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def speed(setup: Setup, runs: int) -> dict[str, Any]:
    """The median run of several, beside decoding alone in the same process."""
    pipeline = open_pipeline(setup)
    summaries = sorted((measure(setup, pipeline) for _ in range(runs)), key=lambda summary: summary["fps"])
    report = {
        "machine": machine_facts(),
        "decode_alone_fps": decode_alone(setup.source),
        **summaries[len(summaries) // 2],
    }
    print(table_of(report, [summary["fps"] for summary in summaries]))
    return report


def open_pipeline(setup: Setup) -> Pipeline:
    detector = open_detector(setup.detector, setup.engine)
    pipeline = Pipeline(detector, open_segmenter(setup.segmenter, setup.engine))
    pipeline.warm_up()
    return pipeline


def measure(setup: Setup, pipeline: Pipeline) -> dict[str, Any]:
    """One headless run over the whole file, results thrown away."""
    pipeline.reset()
    session = Session(FileSource(setup.source), pipeline, lambda result: None)
    session.start()
    session.wait()
    return summary_of(session)


def decode_alone(source: Path) -> float:
    """Frames a second of decoding to RGB with nothing else running."""
    since_s, count = time.perf_counter(), 0
    for _ in FileSource(source).frames():
        count += 1
    return round(count / (time.perf_counter() - since_s), 1)


def memory(setup: Setup, minutes: float) -> dict[str, Any]:
    """Resident memory while a loop of the clip is analysed as fast as it goes, for so many minutes."""
    watch = MemoryWatch(minutes * 60)
    source = FileSource(setup.source, loop=True)
    session = Session(source, open_pipeline(setup), watch.see)
    watch.stop = session.stop
    session.start()
    session.wait()
    report = {"machine": machine_facts(), "memory_mb": watch.samples, **summary_of(session)}
    first, last = watch.settled(), watch.samples[-1][1]
    print(f"\n{minutes:g} minutes, {report['frames_analysed']} frames, {report['fps']:.1f} frames/s")
    print(
        f"resident memory: {first:.0f} MB after a tenth of the run, {last:.0f} MB at its end ({last - first:+.0f} MB)"
    )
    return report


class MemoryWatch:
    """Samples (s, resident MB) as results pass; calls `stop` when the time is over."""

    def __init__(self, length_s: float) -> None:
        self.samples: list[tuple[float, float]] = []
        self.stop: Callable[[], None] = lambda: None
        self._length_s, self._next_s, self._began_s = length_s, 0.0, time.monotonic()

    def see(self, result: Result) -> None:
        passed_s = time.monotonic() - self._began_s
        if passed_s >= self._next_s:
            self._next_s += min(_MEMORY_EVERY_S, self._length_s / 20)
            self.samples.append((round(passed_s, 1), round(resident_mb(), 1)))
            print(f"\r{passed_s / 60:5.1f} min  {self.samples[-1][1]:7.1f} MB", end="", file=sys.stderr, flush=True)
        if passed_s >= self._length_s:
            self.stop()

    def settled(self) -> float:
        """Memory after the first tenth, when every buffer has been allocated."""
        return self.samples[len(self.samples) // 10][1]


def resident_mb() -> float:
    """Of this process; its peak where the system does not tell the present."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def clip_1080p(path: Path, *, seconds: float = 20.0) -> Path:
    """The start of the demo clip, scaled to 1920x1080 and encoded as a recorder would."""
    print("making a 1080p 30 fps H.264 clip from the demo ...", file=sys.stderr)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1920, 1080, "yuv420p", _CLIP_BIT_RATE
        for frame in FileSource(_DEMO, end_s=seconds).frames():
            image = np.asarray(cv2.resize(frame.image, (1920, 1080), interpolation=cv2.INTER_CUBIC), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def machine_facts() -> dict[str, Any]:
    facts: dict[str, Any] = {"cores": os.cpu_count()}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        facts["cpu"] = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        facts["cpu"] = "unknown"
    return facts


def table_of(report: dict[str, Any], all_fps: list[float]) -> str:
    lines = [
        f"{report['machine']['cores']} cores, {report['machine']['cpu']}; {report['engine']}: "
        f"{report['models']['detector']} + {report['models']['segmenter']}",
        f"{report['source']}: {report['frames_analysed']} of {report['frames_captured']} frames analysed",
        f"throughput {report['fps']:.1f} frames/s (runs: {', '.join(f'{fps:.1f}' for fps in all_fps)})",
        f"decode alone {report['decode_alone_fps']:.1f} frames/s",
        f"{'stage':>12} {'p50 ms':>8} {'p95 ms':>8}",
    ]
    return "\n".join(
        lines + [f"{name:>12} {times['p50']:8.2f} {times['p95']:8.2f}" for name, times in report["stages_ms"].items()]
    )


if __name__ == "__main__":
    main()
