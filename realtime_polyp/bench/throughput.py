"""Frames a second of the whole line, from a file, beside its stages alone in the same run."""

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime_polyp.bench.clips import MemorySource, images_of
from realtime_polyp.bench.line import Setup, open_pipeline, run_line, with_jitter
from realtime_polyp.bench.rounds import Pace, alternate, pace_of, ratio
from realtime_polyp.engines.base import Engine, Pixels
from realtime_polyp.field_of_view import Image, find_field, whole
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.preprocess.letterbox import prepare
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, Source
from realtime_polyp.telemetry.machine import cores, peak_mb, resident_mb
from realtime_polyp.telemetry.summary import measure_fps, summarise

STAGES = ("decode", "analyse")  # the line's threads that work; the third hands results on, here to nobody
_BATCH = 4  # of a model alone, as the line gives them from a file
_MODEL_FRAMES = 160


def throughput(setup: Setup, clip: Path, runs: int) -> dict[str, Any]:
    """The median of several runs. efficiency: throughput : that of the slowest stage alone (METRICS 5).

    A stage is what runs beside the others, on a thread of its own: decoding, and analysis, which alone is the same
    session over frames that lie decoded in memory. packing_limit_fps: what the cores could do if none ever waited, by
    the processor time of both stages alone.
    """
    pipeline = open_pipeline(setup, "throughput")
    # A first run that does not count: the file lies in the system's cache then, and memory is that of the line alone.
    count = run_line(FileSource(clip), pipeline).analyses.tally().shown
    memory = {"resident_mb": round(resident_mb(), 1), "peak_mb": round(peak_mb(), 1)}
    images, sessions = images_of(clip), list[Session]()
    told = alternate(
        {
            "line": lambda: line_pace(FileSource(clip), pipeline, sessions),
            "decode": lambda: pace_of(lambda: decode(clip)),
            "analyse": lambda: line_pace(MemorySource(images, count), pipeline, []),
            **models_alone(pipeline, images),
        },
        runs,
        clip.stem,
    )
    return {**middle_of(sessions), **figures_of(told), **memory}


def decode(clip: Path) -> int:
    """Every frame to RGB; how many there were."""
    return sum(1 for _ in FileSource(clip).frames())


def line_pace(source: Source, pipeline: Pipeline, kept: list[Session]) -> Pace:
    """Frames a second from the first frame in to the last result out; the session is added to `kept`."""
    cpu_s = time.process_time()
    session = run_line(source, pipeline)
    kept.append(session)
    return Pace(measure_fps(session), (time.process_time() - cpu_s) / session.analyses.tally().shown * 1e3)


def models_alone(pipeline: Pipeline, images: list[Image]) -> dict[str, Callable[[], Pace]]:
    """Each model over prepared pixels."""
    some = images[: 4 * _BATCH]
    groups = [some[at : at + _BATCH] for at in range(0, len(some) // _BATCH * _BATCH, _BATCH)]
    fields = [[find_field(image) or whole(image) for image in group] for group in groups]
    variants: dict[str, Callable[[], Pace]] = {}
    for engine in (pipeline.detector, pipeline.segmenter):
        if engine is not None:
            batches = [prepare(group, own, engine.size).pixels for group, own in zip(groups, fields, strict=True)]
            variants[engine.task] = _pace_of_model(engine, batches)
    return variants


def _pace_of_model(engine: Engine, batches: list[Pixels]) -> Callable[[], Pace]:
    def work() -> int:
        for pixels in itertools.islice(itertools.cycle(batches), _MODEL_FRAMES // _BATCH):
            answer(engine, pixels)
        return _MODEL_FRAMES

    return lambda: pace_of(work)


def answer(engine: Any, pixels: Pixels) -> Any:
    """What the engine says of a batch, side by side where it can."""
    return engine.start(pixels)()


def middle_of(sessions: list[Session]) -> dict[str, Any]:
    """The summary of the median run, with jitter."""
    summary = summarise(sorted(sessions, key=measure_fps)[len(sessions) // 2])
    delays = {name: with_jitter(summary[name]) for name in ("video_delay_ms", "annotation_delay_ms")}
    return {**summary, **delays}


def figures_of(told: dict[str, list[Pace]]) -> dict[str, Any]:
    """From the paces of every round to medians, efficiency and how busy the cores were."""
    runs_fps = {name: [pace.fps for pace in paces] for name, paces in told.items()}
    fps = {name: statistics.median(values) for name, values in runs_fps.items()}
    cpu_ms = {name: statistics.median(pace.cpu_ms for pace in paces) for name, paces in told.items()}
    slowest = min(STAGES, key=lambda name: fps[name])
    limit_fps = cores() * 1e3 / sum(cpu_ms[name] for name in STAGES)
    return {
        "runs_fps": [round(value, 2) for value in runs_fps["line"]],
        "alone_fps": {name: round(value, 2) for name, value in fps.items() if name != "line"},
        "slowest_stage": slowest,
        "efficiency": round(ratio(runs_fps["line"], runs_fps[slowest]), 3),
        "cpu_ms_per_frame": {name: round(value, 2) for name, value in cpu_ms.items()},
        "cores_busy": round(fps["line"] * cpu_ms["line"] / 1e3, 2),
        "packing_limit_fps": round(limit_fps, 2),
        "of_packing_limit": round(fps["line"] / limit_fps, 3),
    }
