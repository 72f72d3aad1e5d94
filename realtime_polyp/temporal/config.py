"""What steadiness is allowed to cost, in seconds of the video's own clock: a live source drops frames."""

import math
from dataclasses import dataclass

_END = 1e-6  # a score's distance from 0 and 1, which have no log-odds


@dataclass(frozen=True)
class Evidence:
    """What a box is worth to the track that it continues, by its score: 1 from sure_score on, 0 at the score from which
    boxes are shown, less the further below sure_score it stays in log-odds, the steeper the greater `power`. A weaker
    box speaks against the track, by `against`, and a frame without any by `missed`.

    Sums of log-odds are how a sequential probability ratio test decides (Wald, 1945); but frames that follow one
    another tell much the same, so that none is worth more than 1.
    """

    sure_score: float
    power: float
    against: float
    missed: float

    def worth(self, score: float, start_score: float) -> float:
        """start_score: from what score on a box is shown."""
        if score < start_score:
            return -self.against
        if score >= self.sure_score:
            return 1.0
        start = _log_odds(start_score)
        return float(((_log_odds(score) - start) / (_log_odds(self.sure_score) - start)) ** self.power)


def _log_odds(score: float) -> float:
    inside = min(max(score, _END), 1 - _END)
    return math.log(inside / (1 - inside))


DETECTOR_SCORES = Evidence(sure_score=0.75, power=2.0, against=0.0, missed=0.5)
"""Of a detector's own scores, which seldom say more than 0.9."""
PROBABILITIES = Evidence(sure_score=0.95, power=3.0, against=0.1, missed=0.5)
"""Of scores that mean probabilities: of a box that heard the mask, or calibrated ones."""


@dataclass(frozen=True)
class TemporalConfig:
    """confirm_s: found for so long before it is shown, by boxes that count in full; less sure ones count less
    (`Evidence`). hold_s: shown for so long unseen. release_s: continued where it was when found again within this
    (hold_s at least). reid_window_s: known again by its looks within this. gap_s: longest pause in a tentative track's
    sightings. least_iou: of a box with the track it continues. mask_s: time constant of the mask's average;
    measurement_noise: how far a detector's box strays from one frame to the next, of its side; 0 turns either off.
    process_noise: how suddenly a box changes its own velocity, of its size a second within a second. unclear_weight:
    what a sighting counts while the view is not clear, of one while it is: an alarm is held back for so much
    longer; 0: for as long as that lasts. Times and scores chosen by `trainers.video_bench`.
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
