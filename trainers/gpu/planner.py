"""Runs steps one after another until the time is over; a step that does not fit is skipped, with a sentence."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from realtime_polyp.messages import one_line

Clock = Callable[[], float]


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        name: on the command line and in the summary.
        title: what it does, in a few words.
        least_s: with less time left it is skipped.
        most_s: it gets no more than this.
        share: of the time that is left, 0..1; it gets no more than this either.
        run: takes the seconds that it may use and returns what it found. Raises OSError, RuntimeError or ValueError.
    """

    name: str
    title: str
    least_s: float
    most_s: float
    share: float
    run: Callable[[float], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        name: of the step.
        state: "done", "skipped" or "failed".
        sentence: why it was skipped or how it failed; else what it took.
        began_s: since the start of the day.
        took_s: duration.
        figures: what it found.
    """

    name: str
    state: Literal["done", "skipped", "failed"]
    sentence: str
    began_s: float
    took_s: float
    figures: dict[str, Any]


def run_steps(
    steps: Iterable[Step], end_s: float, clock: Clock, *, report: Callable[[list[Outcome]], None]
) -> list[Outcome]:
    """Run the steps in order and return how they ended. A step that fails does not end the day.

    end_s: on `clock`, which counts from the start of the day, s.
    report: called after every step with all outcomes so far.
    """
    outcomes: list[Outcome] = []
    for step in steps:
        outcomes.append(run_step(step, end_s, clock))
        report(outcomes)
    return outcomes


def run_step(step: Step, end_s: float, clock: Clock) -> Outcome:
    """Run one step, or skip it if too little time is left."""
    began_s = clock()
    left_s = end_s - began_s
    if left_s < step.least_s:
        sentence = f"{step.title}: skipped, {max(0, left_s):.0f} s are left and it needs {step.least_s:.0f} s"
        return Outcome(step.name, "skipped", sentence, began_s, 0.0, {})
    allowed_s = min(step.most_s, max(step.least_s, step.share * left_s))
    try:
        figures = step.run(allowed_s)
    except (OSError, RuntimeError, ValueError) as error:
        sentence = f"{step.title}: failed, {one_line(str(error))}"
        return Outcome(step.name, "failed", sentence, began_s, clock() - began_s, {})
    took_s = clock() - began_s
    return Outcome(step.name, "done", f"{step.title}: {took_s:.0f} s of {allowed_s:.0f} s", began_s, took_s, figures)
