"""Reading a calibration: maps that keep the order, and files that are refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeDetector, FakeSegmenter
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.postprocess.score_calibration import (
    CalibratedModel,
    Calibration,
    CalibrationError,
    TableMap,
    TemperatureMap,
    read_calibration,
)
from realtime_polyp.temporal.config import TemporalConfig

TEMPERATURE = {"method": "temperature", "temperature": 0.5, "bias": 1.0}
ISOTONIC = {"method": "isotonic", "from_scores": [0.0, 0.5, 1.0], "to_probabilities": [0.0, 0.9, 1.0]}
POINT = {"score_threshold": 0.4, "confirm_s": 0.2, "hold_s": 0.3, "release_s": 0.7, "data": "a.json"}


def document(**parts: Any) -> dict[str, Any]:
    model = {"model": "fake", "engine": "fake", "key": "fake"}
    return {"format": 1, "detector": {**model, "scores": TEMPERATURE}, "operating_point": POINT, **parts}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_temperature_with_a_bias_is_what_its_formula_says() -> None:
    scores = np.array([0.1, 0.3, 0.5, 0.9])
    logits = np.log(scores / (1 - scores))
    assert TemperatureMap(0.5, 1.0)(scores) == pytest.approx(1 / (1 + np.exp(-(logits / 0.5 + 1.0))))


def test_a_table_is_straight_between_its_points() -> None:
    assert TableMap((0.0, 0.5, 1.0), (0.0, 0.9, 1.0))(np.array([0.25, 0.5, 0.75])) == pytest.approx([0.45, 0.9, 0.95])


@given(
    st.floats(0.05, 20), st.floats(-20, 20), st.lists(st.floats(0, 1, width=32), min_size=2, max_size=50, unique=True)
)
def test_no_two_scores_change_places(temperature: float, bias: float, scores: list[float]) -> None:
    calibration = of_map(TemperatureMap(temperature, bias))
    mapped = calibration.apply(np.sort(np.float32(scores)))
    assert mapped.dtype == np.float32 and (np.diff(mapped) >= 0).all() and 0 <= mapped[0] <= mapped[-1] <= 1


def of_map(map_: TemperatureMap | TableMap) -> Calibration:
    return Calibration("c.json", CalibratedModel("fake", "fake", "fake", map_))


def test_the_ends_stay_ends() -> None:
    ends = np.array([0.0, 1.0], np.float32)
    for map_ in (TemperatureMap(0.3, 2.0), TableMap((0.0, 0.2, 1.0), (0.0, 0.1, 1.0))):
        assert of_map(map_).apply(ends).tolist() == [0.0, 1.0]


def test_a_mask_without_a_bias_keeps_its_outline() -> None:
    calibration = Calibration("c.json", segmenter=CalibratedModel("fake", "fake", "fake", TemperatureMap(1.7)))
    mask = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    mapped = calibration.apply_mask(mask)
    assert ((mapped >= 0.5) == (mask >= 0.5)).all() and not np.array_equal(mapped, mask)
    assert calibration.apply(mask) is mask  # no detector was calibrated


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    found = read_calibration(written(tmp_path / "c.json", document()))
    assert found.apply(np.array([0.5], np.float32)) == pytest.approx(1 / (1 + np.exp(-1)))
    assert found.score_threshold(0.3) == 0.4
    assert found.temporal_config() == TemporalConfig(confirm_s=0.2, hold_s=0.3, release_s=0.7)
    assert found.check(FakeDetector()) is None and found.check(FakeSegmenter()) is None


def test_without_a_point_the_usual_threshold_shows_the_same_boxes(tmp_path: Path) -> None:
    found = read_calibration(written(tmp_path / "c.json", document(operating_point=None)))
    scores = np.linspace(0, 1, 999, dtype=np.float32)
    assert np.array_equal(found.apply(scores) >= found.score_threshold(0.3), scores >= np.float32(0.3))
    assert found.temporal_config() == TemporalConfig()


def test_a_point_of_stills_leaves_the_times_alone(tmp_path: Path) -> None:
    point = {**POINT, "confirm_s": None, "hold_s": None, "release_s": None}
    found = read_calibration(written(tmp_path / "c.json", document(operating_point=point)))
    assert found.score_threshold(0.3) == 0.4 and found.temporal_config() == TemporalConfig()


def test_another_model_is_refused_and_another_engine_is_said(tmp_path: Path) -> None:
    found = read_calibration(written(tmp_path / "c.json", document()))
    other = FakeDetector()
    other.model = "other"
    with pytest.raises(CalibrationError, match="c.json was made for the detector fake, not for other: run .*scores"):
        found.check(other)  # type: ignore[arg-type]
    again = FakeDetector()
    again.name, again.key = "openvino", "abcd"
    assert "made with fake (fake) and openvino (abcd) is running" in str(found.check(again))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("not json", "is not a calibration file: it is not JSON"),
        ([1], "is not a calibration file: expected `object`, got `array`"),
        ({"format": 2}, "not a calibration file of format 1; its format is 2"),
        (document(detector={"model": "fake"}), "at `detector`: `engine` is missing"),
        (document(detector={"model": 1, "engine": "", "key": ""}), "at `detector.model`: expected `str`, got `int`"),
        (document(operating_point={"score_threshold": 0.4}), "at `operating_point`: `confirm_s` is missing"),
        (
            document(operating_point={**POINT, "score_threshold": True}),
            "at `operating_point.score_threshold`: expected `float`, got `bool`",
        ),
        (document(operating_point={**POINT, "score_threshold": 1.2}), "must be in 0..1, not 1.2"),
        (document(operating_point={**POINT, "hold_s": 0.9}), "release_s at least hold_s"),
        (document(operating_point={**POINT, "hold_s": None}), "or all null"),
        (document(operating_point={**POINT, "fused": 1}), "at `operating_point.fused`: expected `bool`, got `int`"),
        (document(operating_point=3), "at `operating_point`: expected `object | null`, got `int`"),
        (document(operating_point={**POINT, "release_s": 1e9}), "must be in 0..60 s"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(CalibrationError) as error:
        read_calibration(written(tmp_path / "c.json", content))
    assert said in str(error.value) and "c.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ({"method": "magic"}, "at `detector.scores.method`: invalid value 'magic'"),
        ({**TEMPERATURE, "temperature": 0}, "the temperature must be in 0.05..20 and the bias in -20..20, not 0 and "),
        ({**TEMPERATURE, "temperature": 1e-300}, "the temperature must be in 0.05..20"),
        ({**TEMPERATURE, "temperature": 10**400}, "is too large a number in line 1"),
        ({**TEMPERATURE, "bias": 800.0}, "the bias in -20..20, not 0.5 and 800"),
        ({"method": "temperature", "temperature": 1}, "at `detector.scores`: `bias` is missing"),
        ({**TEMPERATURE, "bias": float("nan")}, "NaN is not a valid number in line 1"),
        ({**ISOTONIC, "to_probabilities": [0.0, 0.9]}, "as many scores as probabilities"),
        ({**ISOTONIC, "to_probabilities": [0.0, 0.0, 1.0]}, "both strictly rising from 0 to 1"),
        ({**ISOTONIC, "to_probabilities": [0.0, float("nan"), 1.0]}, "NaN is not a valid number in line 1"),
        ({**ISOTONIC, "to_probabilities": [0.1, 0.5, 1.0]}, "both strictly rising from 0 to 1"),
    ],
)
def test_a_map_that_would_break_the_order_is_refused(tmp_path: Path, scores: dict[str, Any], said: str) -> None:
    model = {"model": "fake", "engine": "fake", "key": "fake", "scores": scores}
    with pytest.raises(CalibrationError) as error:
        read_calibration(written(tmp_path / "c.json", document(detector=model)))
    assert said in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot read .*nowhere.json: No such file"):
        read_calibration(tmp_path / "nowhere.json")
