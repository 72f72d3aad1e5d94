"""Settings of the temporal filter. All times are seconds of video time, because a live source drops frames."""

import math
from dataclasses import dataclass

from realtime_polyp.compiled import compiled

_MIN_PROBABILITY = 1e-6  # scores are kept this far from 0 and 1, where the log-odds are infinite


@dataclass(frozen=True)
class Evidence:
    """How much evidence a box contributes to the track that it continues, as a function of its score.

    Summing log-odds over time is a sequential probability ratio test (Wald, 1945). Consecutive frames are strongly
    correlated, therefore the weight of one frame is capped at 1.

    Attributes:
        sure_score: score from which a box has full weight 1. The weight is 0 at the display threshold and grows
            with the log-odds in between.
        power: exponent of that growth; the larger, the less an unsure box weighs.
        penalty: evidence that a box below the display threshold takes away.
        miss_penalty: evidence that a frame without a matching box takes away.
    """

    sure_score: float
    power: float
    penalty: float
    miss_penalty: float

    def weight(self, score: float, start_score: float) -> float:
        """Return the evidence weight of a box, from -penalty to 1. start_score: the display threshold."""
        return float(evidence_weight(score, start_score, self.sure_score, self.power, self.penalty))


@compiled()
def evidence_weight(score: float, start_score: float, sure_score: float, power: float, penalty: float) -> float:
    """See `Evidence.weight`."""
    if score < start_score:
        return -penalty
    if score >= sure_score:
        return 1.0
    start = _log_odds(start_score)
    return float(((_log_odds(score) - start) / (_log_odds(sure_score) - start)) ** power)


@compiled()
def _log_odds(score: float) -> float:
    inside = min(max(score, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY)
    return math.log(inside / (1 - inside))


DETECTOR_SCORES = Evidence(sure_score=0.75, power=2.0, penalty=0.0, miss_penalty=0.5)
"""For a detector's raw scores, which rarely exceed 0.9."""
PROBABILITIES = Evidence(sure_score=0.95, power=3.0, penalty=0.1, miss_penalty=0.5)
"""For scores that are probabilities: fused with the mask, or calibrated."""


@dataclass(frozen=True)
class TemporalConfig:
    """Settings of the tracker and of the mask filter. Times and scores were chosen with `trainers.video_bench`.

    Attributes:
        confirm_s: evidence needed before a track is shown, in seconds of boxes with full weight; boxes with lower
            scores count less (`Evidence`).
        hold_s: how long a track stays visible without a matching box.
        release_s: how long a confirmed track is kept without a matching box and continued when one appears again;
            at least hold_s.
        reid_window_s: how long a released track can be re-identified by its appearance.
        gap_s: longest gap between the boxes of a tentative track.
        least_iou: lowest IoU of a box with the track that it continues.
        unclear_weight: evidence weight of a detection in an unclear frame, relative to a clear one; an alarm is
            delayed accordingly. 0: nothing is confirmed in unclear frames.
        mask_s: time constant of the mask's running average; 0 turns the mask filter off.
        measurement_noise: standard deviation of a detected box, as a fraction of its size; 0 uses boxes unfiltered.
        process_noise: how fast a box changes its velocity, in box sizes per second, per second.
    """

    confirm_s: float = 0.065
    hold_s: float = 0.10
    release_s: float = 0.60
    reid_window_s: float = 3.0
    gap_s: float = 0.08
    least_iou: float = 0.2
    unclear_weight: float = 0.25
    mask_s: float = 0.20
    measurement_noise: float = 0.10
    process_noise: float = 3.0
