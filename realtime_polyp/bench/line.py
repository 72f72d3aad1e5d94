"""The line itself, as the benchmark runs it: which models, and from a source to its last result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from realtime_polyp.config import default_config
from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.base import Hint
from realtime_polyp.outputs.overlay import draw, shapes_of
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
from realtime_polyp.sources import Source

Show = Callable[[Result], None]


@dataclass(frozen=True)
class Setup:
    """Which models are measured, in which engine."""

    engine: str
    detector: str
    segmenter: str


def open_pipeline(setup: Setup, hint: Hint) -> Pipeline:
    """Compiled for a file ("throughput") or for a live source ("shared latency"), and warm."""
    detector = open_detector(setup.detector, setup.engine, hint=hint)
    segmenter = open_segmenter(setup.segmenter, setup.engine, hint=hint)
    pipeline = Pipeline(detector, segmenter, default_config(detector, segmenter))
    pipeline.warm_up()
    return pipeline


def discard(result: Result) -> None:
    """Results are wanted, and nothing is done with them."""


def paint(result: Result) -> None:
    """The overlay drawn on a copy of the picture, as for a saved video, which nobody then looks at."""
    draw(result.frame.image, shapes_of(result))


def run_line(source: Source, pipeline: Pipeline, show: Show = discard) -> Session:
    """From the first frame to the last result; raises SessionError."""
    pipeline.reset()
    session = Session(source, pipeline, show)
    session.start()
    session.wait()
    return session


def with_jitter(delay_ms: dict[str, Any]) -> dict[str, Any]:
    """The percentiles of a delay with p99 - p50 beside them (METRICS 5); None where nothing was measured."""
    middle, late = delay_ms["p50"], delay_ms["p99"]
    return {**delay_ms, "jitter": None if middle is None or late is None else round(late - middle, 3)}
