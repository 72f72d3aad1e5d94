"""What the bench must show, each goal beside what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from realtime_polyp.metrics.video import VideoReport

LEAST_FOUND = 0.97
MOST_FIRST_S = 0.25
MOST_ALARMS, ALARM_S = 1.0, 0.5
MOST_SWITCHES = 0.1
LEAST_REMOVED, MOST_DELAY_S = 0.8, 0.1
MOST_UNREST = 0.5  # of what it is without smoothing


@dataclass(frozen=True)
class Goal:
    """value: None where the videos do not tell it. most: whether the limit is not to be passed, or to be reached."""

    name: str
    value: float | None
    limit: float
    most: bool

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return bool(self.value <= self.limit if self.most else self.value >= self.limit)

    @property
    def told(self) -> dict[str, Any]:
        return {"goal": self.name, "value": self.value, "limit": self.limit, "at_most": self.most, "met": self.met}


def goals(raw: VideoReport, steady: VideoReport) -> list[Goal]:
    """raw: the same videos without smoothing."""
    events, paid = steady.events, steady.smoothing
    place = _share(steady.boxes.place_jitter, raw.boxes.place_jitter)
    size = _share(steady.boxes.size_jitter, raw.boxes.size_jitter)
    return [
        Goal("polyps found within 3 s, for 0.5 s", events.sensitivity, LEAST_FOUND, most=False),
        Goal("first shown after, median, s", events.first_shown_s, MOST_FIRST_S, most=True),
        Goal("false alarms of 0.5 s a minute", events.false_alarms_per_minute.get(ALARM_S), MOST_ALARMS, most=True),
        Goal("number switches per polyp", steady.boxes.switches_per_polyp, MOST_SWITCHES, most=True),
        Goal("share of false alarms that smoothing removes", paid.removed[0.0], LEAST_REMOVED, most=False),
        Goal("delay that it costs, median, s", paid.delay_s, MOST_DELAY_S, most=True),
        Goal("box jitter in place, of raw", place, MOST_UNREST, most=True),
        Goal("box jitter in size, of raw", size, MOST_UNREST, most=True),
        Goal("mask unrest (1 - IoU from frame to frame), of raw", _mask_unrest(raw, steady), MOST_UNREST, most=True),
    ]


def goal_lines(listed: Sequence[Goal]) -> str:
    words = {True: "met", False: "NOT MET", None: "-"}
    width = max(len(goal.name) for goal in listed)
    return "\n".join(
        f"{goal.name.ljust(width)}  {_number(goal.value):>7}  {'<=' if goal.most else '>='} {goal.limit:<5g} "
        f"{words[goal.met]}"
        for goal in listed
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(steady: float | None, raw: float | None) -> float | None:
    return steady / raw if steady is not None and raw else None


def _mask_unrest(raw: VideoReport, steady: VideoReport) -> float | None:
    if raw.masks.step_iou is None or steady.masks.step_iou is None:
        return None
    return _share(1 - steady.masks.step_iou, 1 - raw.masks.step_iou)
