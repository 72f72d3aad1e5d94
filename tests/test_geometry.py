"""Overlaps of boxes against a plain loop, clipping, and the precision in which areas are computed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.geometry import clip_boxes, intersection_and_union, iou_matrix, pairwise_iou

corner = st.integers(-40, 40)
side = st.integers(1, 40)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
boxes = st.lists(box, max_size=5).map(lambda found: np.array(found, np.float32).reshape(-1, 4))


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    return shared / float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@given(boxes, boxes)
def test_the_matrices_are_those_of_a_plain_loop(a: np.ndarray, b: np.ndarray) -> None:
    expected = np.array([[plain_iou(one, other) for other in b] for one in a]).reshape(len(a), len(b))
    compiled, plain = pairwise_iou(a, b), iou_matrix(a, b)
    assert compiled.shape == plain.shape == expected.shape and compiled.dtype == np.float32
    assert compiled == pytest.approx(expected, abs=1e-6) and plain == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(compiled, plain.astype(np.float32)), "bit for bit, in float32"


def test_known_overlaps() -> None:
    a = np.float32([[0, 0, 10, 10], [20, 20, 30, 30]])
    b = np.float32([[0, 0, 10, 10], [5, 0, 15, 10], [40, 0, 50, 10]])
    assert iou_matrix(a, b) == pytest.approx(np.array([[1, 1 / 3, 0], [0, 0, 0]]))
    assert iou_matrix(a, b[:0]).shape == (2, 0) == pairwise_iou(a, b[:0]).shape
    shared, union = intersection_and_union(a, b)
    assert shared.tolist() == [[100, 50, 0], [0, 0, 0]] and union.tolist() == [[100, 150, 200], [200, 200, 200]]


def test_areas_keep_the_boxes_precision_or_get_the_one_asked_for() -> None:
    a = np.float32([[0, 0, 1 / 3, 1 / 3]])
    assert [part.dtype for part in intersection_and_union(a, a)] == [np.float32] * 2
    assert [part.dtype for part in intersection_and_union(a.astype(np.float64), a)] == [np.float64] * 2
    shared, _ = intersection_and_union(a, a, dtype=np.float64)
    assert shared[0, 0] == float(a[0, 2]) ** 2


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.float32([[5, 5, 5, 5]])
    assert iou_matrix(point, point).tolist() == [[0.0]] == pairwise_iou(point, point).tolist()


def test_boxes_are_clipped_to_the_field() -> None:
    field = FieldOfView(10, 20, 110, 90)
    found = clip_boxes(np.float32([[0, 0, 50, 50], [120, 20, 150, 40]]), field)
    assert found.tolist() == [[10, 20, 50, 50], [110, 20, 110, 40]] and found.dtype == np.float32
    assert clip_boxes(np.float32([0, 0, 500, 500]), field).tolist() == [10, 20, 110, 90]
