"""METRICS 1 and 2: the challenge's own fixture, hand-made cases, and a brute-force average precision."""

import json
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, needs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_polyp.metrics.detection import (
    ImageBoxes,
    ImageMasks,
    coco_ap,
    coco_mask_ap,
    deviation,
    endocv_ap,
    endocv_ap_of,
    final_average,
)
from realtime_polyp.metrics.run_lengths import RunLengths, encode

GOLDEN = ROOT.parent / "shared" / "golden" / "endocv2021_detection"
Box = tuple[float, float, float, float]
SMALL, MEDIUM, LARGE = (10, 10, 30, 30), (100, 50, 150, 120), (200, 200, 420, 450)


def image(true: list[Box], found: list[Box], scores: list[float] | None = None) -> ImageBoxes:
    scores = [0.9] * len(found) if scores is None else scores
    return ImageBoxes(_array(true), _array(found), np.array(scores, np.float32))


def _array(boxes: list[Box]) -> NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 4)


@pytest.fixture
def golden() -> dict[str, Any]:
    """The challenge's example. It may not be copied into the repository."""
    return {path.stem: json.loads(path.read_text()) for path in GOLDEN.glob("*.json")}


@needs("golden")
def test_the_official_result_is_reproduced(golden: dict[str, Any]) -> None:
    official = golden["det_scores"]["EndoCV2021_det"]
    figures = endocv_ap_of(golden["train_coco"], golden["train_pred_coco"]["annotations"])
    names = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_small": "APsmall", "AP_medium": "APmedium",
             "AP_large": "APlarge", "AR": "AR100"}  # fmt: skip
    expected = {name: official[key] for name, key in names.items()}
    assert {name: figures[name] for name in names} == pytest.approx(expected)
    assert figures["score_d"] == pytest.approx(0.391337, abs=1e-6)


@needs("golden")
def test_the_input_is_left_as_it_was(golden: dict[str, Any]) -> None:
    before = json.dumps(golden)
    endocv_ap_of(golden["train_coco"], golden["train_pred_coco"]["annotations"])
    assert json.dumps(golden) == before


def test_perfect_boxes_score_1() -> None:
    figures = coco_ap([image([SMALL, LARGE], [SMALL, LARGE]), image([MEDIUM], [MEDIUM])])
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0))


def test_nothing_found_scores_0() -> None:
    figures = coco_ap([image([SMALL, MEDIUM, LARGE], [])])
    assert figures == dict.fromkeys(figures, 0.0)


def test_no_truth_has_no_value() -> None:
    for images in ([image([], [MEDIUM])], [image([], [])], []):
        figures = coco_ap(images)
        assert figures == dict.fromkeys(figures)
        assert endocv_ap(images)["score_d"] is None


def test_a_size_without_truth_has_no_value_and_leaves_score_d_undefined() -> None:
    figures = endocv_ap([image([LARGE], [LARGE])])
    assert (figures["AP"], figures["AP_large"]) == pytest.approx((1, 1))
    assert (figures["AP_small"], figures["AP_medium"], figures["score_d"]) == (None, None, None)
    assert coco_ap([image([LARGE], [LARGE])])["AP_s"] is None


def test_sizes_depend_on_the_grid() -> None:
    stored = image([(0, 0, 90, 90)], [(0, 0, 90, 90)])
    assert endocv_ap([stored])["AP_small"] == pytest.approx(1)
    assert endocv_ap([stored.scaled(2)])["AP_medium"] == pytest.approx(1)
    assert endocv_ap([stored.scaled(2)])["AP_small"] is None


def test_the_ends_of_a_size_are_inclusive() -> None:
    figures = endocv_ap([image([(0, 0, 100, 100)], [(0, 0, 100, 100)])])
    assert (figures["AP_small"], figures["AP_medium"]) == pytest.approx((1, 1))


def test_a_false_alarm_costs_only_when_it_outscores_a_true_box() -> None:
    beside: Box = (500, 500, 600, 600)
    assert coco_ap([image([LARGE], [LARGE, beside], [0.9, 0.8])])["AP50"] == pytest.approx(1)
    assert coco_ap([image([LARGE], [LARGE, beside], [0.8, 0.9])])["AP50"] == pytest.approx(0.5)


def test_an_overlap_of_60_percent_counts_at_3_of_10_thresholds() -> None:
    figures = coco_ap([image([(0, 0, 100, 100)], [(0, 0, 100, 62)])])
    assert (figures["AP50"], figures["AP75"], figures["AP"]) == pytest.approx((1, 0, 0.3))


def test_results_of_an_unknown_image_are_refused() -> None:
    truth = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1, "name": "polyp"}]}
    with pytest.raises(ValueError, match=r"\[8\]"):
        endocv_ap_of(truth, [{"image_id": 8, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}])


def test_deviation_is_0_within_a_tenth_and_asymmetric_outside() -> None:
    assert deviation([0.5, 0.5], [0.46, 0.54]) == 0
    assert deviation([0.5], [0.4]) == pytest.approx(0.05)
    assert deviation([0.5], [0.6]) == pytest.approx(0.15)
    assert deviation([0.5, 0.5], [0.5, 0.4]) == pytest.approx(0.025)
    assert deviation([0.5, None], [0.5, 0.4]) is None


def test_final_average() -> None:
    assert final_average(0.6, [0.3, 0.3]) == pytest.approx(0.4)
    assert final_average(0.6, [0.3, None]) is None


def _boxes(most: int) -> st.SearchStrategy[list[Box]]:
    edge = st.integers(0, 12)
    corner_and_size = st.tuples(edge, edge, st.integers(1, 10), st.integers(1, 10))
    box = corner_and_size.map(lambda v: (float(v[0]), float(v[1]), float(v[0] + v[2]), float(v[1] + v[3])))
    return st.lists(box, max_size=most)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(_boxes(3), _boxes(4)), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_ap50_equals_brute_force(drawn: list[tuple[list[Box], list[Box]]], random: Any) -> None:
    scores = [index / 64 for index in range(1, sum(len(found) for _, found in drawn) + 1)]  # no two alike
    random.shuffle(scores)
    images = [image(true, found, [scores.pop() for _ in found]) for true, found in drawn]
    assert coco_ap(images)["AP50"] == pytest.approx(brute_force_ap(images, 0.5))


def brute_force_ap(images: list[ImageBoxes], least_iou: float) -> float | None:
    """101-point interpolated AP: each box, best score first, takes the free true box that it overlaps most."""
    wanted = sum(len(one.true) for one in images)
    if not wanted:
        return None
    hits = [hit for one in images for hit in _hits(one, least_iou)]
    curve, right = [], 0
    for rank, (_, hit) in enumerate(sorted(hits, reverse=True), 1):
        right += hit
        curve.append((right / wanted, right / rank))
    best = [max((precision for recall, precision in curve if recall >= r), default=0) for r in np.linspace(0, 1, 101)]
    return float(np.mean(best))


def _hits(one: ImageBoxes, least_iou: float) -> list[tuple[float, bool]]:
    free, hits = list(range(len(one.true))), []
    for index in np.argsort(-one.scores):
        overlaps = [(_iou(one.found[index], one.true[j]), j) for j in free]
        best, taken = max(overlaps, default=(0, -1))
        if best >= least_iou:
            free.remove(taken)
        hits.append((float(one.scores[index]), best >= least_iou))
    return hits


def _iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = float(max(width, 0)) * float(max(height, 0))
    return inter / (float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])) - inter)


def disc(x: int, y: int, radius: int) -> RunLengths:
    rows, columns = np.ogrid[:80, :100]
    return encode((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def test_masks_are_matched_by_their_overlap() -> None:
    """Two discs of IoU 0.56: right at 0.5 and 0.55, wrong from 0.6 on. The corners of their boxes do not count."""
    inner, outer = disc(40, 40, 15), disc(40, 40, 20)
    assert coco_mask_ap([ImageMasks([outer], [outer], np.float32([0.9]))])["AP"] == pytest.approx(1.0)
    figures = coco_mask_ap([ImageMasks([outer], [inner], np.float32([0.9]))])
    assert figures == pytest.approx({"AP": 0.2, "AP50": 1.0, "AP75": 0.0})


def test_a_false_mask_counts_where_it_scores_higher() -> None:
    true, false = disc(30, 30, 12), disc(80, 60, 12)
    low, high = (
        coco_mask_ap([ImageMasks([true], [true, false], np.float32([0.9, score]))])["AP50"] for score in (0.5, 0.95)
    )
    assert low == pytest.approx(1.0) and high == pytest.approx(0.5)


def test_no_mask_found_scores_0_and_none_to_find_is_undefined() -> None:
    assert coco_mask_ap([ImageMasks([disc(30, 30, 12)], [], np.zeros(0, np.float32))])["AP"] == 0
    assert coco_mask_ap([ImageMasks([], [], np.zeros(0, np.float32))])["AP"] is None
