"""Format the report of an evaluation as text tables, in percent as in the paper, or in px where a column says so."""

from collections.abc import Mapping
from typing import Any

from realtime_polyp.messages import each_once
from realtime_polyp.telemetry.text_table import format_table

Figures = dict[str, Any]

COCO = {"AP": "AP", "AP50": "AP50", "AP75": "AP75", "AP_s": "AP_s", "AP_m": "AP_m", "AP_l": "AP_l", "AR": "AR"}
ENDOCV = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "AP_small": "small",
    "AP_medium": "medium",
    "AP_large": "large",
    "AR": "AR",
    "score_d": "score_d",
}
SEGMENTATION = {
    "dice": "Dice",
    "iou_p": "mIoU_p",
    "iou_b": "IoU_b",
    "miou": "mIoU_p+b",
    "sensitivity": "Sen",
    "specificity": "Spe",
    "accuracy": "Acc",
    "precision": "Pre",
    "f2": "F2",
    "challenge": "chall.",
    "hd95_px": "HD95 px",
    "hausdorff_px": "HD px",
}
DRAWN = {
    "AP": "mask AP",
    "AP50": "mask AP50",
    "AP75": "mask AP75",
    "box_AP": "box AP",
    "box_AP50": "box AP50",
    "box_AP75": "box AP75",
}
MIOU_NOTE = (
    "mIoU_p: mean IoU of the polyp (IoU_p), the mIoU of most papers on polyp segmentation; "
    "mIoU_p+b = (IoU_p + IoU_b) / 2, the mIoU of the paper's Table 4."
)


def format_report(report: Figures) -> str:
    """Format every table of the report, separated by blank lines."""
    sets = {"all": report, **report["per_centre"]}
    parts = [_format_head(report)]
    if report["detection"]:
        boxes = {name: one["detection"] for name, one in sets.items()}
        endocv = {name: one["endocv"] for name, one in boxes.items()}
        settings = "scores from {score:g}, NMS IoU {nms_iou:g}, {most_detections} boxes at most".format(
            **report["thresholds"]
        )
        parts.append(
            _format_section(f"Detection in %, COCO sizes (32², 96²) on the stored grid; {settings}", COCO, boxes, sets)
        )
        parts.append(
            _format_section("Detection in %, EndoCV2021 sizes (100², 200²) on the original grid", ENDOCV, endocv, sets)
        )
    if report["segmentation"]:
        masks = {name: one["segmentation"] for name, one in sets.items()}
        masks["all, pooled pixels"] = report["segmentation"]["pooled"]
        threshold = report["thresholds"]["mask"]
        title = f"Segmentation in %, mean over images, threshold {threshold:g}; distances on the stored grid"
        parts += [_format_section(title, SEGMENTATION, masks, sets), MIOU_NOTE]
    if report.get("drawn"):
        drawn = {name: one["drawn"] for name, one in sets.items()}
        title = "What is drawn, in %, COCO style: the outline and the box of each detection, which agree, at its score"
        parts.append(_format_section(title, DRAWN, drawn, sets))
    if "generalisation" in report:
        parts.append(_format_deviations(report["generalisation"]))
    if "challenge" in report:
        parts.append(_format_challenge(report["challenge"]))
    return "\n\n".join(parts) + "\n"


def _format_head(report: Figures) -> str:
    models = each_once(report["models"].values(), " and ")
    lines = [f"\n{report['data']}, {format_images(report)} images: {models} on {report['engine']}"]
    if report.get("multi_scale"):
        scales = ", ".join(f"{scale:g}" for scale in report["multi_scale"]["scales"])
        lines.append(f"multi-scale test: each image at {scales} of the model's size, and flipped")
    if report.get("bootstrap"):
        note = report["bootstrap"]
        level, draws = f"{100 * note['level']:g} %", f"{note['samples']} draws of {note['drawn']}"
        lines.append(f"in brackets: {level} interval, percentiles of {draws}")
    return "\n".join(lines)


def format_images(report: Mapping[str, Any]) -> str:
    """Format the number of measured images, such as "24 of 472" for a part of the set."""
    images, whole = report["images"], report.get("set_images")
    return f"{images} of {whole}" if whole not in (None, images) else str(images)


def _format_deviations(figures: Figures) -> str:
    head = f"Deviation from {figures['mixed']}, as the challenge defines it (0 within a tenth, asymmetric): "
    return head + _format_both(figures)


def _format_challenge(summary: Figures) -> str:
    lines = [f"Deviation of {one['data']}, as the challenge defines it: {_format_both(one)}" for one in summary["sets"]]
    average = summary["final_dAvg"]
    sets = " and ".join(one["data"] for one in summary["sets"])
    lines.append(f"final_dAvg, mean AP of this set with {sets}: {'-' if average is None else f'{100 * average:.1f} %'}")
    return "\n".join(lines)


def _format_both(figures: Figures) -> str:
    found = {"detection (dev_g)": figures["dev_g"], "segmentation": figures["segmentation_deviation"]}
    return ", ".join(f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in found.items())


def _format_section(title: str, columns: dict[str, str], rows: dict[str, Figures], sets: dict[str, Figures]) -> str:
    """Format a title and a table with a row per set, followed by a row of intervals where there are any.

    columns: figure -> heading. rows: set -> its figures. sets: set -> its report, which holds the number of images.
    """
    cells = []
    for name, figures in rows.items():
        images = str(sets[name if name in sets else "all"]["images"])
        cells.append([name, images, *(format_value(key, figures.get(key)) for key in columns)])
        if "intervals" in figures:
            cells.append(["", "", *(format_interval(key, figures["intervals"].get(key)) for key in columns)])
    return f"{title}\n{format_table(['', 'images', *columns.values()], cells)}"


def format_value(key: str, value: float | None) -> str:
    """Format a figure in percent, or in px for the keys that end so; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if key.endswith("_px") else f"{100 * value:.1f}"


def format_interval(key: str, interval: list[float] | None) -> str:
    """Format an interval [low, high]; a dash for None."""
    return "-" if interval is None else f"[{format_value(key, interval[0])} {format_value(key, interval[1])}]"
