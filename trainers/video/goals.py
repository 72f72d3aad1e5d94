"""The goals of the video benchmark, each beside the measured value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from realtime_polyp.metrics.video import VideoReport

MIN_SENSITIVITY = 0.97
MAX_FIRST_SHOWN_S = 0.25
MAX_ALARMS_PER_MINUTE, ALARM_S = 1.0, 0.5
MAX_SWITCHES = 0.1
MIN_REMOVED, MAX_DELAY_S = 0.8, 0.1
MAX_JITTER_SHARE = 0.5  # of the jitter without temporal filtering


@dataclass(frozen=True)
class Goal:
    """A limit for one figure.

    Attributes:
        name: what is measured, with its unit.
        value: as measured; None where the videos do not determine it.
        limit: in the same unit.
        most: True: the value must not exceed the limit. False: it must reach the limit.
    """

    name: str
    value: float | None
    limit: float
    most: bool

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return bool(self.value <= self.limit if self.most else self.value >= self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types."""
        return {"goal": self.name, "value": self.value, "limit": self.limit, "at_most": self.most, "met": self.met}


def goals(raw: VideoReport, filtered: VideoReport) -> list[Goal]:
    """Compare the reports of the same videos without and with temporal filtering to the goals."""
    events, paid = filtered.events, filtered.smoothing
    place = _ratio(filtered.boxes.position_jitter, raw.boxes.position_jitter)
    size = _ratio(filtered.boxes.size_jitter, raw.boxes.size_jitter)
    return [
        Goal("polyps found within 3 s, for 0.5 s", events.sensitivity, MIN_SENSITIVITY, most=False),
        Goal("first shown after, median, s", events.first_shown_s, MAX_FIRST_SHOWN_S, most=True),
        Goal(
            "false alarms per minute, >= 0.5 s",
            events.false_alarms_per_minute.get(ALARM_S),
            MAX_ALARMS_PER_MINUTE,
            most=True,
        ),
        Goal("identity switches per polyp", filtered.boxes.switches_per_polyp, MAX_SWITCHES, most=True),
        Goal("share of false alarms that smoothing removes", paid.removed[0.0], MIN_REMOVED, most=False),
        Goal("delay that it costs, median, s", paid.delay_s, MAX_DELAY_S, most=True),
        Goal("box jitter in place, of raw", place, MAX_JITTER_SHARE, most=True),
        Goal("box jitter in size, of raw", size, MAX_JITTER_SHARE, most=True),
        Goal(
            "mask jitter (1 - IoU from frame to frame), of raw",
            _mask_jitter_share(raw, filtered),
            MAX_JITTER_SHARE,
            most=True,
        ),
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


def _ratio(filtered: float | None, raw: float | None) -> float | None:
    return filtered / raw if filtered is not None and raw else None


def _mask_jitter_share(raw: VideoReport, filtered: VideoReport) -> float | None:
    if raw.masks.step_iou is None or filtered.masks.step_iou is None:
        return None
    return _ratio(1 - filtered.masks.step_iou, 1 - raw.masks.step_iou)
