"""The box and the outline of a polyp are one shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Boxes, Mask
from realtime_polyp.postprocess.polyp_shape import PolypShape, polyp_shapes

H, W = 320, 384
FIELD = FieldOfView(40, 20, 40 + 2 * W, 20 + 2 * H)


def source(*cells: float) -> list[float]:
    """Where a rectangle of the map, in its px, lies in the picture."""
    x1, y1, x2, y2 = cells
    return [40 + 8 * x1, 20 + 8 * y1, 40 + 8 * x2, 20 + 8 * y2]


def map_of(*parts: tuple[int, int, int, int, float]) -> Mask:
    probability = np.zeros((H // 4, W // 4), np.float32)
    for x1, y1, x2, y2, level in parts:
        probability[y1:y2, x1:x2] = level
    return Mask(probability, FIELD)


def shapes(mask: Mask | None, *boxes: list[float]) -> list[PolypShape]:
    return polyp_shapes(np.array(boxes, np.float32).reshape(-1, 4), mask)


def around(shape: PolypShape) -> Boxes:
    assert shape.outline is not None
    return np.concatenate([shape.outline.min(axis=0), shape.outline.max(axis=0)])


def test_box_and_outline_meet_at_a_quarter_of_the_way() -> None:
    (shape,) = shapes(map_of((20, 20, 40, 40, 0.9)), source(24, 20, 44, 40))
    assert around(shape) == pytest.approx(shape.box, abs=1e-3)
    assert shape.box == pytest.approx(source(21, 20, 41, 40), abs=4)  # half a cell of the map
    (kept,) = polyp_shapes(np.array([source(24, 20, 44, 40)], np.float32), map_of((20, 20, 40, 40, 0.9)), box_share=1.0)
    assert kept.box == pytest.approx(source(24, 20, 44, 40)) and around(kept) == pytest.approx(kept.box, abs=1e-3)


def test_a_box_without_a_region_keeps_its_place_and_has_no_outline() -> None:
    box = source(60, 50, 80, 70)
    (shape,) = shapes(map_of((10, 10, 30, 30, 0.9)), box)
    assert shape.outline is None and shape.box == pytest.approx(box)
    (without_mask,) = shapes(None, box)
    assert without_mask.outline is None and without_mask.box == pytest.approx(box)


def test_a_region_that_reaches_far_beyond_the_box_is_cut_there() -> None:
    (shape,) = shapes(map_of((0, 0, 96, 80, 0.9)), source(40, 40, 48, 48))
    wider = source(38, 38, 50, 50)  # by a quarter of the box on every side
    assert around(shape) == pytest.approx(0.25 * np.array(source(40, 40, 48, 48)) + 0.75 * np.array(wider), abs=4)


@pytest.mark.parametrize("level", [0.4, 0.2, 0.05])
def test_a_faint_region_gives_a_box_its_outline_and_moves_it_nowhere(level: float) -> None:
    box = source(24, 20, 44, 40)
    (shape,) = shapes(map_of((22, 20, 42, 40, level), (22, 60, 42, 76, 0.9)), box)
    assert shape.box == pytest.approx(box) and around(shape) == pytest.approx(box, abs=1e-3)


def test_a_region_that_is_faint_all_around_is_no_outline() -> None:
    (shape,) = shapes(map_of((0, 0, 96, 80, 0.2)), source(40, 40, 48, 48))
    assert shape.outline is None


def test_a_polyp_s_core_is_taken_before_its_faint_surroundings() -> None:
    (shape,) = shapes(map_of((20, 20, 44, 44, 0.2), (22, 22, 42, 42, 0.9)), source(20, 20, 44, 44))
    assert around(shape) == pytest.approx(
        0.25 * np.array(source(20, 20, 44, 44)) + 0.75 * np.array(source(22, 22, 42, 42)), abs=6
    )


def test_specks_are_no_polyps() -> None:
    (shape,) = shapes(map_of((20, 20, 22, 22, 0.9)), source(20, 20, 22, 22))
    assert shape.outline is None


def test_two_polyps_that_touch_share_the_mask_where_their_boxes_meet() -> None:
    mask = map_of((20, 20, 60, 40, 0.9))
    left, right = shapes(mask, source(20, 20, 40, 40), source(40, 20, 60, 40))
    assert around(left) == pytest.approx(source(20, 20, 40, 40), abs=10)
    assert around(right) == pytest.approx(source(40, 20, 60, 40), abs=10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(-900, 1800), min_size=4, max_size=4), max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_any_boxes_on_any_map_give_shapes_that_agree(boxes: list[list[float]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.random((5, 6), np.float32)
    mask = Mask(np.kron(coarse, np.ones((16, 16), np.float32)), FIELD)
    ordered = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]
    found = shapes(mask, *ordered)
    assert len(found) == len(boxes)
    for shape in found:
        if shape.outline is not None:
            assert shape.outline.shape[1:] == (2,) and len(shape.outline) >= 3
            assert around(shape) == pytest.approx(shape.box, abs=0.01)
