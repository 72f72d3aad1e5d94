"""What earlier versions drew of a mask: each connected component at a shown box, and none away from all of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.outputs.results_reader import drawn_part, is_at_box, shown_of
from realtime_polyp.packets import NO_DETECTIONS, Frame, Mask, Result, Track

BOX = np.array([[100, 100, 140, 180]], np.float32)  # 40 px wide, 80 px high: near is 10 px and 20 px


@pytest.mark.parametrize(
    ("low", "high", "near"),
    [
        ((110, 110), (120, 120), True),
        ((60, 110), (90, 120), True),  # touches the margin at the left
        ((60, 110), (89, 120), False),
        ((150, 110), (170, 120), True),
        ((151, 110), (170, 120), False),
        ((110, 200), (120, 230), True),
        ((110, 201), (120, 230), False),
        ((0, 0), (300, 300), True),  # the box within it
    ],
)
def test_near_is_a_quarter_of_the_box(low: tuple[int, int], high: tuple[int, int], near: bool) -> None:
    assert is_at_box(np.array(low), np.array(high), BOX) is near
    assert is_at_box(np.array(low), np.array(high), np.concatenate([BOX + 1000, BOX])) is near
    assert not is_at_box(np.array(low), np.array(high), BOX[:0])


@given(st.lists(st.integers(0, 3), min_size=24, max_size=24), st.integers(0, 40), st.integers(0, 30))
def test_islands_stay_whole_or_go(cells: list[int], x: int, y: int) -> None:
    """Bars with gaps between them: each is drawn whole where the box is near it, and not at all elsewhere."""
    mask = np.zeros((40, 50), np.bool_)
    for number, cell in enumerate(cells):
        mask[5 * (number // 6) + 1 : 5 * (number // 6) + 1 + cell, 8 * (number % 6) : 8 * (number % 6) + 5] = True
    box = np.array([[x, y, x + 8, y + 8]], np.float32)
    drawn = drawn_part(mask, box)
    for number in range(24):
        row, column = 5 * (number // 6) + 1, 8 * (number % 6)
        bar, kept = (one[row : row + 4, column : column + 5] for one in (mask, drawn))
        if bar.any():
            near = is_at_box(np.array([column, row]), np.array([column + 5, row + cells[number]]), box)
            assert np.array_equal(kept, bar) if near else not kept.any()
    assert not (drawn & ~mask).any() and not drawn_part(mask, box[:0]).any()


def test_what_was_on_the_screen_is_the_mask_at_shown_boxes_alone() -> None:
    probability = np.zeros((30, 40), np.float32)
    probability[5:10, 5:10] = probability[20:25, 30:35] = 1
    mask = Mask(probability, FieldOfView(0, 0, 40, 30))
    shown = Track(1, np.array([4, 4, 11, 11], np.float32), 0.9, "shown", 0.0, 0.0)
    result = Result(
        Frame(0, 0.0, 0.0, np.zeros((30, 40, 3), np.uint8)), mask.field_of_view, NO_DETECTIONS, (shown,), mask
    )
    first = decode(shown_of(result).mask or {})
    assert first[5:10, 5:10].all() and not first[12:].any() and not first[:, 12:].any()  # the box is a little larger
    tentative = replace(result, tracks=(replace(shown, state="tentative"),))
    assert decode(shown_of(tentative).mask or {}).sum() == 0
    assert decode(shown_of(replace(result, tracks=(), has_detector=False)).mask or {}).sum() == 50
