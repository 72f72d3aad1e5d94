"""Run the models on stills, one by one, as the live line does, and keep the predictions beside the truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView, Image, find_field, whole
from realtime_polyp.inference.checked import checked_predictions, checked_probability
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.segmentation import ImageSegmentation, measure
from realtime_polyp.packets import Detections, Mask
from realtime_polyp.postprocess.nms import detections_of, mask_of
from realtime_polyp.preprocess.letterbox import Batch, prepare
from trainers.data.stills import Still, read_image, read_mask
from trainers.evaluation.multi_scale import detect_at_scales, segment_at_scales


@dataclass(frozen=True)
class Case:
    """One still and the predictions on it; None for a model that did not run.

    Attributes:
        still: the still and its truth.
        field_of_view: stored px.
        detections: boxes in stored px.
        mask: probabilities on the field of view.
        segmentation: the mask against the truth, at stored size.
    """

    still: Still
    field_of_view: FieldOfView
    detections: Detections | None
    mask: Mask | None
    segmentation: ImageSegmentation | None

    @property
    def boxes(self) -> ImageBoxes:
        """True and found boxes, stored px.

        Raises:
            ValueError: no detector ran.
        """
        if self.detections is None:
            raise ValueError(f"no detector ran on {self.still.image_path.name}")
        return ImageBoxes(self.still.boxes, np.asarray(self.detections.boxes), self.detections.scores)


def evaluate(
    stills: Iterable[Still],
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    *,
    score_threshold: float = 0.0,
    mask_threshold: float = 0.5,
    scales: Sequence[float] = (),
    progress: bool = False,
) -> list[Case]:
    """Run the steps of the live line at batch size 1: field of view, letterbox, engines, postprocessing.

    A still without a visible field of view is used whole. scales: multi-scale testing, for engines that take any input
    size; empty: the engine's own size, as in the live line.

    Raises:
        FileNotFoundError: an image or mask is missing.
        ValueError: one cannot be read, or the sizes of an image and its mask differ.
    """
    with tqdm(stills, desc="evaluating", unit="image", disable=not progress) as shown:
        return [
            _evaluate_still(still, detector, segmenter, (score_threshold, mask_threshold), scales) for still in shown
        ]


def _evaluate_still(
    still: Still,
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    thresholds: tuple[float, float],
    scales: Sequence[float],
) -> Case:
    score_threshold, mask_threshold = thresholds
    image = read_image(still.image_path)
    field = find_field(image) or whole(image)
    if scales:
        detections = detect_at_scales(detector, image, field, scales, score_threshold) if detector else None
        mask = segment_at_scales(segmenter, image, field, scales) if segmenter else None
    else:
        sizes = {engine.size for engine in (detector, segmenter) if engine is not None}
        batches = {size: prepare([image], [field], size) for size in sizes}
        detections = detect(detector, batches[detector.size], score_threshold) if detector else None
        mask = segment(segmenter, batches[segmenter.size]) if segmenter else None
    segmentation = _measure_mask(mask, image, still, mask_threshold) if mask else None
    return Case(still, field, detections, mask, segmentation)


def detect(detector: DetectorEngine, batch: Batch, score_threshold: float) -> Detections:
    """Return the detections in a batch of one image. Raises ModelOutputError for an answer that cannot be a result."""
    boxes, scores = checked_predictions(detector(batch.pixels), detector, 1)
    return detections_of(boxes[0], scores[0], batch.placements[0], score_threshold=score_threshold)


def segment(segmenter: SegmenterEngine, batch: Batch) -> Mask:
    """Return the mask of a batch of one image. Raises ModelOutputError for an answer that cannot be a result."""
    probability = checked_probability(segmenter(batch.pixels), segmenter, 1)
    return mask_of(probability[0], batch.placements[0], segmenter.size)


def _measure_mask(mask: Mask, image: Image, still: Still, threshold: float) -> ImageSegmentation:
    true = read_mask(still.mask_path)
    if true.shape != image.shape[:2]:
        raise ValueError(f"{still.mask_path} is {true.shape}, its image {image.shape[:2]}: sizes must agree")
    return measure(mask.to_source(*true.shape, threshold=threshold), true)


def check_files(stills: Iterable[Still], *, masks: bool) -> None:
    """Check that all files exist. masks: check masks too.

    Raises:
        FileNotFoundError: names the first image or mask that is missing.
    """
    for still in stills:
        _check_file(still.image_path, "image")
        if masks:
            _check_file(still.mask_path, "mask")


def _check_file(path: Path, kind: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no such {kind}: {path} (is --root the folder that the data file's paths start from?)")
