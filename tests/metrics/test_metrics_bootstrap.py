"""Intervals: the resampled average precision against pycocotools itself, and what every interval must keep to."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_toys import random_images

from realtime_polyp.metrics.bootstrap import (
    Interval,
    bootstrap,
    draws,
    intervals,
    means_of,
    paired_difference,
    weights_of,
)
from realtime_polyp.metrics.detection import ENDOCV_RANGES, ImageBoxes, coco_ap, endocv_ap
from realtime_polyp.metrics.matches import match

values = st.lists(st.floats(-5, 5), min_size=1, max_size=12)


def mean(items: list[float]) -> float:
    return float(np.mean(items))


@pytest.mark.parametrize("seed", range(5))
def test_each_image_once_is_what_pycocotools_says(seed: int) -> None:
    images = random_images(30, seed)
    assert match(images).figures() == pytest.approx(coco_ap(images), abs=1e-9)
    found, official = match(images, ENDOCV_RANGES).figures(), endocv_ap(images)
    assert found == pytest.approx({name: official[name] for name in found}, abs=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 99), st.lists(st.integers(0, 7), min_size=1, max_size=12))
def test_any_choice_of_images_is_what_pycocotools_says(seed: int, chosen: list[int]) -> None:
    images = random_images(8, seed)
    again = [images[index] for index in sorted(chosen)]
    weights = weights_of(np.array(chosen), 8)
    assert match(images).figures(weights) == pytest.approx(coco_ap(again), abs=1e-9)


@pytest.mark.parametrize("images", [[], random_images(3, 0)[:1]], ids=["no image", "one image"])
def test_few_images(images: list[ImageBoxes]) -> None:
    assert match(images).figures() == pytest.approx(coco_ap(images))


def test_images_without_truth_or_without_boxes() -> None:
    nothing, box = np.zeros((0, 4), np.float32), np.array([[5, 5, 60, 60]], np.float32)
    alarm, miss = ImageBoxes(nothing, box, np.ones(1, np.float32)), ImageBoxes(box, nothing, np.zeros(0, np.float32))
    for images in ([alarm], [miss], [alarm, miss], [ImageBoxes(nothing, nothing, np.zeros(0, np.float32))]):
        assert match(images).figures() == coco_ap(images)


def test_draws_repeat_with_their_seed_and_take_images_with_replacement() -> None:
    first, second, other = (list(draws(50, samples=20, seed=seed)) for seed in (3, 3, 4))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    assert all(len(one) == 50 and len(set(one.tolist())) < 45 for one in first)


def test_a_group_is_drawn_whole_or_not_at_all() -> None:
    groups = ["a", "b", "a", "c", "b", "a"]
    for draw in draws(6, samples=50, groups=groups):
        times = weights_of(draw, 6)
        assert times[0] == times[2] == times[5] and times[1] == times[4]
        assert times[0] + times[1] + times[3] == 3


def test_the_interval_of_a_mean_has_its_textbook_width() -> None:
    items = np.random.default_rng(1).normal(10, 2, 400).tolist()
    found = bootstrap(items, mean, samples=2000)
    assert found is not None
    error = np.std(items) / np.sqrt(400)
    assert (found.low, found.high) == pytest.approx((mean(items) - 1.96 * error, mean(items) + 1.96 * error), abs=0.02)


def test_groups_of_like_images_widen_the_interval() -> None:
    items = [float(group) for group in range(20) for _ in range(10)]
    alone = bootstrap(items, mean)
    grouped = bootstrap(items, mean, groups=[int(item) for item in items])
    assert alone is not None and grouped is not None
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)  # sqrt(10) times


@settings(max_examples=30)
@given(values, st.integers(0, 5))
def test_an_interval_lies_within_the_values_and_grows_with_its_level(items: list[float], seed: int) -> None:
    narrow, wide = (bootstrap(items, mean, samples=60, level=level, seed=seed) for level in (0.5, 0.95))
    assert narrow is not None and wide is not None
    assert min(items) - 1e-9 <= wide.low <= narrow.low <= narrow.high <= wide.high <= max(items) + 1e-9


@settings(max_examples=30)
@given(values, st.floats(-2, 2))
def test_the_difference_of_models_that_differ_by_a_constant_is_that_constant(items: list[float], step: float) -> None:
    found = paired_difference([item + step for item in items], items, mean, samples=30)
    assert found is not None and (found.low, found.high) == pytest.approx((step, step), abs=1e-9)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_swapping_two_models_turns_their_difference_round(pairs: list[tuple[float, float]]) -> None:
    a, b = (list(side) for side in zip(*pairs, strict=True))
    there, back = paired_difference(a, b, mean, samples=50), paired_difference(b, a, mean, samples=50)
    assert there is not None and back is not None
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)


def test_pairing_sees_a_difference_that_two_intervals_do_not() -> None:
    hard = np.random.default_rng(0).random(60)
    better, worse = (hard + 0.05).tolist(), hard.tolist()
    difference, a, b = paired_difference(better, worse, mean), bootstrap(better, mean), bootstrap(worse, mean)
    assert difference is not None and a is not None and b is not None
    assert difference.low > 0 and a.low < b.high


def test_a_figure_that_most_draws_leave_undefined_has_no_interval() -> None:
    def rare(items: list[float]) -> float | None:
        return 1.0 if 0.0 in items else None

    assert bootstrap([float(i) for i in range(3)], rare) == Interval(1, 1)  # in 70 % of the draws
    drawn = [np.array([0]), np.array([1]), np.array([1])]
    assert intervals(drawn, lambda draw: {"x": rare([float(i) for i in draw])}) == {"x": None}


def test_means_leave_out_images_without_a_value() -> None:
    columns = {"a": np.array([1.0, 3.0, np.nan]), "b": np.array([np.nan, np.nan, 2.0])}
    assert means_of(columns, np.array([0, 1, 2])) == {"a": 2.0, "b": 2.0}
    assert means_of(columns, np.array([0, 0, 1])) == {"a": pytest.approx(5 / 3), "b": None}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bootstrap([], mean), "not 0 and 1000"),
        (lambda: bootstrap([1.0], mean, samples=0), "not 1 and 0"),
        (lambda: bootstrap([1.0], mean, level=95), "not 95"),
        (lambda: bootstrap([1.0, 2.0], mean, groups=["a"]), "1 groups were given for 2 images"),
        (lambda: paired_difference([1.0], [1.0, 2.0], mean), "not 1 and 2"),
        (lambda: intervals([], lambda draw: {}), "at least one resample"),
    ],
)
def test_what_cannot_be_resampled_is_said(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()
