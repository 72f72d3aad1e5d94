"""Curves: by hand, and against coco_ap and brute force over drawn cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_toys import random_images

from realtime_polyp.metrics.curves import detection_reliability, pool, precision_recall, reliability
from realtime_polyp.metrics.detection import ImageBoxes, coco_ap

A, B, FAR = (0, 0, 40, 40), (100, 100, 180, 160), (300, 300, 340, 340)


def image(true: list[tuple[int, ...]], found: list[tuple[int, ...]], scores: list[float]) -> ImageBoxes:
    true_boxes, found_boxes = (np.array(boxes, np.float32).reshape(-1, 4) for boxes in (true, found))
    return ImageBoxes(true_boxes, found_boxes, np.array(scores, np.float32))


def test_the_curve_of_three_boxes_by_hand() -> None:
    curve = precision_recall([image([A, B], [A, FAR], [0.9, 0.5]), image([], [B], [0.7])])
    assert curve is not None
    assert curve.scores == pytest.approx([0.9, 0.7, 0.5])
    assert curve.precision == pytest.approx([1, 1 / 2, 1 / 3])
    assert curve.recall == pytest.approx([0.5, 0.5, 0.5])
    assert curve.ap == pytest.approx(51 / 101)  # recalls 0 to .50


def test_boxes_of_one_score_are_one_point() -> None:
    curve = precision_recall([image([A, B], [A, FAR, B], [0.5, 0.5, 0.5])])
    assert curve is not None
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([pytest.approx(2 / 3)], [1.0])


@pytest.mark.parametrize("iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_cocos_average_precision(seed: int, iou: float) -> None:
    images = random_images(20, seed)
    curve = precision_recall(images, iou=iou)
    assert curve is not None
    assert curve.ap == pytest.approx(coco_ap(images)[f"AP{100 * iou:.0f}"], abs=1e-9)
    assert (np.diff(curve.recall) >= 0).all() and (np.diff(curve.scores) < 0).all()


def test_no_truth_no_curve_and_no_box_an_empty_one() -> None:
    assert precision_recall([image([], [A], [0.9])]) is None
    curve = precision_recall([image([A], [], [])])
    assert curve is not None and (len(curve.recall), curve.ap) == (0, 0)
    with pytest.raises(ValueError, match=r"not at 0\.3"):
        precision_recall([image([A], [A], [0.9])], iou=0.3)


def test_a_second_box_on_a_found_polyp_is_wrong() -> None:
    found = detection_reliability([image([A], [A, A, FAR], [0.95, 0.85, 0.05])])
    assert found.count.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert found.right.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert found.error == pytest.approx((0.05 + 0.85 + 0.05) / 3)


def test_boxes_below_the_least_score_are_left_out() -> None:
    assert detection_reliability([image([A], [A, FAR], [0.9, 0.04])], least_score=0.05).count.sum() == 1


def test_the_last_bin_holds_1() -> None:
    found = reliability(np.array([1.0, 0.95, 0.0]), np.array([True, True, False]))
    assert (found.count.tolist(), found.error) == ([1, *[0] * 8, 2], pytest.approx(0.05 / 3))


def test_a_score_that_is_right_as_often_as_it_says_has_no_error() -> None:
    scores = np.repeat([0.25, 0.75], [8, 4])
    right = np.array([True] * 2 + [False] * 6 + [True] * 3 + [False])
    assert reliability(scores, right).error == pytest.approx(0)
    assert reliability(1 - scores, right).error == pytest.approx(0.5)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.integers(1, 12))
def test_the_error_equals_brute_force(drawn: list[tuple[float, bool]], bins: int) -> None:
    groups: dict[int, list[tuple[float, bool]]] = {}
    for score, right in drawn:
        groups.setdefault(min(int(score * bins), bins - 1), []).append((score, right))
    gaps = [abs(sum(score for score, _ in one) - sum(right for _, right in one)) for one in groups.values()]
    found = reliability(*(np.array(side) for side in zip(*drawn, strict=True)), bins=bins)
    assert found.error == pytest.approx(sum(gaps) / len(drawn))
    assert {i for i in range(bins) if found.count[i]} == set(groups)
    assert np.isnan(found.accuracy[found.count == 0]).all()


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(0, 20))
def test_parts_pool_to_the_whole(cut: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random(21)
    right = scores > 0.4
    parts = pool([reliability(scores[:cut], right[:cut]), reliability(scores[cut:], right[cut:])])
    whole = reliability(scores, right)
    assert parts is not None
    assert (parts.error, parts.count.tolist()) == (pytest.approx(whole.error), whole.count.tolist())


def test_nothing_to_tell() -> None:
    assert pool([]) is None
    assert reliability(np.zeros(0), np.zeros(0, np.bool_)).error is None
    with pytest.raises(ValueError, match="shapes must agree"):
        reliability(np.zeros(3), np.zeros(2, np.bool_))
    with pytest.raises(ValueError, match=r"not 0\.2 to 1\.5"):
        reliability(np.array([0.2, 1.5]), np.array([True, False]))
