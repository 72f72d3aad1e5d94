"""The evidence weight of a box, by its score."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.config import PipelineConfig
from realtime_polyp.postprocess.fusion import FUSION_FILE, read_fusion
from realtime_polyp.postprocess.score_calibration import CalibratedModel, Calibration, TemperatureMap
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence

SCORES = st.floats(0, 1)
EVIDENCE = st.builds(Evidence, sure_score=st.floats(0.5, 0.99), power=st.floats(0.5, 6), penalty=st.floats(0, 1))


@given(EVIDENCE, SCORES, SCORES, SCORES)
def test_the_weight_rises_with_the_score_and_is_at_most_1(
    evidence: Evidence, start_score: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    weights = [evidence.weight(score, start_score) for score in (low, high)]
    assert -evidence.penalty <= weights[0] <= weights[1] <= 1


@given(EVIDENCE, st.floats(0, 0.49))
def test_the_weight_is_0_at_the_threshold_1_when_sure_and_negative_below(
    evidence: Evidence, start_score: float
) -> None:
    assert evidence.weight(start_score, start_score) == 0
    assert evidence.weight(evidence.sure_score, start_score) == 1
    assert evidence.weight(start_score - 1e-3, start_score) == -evidence.penalty


@given(EVIDENCE, st.floats(0.05, 0.45), st.floats(0.46, 0.49))
def test_a_lower_threshold_gives_the_same_box_more_weight(evidence: Evidence, start_score: float, score: float) -> None:
    assert evidence.weight(score, start_score - 0.04) >= evidence.weight(score, start_score)


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
def test_a_half_sure_box_has_less_than_half_the_weight(evidence: Evidence) -> None:
    assert 0 < evidence.weight(0.6, 0.3) < 0.5
