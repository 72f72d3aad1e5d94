"""Learns the evidence curve of the tracker from detections on labelled clips and on frames without a polyp.

Every candidate curve filters all clips. Its cost is the time until polyps are shown, and a price for false alarms. The
search changes one number at a time, keeps the curve monotone, and ends when no change lowers the cost.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from calibration.fitting.sweep import LabelledVideo, seen_frames, shown_boxes
from realtime_polyp.metrics.events import FOR_S, WITHIN_S, VideoRecord, event_figures, video_record
from realtime_polyp.temporal.config import Evidence, TemporalConfig

KNOTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Scores at which the curve is learnt."""
WEIGHTS = (0.02, 0.04, 0.065, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
PENALTIES = (0.0, 0.1, 0.25, 0.5, 1.0)
MISS_PENALTIES = (0.1, 0.25, 0.5)
"""Not more: every second frame is flipped, and a polyp that is found in one orientation only must still be shown."""
LONG_ALARM_S = 0.5
_NUMBERS = len(KNOTS) + 1  # that the search changes: the weights but the last one, and two penalties
_LEAST_GAIN_S = 1e-4


@dataclass(frozen=True)
class Price:
    """What false alarms cost, in seconds of delay of every polyp.

    Attributes:
        long_s: of one false alarm of LONG_ALARM_S or longer per minute.
        any_s: of one false alarm of any length per minute.
        frame_s: of a shown box in one per cent of the frames without a polyp.
    """

    long_s: float = 0.2
    any_s: float = 0.04
    frame_s: float = 0.04


@dataclass(frozen=True)
class CurveFigures:
    """What a curve does on the clips.

    Attributes:
        delay_s: mean time until a polyp is shown for FOR_S, s; one that is missed counts WITHIN_S.
        found: share of the polyps that are found (`metrics.events`), 0..1.
        long_per_minute: false alarms of LONG_ALARM_S or longer.
        any_per_minute: false alarms of any length.
        negative_share: share of the frames without a polyp that show a box, 0..1; None without such frames.
    """

    delay_s: float
    found: float
    long_per_minute: float
    any_per_minute: float
    negative_share: float | None

    def cost_s(self, price: Price) -> float:
        """Return delay and false alarms in one number, s."""
        alarms_s = price.long_s * self.long_per_minute + price.any_s * self.any_per_minute
        return self.delay_s + alarms_s + price.frame_s * 100 * (self.negative_share or 0.0)


@dataclass(frozen=True)
class Clips:
    """What a curve is learnt from.

    Attributes:
        clips: labelled, with polyps.
        negatives: video without a polyp.
        threshold: the display threshold.
        temporal: all other settings of the tracker.
    """

    clips: Sequence[LabelledVideo]
    negatives: Sequence[LabelledVideo]
    threshold: float
    temporal: TemporalConfig

    def __post_init__(self) -> None:
        if not any(frame.polyps for clip in self.clips for frame in clip.truth.frames):
            raise ValueError("no clip has a polyp: an evidence curve is learnt from clips with polyps")

    def figures(self, evidence: Evidence) -> CurveFigures:
        """Filter all clips with this curve."""
        records = [self._record(clip, evidence) for clip in self.clips]
        events = event_figures(records)
        delays = [_delay_s(record) for record in records]
        shown = [self._has_box(one, evidence) for one in self.negatives]
        alarms = events.false_alarms_per_minute
        return CurveFigures(
            float(np.mean(np.concatenate(delays))),
            float(events.sensitivity or 0.0),
            alarms[LONG_ALARM_S],
            alarms[0.0],
            float(np.mean(np.concatenate(shown))) if shown else None,
        )

    def _record(self, clip: LabelledVideo, evidence: Evidence) -> VideoRecord:
        frames = list(seen_frames(clip, self.threshold, self.temporal, evidence))
        return video_record(frames, period_s=clip.truth.labelled_period_s)

    def _has_box(self, video: LabelledVideo, evidence: Evidence) -> list[bool]:
        return [len(boxes) > 0 for boxes in shown_boxes(video, self.threshold, self.temporal, evidence)]


def _delay_s(record: VideoRecord) -> list[float]:
    """Return the time until each polyp was shown for FOR_S, or for as long as it was in view."""
    delays = []
    for polyp in record.polyps:
        least_s = min(FOR_S, 0.5 * polyp.in_view_s)
        starts = [run.start_s for run in polyp.shown if run.lasts(least_s)]
        delays.append(min(starts[0], WITHIN_S) if starts else WITHIN_S)
    return delays


def learn(clips: Clips, start: Evidence, price: Price = Price(), *, least_weight: float = WEIGHTS[0]) -> Evidence:
    """Return the curve over KNOTS with the lowest cost that single changes reach from `start`.

    least_weight: of the curve at its first knot.
    """
    best = _on_knots(start, least_weight)
    lowest_s, tried, improved = clips.figures(best).cost_s(price), {best}, True
    with tqdm(desc="evidence curves", unit="curve") as bar:
        while improved:
            improved = False
            for number in range(_NUMBERS):
                for candidate in _variants(best, number, least_weight):
                    if candidate in tried:
                        continue
                    tried.add(candidate)
                    cost_s = clips.figures(candidate).cost_s(price)
                    bar.update()
                    if cost_s < lowest_s - _LEAST_GAIN_S:
                        best, lowest_s, improved = candidate, cost_s, True
                        bar.set_postfix(cost_s=f"{lowest_s:.3f}")
    return best


def _on_knots(curve: Evidence, least_weight: float) -> Evidence:
    """Return a curve over KNOTS whose weights are the nearest of WEIGHTS; the last is 1."""
    exact = np.interp(KNOTS, curve.scores, curve.weights)
    choice = np.array([one for one in WEIGHTS if one >= least_weight])
    weights = [float(choice[np.abs(choice - one).argmin()]) for one in exact[:-1]]
    return replace(curve, scores=KNOTS, weights=(*weights, 1.0))


def _variants(curve: Evidence, number: int, least_weight: float) -> Iterator[Evidence]:
    """Yield the curve with each value of one of its numbers: the weights, the penalty, the miss penalty."""
    if number == _NUMBERS - 1:
        yield from (replace(curve, miss_penalty=value) for value in MISS_PENALTIES)
    elif number == _NUMBERS - 2:
        yield from (replace(curve, penalty=value) for value in PENALTIES)
    else:
        for value in WEIGHTS:
            if value >= least_weight:
                yield replace(curve, weights=_raised(curve.weights, number, value))


def _raised(weights: tuple[float, ...], at: int, value: float) -> tuple[float, ...]:
    """Set one weight; those before it are at most, those after it at least as large."""
    before, after = weights[:at], weights[at + 1 :]
    return (*(min(one, value) for one in before), value, *(max(one, value) for one in after))
