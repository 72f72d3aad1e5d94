"""What a box is worth to its track, by its score."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.config import PipelineConfig
from realtime_polyp.postprocess.fusion import FUSION_FILE, read_fusion
from realtime_polyp.postprocess.score_calibration import CalibratedModel, Calibration, TemperatureMap
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence

SCORES = st.floats(0, 1)
EVIDENCE = st.builds(Evidence, sure_score=st.floats(0.5, 0.99), power=st.floats(0.5, 6), against=st.floats(0, 1))


@given(EVIDENCE, SCORES, SCORES, SCORES)
def test_worth_rises_with_the_score_and_never_decides_alone(
    evidence: Evidence, start_score: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    worths = [evidence.worth(score, start_score) for score in (low, high)]
    assert -evidence.against <= worths[0] <= worths[1] <= 1


@given(EVIDENCE, st.floats(0, 0.49))
def test_nothing_at_the_threshold_all_when_sure_and_against_below(evidence: Evidence, start_score: float) -> None:
    assert evidence.worth(start_score, start_score) == 0
    assert evidence.worth(evidence.sure_score, start_score) == 1
    assert evidence.worth(start_score - 1e-3, start_score) == -evidence.against


@given(EVIDENCE, st.floats(0.05, 0.45), st.floats(0.46, 0.49))
def test_a_lower_threshold_believes_the_same_box_more(evidence: Evidence, start_score: float, score: float) -> None:
    assert evidence.worth(score, start_score - 0.04) >= evidence.worth(score, start_score)


def test_a_threshold_above_what_is_sure_is_still_a_threshold() -> None:
    assert PROBABILITIES.worth(0.985, 0.98) == 1
    assert PROBABILITIES.worth(0.96, 0.98) == -PROBABILITIES.against


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
def test_half_sure_is_worth_less_than_half(evidence: Evidence) -> None:
    assert 0 < evidence.worth(0.6, 0.3) < 0.5
