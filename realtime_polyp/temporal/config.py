"""Settings of the temporal filter. All times are seconds of video time, because a live source drops frames."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.compiled import compiled


@dataclass(frozen=True)
class Evidence:
    """How much evidence a box contributes to the track that it continues, as a function of its score.

    Evidence is summed over time, as in a sequential probability ratio test (Wald, 1945). Consecutive frames are
    strongly correlated, therefore the weight of one frame is at most 1.

    Attributes:
        scores: rising scores at which the curve is given, 0..1.
        weights: its value at each of them, 0..1, never falling; linear in between, level beyond both ends.
        penalty: evidence that a box below the display threshold takes away.
        miss_penalty: evidence that a frame without a matching box takes away.
    """

    scores: tuple[float, ...]
    weights: tuple[float, ...]
    penalty: float
    miss_penalty: float

    def __post_init__(self) -> None:
        if not self.scores or len(self.scores) != len(self.weights):
            raise ValueError(f"a curve of {len(self.scores)} scores and {len(self.weights)} weights: give one of each")
        for name, least_step in (("scores", 1e-9), ("weights", 0.0)):
            values = np.array(getattr(self, name))
            if not (values[0] >= 0 and values[-1] <= 1 and (np.diff(values) >= least_step).all()):
                raise ValueError(f"the curve's {name} must rise within [0, 1], not {getattr(self, name)}")

    @cached_property
    def curve(self) -> NDArray[np.float64]:
        """Scores and weights as compiled functions take them, (2, n)."""
        return np.array([self.scores, self.weights], np.float64)

    def at_least(self, weight: float) -> "Evidence":
        """Return the curve with no weight below this one."""
        return replace(self, weights=tuple(max(weight, one) for one in self.weights))

    def weight(self, score: float, start_score: float) -> float:
        """Return the evidence weight of a box, from -penalty to 1. start_score: the display threshold."""
        return float(evidence_weight(score, start_score, self.curve, self.penalty))


@compiled()
def evidence_weight(score: float, start_score: float, curve: NDArray[np.float64], penalty: float) -> float:
    """See `Evidence.weight`. curve (2, n): see `Evidence.curve`."""
    if score < start_score:
        return -penalty
    scores, weights = curve[0], curve[1]
    last = len(scores) - 1
    if score <= scores[0]:
        return float(weights[0])
    if score >= scores[last]:
        return float(weights[last])
    above = 1
    while scores[above] < score:
        above += 1
    share = (score - scores[above - 1]) / (scores[above] - scores[above - 1])
    return float(weights[above - 1] + share * (weights[above] - weights[above - 1]))


LEAST_WEIGHT = 0.065
"""Of a box whose score just reaches the display threshold. A track of such boxes is shown after a second, so that the
threshold means in video what it means on stills."""

# Both curves were chosen on synthetic clips of val. docs/experiments.md compares them with what `calibration.evidence`
# learns.
DETECTOR_SCORES = Evidence(
    scores=(0.3, 0.4, 0.5, 0.6, 0.7, 0.75),
    weights=(LEAST_WEIGHT, LEAST_WEIGHT, 0.2, 0.44, 0.78, 1.0),
    penalty=0.1,
    miss_penalty=0.5,
)
"""For a detector's raw scores, which rarely exceed 0.9."""
PROBABILITIES = Evidence(
    scores=(0.3, 0.9, 0.97),
    weights=(LEAST_WEIGHT, LEAST_WEIGHT, 1.0),
    penalty=0.1,
    miss_penalty=0.5,
)
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
        gap_s: longest gap between the boxes of a tentative track; at least two frames.
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
