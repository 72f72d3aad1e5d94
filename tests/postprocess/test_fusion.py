"""Detector-segmenter fusion: support against brute force, order of boxes, files read and rejected."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from green import GreenDetector, GreenSegmenter
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import NO_DETECTIONS, Detections, Mask
from realtime_polyp.postprocess.fusion import (
    FUSION_FILE,
    BoxFusion,
    FusedModel,
    Fusion,
    FusionError,
    MaskFusion,
    box_support,
    fuse,
    fusion_for,
    parse_fusion,
    read_fusion,
    region_support,
    regions,
)

FIELD = FieldOfView(40, 20, 240, 180)  # cells of 10 x 10 px in a map (16, 20)
FUSION = Fusion(
    "fusion.json",
    FusedModel("green-boxes", "fake", "k1"),
    FusedModel("green-mask", "fake", "k2"),
    BoxFusion(-2.5, 1.5, 6.0),
    MaskFusion(-1.5, 1.4),
)
DOCUMENT: dict[str, Any] = {
    "format": 1,
    "detector": {"model": "green-boxes", "engine": "fake", "key": "k1"},
    "segmenter": {"model": "green-mask", "engine": "fake", "key": "k2"},
    "boxes": {"bias": -2.5, "score": 1.5, "support": 6.0},
    "masks": {"bias": -1.5, "support": 1.4},
}


def disc(x: int, y: int, radius: int, *, value: float = 1.0) -> np.ndarray:
    """A disc in cells of a map (16, 20)."""
    drawn = cv2.circle(np.zeros((16, 20), np.uint8), (x, y), radius, 1, -1)
    return value * drawn.astype(np.float32)


def box_around(x: int, y: int, radius: int) -> list[float]:
    """The box of such a disc, source px."""
    return [40 + 10 * (x - radius), 20 + 10 * (y - radius), 40 + 10 * (x + radius + 1), 20 + 10 * (y + radius + 1)]


def found(*boxes: list[float], scores: list[float]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))


# the figures of agreement


def filled_slowly(mask: Mask, box: np.ndarray) -> float:
    """The soft IoU cell by cell, in source px."""
    height, width = mask.probability.shape
    cell = np.array([mask.field_of_view.width / width, mask.field_of_view.height / height])
    middle, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 0.75 * cell)
    shared, either = 0.0, 0.0
    for row in range(height):
        for column in range(width):
            at = np.array([mask.field_of_view.x1, mask.field_of_view.y1]) + (np.array([column, row]) + 0.5) * cell
            away = np.abs(at - middle) / half
            if (away**2).sum() <= 1:
                shared, either = shared + mask.probability[row, column], either + 1
            elif away.max() <= 1.5:
                either += mask.probability[row, column]
    return shared / max(either, 1.0)


@given(
    arrays.arrays(np.float32, (7, 9), elements=st.floats(0, 1, width=32)),
    st.lists(st.tuples(*[st.integers(-20, 300)] * 4), max_size=4),
)
def test_a_boxs_support_is_the_soft_iou_with_its_ellipse(probability: np.ndarray, corners: list[Any]) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners], np.float32)
    boxes = boxes.reshape(-1, 4) + np.float32(0.37)  # no cell's middle lies just on a rim, where rounding decides
    mask = Mask(probability, FIELD)
    support = box_support(mask, boxes)
    assert support == pytest.approx([filled_slowly(mask, box.astype(float)) for box in boxes], abs=2e-3)
    assert ((0 <= support) & (support <= 1)).all()


def test_a_mask_that_fills_its_box_supports_it_and_one_that_runs_over_supports_it_less() -> None:
    exact, wide, none = (Mask(one, FIELD) for one in (disc(9, 8, 4), disc(9, 8, 7), np.zeros((16, 20), np.float32)))
    boxes = np.array([box_around(9, 8, 4)], np.float32)
    assert box_support(exact, boxes)[0] > 0.7 > 0.5 > box_support(wide, boxes)[0] > 0.2  # a disc of cells is rough
    assert box_support(none, boxes)[0] == 0


def test_a_box_smaller_than_a_cell_or_outside_the_field_has_a_support() -> None:
    everywhere = Mask(np.ones((16, 20), np.float32), FIELD)
    boxes = np.array([[101, 101, 102, 102], [0, 0, 5, 5], [500, 500, 600, 600]], np.float32)
    support = box_support(everywhere, boxes)
    assert support[0] > 0 and support[1] == support[2] == 0


def test_regions_are_told_in_source_pixels() -> None:
    labels, boxes = regions(Mask(disc(4, 4, 2) + disc(14, 10, 3, value=0.6) + disc(1, 14, 0, value=0.4), FIELD))
    assert boxes.tolist() == [box_around(4, 4, 2), box_around(14, 10, 3)]
    assert labels[4, 4] == 1 and labels[10, 14] == 2 and labels[14, 1] == 0


def test_a_region_is_supported_by_the_box_that_frames_it_most_surely() -> None:
    boxes = np.array([box_around(4, 4, 2), box_around(14, 10, 3)], np.float32)
    sure, half, least = box_around(4, 4, 2), [80.0, 40.0, 130.0, 65.0], box_around(14, 10, 3)
    support = region_support(boxes, found(sure, half, least, scores=[0.5, 0.9, 0.05]))
    assert support == pytest.approx([np.log(19), 0], abs=1e-5)  # above IoU 0.5 of log(9) + log(19)
    assert region_support(boxes, NO_DETECTIONS).tolist() == [0, 0]


# fusing


def test_of_two_boxes_alike_the_one_with_a_mask_comes_first() -> None:
    mask = Mask(disc(14, 10, 3), FIELD)
    fused, _ = fuse(found(box_around(4, 4, 2), box_around(14, 10, 3), scores=[0.31, 0.3]), mask, FUSION)
    assert fused.boxes.tolist() == [box_around(14, 10, 3), box_around(4, 4, 2)]
    assert fused.scores[0] > 0.7 and fused.scores[1] < 0.1 and fused.scores.dtype == np.float32


def test_a_box_with_less_than_the_least_support_is_no_polyp() -> None:
    detections, mask = (
        found(box_around(4, 4, 2), box_around(14, 10, 3), scores=[0.99, 0.3]),
        Mask(disc(14, 10, 3), FIELD),
    )
    assert FUSION.boxes is not None
    usual, _ = fuse(detections, mask, FUSION)
    fused, _ = fuse(detections, mask, replace(FUSION, boxes=replace(FUSION.boxes, least_support=0.1)))
    assert usual.scores[0] == pytest.approx(1 / (1 + np.exp(2.5 - 1.5 * np.log(99))), rel=1e-4)
    assert fused.boxes.tolist() == [box_around(14, 10, 3), box_around(4, 4, 2)]
    assert fused.scores == pytest.approx([usual.scores[1], 0.05])


def test_a_region_that_no_box_frames_fades_and_a_framed_one_stays() -> None:
    mask = Mask(disc(4, 4, 2) + disc(14, 10, 3), FIELD)
    _, faded = fuse(found(box_around(14, 10, 3), scores=[0.6]), mask, FUSION)
    assert (faded.probability[:8, :8] < 0.5).all()
    assert np.array_equal(faded.probability[:, 10:], mask.probability[:, 10:])
    assert mask.probability.max() == 1  # what came in is not changed


def test_the_rim_fades_with_its_region_but_a_neighbour_does_not() -> None:
    middle = disc(4, 4, 2)
    rim = cv2.dilate(middle, np.ones((3, 3), np.uint8)) - middle
    neighbour = np.zeros((16, 20), np.float32)
    neighbour[2:7, 8:13] = 0.9
    before = np.maximum(middle + 0.4 * rim, neighbour)
    _, after = fuse(found([120, 40, 170, 90], scores=[0.9]), Mask(before, FIELD), FUSION)
    assert after.probability[rim > 0].max() < 0.25 and np.array_equal(after.probability[:, 8:], before[:, 8:])


def test_a_supported_mask_comes_back_as_it_is() -> None:
    mask = Mask(disc(14, 10, 3), FIELD)
    assert fuse(found(box_around(14, 10, 3), scores=[0.9]), mask, FUSION)[1] is mask
    empty = Mask(np.zeros((16, 20), np.float32), FIELD)
    assert fuse(NO_DETECTIONS, empty, FUSION)[1] is empty and len(fuse(NO_DETECTIONS, empty, FUSION)[0]) == 0


def test_a_side_that_was_not_learnt_is_left_alone() -> None:
    detections, mask = found(box_around(4, 4, 2), scores=[0.4]), Mask(disc(14, 10, 3), FIELD)
    none = Fusion("f", FUSION.detector, FUSION.segmenter, None, None)
    assert fuse(detections, mask, none) == (detections, mask)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=9), st.floats(0, 1))
def test_boxes_of_equal_support_keep_their_order(scores: list[float], value: float) -> None:
    falling = sorted(scores, reverse=True)
    boxes = [[50.0 + step / 1024, 50.0, 90.0 + step / 1024, 90.0] for step in range(len(falling))]
    fused, _ = fuse(found(*boxes, scores=falling), Mask(np.full((16, 20), value, np.float32), FIELD), FUSION)
    assert fused.boxes.tolist() == found(*boxes, scores=falling).boxes.tolist()
    assert (np.diff(fused.scores) <= 0).all() and ((fused.scores > 0) & (fused.scores < 1)).all()


@given(arrays.arrays(np.float32, (16, 20), elements=st.floats(0, 1, width=32)), st.floats(0, 1, width=32))
def test_fading_never_strengthens_and_never_below_zero(probability: np.ndarray, score: float) -> None:
    mask = Mask(probability, FIELD)
    _, faded = fuse(found(box_around(9, 8, 4), scores=[score]), mask, FUSION)
    assert ((0 <= faded.probability) & (faded.probability <= probability)).all()
    assert faded.probability.dtype == np.float32 and faded.field_of_view == FIELD


# the file


class Keyed(GreenDetector):
    key = "k1"


class KeyedMask(GreenSegmenter):
    key = "other"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fusion.json"
    path.write_text(json.dumps(DOCUMENT))
    assert read_fusion(path) == FUSION
    given = parse_fusion({**DOCUMENT, "boxes": {**DOCUMENT["boxes"], "least_support": 0.1}}, "fusion.json")
    assert given.boxes is not None and given.boxes.least_support == 0.1
    alone = parse_fusion({**DOCUMENT, "boxes": None, "masks": None}, "fusion.json")
    assert alone.boxes is None and alone.masks is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "not a fusion file of format 1; its format is 2"),
        (
            {"boxes": {"bias": 0, "score": -1, "support": 1}},
            r"at `boxes`: the weight of the box score must be at least 0\.01, not -1",
        ),
        (
            {"boxes": {"bias": 0, "score": 1, "support": 1, "least_support": 2}},
            r"least_support must .* in 0\.\.1, not 2",
        ),
        ({"masks": {"bias": None, "support": 1}}, "at `masks.bias`: expected `float`, got `null`"),
        ({"masks": {"bias": 1}}, "at `masks`: `support` is missing"),
        ({"masks": {"bias": 800, "support": 1}}, r"at `masks`: bias must be a number in -20\.\.20, not 800"),
        ({"boxes": {"bias": float("nan"), "score": 1, "support": 1}}, "NaN is not a valid number"),
        ({"detector": {"model": 1, "engine": "", "key": ""}}, "at `detector.model`: expected `str`, got `int`"),
        ({"detector": "gflv2"}, "at `detector`: expected `object`, got `str`"),
    ],
)
def test_a_file_that_will_not_do_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(FusionError, match=said):
        parse_fusion({**DOCUMENT, **change}, "f.json")


def test_a_file_that_is_not_there_or_no_json_is_said(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="cannot read .*none.json: No such file"):
        read_fusion(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(FusionError, match="list.json is not a fusion file: expected `object`, got `array`"):
        read_fusion(tmp_path / "list.json")


def test_it_is_for_the_models_it_was_learnt_from(tmp_path: Path) -> None:
    """On whatever engine; other models, or one alone, run unfused."""
    path = tmp_path / "fusion.json"
    path.write_text(json.dumps(DOCUMENT))
    assert fusion_for(Keyed(), KeyedMask(), path) == FUSION
    stranger = Keyed()
    stranger.model = "stranger"
    assert fusion_for(stranger, KeyedMask(), path) is None
    assert fusion_for(Keyed(), None, path) is None and fusion_for(Keyed(), KeyedMask(), tmp_path / "none") is None


def test_the_default_models_do_not_run_without_the_fusion_that_they_ship_with(tmp_path: Path) -> None:
    detector, segmenter = Keyed(), KeyedMask()
    detector.model, segmenter.model = DEFAULT_DETECTOR, DEFAULT_SEGMENTER
    with pytest.raises(
        FusionError, match=r"fusion\.json, the fusion of boxes and masks of polyp-lite2, is missing: .*--no-"
    ):
        fusion_for(detector, segmenter, tmp_path / "fusion.json")
    (tmp_path / "fusion.json").mkdir()
    with pytest.raises(FusionError, match="it is a folder"):
        fusion_for(detector, segmenter, tmp_path / "fusion.json")


def test_what_ships_is_for_the_default_models() -> None:
    shipped = read_fusion(FUSION_FILE)
    assert (shipped.detector.model, shipped.segmenter.model) == (DEFAULT_DETECTOR, DEFAULT_SEGMENTER)
    assert shipped.boxes is not None and shipped.masks is not None
