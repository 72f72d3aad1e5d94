"""Box functions against a loop over one box at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.models.boxes import area, centres, from_distances, giou, iou, pairwise_iou, to_distances

Box = tuple[float, float, float, float]
SIDES = st.integers(0, 30)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.integers(-20, 20)), draw(st.integers(-20, 20))
    return (x, y, x + draw(SIDES), y + draw(SIDES))


def plain_parts(a: Box, b: Box) -> tuple[float, float, float]:
    """Intersection, union, and hull."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared, sum(areas) - shared, hull


@given(st.lists(boxes(), max_size=6), st.lists(boxes(), max_size=6))
def test_pairwise_iou_is_the_loop_s(first: list[Box], second: list[Box]) -> None:
    found = pairwise_iou(torch.tensor(first).reshape(-1, 4).float(), torch.tensor(second).reshape(-1, 4).float())
    assert found.shape == (len(first), len(second))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            shared, union, _ = plain_parts(a, b)
            assert found[i, j].item() == pytest.approx(shared / union if union else 0.0, abs=1e-6)


@given(boxes(), boxes())
def test_giou_is_the_formula_s_and_never_above_iou(a: Box, b: Box) -> None:
    shared, union, hull = plain_parts(a, b)
    if not (union and hull):
        return
    pair = torch.tensor([a, b]).float()
    assert giou(pair[0], pair[1]).item() == pytest.approx(shared / union - (hull - union) / hull, abs=1e-5)
    assert -1 <= giou(pair[0], pair[1]) <= iou(pair[0], pair[1]) + 1e-6
    assert giou(pair[0], pair[1]) == giou(pair[1], pair[0])


def test_boxes_without_area_have_finite_values_and_gradients() -> None:
    a = torch.zeros(3, 4, requires_grad=True)
    (iou(a, torch.zeros(3, 4)).sum() + giou(a, torch.zeros(3, 4)).sum()).backward()
    assert a.grad is not None and torch.isfinite(a.grad).all()
    assert area(torch.tensor([5.0, 5.0, 1.0, 9.0])) == 0


@given(boxes(), st.floats(-50, 50), st.floats(-50, 50))
def test_distances_lead_back_to_the_box(box: Box, x: float, y: float) -> None:
    point, true = torch.tensor([x, y]), torch.tensor(box).float()
    assert torch.allclose(from_distances(point, to_distances(point, true)), true, atol=1e-4)


def test_distances_are_left_top_right_bottom() -> None:
    assert to_distances(torch.tensor([5.0, 6.0]), torch.tensor([1.0, 3.0, 10.0, 13.0])).tolist() == [4, 3, 5, 7]
    assert centres(torch.tensor([[1.0, 3.0, 10.0, 13.0]])).tolist() == [[5.5, 8]]
