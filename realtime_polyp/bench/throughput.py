"""Frames per second of the whole pipeline from a file, and of each stage alone, in the same run."""

import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from realtime_polyp.bench.clips import MemorySource, images_of
from realtime_polyp.bench.comparisons import Timing, alternate, ratio, time_frames
from realtime_polyp.bench.sessions import add_jitter, run_session
from realtime_polyp.engines import decoding_device
from realtime_polyp.engines.base import DetectorEngine, Pixels, SegmenterEngine
from realtime_polyp.field_of_view import Image, find_field, whole
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.preprocess.letterbox import prepare
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource, Source
from realtime_polyp.telemetry.machine import cores, peak_mb, resident_mb
from realtime_polyp.telemetry.summary import measure_fps, summarise

STAGES = ("decode", "analyse")  # the threads that do work; the third only delivers results
_BATCH = 4  # of a model alone, as for a file
_MODEL_FRAMES = 160


def measure_throughput(config: RuntimeConfig, clip: Path, runs: int) -> dict[str, Any]:
    """Return the summary of the median run, with the throughput of the stages alone.

    A stage has a thread of its own: decoding, and analysis, which alone is the same session over decoded frames in
    memory. "efficiency" is the throughput relative to that of the slowest stage alone. "packing_limit_fps" is the
    throughput if no core ever waited, from the processor time of both stages alone.
    """
    pipeline = open_runtime(config).pipeline()
    # A warm-up run: afterwards the file is in the system's cache, and memory is that of the pipeline alone.
    open_clip = partial(FileSource, clip, hardware=decoding_device(config.device))
    count = run_session(open_clip(), pipeline).analyses.tally().shown
    memory = {"resident_mb": round(resident_mb(), 1), "peak_mb": round(peak_mb(), 1)}
    images, sessions = images_of(clip), list[Session]()
    timings = alternate(
        {
            "line": lambda: time_session(open_clip(), pipeline, sessions),
            "decode": lambda: time_frames(lambda: decode(open_clip())),
            "analyse": lambda: time_session(MemorySource(images, count), pipeline, []),
            **models_alone(pipeline, images),
        },
        runs,
        clip.stem,
    )
    return {**summarise_median(sessions), **derive_figures(timings), **memory}


def decode(source: Source) -> int:
    """Convert every frame to RGB and return the number of frames."""
    return sum(1 for _ in source.frames())


def time_session(source: Source, pipeline: Pipeline, sessions: list[Session]) -> Timing:
    """Time a session from the first frame in to the last result out, and append it to `sessions`."""
    cpu_s = time.process_time()
    session = run_session(source, pipeline)
    sessions.append(session)
    return Timing(measure_fps(session), (time.process_time() - cpu_s) / session.analyses.tally().shown * 1e3)


def models_alone(pipeline: Pipeline, images: list[Image]) -> dict[str, Callable[[], Timing]]:
    """Return functions that time each model on prepared pixels."""
    some = images[: 4 * _BATCH]
    groups = [some[at : at + _BATCH] for at in range(0, len(some) // _BATCH * _BATCH, _BATCH)]
    fields = [[find_field(image) or whole(image) for image in group] for group in groups]
    variants: dict[str, Callable[[], Timing]] = {}
    for engine in (pipeline.detector, pipeline.segmenter):
        if engine is not None:
            batches = [prepare(group, own, engine.size).pixels for group, own in zip(groups, fields, strict=True)]
            variants[engine.task] = _model_timer(engine, batches)
    return variants


def _model_timer(engine: DetectorEngine | SegmenterEngine, batches: list[Pixels]) -> Callable[[], Timing]:
    def work() -> int:
        for pixels in itertools.islice(itertools.cycle(batches), _MODEL_FRAMES // _BATCH):
            engine.start(pixels)()
        return _MODEL_FRAMES

    return lambda: time_frames(work)


def summarise_median(sessions: list[Session]) -> dict[str, Any]:
    """Return the summary of the median run, with jitter."""
    summary = summarise(sorted(sessions, key=measure_fps)[len(sessions) // 2])
    delays = {name: add_jitter(summary[name]) for name in ("video_delay_ms", "annotation_delay_ms")}
    return {**summary, **delays}


def derive_figures(timings: dict[str, list[Timing]]) -> dict[str, Any]:
    """Compute medians, efficiency and the number of busy cores from the timings of every round."""
    runs_fps = {name: [one.fps for one in rounds] for name, rounds in timings.items()}
    fps = {name: statistics.median(values) for name, values in runs_fps.items()}
    cpu_ms = {name: statistics.median(one.cpu_ms for one in rounds) for name, rounds in timings.items()}
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
