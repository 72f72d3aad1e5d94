"""Whether the box and the outline that are shown for a polyp agree."""

import numpy as np
import pytest

from realtime_polyp.metrics.shape_agreement import ShapeAgreement, shape_agreement
from realtime_polyp.outputs.results_reader import ShownFrame

BOX, HALF, NONE = [10, 10, 30, 30], [10, 10, 30, 20], [np.nan] * 4


def shown(index: int, *tracks: tuple[int, list[float], list[float]]) -> ShownFrame:
    """tracks: id, box and the box round the outline of each."""
    ids, boxes, outlines = zip(*tracks, strict=True) if tracks else ((), (), ())
    return ShownFrame(
        index,
        index / 10,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ids=np.array(ids, np.int64),
        outline_boxes=np.array(outlines, np.float32).reshape(-1, 4),
    )


def test_the_overlap_of_each_box_with_its_own_outline() -> None:
    found = shape_agreement([shown(0, (1, BOX, BOX), (2, HALF, BOX)), shown(1, (1, BOX, BOX))], 0.1)
    assert (found.boxes, found.median_iou, found.low_iou) == (3, 1.0, pytest.approx(0.6))
    assert found.alone == 0 and found.longest_alone_s == 0


def test_how_often_and_how_long_a_box_has_no_outline() -> None:
    """Track 1 is alone for two frames, then, after one with an outline, for one; track 2 for one."""
    screen = [
        shown(0, (1, BOX, NONE)),
        shown(1, (1, BOX, NONE), (2, HALF, NONE)),
        shown(2, (1, BOX, BOX)),
        shown(3, (1, BOX, NONE)),
    ]
    found = shape_agreement(screen, 0.1)
    assert found.alone == pytest.approx(0.8) and found.longest_alone_s == pytest.approx(0.2)


def test_a_frame_without_a_mask_says_nothing() -> None:
    screen = [shown(0, (1, BOX, NONE)), ShownFrame(1, 0.1), shown(2, (1, BOX, NONE))]
    found = shape_agreement(screen, 0.1)
    assert found.boxes == 2 and found.longest_alone_s == pytest.approx(0.1)
    nothing = shape_agreement([ShownFrame(0, 0.0)], 0.1)
    assert nothing == ShapeAgreement() and nothing.alone is nothing.median_iou is None


def test_videos_add_up() -> None:
    one = shape_agreement([shown(0, (1, BOX, BOX))], 0.1)
    other = shape_agreement([shown(0, (1, BOX, NONE))], 0.04)
    both = one + other
    assert (both.boxes, both.ious, both.longest_alone_s) == (2, (1.0,), 0.04)
