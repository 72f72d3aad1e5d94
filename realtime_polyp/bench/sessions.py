"""Runs a source through a pipeline from the first frame to the last result."""

from collections.abc import Callable
from typing import Any

from realtime_polyp.outputs.overlay import draw, shapes_of
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
from realtime_polyp.sources import Source

Show = Callable[[Result], None]


def discard(result: Result) -> None:
    """Do nothing with the result."""


def draw_overlay(result: Result) -> None:
    """Draw the overlay on a copy of the image, as for a saved video."""
    draw(result.frame.image, shapes_of(result))


def run_session(source: Source, pipeline: Pipeline, show: Show = discard) -> Session:
    """Run a session to its end. Raises SessionError if a stage fails."""
    pipeline.reset()
    session = Session(source, pipeline, show)
    session.start()
    session.wait()
    return session


def add_jitter(delay_ms: dict[str, Any]) -> dict[str, Any]:
    """Add jitter, p99 - p50, to the percentiles of a delay, ms; None if nothing was measured."""
    middle, late = delay_ms["p50"], delay_ms["p99"]
    return {**delay_ms, "jitter": None if middle is None or late is None else round(late - middle, 3)}
