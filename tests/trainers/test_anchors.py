"""Anchors, their coding and the assignment by IoU, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.training.anchors import AnchorShapes, anchors_of, clip_to, decode, encode, octaves
from trainers.training.assign import max_iou

STDS = (0.1, 0.1, 0.2, 0.2)


def boxes_of(random: np.random.Generator, count: int, *, least: float = 2.0, most: float = 60.0) -> np.ndarray:
    corners = random.uniform(-20, 100, (count, 2))
    return np.concatenate([corners, corners + random.uniform(least, most, (count, 2))], 1)


def test_octaves_are_even_within_a_doubling() -> None:
    assert octaves(4.0, 3) == pytest.approx((4.0, 4 * math.cbrt(2), 4 * math.cbrt(4)))
    assert octaves(8.0, 1) == (8.0,)


def test_anchors_are_the_plain_loop_s() -> None:
    shapes = AnchorShapes((4.0, 6.0), (0.5, 1.0, 2.0))
    level_shapes, strides, expected = [(3, 4), (2, 2)], (8, 16), []
    for (height, width), stride in zip(level_shapes, strides, strict=True):
        for row, column in np.ndindex(height, width):
            for ratio in shapes.ratios:
                for scale in shapes.scales:
                    side = scale * stride  # ratio is height over width, at the same area
                    half_w, half_h = side / math.sqrt(ratio) / 2, side * math.sqrt(ratio) / 2
                    x, y = column * stride, row * stride
                    expected.append([x - half_w, y - half_h, x + half_w, y + half_h])
    found = anchors_of(level_shapes, strides, shapes)
    assert shapes.count == 6 and found.shape == (6 * 16, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_levels_and_strides_must_be_as_many() -> None:
    with pytest.raises(ValueError):
        anchors_of([(2, 2)], (8, 16), AnchorShapes((8.0,)))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([(1.0, 1.0, 1.0, 1.0), STDS]))
def test_a_decoded_code_is_the_box(seed: int, stds: tuple[float, float, float, float]) -> None:
    random = np.random.default_rng(seed)
    anchors, boxes = (torch.from_numpy(boxes_of(random, 7)) for _ in range(2))
    torch.testing.assert_close(decode(anchors, encode(anchors, boxes, stds), stds), boxes)


def test_the_code_is_the_formula_s() -> None:
    anchor, box = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[16.0, 20.0, 56.0, 40.0]])
    expected = [(36 - 20) / 20 / 0.1, (30 - 40) / 40 / 0.1, math.log(40 / 20) / 0.2, math.log(20 / 40) / 0.2]
    assert encode(anchor, box, STDS)[0].tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_growth_is_limited(sign: int) -> None:
    found = decode(
        torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, sign * 50.0, sign * 5.0]]), (1.0,) * 4
    )
    growth = (1000 / 16) ** sign
    assert found[0].tolist() == pytest.approx(
        [8 - 8 * growth, 8 - 8 * growth, 8 + 8 * growth, 8 + 8 * growth], rel=1e-5
    )


def test_decoding_broadcasts_over_a_batch() -> None:
    random = np.random.default_rng(0)
    anchors, deltas = torch.from_numpy(boxes_of(random, 5)), torch.from_numpy(random.normal(size=(2, 5, 4)))
    for image in range(2):
        torch.testing.assert_close(decode(anchors, deltas, STDS)[image], decode(anchors, deltas[image], STDS))


def test_clipping_keeps_x_within_the_width_and_y_within_the_height() -> None:
    boxes = torch.tensor([[-5.0, -6.0, 50.0, 60.0], [1.0, 2.0, 3.0, 4.0], [90.0, 90.0, 99.0, 99.0]])
    assert clip_to(boxes, (20, 30)).tolist() == [[0, 0, 30, 20], [1, 2, 3, 4], [30, 20, 30, 20]]


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def brute_force(
    anchors: np.ndarray, truth: np.ndarray, *, positive: float, negative: float, least: float, rescue: bool
) -> list[int]:
    """One anchor after the other, then one box after the other."""
    overlaps = [[plain_iou(anchor, box) for box in truth] for anchor in anchors]
    learnt = []
    for row in overlaps:
        best = max(row)
        learnt.append(row.index(best) if best >= positive else -1 if best < negative else -2)
    for index in range(len(truth) if rescue else 0):
        most = max(row[index] for row in overlaps)
        for place, row in enumerate(overlaps):
            if row[index] == most and most > 0 and most >= least:
                learnt[place] = index
    return learnt


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.sampled_from([(0.5, 0.4, 0.0), (0.1, 0.1, 0.0), (0.7, 0.3, 0.3), (0.5, 0.5, 0.5)]),
    st.booleans(),
)
def test_assignment_is_the_brute_force_s(
    seed: int, count: int, limits: tuple[float, float, float], rescue: bool
) -> None:
    random = np.random.default_rng(seed)
    anchors, truth = boxes_of(random, 40), boxes_of(random, count)
    options = dict(zip(("positive", "negative", "least"), limits, strict=True), rescue=rescue)
    found = max_iou(torch.from_numpy(anchors), torch.from_numpy(truth), **options)  # type: ignore[arg-type]
    assert found.tolist() == brute_force(anchors, truth, **options)  # type: ignore[arg-type]


def test_all_anchors_that_fit_a_box_equally_well_are_rescued() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [100, 0, 110, 10], [12, 0, 18, 10]])
    truth = torch.tensor([[5.0, 0, 25, 10]])
    limits = {"positive": 0.9, "negative": 0.25}
    assert max_iou(anchors, truth, **limits).tolist() == [-1, -1, -1, 0]
    assert max_iou(anchors[:3], truth, **limits).tolist() == [0, 0, -1]
    assert max_iou(anchors[:3], truth, **limits, least=0.3).tolist() == [-1, -1, -1]
    assert max_iou(anchors[:3], truth, **limits, rescue=False).tolist() == [-1, -1, -1]


def test_a_box_that_no_anchor_touches_is_learnt_by_none() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    assert max_iou(anchors, torch.tensor([[50.0, 50, 60, 60]]), positive=0.5, negative=0.4).tolist() == [-1, -1]


def test_no_box_makes_all_background() -> None:
    assert max_iou(torch.rand(5, 4), torch.zeros(0, 4), positive=0.5, negative=0.4).tolist() == [-1] * 5
