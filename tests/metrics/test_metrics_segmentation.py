"""METRICS 3: hand-made masks, METRICS' conventions for empty masks, and brute force over small random ones."""

import math
from dataclasses import asdict, astuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import directed_hausdorff

from realtime_polyp.metrics.segmentation import (
    BoundaryDistance,
    Counts,
    boundary_distance,
    boundary_points,
    challenge_score,
    count,
    mean_distance,
    mean_scores,
    measure,
    normalised_hausdorff,
    pooled_scores,
    scores_of,
    segmentation_figures,
)

Mask = NDArray[np.bool_]
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
EMPTY, FULL = np.zeros((6, 8), np.bool_), np.ones((6, 8), np.bool_)


def square(top: int, left: int, side: int, shape: tuple[int, int] = (30, 40)) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def test_hand_made_overlap() -> None:
    scores = scores_of(Counts(tp=6, fp=2, fn=4, tn=88))
    assert scores.dice == pytest.approx(12 / 18)
    assert (scores.sensitivity, scores.precision) == pytest.approx((0.6, 0.75))
    assert (scores.specificity, scores.accuracy) == pytest.approx((88 / 90, 0.94))
    assert (scores.iou_p, scores.iou_b) == pytest.approx((0.5, 88 / 94))
    assert scores.miou == pytest.approx((0.5 + 88 / 94) / 2)
    assert scores.f2 == pytest.approx(5 * 0.75 * 0.6 / (4 * 0.75 + 0.6))
    assert challenge_score(scores) == pytest.approx((scores.dice + scores.f2 + 0.75 + 0.6) / 4)


@pytest.mark.parametrize("mask", [EMPTY, FULL, square(3, 4, 9)], ids=["empty", "full", "square"])
def test_a_mask_equal_to_the_truth_scores_1_everywhere(mask: Mask) -> None:
    assert set(astuple(scores_of(count(mask, mask)))) == {1.0}


def test_an_empty_prediction_of_a_polyp_scores_0_and_has_precision_1_only_on_request() -> None:
    counts = count(np.zeros((30, 40), np.bool_), square(3, 4, 9))
    scores = scores_of(counts)
    assert (scores.dice, scores.iou_p, scores.precision, scores.sensitivity, scores.f2) == (0, 0, 0, 0, 0)
    assert scores.specificity == 1
    compat = scores_of(counts, endocv_compat=True)
    assert compat.precision == 1
    assert {**asdict(compat), "precision": 0.0} == asdict(scores)


def test_a_false_alarm_on_an_empty_truth_scores_0() -> None:
    counts = count(square(3, 4, 9), np.zeros((30, 40), np.bool_))
    scores = scores_of(counts)
    assert (scores.dice, scores.iou_p, scores.precision, scores.sensitivity, scores.f2) == (0, 0, 0, 0, 0)
    assert scores.specificity == pytest.approx(1 - 81 / 1200)
    assert scores_of(counts, endocv_compat=True).sensitivity == 1


def test_specificity_where_all_is_polyp() -> None:
    assert scores_of(count(FULL, FULL)).specificity == 1
    assert scores_of(count(EMPTY, FULL)).specificity == 0


@given(pairs)
def test_counts_equal_a_pixel_loop(masks: tuple[Mask, Mask]) -> None:
    predicted, true = masks
    seen = [(bool(p), bool(t)) for p, t in zip(predicted.flat, true.flat, strict=True)]
    expected = Counts(*(seen.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))
    assert count(predicted, true) == expected


@given(pairs)
def test_scores_agree_with_one_another(masks: tuple[Mask, Mask]) -> None:
    predicted, true = masks
    scores, swapped = scores_of(count(predicted, true)), scores_of(count(true, predicted))
    inverse = scores_of(count(~predicted, ~true))
    assert all(0 <= value <= 1 for value in astuple(scores))
    assert (scores.dice, scores.miou) == (swapped.dice, swapped.miou)
    assert scores.precision == swapped.sensitivity
    assert (scores.specificity, scores.iou_b) == (inverse.sensitivity, inverse.iou_p)
    assert scores.dice == pytest.approx(2 * scores.iou_p / (1 + scores.iou_p))
    both = 4 * scores.precision + scores.sensitivity
    assert scores.f2 == pytest.approx(5 * scores.precision * scores.sensitivity / both if both else 0)


def test_the_mean_weighs_images_and_the_pool_weighs_pixels() -> None:
    counts = [Counts(90, 10, 0, 900), Counts(0, 0, 10, 90)]
    assert mean_scores([scores_of(one) for one in counts]).dice == pytest.approx((180 / 190 + 0) / 2)
    assert pooled_scores(counts).dice == pytest.approx(180 / 200)


def test_no_image_is_an_error_not_a_nan() -> None:
    for function in (mean_scores, pooled_scores, segmentation_figures):
        with pytest.raises(ValueError, match="no image"):
            function([])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(6, 8\) and \(8, 6\)"):
        measure(EMPTY, EMPTY.T)
    with pytest.raises(ValueError, match="pixels"):
        count(np.zeros((0, 4), np.bool_), np.zeros((0, 4), np.bool_))


def test_boundary_of_a_square_is_its_rim_and_of_a_full_image_the_edge() -> None:
    assert len(boundary_points(square(3, 4, 9))) == 4 * 8
    assert len(boundary_points(FULL)) == 2 * 6 + 2 * 8 - 4
    assert len(boundary_points(EMPTY)) == 0


def test_distance_of_shifted_and_nested_squares() -> None:
    assert boundary_distance(square(3, 4, 9), square(3, 4, 9)) == BoundaryDistance(0, 0)
    shifted = boundary_distance(square(3, 9, 9), square(3, 4, 9))
    assert shifted is not None and shifted.hausdorff_px == 5
    nested = boundary_distance(square(10, 10, 5), square(5, 5, 15))
    assert nested is not None and nested.hausdorff_px == pytest.approx(5 * math.sqrt(2))


def test_hd95_forgives_a_far_speck_and_hausdorff_does_not() -> None:
    predicted = square(3, 4, 12)
    predicted[29, 39] = True
    distance = boundary_distance(predicted, square(3, 4, 12))
    assert distance is not None
    assert distance.hd95_px == 0
    assert distance.hausdorff_px == pytest.approx(math.hypot(29 - 14, 39 - 15))


@pytest.mark.parametrize("masks", [(EMPTY, FULL), (FULL, EMPTY), (EMPTY, EMPTY)])
def test_no_distance_to_an_empty_mask(masks: tuple[Mask, Mask]) -> None:
    assert boundary_distance(*masks) is None


@settings(deadline=None)
@given(pairs)
def test_distances_equal_brute_force_and_are_symmetric(masks: tuple[Mask, Mask]) -> None:
    predicted, true = masks
    assume(predicted.any() and true.any())
    distance = boundary_distance(predicted, true)
    assert distance is not None
    a, b = _rim(predicted), _rim(true)
    there = [min(math.dist(p, q) for q in b) for p in a]
    back = [min(math.dist(p, q) for p in a) for q in b]
    assert distance.hausdorff_px == pytest.approx(max(there + back))
    assert distance.hausdorff_px == pytest.approx(max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0]))
    assert distance.hd95_px == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert boundary_distance(true, predicted) == distance


def _rim(mask: Mask) -> list[tuple[int, int]]:
    def inside(y: int, x: int) -> bool:
        return 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])

    return [
        (y, x)
        for y in range(mask.shape[0])
        for x in range(mask.shape[1])
        if inside(y, x) and not all((inside(y - 1, x), inside(y + 1, x), inside(y, x - 1), inside(y, x + 1)))
    ]


def test_mean_distance_leaves_out_images_without_one() -> None:
    assert mean_distance([BoundaryDistance(4, 2), None, BoundaryDistance(8, 6)]) == BoundaryDistance(6, 4)
    assert mean_distance([None]) is None


def test_figures_of_a_set() -> None:
    images = [measure(square(3, 4, 9), square(3, 4, 9)), measure(EMPTY, EMPTY), measure(FULL, EMPTY)]
    figures = segmentation_figures(images)
    assert figures["dice"] == pytest.approx(2 / 3)
    assert (figures["hd95_px"], figures["boundary_images"]) == (0, 1)
    assert figures["pooled"]["dice"] == pytest.approx(2 * 81 / (2 * 81 + 48))
    assert segmentation_figures([measure(EMPTY, EMPTY)])["hd95_px"] is None


def test_the_distance_is_normalised_by_the_largest_of_the_set() -> None:
    distances = [BoundaryDistance(px, px) for px in (2.0, 8.0)]
    assert normalised_hausdorff([*distances, None]) == pytest.approx(5 / 8)
    assert normalised_hausdorff([BoundaryDistance(0, 0)]) == 0
    assert normalised_hausdorff([None]) is None
