"""Compute the metrics of an evaluation (METRICS 1 to 3) with intervals: the report of `trainers.evaluate --json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.messages import each_once
from realtime_polyp.metrics.bootstrap import Draw, Interval, draws, intervals, means_of, weights_of
from realtime_polyp.metrics.detection import (
    COCO_RANGES,
    ENDOCV_RANGES,
    ImageBoxes,
    Ranges,
    coco_ap,
    deviation,
    endocv_ap,
    final_average,
)
from realtime_polyp.metrics.matches import match
from realtime_polyp.metrics.segmentation import ImageSegmentation, challenge_score, scores_of, segmentation_figures
from realtime_polyp.postprocess.nms import MOST_DETECTIONS, NMS_IOU
from trainers.evaluation.drawn_polyps import shape_figures
from trainers.evaluation.predict import Case
from trainers.evaluation.report_file import read_other_report

Figures = dict[str, Any]

MASK_THRESHOLD = 0.5
_SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Resampling:
    """Settings of the bootstrap.

    Attributes:
        samples: number of draws; 0: no intervals.
        level: confidence level, 0..1.
        seed: of the random draws.
        progress: show a progress bar for each set of figures.
    """

    samples: int = 0
    level: float = 0.95
    seed: int = 0
    progress: bool = False


def build_report(
    cases: Sequence[Case],
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    *,
    data: str,
    set_images: int | None = None,
    score_threshold: float = 0.0,
    scales: Sequence[float] = (),
    resampling: Resampling = Resampling(),
) -> Figures:
    """Compute all figures of an evaluation, overall and for each centre, with the settings that produced them.

    The result can be written as JSON. data: name of the data file. set_images: number of images in the data file; None:
    those of the cases. scales: as in `predict.evaluate`.
    """
    engines: dict[str, Engine | None] = {"detector": detector, "segmenter": segmenter}
    centres = sorted({case.still.centre for case in cases})
    of_centre = {name: [case for case in cases if case.still.centre == name] for name in centres}
    return {
        "data": data,
        "set_images": len(cases) if set_images is None else set_images,
        "models": {task: engine.model if engine else None for task, engine in engines.items()},
        "engine": each_once(engine.name for engine in engines.values() if engine),
        "multi_scale": {"scales": list(scales), "mirrored": True} if scales else None,
        "thresholds": {
            "score": score_threshold,
            "nms_iou": NMS_IOU,
            "most_detections": MOST_DETECTIONS,
            "mask": MASK_THRESHOLD,
        },
        "size_grids": {"AP_s AP_m AP_l": "stored px, 32² and 96²", "endocv": "original px, 100² and 200²"},
        "bootstrap": _bootstrap_note(cases, resampling) if resampling.samples else None,
        **compute_figures(cases, resampling),
        "per_centre": {name: compute_figures(of_centre[name], resampling) for name in centres},
    }


def _bootstrap_note(cases: Sequence[Case], resampling: Resampling) -> Figures:
    drawn = "images" if bootstrap_groups(cases) is None else "groups (a patient or a video each)"
    return {"samples": resampling.samples, "level": resampling.level, "seed": resampling.seed, "drawn": drawn}


def compute_figures(cases: Sequence[Case], resampling: Resampling = Resampling()) -> Figures:
    """Compute the figures of a set of cases, 0..1 and px; None for a model that did not run."""
    segmented = [case for case in cases if case.segmentation is not None]
    detected = [case for case in cases if case.detections is not None]
    both = [case for case in detected if case.mask is not None]
    return {
        "images": len(cases),
        "detection": detection_figures(detected, resampling) if detected else None,
        "segmentation": mask_figures(segmented, resampling) if segmented else None,
        "drawn": shape_figures(both) if both else None,
    }


def detection_figures(cases: Sequence[Case], resampling: Resampling = Resampling()) -> Figures:
    """Compute COCO's figures in stored px and, under "endocv", those of the challenge in original px."""
    stored = [case.boxes for case in cases]
    original = [case.boxes.scaled(case.still.original_scale) for case in cases]
    return {
        **coco_ap(stored),
        "true_boxes": sum(len(case.still.boxes) for case in cases),
        **_box_intervals(cases, stored, COCO_RANGES, resampling),
        "endocv": {**endocv_ap(original), **_box_intervals(cases, original, ENDOCV_RANGES, resampling)},
    }


def _box_intervals(
    cases: Sequence[Case], images: Sequence[ImageBoxes], ranges: Ranges, resampling: Resampling
) -> Figures:
    """Return {"intervals": {figure: [low, high]}}; empty without bootstrap samples."""
    if not resampling.samples:
        return {}
    matches = match(images, ranges)

    def figures(draw: Draw) -> dict[str, float | None]:
        found = matches.figures(weights_of(draw, len(images)))
        parts = [found["AP"], *(found[f"AP_{size}"] for size in ranges if size != "all")]
        known = [part for part in parts if part is not None]
        return {**found, "score_d": sum(known) / len(known) if len(known) == len(parts) else None}

    found = intervals(_draws(cases, resampling, "boxes"), figures, level=resampling.level)
    if "small" not in ranges:
        del found["score_d"]  # the challenge's score is defined on the challenge's size ranges
    return {"intervals": _as_lists(found)}


def mask_figures(cases: Sequence[Case], resampling: Resampling = Resampling()) -> Figures:
    """Compute the segmentation figures of the cases that have a mask."""
    images = [case.segmentation for case in cases if case.segmentation is not None]
    figures = segmentation_figures(images)
    if resampling.samples:
        columns = figures_per_image(images)
        drawn = _draws(cases, resampling, "masks")
        found = intervals(drawn, lambda draw: means_of(columns, draw), level=resampling.level)
        figures["intervals"] = _as_lists(found)
    return figures


def figures_per_image(images: Sequence[ImageSegmentation]) -> dict[str, NDArray[np.float64]]:
    """Return each figure's values (N,) on the images, NaN where an image has no boundary to compare."""
    scores = [scores_of(image.counts) for image in images]
    rows = [{**asdict(one), "challenge": challenge_score(one)} for one in scores]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    for name in ("hd95_px", "hausdorff_px"):
        columns[name] = np.array([getattr(image.boundary, name) if image.boundary else np.nan for image in images])
    return columns


def _draws(cases: Sequence[Case], resampling: Resampling, what: str) -> Any:
    drawn = draws(len(cases), samples=resampling.samples, seed=resampling.seed, groups=bootstrap_groups(cases))
    centres = {case.still.centre for case in cases}
    label = f"resampling {what}, {centres.pop() if len(centres) == 1 else 'all'}"
    return tqdm(drawn, total=resampling.samples, desc=label, leave=False, disable=not resampling.progress)


def bootstrap_groups(cases: Sequence[Case]) -> list[str] | None:
    """Return each case's bootstrap group: its patient or video, else the image itself; None if no case has a group."""
    if not any(case.still.group for case in cases):
        return None
    return [case.still.bootstrap_group for case in cases]


def _as_lists(found: dict[str, Interval | None]) -> dict[str, list[float] | None]:
    return {name: None if one is None else [one.low, one.high] for name, one in found.items()}


def read_report(path: Path) -> Figures:
    """Read what an earlier run wrote with --json.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such report.
    """
    return read_other_report(path)


def generalisation(report: Figures, mixed: Figures) -> Figures:
    """Compute the challenge's deviation of a set's figures from those of the mixed set; None if a figure is missing."""
    return {
        "mixed": mixed["data"],
        "dev_g": deviation(_detection_quantities(mixed), _detection_quantities(report)),
        "segmentation_deviation": deviation(_segmentation_quantities(mixed), _segmentation_quantities(report)),
    }


def challenge_summary(mixed: Figures, others: Sequence[Figures]) -> Figures:
    """Compute final_dAvg over the mixed and the generalisation sets, and each set's deviation from the mixed set."""
    average = final_average(_detection_quantities(mixed)[0], [_detection_quantities(one)[0] for one in others])
    return {"final_dAvg": average, "sets": [{"data": one["data"], **generalisation(one, mixed)} for one in others]}


def _detection_quantities(report: Figures) -> list[float | None]:
    endocv = (report["detection"] or {}).get("endocv", {})
    return [endocv.get(name) for name in ("AP", *(f"AP_{size}" for size in _SIZES))]


def _segmentation_quantities(report: Figures) -> list[float | None]:
    figures = report["segmentation"] or {}
    distance = figures.get("hausdorff_normalised")
    quantities = [figures.get(name) for name in ("dice", "sensitivity", "precision")]
    return [*quantities, None if distance is None else 1 - distance]
