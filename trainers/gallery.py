"""Contact sheets of an evaluation: the cases worth a look, with the true outline and what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from realtime_polyp.field import Image
from realtime_polyp.metrics.segmentation import scores_of
from realtime_polyp.postprocess import SCORE_THRESHOLD
from realtime_polyp.prepare import shrink
from trainers.cases import Case
from trainers.data import read_image, read_mask

matplotlib.use("Agg")  # evaluation runs on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

MATCH_IOU = 0.2  # a shown box that overlaps a polyp this much has found it (METRICS 4)
_COLUMNS, _ROWS = 4, 3
_TILE_PX = (400, 320)  # width, height
_TRUE, _FOUND, _MARKED = (0, 229, 255), (255, 221, 0), (255, 255, 255)  # apart on mucosa, for the colour-blind too
_BACKGROUND = "#16181c"
_TEXT = "#e8e8e8"
_LONGEST_STEM = 34
_LABEL_SCALE = 0.38


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet. marked: the box (4,) xyxy stored px that it is shown for."""

    case: Case
    caption: str
    marked: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Sheet:
    """stem: of the file. marks: what a white box means, for the legend."""

    stem: str
    title: str
    tiles: list[Tile]
    marks: str | None = None


def write_gallery(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Write the sheets that have something to show as JPEG files; a sheet of an earlier run without one goes away."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for sheet in sheets_of(cases):
        path = folder / f"{sheet.stem}.jpg"
        path.unlink(missing_ok=True)
        if sheet.tiles:
            draw_sheet(sheet, path)
            written.append(path)
    return written


def sheets_of(cases: Sequence[Case], most: int = _COLUMNS * _ROWS) -> list[Sheet]:
    """What each sheet shows, worst (best) first, `most` tiles at most."""
    by_dice = sorted((case for case in cases if case.segmentation), key=_dice)
    with_polyp = [case for case in by_dice if _has_polyp(case)]
    worst = [Tile(case, "") for case in by_dice if _dice(case) < 1]
    best = [Tile(case, "") for case in reversed(with_polyp)]
    detected = [case for case in cases if case.detections is not None]
    return [
        Sheet("dice_worst", "Lowest Dice", worst[:most]),
        Sheet("dice_best", "Highest Dice, of the images with a polyp", best[:most]),
        Sheet("misses", f"Polyps with no box of score {SCORE_THRESHOLD} or more", misses(detected)[:most], "missed"),
        Sheet("false_alarms", "Highest-scored boxes beside any polyp", false_alarms(detected)[:most], "false alarm"),
    ]


def misses(cases: Sequence[Case]) -> list[Tile]:
    """Each true box that no shown box reaches, the least noticed first, then the largest."""
    found = []
    for case in cases:
        overlaps = iou(case.still.boxes, case.boxes.found)
        for box, row in zip(case.still.boxes, overlaps, strict=True):
            score = float(case.boxes.scores[row >= MATCH_IOU].max(initial=0))
            if score < SCORE_THRESHOLD:
                area = float((box[2] - box[0]) * (box[3] - box[1]))
                caption = f"missed: best box {score:.2f}" if score else "missed: no box on it"
                found.append((score, -area, Tile(case, caption, box)))
    return [tile for _, _, tile in sorted(found, key=lambda one: one[:2])]


def false_alarms(cases: Sequence[Case]) -> list[Tile]:
    """Each image's best-scored box that reaches no true box, highest score first."""
    found = []
    for case in cases:
        astray = iou(case.boxes.found, case.still.boxes).max(axis=1, initial=0) < MATCH_IOU
        if astray.any():
            first = int(astray.argmax())  # detections come best first
            score = float(case.boxes.scores[first])
            found.append((-score, Tile(case, f"false alarm: score {score:.2f}", case.boxes.found[first])))
    return [tile for _, tile in sorted(found, key=lambda one: one[0])]


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU (n, m) of boxes (n, 4) and (m, 4) xyxy."""
    corner, end = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (end - corner).clip(0).prod(axis=2)
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
    return np.asarray(inter / (areas[0][:, None] + areas[1][None] - inter).clip(1e-9), np.float32)


def draw_sheet(sheet: Sheet, path: Path) -> None:
    """A grid of tiles with a title and a legend."""
    rows = -(-len(sheet.tiles) // _COLUMNS)
    width_inch, height_inch = _COLUMNS * 4.1, rows * 3.75 + 0.8
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(width_inch, height_inch), squeeze=False, facecolor=_BACKGROUND)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, tile in zip(axes.flat, sheet.tiles, strict=False):
        _draw_tile(axis, tile)
    head = 1 - 0.55 / height_inch  # the title's foot, as a share of the height
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.1 / height_inch, top=head - 0.55 / height_inch, wspace=0.03, hspace=0.17
    )
    figure.text(0.012, head, sheet.title, color=_TEXT, fontsize=17, weight="bold")
    _draw_legend(figure, sheet, head)
    figure.savefig(path, dpi=100, facecolor=_BACKGROUND, pil_kwargs={"quality": 90})
    plt.close(figure)


def _draw_legend(figure: Figure, sheet: Sheet, head: float) -> None:
    names = {"true polyp": _TRUE, "found (mask, boxes)": _FOUND}
    if sheet.marks:
        names[sheet.marks] = _MARKED
    lines = [Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*rgb), lw=3, label=name) for name, rgb in names.items()]
    figure.legend(
        handles=lines, loc="center right", bbox_to_anchor=(0.995, head + 0.008), ncols=len(lines), frameon=False,
        labelcolor=_TEXT, fontsize=13,
    )  # fmt: skip


def _draw_tile(axis: Axes, tile: Tile) -> None:
    axis.imshow(paint(tile))
    stem = tile.case.still.image_path.stem
    if len(stem) > _LONGEST_STEM:
        stem = f"{stem[: _LONGEST_STEM // 2]}…{stem[-_LONGEST_STEM // 2 + 1 :]}"
    axis.set_title(f"{stem}\n{_describe(tile)}", color=_TEXT, fontsize=10, loc="left", pad=4)


def _describe(tile: Tile) -> str:
    parts = [tile.caption] if tile.caption else []
    if tile.case.segmentation:
        parts.append(f"Dice {_dice(tile.case):.2f}")
    if not _has_polyp(tile.case):
        parts.append("no polyp")
    if tile.case.detections is not None and not tile.caption:
        parts.append(f"best box {tile.case.detections.scores.max(initial=0):.2f}")
    return " · ".join(parts)


def paint(tile: Tile) -> Image:
    """The tile's picture (h, w, 3) with outlines and boxes, fitted into its place on black."""
    case = tile.case
    image, true = read_image(case.still.image_path), read_mask(case.still.mask_path)
    height, width = image.shape[:2]
    scale = min(_TILE_PX[0] / width, _TILE_PX[1] / height)
    canvas = shrink(image, (round(height * scale), round(width * scale))).copy()
    if case.mask is not None:
        _outline(canvas, case.mask.to_source(height, width), scale, _FOUND)
    _outline(canvas, true, scale, _TRUE)
    if case.detections is not None:
        for box, score in zip(case.boxes.found, case.boxes.scores, strict=True):
            if score >= SCORE_THRESHOLD:
                _rectangle(canvas, box, scale, _FOUND, f"{score:.2f}")
    if tile.marked is not None:
        _rectangle(canvas, tile.marked, scale, _MARKED)
    return _centred(canvas)


def _outline(canvas: Image, mask: NDArray[np.bool_], scale: float, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [np.round(contour * scale).astype(np.int32) for contour in contours]
    cv2.polylines(canvas, lines, True, (0, 0, 0), 4, cv2.LINE_AA)  # a dark rim keeps the line apart from highlights
    cv2.polylines(canvas, lines, True, colour, 2, cv2.LINE_AA)


def _rectangle(
    canvas: Image, box: NDArray[np.float32], scale: float, colour: tuple[int, int, int], label: str = ""
) -> None:
    x1, y1, x2, y2 = (round(float(edge) * scale) for edge in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 0, 0), 3, cv2.LINE_AA)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 1, cv2.LINE_AA)
    if label:
        _chip(canvas, label, (x1, y1), colour)


def _chip(canvas: Image, label: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """A filled label above a box, or in it where the picture ends."""
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, _LABEL_SCALE, 1)
    left = min(max(0, corner[0]), canvas.shape[1] - width - 4)
    foot = corner[1] if corner[1] >= height + 6 else corner[1] + height + 6
    cv2.rectangle(canvas, (left, foot - height - 6), (left + width + 4, foot), colour, cv2.FILLED)
    cv2.putText(canvas, label, (left + 2, foot - 3), cv2.FONT_HERSHEY_SIMPLEX, _LABEL_SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def _centred(picture: Image) -> Image:
    width, height = _TILE_PX
    canvas = np.zeros((height, width, 3), np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _has_polyp(case: Case) -> bool:
    counts = case.segmentation.counts if case.segmentation else None
    return len(case.still.boxes) > 0 or (counts is not None and counts.tp + counts.fn > 0)


def _dice(case: Case) -> float:
    assert case.segmentation is not None
    return scores_of(case.segmentation.counts).dice
