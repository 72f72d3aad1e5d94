"""Average precision of what is drawn: of each detection with a mask, its box and its outline (METRICS 1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from realtime_polyp.metrics.detection import ImageBoxes, ImageMasks, coco_ap, coco_mask_ap
from realtime_polyp.metrics.run_lengths import encode, encode_outlines
from realtime_polyp.postprocess.polyp_shape import polyp_shapes
from trainers.data.stills import label_polyps, read_mask
from trainers.evaluation.predict import Case


def shape_figures(cases: Sequence[Case]) -> dict[str, Any]:
    """Compute COCO's figures of masks and of boxes, as drawn, in stored px, 0..1. All cases must have detections and a
    mask."""
    images = [drawn_polyps(case) for case in cases]
    masks, boxes = (list(kind) for kind in zip(*images, strict=True))
    found = {f"box_{name}": value for name, value in coco_ap(boxes).items() if name in ("AP", "AP50", "AP75")}
    return {**coco_mask_ap(masks), **found, "true_polyps": sum(len(image.true) for image in masks)}


def drawn_polyps(case: Case) -> tuple[ImageMasks, ImageBoxes]:
    """Return the true masks and boxes of a case, and those that would be drawn for its detections.

    A detection without an outline has no mask. Outlines are found one by one, so that a weak detection takes nothing
    from a strong one beside it.

    Raises:
        ValueError: a model did not run.
    """
    if case.detections is None or case.mask is None:
        raise ValueError(f"no detector or no segmenter ran on {case.still.image_path.name}")
    labels = label_polyps(read_mask(case.still.mask_path))
    true = [encode(labels == number) for number in range(1, int(labels.max(initial=0)) + 1)]
    scores = case.detections.scores
    shapes = [polyp_shapes(box[None], case.mask)[0] for box in case.detections.boxes]
    outlined = [index for index, shape in enumerate(shapes) if shape.outline is not None]
    size = (labels.shape[1], labels.shape[0])
    found = [encode_outlines([line], size) for shape in shapes if (line := shape.outline) is not None]
    boxes = np.array([shape.box for shape in shapes], np.float32).reshape(-1, 4)
    return ImageMasks(true, found, scores[outlined]), ImageBoxes(case.still.boxes, boxes, scores)
