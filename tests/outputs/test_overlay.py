"""What is drawn over the picture, and what is not."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import AlarmsWriter
from realtime_polyp.outputs.overlay import (
    HELD_COLOUR,
    MASK_COLOUR,
    NO_SHAPES,
    SHOWN_COLOUR,
    BoxShape,
    OverlayStyle,
    Shapes,
    draw,
    shapes_of,
)
from realtime_polyp.outputs.overlay_lines import look_of
from realtime_polyp.packets import NO_DETECTIONS, Detections, Frame, Mask, Result, Track

H, W = 320, 384
FIELD = FieldOfView(0, 0, W, H)
GREY = np.full((H, W, 3), 90, np.uint8)
BOX = (100.0, 80.0, 200.0, 160.0)


def track(state: str = "shown", *, box: tuple[float, ...] = BOX, score: float = 0.87, number: int = 3) -> Track:
    return Track(number, np.float32(box), score, state, 1.0, 0.0)  # type: ignore[arg-type]


def mask_of(*boxes: tuple[float, ...], level: float = 0.95) -> Mask:
    probability = np.zeros((H // 4, W // 4), np.float32)
    for x1, y1, x2, y2 in boxes:
        probability[round(y1 / 4) : round(y2 / 4), round(x1 / 4) : round(x2 / 4)] = level
    return Mask(probability, FIELD)


def result_of(*tracks: Track, mask: Mask | None = None, signal: str = "ok", has_detector: bool = True) -> Result:
    found = Detections(np.float32([t.box for t in tracks]).reshape(-1, 4), np.float32([t.score for t in tracks]))
    return Result(Frame(0, 0.0, 0.0, GREY), FIELD, found, tracks, mask, has_detector, signal)  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", ["black", "frozen"])
def test_nothing_is_drawn_over_a_picture_that_is_none(signal: str) -> None:
    assert shapes_of(result_of(track(), mask=mask_of(BOX), signal=signal)) == NO_SHAPES


def test_shown_and_held_are_drawn_and_the_tentative_are_not() -> None:
    shapes = shapes_of(result_of(track("shown"), track("held"), track("tentative")))
    assert [box.held for box in shapes.boxes] == [False, True]
    assert shapes.boxes[0].box == BOX and shapes.boxes[0].label == "3  87 %"


def test_the_style_decides_at_once() -> None:
    result = result_of(track(score=0.4), mask=mask_of(BOX))
    assert not shapes_of(result, OverlayStyle(min_score=0.5)).boxes
    assert len(shapes_of(result, OverlayStyle(min_score=0.4)).boxes) == 1
    assert shapes_of(result, OverlayStyle(labels=False)).boxes[0].label == ""
    (unframed,) = shapes_of(result, OverlayStyle(boxes=False)).boxes
    assert unframed.label and not unframed.framed and shapes_of(result, OverlayStyle(boxes=False)).outlines
    assert not shapes_of(result, OverlayStyle(boxes=False, labels=False)).boxes
    assert not shapes_of(result, OverlayStyle(outline=False)).outlines
    filled = shapes_of(result, OverlayStyle(outline=False, fill=True))
    assert filled.fill and not filled.lined and filled.outlines and not shapes_of(result).fill


def test_an_outline_lies_on_the_mask_s_rim_in_source_pixels() -> None:
    shapes = shapes_of(result_of(track(), mask=mask_of(BOX)))
    (line,) = shapes.outlines
    assert [*line.min(0), *line.max(0)] == pytest.approx(BOX, abs=2)  # half a cell of the map


def test_the_frame_lies_around_the_outline_and_hides_nothing_of_it() -> None:
    shapes = shapes_of(result_of(track(), mask=mask_of(BOX)))
    (line,), (frame,) = shapes.outlines, shapes.boxes
    look = look_of(W, H)
    gaps = np.abs(np.array(frame.box) - [*line.min(0), *line.max(0)])
    assert gaps == pytest.approx(look.line / 2 + look.edge + look.outline / 2)
    assert frame.box[0] < line[:, 0].min() and frame.box[3] > line[:, 1].max()


def test_an_outline_of_a_field_within_the_frame_is_moved_and_stretched_with_it() -> None:
    field = FieldOfView(50, 30, 50 + 2 * W, 30 + 2 * H)
    moved = tuple(2 * value + offset for value, offset in zip(BOX, (50, 30, 50, 30), strict=True))
    mask = Mask(mask_of(BOX).probability, field)
    (line,) = shapes_of(result_of(track(box=moved), mask=mask)).outlines
    assert [*line.min(0), *line.max(0)] == pytest.approx(moved, abs=4)


def test_specks_of_the_mask_are_left_out() -> None:
    assert not shapes_of(result_of(mask=mask_of((40, 40, 48, 52)), has_detector=False)).outlines
    assert shapes_of(result_of(mask=mask_of((40, 40, 60, 60)), has_detector=False)).outlines


def test_box_and_mask_tell_one_story() -> None:
    """Beside a detector, islands away from every shown box are left out; without one, all are drawn."""
    away = (300.0, 240.0, 360.0, 300.0)
    both = mask_of(BOX, away)
    assert len(shapes_of(result_of(mask=both, has_detector=False)).outlines) == 2
    assert not shapes_of(result_of(mask=both)).outlines
    (line,) = shapes_of(result_of(track(), mask=both)).outlines
    assert line[:, 0].max() < 250
    assert not shapes_of(result_of(track("tentative"), mask=both)).outlines
    assert not shapes_of(result_of(track(score=0.1), mask=both), OverlayStyle(min_score=0.5)).outlines


def test_no_mask_and_no_tracks_no_shapes() -> None:
    empty = Result(Frame(0, 0.0, 0.0, GREY), FIELD, NO_DETECTIONS, (), None)
    assert shapes_of(empty) == NO_SHAPES and np.array_equal(draw(GREY, NO_SHAPES), GREY)


def test_drawing_is_on_a_copy_in_the_colours_promised() -> None:
    before = GREY.copy()
    held = (220.0, 200.0, 300.0, 280.0)
    shapes = shapes_of(result_of(track(), track("held", box=held), mask=mask_of(BOX, held)))
    painted = draw(GREY, shapes)
    assert np.array_equal(GREY, before) and painted.shape == GREY.shape and painted.dtype == np.uint8
    for colour in (SHOWN_COLOUR, HELD_COLOUR, MASK_COLOUR):
        assert (np.abs(painted.astype(int) - colour).max(-1) < 25).sum() > 20, colour  # the lines are smoothed
    assert np.array_equal(painted[300:], GREY[300:])  # and nowhere else


def test_filling_tints_the_inside_and_outlining_does_not() -> None:
    result = result_of(track(), mask=mask_of(BOX))
    plain, filled = (draw(GREY, shapes_of(result, OverlayStyle(fill=fill))) for fill in (False, True))
    assert plain[120, 150].tolist() == [90, 90, 90]
    assert filled[120, 150].tolist() == pytest.approx(0.7 * 90 + 0.3 * np.array(MASK_COLOUR), abs=1)


def test_a_label_stays_in_the_picture_at_its_top() -> None:
    at_top = Shapes((BoxShape((100, 0, 200, 80), "7  55 %", False),), (), fill=False)
    bare = Shapes((BoxShape((100, 0, 200, 80), "", False),), (), fill=False)
    rows, _ = np.nonzero((draw(GREY, at_top) != draw(GREY, bare)).any(-1))
    assert 81 < rows.min() and rows.max() < 105  # below the box, as there is no room above it


@settings(max_examples=30)
@given(st.lists(st.floats(-500, 900), min_size=4, max_size=4), st.integers(8, 200), st.integers(8, 200))
def test_any_box_can_be_drawn_on_any_picture(box: list[float], height: int, width: int) -> None:
    image = np.full((height, width, 3), 90, np.uint8)
    painted = draw(image, Shapes((BoxShape(tuple(box), "12  99 %", True),), (), fill=True))  # type: ignore[arg-type]
    assert painted.shape == image.shape


def test_the_picture_of_an_alarm_has_its_own_box_and_none_of_another_polyp(tmp_path: Path) -> None:
    """The box lies around the outline, as on the screen, and not where the track's is."""
    result = result_of(track(number=1), track(box=(250, 200, 330, 280), number=2), mask=mask_of((108, 88, 192, 152)))
    writer = AlarmsWriter(tmp_path / "e.jsonl", pictures=tmp_path, blank_outside=False)
    writer.write(result)
    writer.close()
    saved = cv2.imread(str(tmp_path / "alarm-0001-overlay.jpg"))[:H, :, ::-1].astype(int)
    shapes = shapes_of(result)
    with_boxes = [draw(GREY, replace(shapes, boxes=shapes.boxes[:count])) for count in range(3)]
    assert np.argmin([np.abs(saved - drawn).mean() for drawn in with_boxes]) == 1
