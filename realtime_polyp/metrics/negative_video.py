"""What is shown and drawn in video without a polyp: METRICS 4, "Negative video".

Sequences are scored frame by frame. A run of frames with a shown box ends with its sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from realtime_polyp.metrics.events import DURATIONS_S, Run
from realtime_polyp.telemetry.text_table import format_table

DRAWN_SHARE = 0.001
"""Share of the picture above which a drawn mask counts as more than a speck."""


@dataclass(frozen=True)
class NegativeFrame:
    """What was shown in one frame without a polyp.

    Attributes:
        has_box: whether a box was shown; None without a detector.
        drawn: share of the picture that the drawn mask covers, 0..1; None without a segmenter.
    """

    has_box: bool | None
    drawn: float | None


@dataclass(frozen=True)
class NegativeFigures:
    """The figures of one or more sequences without a polyp. Shares are 0..1 of the frames.

    Attributes:
        frames: number of frames.
        box_share: share with a shown box; None without a detector or without frames.
        mask_share: share with any drawn pixel; None without a segmenter or without frames.
        area_share: share with more than DRAWN_SHARE of the picture drawn; None as `mask_share`.
        longest_run: most consecutive frames with a shown box; None as `box_share`.
        alarms_per_minute: {minimum duration, s: runs of frames with a shown box per minute} for each class of
            `events.DURATIONS_S`; empty without a detector, and where the frame rate is not known.
    """

    frames: int
    box_share: float | None
    mask_share: float | None
    area_share: float | None
    longest_run: int | None
    alarms_per_minute: Mapping[float, float] = field(default_factory=dict)


ALL = "all"
Rows = dict[str, NegativeFigures]
"""Name of a sequence, or ALL -> figures."""


def negative_figures(sequences: Sequence[Sequence[NegativeFrame]], *, rate_hz: float | None = None) -> NegativeFigures:
    """Return the figures over the frames of all sequences.

    sequences: frames in order. rate_hz: frame rate of all sequences; None: not known.

    Raises:
        ValueError: the rate is not above 0.
    """
    if rate_hz is not None and not rate_hz > 0:
        raise ValueError(f"the frame rate must be above 0 Hz, not {rate_hz}")
    frames = [frame for sequence in sequences for frame in sequence]
    drawn = [frame.drawn for frame in frames if frame.drawn is not None]
    boxes = [frame.has_box for frame in frames if frame.has_box is not None]
    runs = [length for sequence in sequences for length in _run_lengths(sequence)]
    return NegativeFigures(
        len(frames),
        _share(boxes),
        _share([share > 0 for share in drawn]),
        _share([share > DRAWN_SHARE for share in drawn]),
        max(runs, default=0) if boxes else None,
        _alarms_per_minute(runs, len(frames), rate_hz) if boxes and rate_hz else {},
    )


def _share(marks: Sequence[bool]) -> float | None:
    return sum(marks) / len(marks) if marks else None


def _run_lengths(sequence: Sequence[NegativeFrame]) -> list[int]:
    """Return the lengths of the runs of frames with a shown box, in frames."""
    return [len(list(run)) for shown, run in groupby(sequence, lambda frame: bool(frame.has_box)) if shown]


def _alarms_per_minute(runs: Sequence[int], frames: int, rate_hz: float) -> dict[float, float]:
    minutes = frames / rate_hz / 60
    alarms = [Run(0.0, length / rate_hz) for length in runs]
    return {least_s: sum(alarm.lasts(least_s) for alarm in alarms) / minutes for least_s in DURATIONS_S}


def figures_by_sequence(sequences: Mapping[str, Sequence[NegativeFrame]], *, rate_hz: float | None = None) -> Rows:
    """Return the figures of all sequences, named ALL, and those of each.

    sequences: frames in order, by name. rate_hz: as in `negative_figures`, whose errors are raised.
    """
    rows = {name: negative_figures([frames], rate_hz=rate_hz) for name, frames in sequences.items()}
    return {ALL: negative_figures(list(sequences.values()), rate_hz=rate_hz), **rows}


def to_dict(rows: Rows) -> dict[str, Any]:
    """Return the rows as JSON types: ALL beside the sequences."""
    sequences = {name: _row_to_dict(one) for name, one in rows.items() if name != ALL}
    return {ALL: _row_to_dict(rows[ALL]), "sequences": sequences}


def _row_to_dict(figures: NegativeFigures) -> dict[str, Any]:
    """Return the figures by name. Alarms per minute are null where the rate is not known."""
    rates = {f"{least_s:g} s": rate for least_s, rate in figures.alarms_per_minute.items()}
    return {**asdict(figures), "alarms_per_minute": rates or None}


def table(rows: Rows) -> str:
    """Format figures as a text table in percent of frames, one row for each name. rows: at least one."""
    durations = list(next(iter(rows.values())).alarms_per_minute)
    header = ["", "frames", "box", "any mask", f"mask > {100 * DRAWN_SHARE:g} %", "longest run"]
    header += [f"alarms/min >= {least_s:g} s" if least_s else "alarms/min" for least_s in durations]
    return format_table(header, [[name, *_cells(one, durations)] for name, one in rows.items()])


def _cells(figures: NegativeFigures, durations: Sequence[float]) -> list[str]:
    shares = (figures.box_share, figures.mask_share, figures.area_share)
    return [
        str(figures.frames),
        *("-" if share is None else f"{100 * share:.1f}" for share in shares),
        "-" if figures.longest_run is None else str(figures.longest_run),
        *(f"{figures.alarms_per_minute[least_s]:.1f}" for least_s in durations),
    ]
