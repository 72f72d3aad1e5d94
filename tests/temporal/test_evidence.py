"""The evidence weight of a box, by its score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.config import PipelineConfig
from realtime_polyp.postprocess.fusion import FUSION_FILE, read_fusion
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.postprocess.score_calibration import CalibratedModel, Calibration, TemperatureMap
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence, TemporalConfig

SCORES = st.floats(0, 1)
_POINTS = st.integers(1, 6).flatmap(
    lambda count: st.tuples(
        st.lists(st.integers(0, 100), min_size=count, max_size=count, unique=True),
        st.lists(st.floats(0, 1), min_size=count, max_size=count),
    )
)
EVIDENCE = st.builds(
    lambda points, penalty: Evidence(
        tuple(one / 100 for one in sorted(points[0])), tuple(sorted(points[1])), penalty, miss_penalty=0.5
    ),
    _POINTS,
    st.floats(0, 1),
)


@given(EVIDENCE, SCORES, SCORES, SCORES)
def test_the_weight_rises_with_the_score_and_is_at_most_1(
    evidence: Evidence, start_score: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    weights = [evidence.weight(score, start_score) for score in (low, high)]
    assert -evidence.penalty <= weights[0] <= weights[1] + 1e-12 and weights[1] <= 1 + 1e-12


@given(EVIDENCE, SCORES)
def test_the_curve_is_linear_between_its_points_and_level_beyond_them(evidence: Evidence, score: float) -> None:
    assert evidence.weight(score, 0.0) == pytest.approx(np.interp(score, evidence.scores, evidence.weights), abs=1e-12)


@given(EVIDENCE, st.floats(0.01, 1))
def test_the_threshold_alone_decides_from_where_the_curve_holds(evidence: Evidence, start_score: float) -> None:
    assert evidence.weight(start_score, start_score) == evidence.weight(start_score, 0.0)
    assert evidence.weight(start_score - 1e-3, start_score) == -evidence.penalty


@pytest.mark.parametrize(
    "scores, weights, problem",
    [
        ((0.3, 0.5), (0.1,), "2 scores and 1 weights"),
        ((), (), "0 scores"),
        ((0.5, 0.3), (0.1, 0.2), "scores must rise"),
        ((0.3, 0.3), (0.1, 0.2), "scores must rise"),
        ((0.3, 0.5), (0.2, 0.1), "weights must rise"),
        ((0.3, 0.5), (0.2, 1.1), "weights must rise"),
        ((0.3, float("nan")), (0.2, 0.4), "scores must rise"),
    ],
)
def test_a_curve_that_is_none_is_refused(scores: tuple[float, ...], weights: tuple[float, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Evidence(scores, weights, penalty=0.0, miss_penalty=0.5)


def test_a_threshold_above_what_is_sure_is_still_a_threshold() -> None:
    assert PROBABILITIES.weight(0.985, 0.98) == 1
    assert PROBABILITIES.weight(0.96, 0.98) == -PROBABILITIES.penalty


def test_fused_and_calibrated_scores_are_probabilities_and_a_detector_s_own_are_not() -> None:
    fitted = CalibratedModel("m", "e", "k", TemperatureMap(2.0))
    mapped, unmapped = Calibration("c", fitted), Calibration("c", CalibratedModel("m", "e", "k", None))
    assert PipelineConfig(fusion=read_fusion(FUSION_FILE)).evidence is PROBABILITIES
    assert PipelineConfig(calibration=mapped).evidence is PROBABILITIES
    assert (
        PipelineConfig(calibration=unmapped).evidence is DETECTOR_SCORES
        and PipelineConfig().evidence is DETECTOR_SCORES
    )


@pytest.mark.parametrize("evidence", [DETECTOR_SCORES, PROBABILITIES])
@pytest.mark.parametrize("start_score", [0.05, SCORE_THRESHOLD, 0.5])
def test_a_score_that_stays_at_the_threshold_is_shown_within_a_second(evidence: Evidence, start_score: float) -> None:
    """The threshold means in video what it means on stills."""
    assert TemporalConfig().confirm_s / evidence.weight(start_score, start_score) <= 1.0 + 1e-9
    assert evidence.weight(0.99, start_score) == 1


def test_a_curve_can_be_raised_to_a_least_weight() -> None:
    curve = Evidence((0.3, 0.5, 0.9), (0.0, 0.2, 1.0), 0.1, 0.5)
    assert curve.at_least(0.3) == Evidence((0.3, 0.5, 0.9), (0.3, 0.3, 1.0), 0.1, 0.5)
