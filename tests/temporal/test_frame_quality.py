"""Frame quality: features, the shipped classifier, the filter over time, and the delay of alarms."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeDetector, ScriptedSource
from hypothesis import given
from hypothesis import strategies as st
from tissue_toys import tissue_picture

from realtime_polyp.config import PipelineConfig
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.filter import FrameCues
from realtime_polyp.temporal.frame_quality import (
    FEATURES,
    FRAME_QUALITIES,
    QUALITY_FILE,
    FrameQualityClassifier,
    FrameQualityFilter,
    QualityError,
    compute_features,
)
from realtime_polyp.temporal.frame_quality import read_frame_quality as read
from trainers.frame_quality.corruptions import add_bubbles, blur_motion, defocus, overexpose, red_out
from trainers.train_quality import HELD_OF_A_CENTRE, HELD_OF_ALL, margins

RATE_HZ = 25


def always(view: str) -> FrameQualityClassifier:
    """Takes every picture for that view."""
    none, weights = np.zeros(len(FEATURES)), np.zeros((2, len(FEATURES)))
    bias = np.array([0.0, -1.0 if view == "clear" else 1.0])
    other = "blurred" if view == "clear" else view
    return FrameQualityClassifier(("clear", other), ("clear", other), none, none + 1, weights, bias, np.zeros(2))  # type: ignore[arg-type]


def watch_of(**config: float) -> FrameQualityFilter:
    return FrameQualityFilter(always("clear"), **config)  # type: ignore[arg-type]


def textured(seed: int = 0) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(0, 12, (360, 480, 1))
    return np.clip(tissue_picture(seed) + grain, 0, 255).astype(np.uint8)


def test_blur_takes_detail_and_leaves_form() -> None:
    chance, sharp = np.random.default_rng(0), textured()
    for corrupt in (defocus, blur_motion):
        before, after = compute_features(sharp), compute_features(corrupt(sharp, chance))
        assert after.detail < before.detail and after.across < before.across
        assert abs(after.mucosa - before.mucosa) < 0.1


def test_what_is_spoilt_shows_in_its_own_feature() -> None:
    chance, sharp = np.random.default_rng(1), textured()
    assert compute_features(overexpose(sharp, chance)).glare > compute_features(sharp).glare
    assert compute_features(add_bubbles(sharp, chance)).sparkle > compute_features(sharp).sparkle
    assert compute_features(red_out(sharp, chance)).detail < compute_features(sharp).detail


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (64, 64), (1080, 1350)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_any_size_and_level_has_finite_features(size: tuple[int, int], level: int) -> None:
    assert np.isfinite(compute_features(np.full((*size, 3), level, np.uint8)).vector()).all()


def test_the_size_of_the_picture_hardly_matters() -> None:
    small = cv2.resize(textured(), (512, 384), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (1024, 768), interpolation=cv2.INTER_NEAREST)
    assert np.allclose(compute_features(small).vector(), compute_features(large).vector(), atol=0.15)


def test_what_ships_is_read_and_knows_every_view() -> None:
    classifier = read(QUALITY_FILE)
    assert classifier.kinds[0] == "clear" and set(classifier.qualities) == set(FRAME_QUALITIES)
    black = np.zeros((300, 400, 3), np.uint8)
    assert classifier.classify(compute_features(black)) != "clear"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "its format is 9"),
        ({"features": ["detail"]}, "its features"),
        ({"bias": [0.0]}, "bias must have 13 values, not 1"),
        ({"views": None}, "at `views`: expected `array`, got `null`"),
        ({"scale": [0.0] * len(FEATURES)}, r"at `scale\[0\]`: expected `float` >= 0\.001"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({**json.loads(QUALITY_FILE.read_text()), **change}))
    with pytest.raises(QualityError, match=said) as error:
        read(path)
    assert "train it again with trainers.train_quality" in str(error.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="cannot read"):
        read(tmp_path / "none.json")


def followed(found: str, *, rate_hz: int = RATE_HZ) -> str:
    """c(lear) or b(lurred) for each frame found so."""
    watch, names = watch_of(), {"c": "clear", "b": "blurred"}
    return "".join(watch.filter(names[one], index / rate_hz)[0] for index, one in enumerate(found))  # type: ignore[arg-type]


def test_one_bad_frame_holds_nothing_back_and_one_good_one_lets_nothing_go() -> None:
    assert followed("cccbccc") == "ccccccc"
    assert followed("cc" + "bbbbbbbb" + "c" + "bbb")[-5:] == "bbbbb"


@given(rate_hz=st.sampled_from([10, 25, 30, 60]), seconds=st.floats(0.3, 2.0))
def test_it_enters_and_leaves_by_the_clock_at_any_rate(rate_hz: int, seconds: float) -> None:
    bad = round(seconds * rate_hz)
    line = followed("c" * rate_hz + "b" * bad + "c" * rate_hz, rate_hz=rate_hz)
    entered, left = line.index("b"), line.rindex("b") + 1
    assert (entered - rate_hz) / rate_hz == pytest.approx(0.15, abs=1 / rate_hz + 1e-6)
    assert (left - rate_hz - bad) / rate_hz == pytest.approx(0.10, abs=1 / rate_hz + 1e-6)


def test_after_a_cut_or_a_seek_the_next_picture_counts_at_once() -> None:
    watch = watch_of()
    assert watch.filter("blurred", 0.0) == "blurred"
    assert watch.filter("clear", 5.0) == "clear"
    watch.reset()
    assert watch.filter("glare", 5.04) == "glare"


@pytest.mark.parametrize(("continues", "expected"), [(True, "clear"), (False, "glare")])
def test_after_a_break_that_the_source_marked_the_next_picture_counts_at_once(continues: bool, expected: str) -> None:
    none, weights = np.zeros(len(FEATURES)), np.zeros((2, len(FEATURES)))
    weights[1, FEATURES.index("brightness")] = 1.0
    bright_is_glare = FrameQualityClassifier(
        ("clear", "glare"), ("clear", "glare"), none, none + 1, weights, np.array([0.0, -0.5]), np.zeros(2)
    )
    cues, field = FrameCues(bright_is_glare), FieldOfView(0, 0, 120, 90)
    dim, bright = (np.full((90, 120, 3), level, np.uint8) for level in (60, 230))
    cues.update(Frame(0, 0.0, 0.0, dim), field, needs_motion=False)
    _, quality = cues.update(Frame(1, 0.04, 0.0, bright, continues=continues), field, needs_motion=False)
    assert quality == expected


def test_an_alarm_is_held_back_while_the_view_is_not_clear() -> None:
    first = {}
    for view in ("clear", "blurred"):
        pipeline = Pipeline(FakeDetector(), None, PipelineConfig(frame_quality=always(view)))  # type: ignore[arg-type]
        results = list(run_inline(ScriptedSource(25).frames(), pipeline))
        assert {result.frame_quality for result in results} == {view}
        assert all(result.detections.scores.size for result in results)  # what was found stays told
        first[view] = next(r.frame.pts_s for r in results if any(track.visible for track in r.tracks))
    config = TemporalConfig()
    assert first["clear"] == pytest.approx(config.confirm_s, abs=0.05)
    assert first["blurred"] == pytest.approx(config.confirm_s / config.unclear_weight, abs=0.05)


def test_margins_hold_few_clear_pictures_back() -> None:
    chance = np.random.default_rng(0)
    odds = np.column_stack([np.zeros(2000), chance.normal(-4, 2, (2000, 3))])
    centres = chance.choice(["C1", "C2"], 2000)
    held = (odds > margins(odds, centres))[:, 1:].any(axis=1)
    assert 0 < held.mean() <= HELD_OF_ALL
    assert max(held[centres == one].mean() for one in ("C1", "C2")) <= HELD_OF_A_CENTRE
