"""Candidates to detections and maps to masks, against the plainest code that could do it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.postprocess.nms import MOST_DETECTIONS, detections_of, mask_of, nms
from realtime_polyp.preprocess.letterbox import fit_placement, prepare

Boxes = NDArray[np.float32]
IOUS = st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.9, 1.0])


def boxes_of(seed: int, count: int, *, extent: int) -> Boxes:
    """Boxes on whole pixels, many touching, some equal, some inside others; small extents make them crowd."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, extent, (count, 2))
    return np.concatenate([corners, corners + random.integers(1, extent + 1, (count, 2))], 1).astype(np.float32)


def iou_of(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width = max(0.0, float(min(a[2], b[2])) - float(max(a[0], b[0])))
    height = max(0.0, float(min(a[3], b[3])) - float(max(a[1], b[1])))
    area_a, area_b = (float(x[2] - x[0]) * float(x[3] - x[1]) for x in (a, b))
    return width * height / (area_a + area_b - width * height)


def brute_force_nms(boxes: Boxes, most_iou: float) -> list[int]:
    kept: list[int] = []
    for index, box in enumerate(boxes):
        if all(iou_of(box, boxes[other]) <= most_iou for other in kept):
            kept.append(index)
    return kept


@given(st.integers(0, 10_000), st.integers(0, 40), st.sampled_from([3, 12, 60]), IOUS)
def test_nms_is_the_brute_force_one(seed: int, count: int, extent: int, most_iou: float) -> None:
    boxes = boxes_of(seed, count, extent=extent)
    # An IoU at the limit to the last bit is decided by rounding: such sets prove nothing either way.
    near = [abs(iou_of(a, b) - most_iou) for i, a in enumerate(boxes) for b in boxes[:i]]
    if most_iou not in (0.0, 1.0) and any(0 < gap < 1e-6 for gap in near):
        return
    assert nms(boxes, most_iou).tolist() == brute_force_nms(boxes, most_iou)


def test_nms_keeps_boxes_that_only_touch_and_drops_the_paper_s_overlaps() -> None:
    boxes = np.array([[0, 0, 10, 10], [10, 0, 20, 10], [9, 0, 19, 10], [9.95, 0, 19.95, 10]], np.float32)
    assert nms(boxes, 0.01).tolist() == [0, 1]
    assert nms(boxes[[0, 3]], 0.01).tolist() == [0, 1]  # IoU 0.0025: below the paper's 0.01
    assert nms(boxes[[0, 2]], 0.01).tolist() == [0]  # IoU 0.053
    assert nms(np.zeros((0, 4), np.float32), 0.01).tolist() == []


FIELD = FieldOfView(10, 20, 110, 100)
PLACEMENT = fit_placement(FIELD, (160, 200))  # doubled, nothing padded


def to_model(boxes: Boxes) -> Boxes:
    return (boxes - np.float32([10, 20, 10, 20])) * 2


@given(st.integers(0, 1000), st.integers(0, 60), st.sampled_from([0.01, 0.5]), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_detections_are_what_a_loop_finds(seed: int, count: int, nms_iou: float, threshold: float) -> None:
    random = np.random.default_rng(seed)
    boxes = boxes_of(seed, count, extent=40) + np.float32([10, 20, 10, 20])
    boxes[:, 2:] = np.minimum(boxes[:, 2:], [110, 100])
    scores = random.integers(0, 11, count).astype(np.float32) / np.float32(10)
    found = detections_of(to_model(boxes), scores, PLACEMENT, score_threshold=threshold, nms_iou=nms_iou)
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= threshold]
    kept = [order[i] for i in brute_force_nms(boxes[order], nms_iou)]
    assert found.boxes.tolist() == boxes[kept].tolist() and found.scores.tolist() == scores[kept].tolist()
    assert found.boxes.dtype == found.scores.dtype == np.float32 and found.boxes.shape == (len(found), 4)


def test_a_threshold_of_zero_keeps_all_even_a_score_of_zero() -> None:
    boxes = np.float32([[12 * i + 10, 20, 12 * i + 20, 30] for i in range(8)])
    scores = np.float32([0, 0.9, 1e-30, 0.2, 0, 0.5, 0.01, 1.0])
    found = detections_of(to_model(boxes), scores, PLACEMENT, score_threshold=0.0)
    assert len(found) == 8 and sorted(found.scores) == sorted(scores)


def test_a_score_at_the_threshold_is_kept() -> None:
    boxes = to_model(np.float32([[10, 20, 20, 30], [40, 20, 50, 30]]))
    found = detections_of(boxes, np.float32([0.3, np.nextafter(np.float32(0.3), np.float32(0))]), PLACEMENT,
                          score_threshold=float(np.float32(0.3)))  # fmt: skip
    assert found.boxes.tolist() == [[10, 20, 20, 30]]


def test_boxes_without_area_or_outside_of_the_field_are_none() -> None:
    boxes = np.float32([[10, 10, 10, 40], [-50, -50, -10, -10], [300, 10, 400, 40], [50, 40, 20, 60], [10, 10, 20, 20]])
    found = detections_of(boxes, np.float32([0.9, 0.9, 0.9, 0.9, 0.5]), PLACEMENT)
    assert found.boxes.tolist() == [[15, 25, 20, 30]]


def test_no_candidates_give_no_detections_and_a_thousand_give_a_hundred() -> None:
    none = detections_of(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), PLACEMENT)
    assert len(none) == 0 and none.boxes.shape == (0, 4)
    grid = np.float32([[4 * x, 4 * y, 4 * x + 4, 4 * y + 4] for x in range(50) for y in range(40)])
    scores = np.linspace(0.1, 1, len(grid), dtype=np.float32)
    found = detections_of(grid, scores, PLACEMENT, score_threshold=0.0)
    assert found.scores.tolist() == scores[::-1][:MOST_DETECTIONS].tolist()


@pytest.mark.parametrize(
    "field", [FieldOfView(0, 0, 640, 480), FieldOfView(100, 40, 1180, 1060), FieldOfView(3, 5, 200, 700)]
)
@pytest.mark.parametrize("down", [1, 4])
def test_a_mask_is_cut_out_of_its_padding_and_lands_on_the_field(field: FieldOfView, down: int) -> None:
    """A map that is 1 over the field and 0 over the padding becomes a mask of the whole field and nothing else."""
    size = (320, 384)
    placement = fit_placement(field, size)
    full = np.zeros(size, np.float32)
    full[placement.inner()] = 1
    coarse = full.reshape(size[0] // down, down, size[1] // down, down).mean((1, 3))
    mask = mask_of(coarse, placement, size)
    assert mask.probability.mean() > 0.97 and mask.field_of_view == field
    assert mask.probability.flags.c_contiguous and mask.probability.dtype == np.float32
    assert mask.in_field().shape == (field.height, field.width)
    found = mask.to_source(1080, 1280)
    assert found.dtype == np.bool_ and found.shape == (1080, 1280)
    inside = np.zeros_like(found)
    field.crop(inside)[...] = True
    assert not found[~inside].any() and found[inside].mean() > 0.98


def test_a_mask_keeps_its_place() -> None:
    """A square at known source pixels comes back there, to a cell of the map."""
    field, size = FieldOfView(100, 40, 740, 520), (320, 384)
    placement = fit_placement(field, size)
    full = np.zeros(size, np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    x1, y1, x2, y2 = ((np.array([300, 200, 420, 320]) - [100, 40, 100, 40]) * scale).round().astype(int)
    full[y1 + placement.top_px : y2 + placement.top_px, x1 + placement.left_px : x2 + placement.left_px] = 1
    coarse = full.reshape(80, 4, 96, 4).mean((1, 3))
    rows, columns = np.nonzero(mask_of(coarse, placement, size).to_source(560, 800))
    cell = 4 / min(placement.scale_x, placement.scale_y)
    assert np.abs([columns.min() - 300, rows.min() - 200, columns.max() - 419, rows.max() - 319]).max() <= cell


@pytest.mark.parametrize("width,height", [(1350, 1080), (1280, 1024), (720, 576), (1180, 997), (1920, 1080), (97, 65)])
def test_a_mask_lies_where_its_polyp_lies(width: int, height: int) -> None:
    """An ideal segmenter of a disc: its centre comes back within a pixel for every scope's format."""
    field, size = FieldOfView(0, 0, width, height), (320, 384)
    y, x = np.mgrid[:height, :width]
    disc = np.hypot(x - 0.4 * width, y - 0.6 * height) < 0.2 * height
    image = np.repeat((disc * np.uint8(255))[..., None], 3, 2)
    pixels = prepare([image], [field], size).pixels[0, 0].astype(np.float32) / 255
    coarse = pixels.reshape(80, 4, 96, 4).mean((1, 3))
    found = mask_of(coarse, fit_placement(field, size), size).to_source(height, width)
    shift = np.array(np.nonzero(found)).mean(1) - np.array(np.nonzero(disc)).mean(1)
    assert np.abs(shift).max() < 0.75


@pytest.mark.parametrize("width,height", [(2000, 3), (384, 2), (3, 2000), (1, 1)])
def test_a_mask_of_a_sliver_is_not_empty(width: int, height: int) -> None:
    field, size = FieldOfView(0, 0, width, height), (320, 384)
    mask = mask_of(np.ones((80, 96), np.float32), fit_placement(field, size), size)
    assert mask.to_source(height, width).all()
