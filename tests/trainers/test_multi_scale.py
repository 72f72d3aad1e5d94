"""The multi-scale test: sizes, mirroring there and back, and one answer from all views."""

from pathlib import Path

import numpy as np
import pytest
import torch
from green import EagerGreenDetector, EagerGreenSegmenter, write_green_data
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.checked import ModelOutputError
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS
from trainers.data.stills import Still, read_stills
from trainers.evaluation.figures import compute_figures
from trainers.evaluation.multi_scale import SCALES, detect_at_scales, flip_boxes, scaled_size, segment_at_scales
from trainers.evaluation.predict import evaluate


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> list[Still]:
    root: Path = write_green_data(tmp_path_factory.mktemp("stills"))
    return read_stills(root / "data.json", root)


@given(st.integers(32, 1400), st.sampled_from(SCALES))
def test_sizes_are_whole_steps_close_to_the_scale(length: int, scale: float) -> None:
    height, width = scaled_size((length, 2 * length), scale)
    assert height % 32 == width % 32 == 0 and height >= 32
    assert abs(height - length * scale) <= 16 and abs(width - 2 * length * scale) <= 16


def test_the_papers_size() -> None:
    assert [scaled_size((800, 1344), scale) for scale in SCALES] == [(608, 1024), (800, 1344), (992, 1664)]


def test_every_view_is_seen_and_the_answer_is_as_good(stills: list[Still]) -> None:
    detector, segmenter = EagerGreenDetector(), EagerGreenSegmenter()
    figures = compute_figures(evaluate(stills, detector, segmenter, scales=SCALES))
    assert detector.sizes[:6] == [(96, 128)] * 2 + [(128, 160)] * 2 + [(160, 192)] * 2
    assert len(detector.sizes) == len(segmenter.sizes) == 6 * len(stills)
    assert figures["detection"]["AP75"] == pytest.approx(1)  # one box a polyp: six views went through one NMS
    assert figures["segmentation"]["dice"] > 0.96


def test_boxes_mirrored_twice_are_where_they_were() -> None:
    boxes = np.array([[1, 2, 30, 40]], np.float32)
    assert flip_boxes(boxes, 100).tolist() == [[70, 2, 99, 40]]
    assert flip_boxes(flip_boxes(boxes, 100), 100).tolist() == boxes.tolist()


class LeftDetector(EagerGreenDetector):
    """One box at the left edge of whatever it is shown, its score the brightness there: sees which side is which."""

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        height, width = pixels.shape[2:]
        bright = float(pixels[0, 0, :, : width // 4].mean()) / 255
        return np.array([[[0, 0, width // 4, height]]], np.float32), np.array([[bright]], np.float32)


def test_a_mirrored_views_box_comes_back_on_its_own_side() -> None:
    image = np.zeros((128, 160, 3), np.uint8)
    image[:, :80], image[:, 80:] = 51, 204  # dark to the left, bright to the right
    found = detect_at_scales(LeftDetector(), image, FieldOfView(0, 0, 160, 128), (1.0,), 0.0)
    assert found.boxes.tolist() == [[120, 0, 160, 128], [0, 0, 40, 128]]
    assert found.scores == pytest.approx([0.8, 0.2])


class BrightSegmenter(EagerGreenSegmenter):
    """The brightness, plus a tenth at the left edge of whatever it is shown."""

    size = (128, 160)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        told = pixels[:, 0, ::4, ::4].astype(np.float32) / 255
        told[:, :, 0] += 0.1
        return told


def test_mirrored_masks_are_turned_back_before_the_mean() -> None:
    image = np.zeros((128, 160, 3), np.uint8)
    image[:, 80:] = 204
    mask = segment_at_scales(BrightSegmenter(), image, FieldOfView(0, 0, 160, 128), (1.0,)).probability
    assert mask.shape == (32, 40)
    assert mask[0, [0, 1, -2, -1]] == pytest.approx([0.05, 0, 0.8, 0.85])


def test_the_finest_view_gives_the_grid() -> None:
    image = np.full((128, 160, 3), 100, np.uint8)
    mask = segment_at_scales(BrightSegmenter(), image, FieldOfView(0, 0, 160, 128), SCALES).probability
    assert mask.shape == (152 // 4, 192 // 4)  # the whole width of the input of (160, 192), in whole cells


class BadAtTheFinest:
    """NaN in the first value of an answer at the largest size; at the others, as the engine it is mixed into."""

    def __call__(self, pixels: NDArray[np.uint8]) -> object:
        answer = super().__call__(pixels)  # type: ignore[misc]
        if pixels.shape[2:] == (160, 192):
            (answer[1] if isinstance(answer, tuple) else answer).flat[0] = np.nan
        return answer


class BadDetector(BadAtTheFinest, LeftDetector): ...


class BadSegmenter(BadAtTheFinest, BrightSegmenter): ...


def test_an_answer_that_is_no_result_is_an_error_at_every_scale() -> None:
    """Else a score that is no number would be left out like a weak one, and spoil a mask's mean without a word."""
    image, field = np.zeros((128, 160, 3), np.uint8), FieldOfView(0, 0, 160, 128)
    assert len(detect_at_scales(BadDetector(), image, field, (0.75, 1.0), 0.0))  # type: ignore[arg-type]
    with pytest.raises(ModelOutputError, match="its scores are not numbers in 0..1"):
        detect_at_scales(BadDetector(), image, field, SCALES, 0.0)  # type: ignore[arg-type]
    with pytest.raises(ModelOutputError, match="its mask values are not numbers in 0..1"):
        segment_at_scales(BadSegmenter(), image, field, SCALES)  # type: ignore[arg-type]


def test_the_real_models_take_every_size() -> None:
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    field = FieldOfView(0, 0, 120, 90)
    detector = EagerEngine(Detector(DETECTORS["gflv2-lite0"]), "d", "detector", (96, 128), "cpu")
    segmenter = EagerEngine(Segmenter(SEGMENTERS["lowrank-lite0"]), "s", "segmenter", (96, 128), "cpu")
    found = detect_at_scales(detector, image, field, SCALES, 0.0)  # type: ignore[arg-type]
    assert len(found) and (found.boxes[:, 2] <= 120).all() and (np.diff(found.scores) <= 0).all()
    assert 0 <= segment_at_scales(segmenter, image, field, SCALES).probability.min() <= 1  # type: ignore[arg-type]
