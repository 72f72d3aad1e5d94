"""Measure the models on stills: python -m trainers.evaluate --data ../shared/data/val.json --root ../shared/data

The stills go through the live line itself (field, prepare, engine, postprocess); METRICS 1 to 3 define the figures.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.metrics.detection import coco_ap, deviation, endocv_ap
from realtime_polyp.metrics.segmentation import segmentation_figures
from realtime_polyp.postprocess import MOST_DETECTIONS, NMS_IOU
from trainers.cases import Case, check_files, evaluate
from trainers.command import report_bad_input
from trainers.data import Still, read_stills
from trainers.gallery import write_gallery

Figures = dict[str, Any]

_NONE = "none"
_MASK_THRESHOLD = 0.5
_EPILOG = """examples:
  python -m trainers.evaluate --data ../shared/data/val.json --root ../shared/data
  python -m trainers.evaluate --data ../shared/data/val.json --root ../shared/data --json figures.json
  python -m trainers.evaluate --data ../shared/data/unseen_C6.json --root ../shared/data --mixed figures.json
  python -m trainers.evaluate --data val.json --root . --detector none --gallery runs/gallery --limit 50"""
_COCO = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_s": "AP_s", "AP_m": "AP_m", "AP_l": "AP_l", "AR": "AR"}
_ENDOCV = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP_small": "small",
    "AP_medium": "medium",
    "AP_large": "large",
    "AR": "AR",
    "score_d": "score_d",
}
_SEGMENTATION = {
    "dice": "Dice",
    "miou": "mIoU",
    "iou_p": "IoU_p",
    "iou_b": "IoU_b",
    "sensitivity": "Sen",
    "specificity": "Spe",
    "accuracy": "Acc",
    "precision": "Pre",
    "f2": "F2",
    "challenge": "chall.",
    "hd95_px": "HD95 px",
    "hausdorff_px": "HD px",
}


def main(arguments: list[str] | None = None) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options)


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.evaluate",
        description="Measure the detector and the segmenter on stills with truth, overall and for each centre.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    engines = ", ".join(ENGINE_NAMES)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills and their truth")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that the file's image paths start from")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="or none (default: %(default)s)")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="or none (default: %(default)s)")
    add("--engine", default="auto", metavar="NAME", help=f"{engines} (default: %(default)s)")
    add("--json", type=Path, metavar="OUT", help="write every figure there, 0..1 and px")
    add("--mixed", type=Path, metavar="FIGURES.json", help="figures of the mixed set, to tell the deviation from them")
    add("--gallery", type=Path, metavar="DIR", help="write contact sheets of the best and worst cases there")
    add("--limit", type=int, metavar="N", help="use only the first N images")
    add("--score-threshold", type=float, default=0.0, help="leave out boxes below it (default: 0, as AP wants)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    stills = chosen_stills(options)
    mixed = read_report(options.mixed) if options.mixed else None
    detector, segmenter = open_engines(options)
    cases = evaluate(stills, detector, segmenter, score_threshold=options.score_threshold, progress=True)
    report = report_of(cases, detector, segmenter, data=options.data.name, score_threshold=options.score_threshold)
    if mixed:
        report["generalisation"] = generalisation(report, mixed)
    print(tables(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"figures: {options.json}")
    if options.gallery:
        sheets = write_gallery(cases, options.gallery)
        print(f"pictures: {', '.join(str(sheet) for sheet in sheets)}")
        print("The pictures are the data set's: its licence holds for them. Keep them out of the repository.")


def chosen_stills(options: argparse.Namespace) -> list[Still]:
    """The stills that the options ask for, their files known to be there."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit is {options.limit}: it must be 1 or more")
    if not 0 <= options.score_threshold <= 1:
        raise ValueError(f"--score-threshold is {options.score_threshold}: it must lie in 0..1")
    stills = read_stills(options.data, options.root)[: options.limit]
    if not stills:
        raise ValueError(f"{options.data} has no images: nothing to evaluate")
    check_files(stills, masks=options.segmenter != _NONE or options.gallery is not None)
    return stills


def open_engines(options: argparse.Namespace) -> tuple[DetectorEngine | None, SegmenterEngine | None]:
    if options.detector == options.segmenter == _NONE:
        raise ValueError("--detector and --segmenter are both none: nothing to evaluate")
    detector = None if options.detector == _NONE else open_detector(options.detector, options.engine)
    segmenter = None if options.segmenter == _NONE else open_segmenter(options.segmenter, options.engine)
    return detector, segmenter


def report_of(
    cases: Sequence[Case],
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    *,
    data: str,
    score_threshold: float = 0.0,
) -> Figures:
    """All figures of an evaluation and what they were made with, ready for JSON."""
    engines: dict[str, Engine | None] = {"detector": detector, "segmenter": segmenter}
    centres = sorted({case.still.centre for case in cases})
    return {
        "data": data,
        "models": {task: engine.model if engine else None for task, engine in engines.items()},
        "engine": " + ".join(dict.fromkeys(engine.name for engine in engines.values() if engine)),
        "thresholds": {
            "score": score_threshold,
            "nms_iou": NMS_IOU,
            "most_detections": MOST_DETECTIONS,
            "mask": _MASK_THRESHOLD,
        },
        "size_grids": {"AP_s AP_m AP_l": "stored px, 32² and 96²", "endocv": "original px, 100² and 200²"},
        **figures_of(cases),
        "per_centre": {name: figures_of([case for case in cases if case.still.centre == name]) for name in centres},
    }


def figures_of(cases: Sequence[Case]) -> Figures:
    """The figures of a set of cases in 0..1 and px; None for a model that did not run."""
    segmented = [case.segmentation for case in cases if case.segmentation is not None]
    detected = [case for case in cases if case.detections is not None]
    return {
        "images": len(cases),
        "detection": detection_figures(detected) if detected else None,
        "segmentation": segmentation_figures(segmented) if segmented else None,
    }


def detection_figures(cases: Sequence[Case]) -> Figures:
    """COCO's figures on the stored grid, and under "endocv" the challenge's on the original grid."""
    original = [case.boxes.scaled(case.still.original_scale) for case in cases]
    return {
        **coco_ap([case.boxes for case in cases]),
        "true_boxes": sum(len(case.still.boxes) for case in cases),
        "endocv": endocv_ap(original),
    }


def read_report(path: Path) -> Figures:
    """What an earlier run wrote with --json. Raises ValueError when it is something else."""
    try:
        report = json.loads(path.read_text())
        return {key: report[key] for key in ("data", "detection", "segmentation")}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no figures as --json writes them: {error}") from error


def generalisation(report: Figures, mixed: Figures) -> Figures:
    """The challenge's deviation of this set's figures from the mixed set's; None where a figure is missing."""
    return {
        "mixed": mixed["data"],
        "dev_g": deviation(_detection_quantities(mixed), _detection_quantities(report)),
        "segmentation_deviation": deviation(_segmentation_quantities(mixed), _segmentation_quantities(report)),
    }


def _detection_quantities(report: Figures) -> list[float | None]:
    endocv = (report["detection"] or {}).get("endocv", {})
    return [endocv.get(name) for name in ("AP", "AP_small", "AP_medium", "AP_large")]


def _segmentation_quantities(report: Figures) -> list[float | None]:
    figures = report["segmentation"] or {}
    distance = figures.get("hausdorff_normalised")
    quantities = [figures.get(name) for name in ("dice", "sensitivity", "precision")]
    return [*quantities, None if distance is None else 1 - distance]


def tables(report: Figures) -> str:
    """The report as text for a terminal: in percent, as the paper prints them, but px where a column says so."""
    sets = {"all": report, **report["per_centre"]}
    models = " and ".join(name for name in report["models"].values() if name)
    parts = [f"\n{report['data']}, {report['images']} images: {models} on {report['engine']}"]
    if report["detection"]:
        boxes = {name: one["detection"] for name, one in sets.items()}
        endocv = {name: one["endocv"] for name, one in boxes.items()}
        settings = "scores from {score:g}, NMS IoU {nms_iou:g}, {most_detections} boxes at most".format(
            **report["thresholds"]
        )
        parts.append(table(f"Detection in %, COCO sizes (32², 96²) on the stored grid; {settings}", _COCO, boxes, sets))
        parts.append(table("Detection in %, EndoCV2021 sizes (100², 200²) on the original grid", _ENDOCV, endocv, sets))
    if report["segmentation"]:
        masks = {name: one["segmentation"] for name, one in sets.items()}
        masks["all, pooled pixels"] = report["segmentation"]["pooled"]
        threshold = report["thresholds"]["mask"]
        title = f"Segmentation in %, mean over images, threshold {threshold:g}; distances on the stored grid"
        parts.append(table(title, _SEGMENTATION, masks, sets))
    if "generalisation" in report:
        parts.append(_deviations(report["generalisation"]))
    return "\n\n".join(parts) + "\n"


def _deviations(figures: Figures) -> str:
    found = {"detection (dev_g)": figures["dev_g"], "segmentation": figures["segmentation_deviation"]}
    values = ", ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in found.items())
    return f"Deviation from {figures['mixed']}, as the challenge defines it (0 within a tenth, asymmetric): {values}"


def table(title: str, columns: dict[str, str], rows: dict[str, Figures], sets: dict[str, Figures]) -> str:
    """columns: figure -> heading. rows: set -> its figures. sets: where each set's number of images is."""
    widest = max(len(name) for name in rows)
    lines = [title, f"{'':{widest}}  images" + "".join(f"{heading:>9}" for heading in columns.values())]
    for name, figures in rows.items():
        images = sets[name if name in sets else "all"]["images"]
        cells = "".join(f"{_cell(key, figures.get(key)):>9}" for key in columns)
        lines.append(f"{name:{widest}}  {images:6d}{cells}")
    return "\n".join(lines)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key.endswith("_px") else f"{100 * value:.1f}"


if __name__ == "__main__":
    main()
