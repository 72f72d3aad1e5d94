"""Contact sheets of an evaluation: its best and worst cases, with the true outline and the predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.overlaps import false_boxes, matches
from realtime_polyp.metrics.segmentation import scores_of
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.data.stills import read_image, read_mask
from trainers.evaluation.contact_sheets import (
    COLUMNS,
    FOUND,
    MARKED,
    ROWS,
    TRUE,
    Page,
    centre_on_tile,
    draw_box,
    draw_outline,
    fit_to_tile,
    write_pages,
)
from trainers.evaluation.predict import Case

_LONGEST_STEM = 34


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet.

    Attributes:
        case: what is shown.
        caption: text below the file name; may be empty.
        marked: the box (4,) that the tile is about, xyxy, stored px.
    """

    case: Case
    caption: str
    marked: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Sheet:
    """A selection of cases.

    Attributes:
        stem: file name without its suffix.
        title: heading.
        tiles: what it shows, in order.
        marks: meaning of the marked boxes, for the legend.
    """

    stem: str
    title: str
    tiles: list[Tile]
    marks: str | None = None


def write_gallery(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Write the sheets that have tiles as JPEG files and return their paths; delete earlier files of empty sheets."""
    return write_pages([page_of(sheet) for sheet in sheets_of(cases)], folder)


def page_of(sheet: Sheet) -> Page:
    legend = {"true polyp": TRUE, "found (mask, boxes)": FOUND}
    if sheet.marks:
        legend[sheet.marks] = MARKED
    return Page(sheet.stem, sheet.title, [(paint(tile), _caption(tile)) for tile in sheet.tiles], legend)


def sheets_of(cases: Sequence[Case], most: int = COLUMNS * ROWS) -> list[Sheet]:
    """Select the tiles of each sheet, the most extreme first, at most `most` per sheet."""
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
    """Return a tile for each true box that no shown box finds, by rising best score, then falling area."""
    found = []
    for case in cases:
        for box, on_it in zip(case.still.boxes, matches(case.still.boxes, case.boxes.found), strict=True):
            score = float(case.boxes.scores[on_it].max(initial=0))
            if score < SCORE_THRESHOLD:
                area = float((box[2] - box[0]) * (box[3] - box[1]))
                caption = f"missed: best box {score:.2f}" if score else "missed: no box on it"
                found.append((score, -area, Tile(case, caption, box)))
    return [tile for _, _, tile in sorted(found, key=lambda one: one[:2])]


def false_alarms(cases: Sequence[Case]) -> list[Tile]:
    """Return a tile for each image's highest-scored box that finds no true box, highest score first."""
    found = []
    for case in cases:
        is_false = false_boxes(case.boxes.found, case.still.boxes)
        if is_false.any():
            first = int(is_false.argmax())  # detections are sorted by falling score
            score = float(case.boxes.scores[first])
            found.append((-score, Tile(case, f"false alarm: score {score:.2f}", case.boxes.found[first])))
    return [tile for _, tile in sorted(found, key=lambda one: one[0])]


def _caption(tile: Tile) -> str:
    stem = tile.case.still.image_path.stem
    if len(stem) > _LONGEST_STEM:
        stem = f"{stem[: _LONGEST_STEM // 2]}…{stem[-_LONGEST_STEM // 2 + 1 :]}"
    return f"{stem}\n{_describe(tile)}"


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
    """Paint the tile (h, w, 3): the still with outlines and boxes, centred on black."""
    case = tile.case
    image, true = read_image(case.still.image_path), read_mask(case.still.mask_path)
    canvas, scale = fit_to_tile(image)
    if case.mask is not None:
        draw_outline(canvas, case.mask.to_source(*image.shape[:2]), scale, FOUND)
    draw_outline(canvas, true, scale, TRUE)
    if case.detections is not None:
        for box, score in zip(case.boxes.found, case.boxes.scores, strict=True):
            if score >= SCORE_THRESHOLD:
                draw_box(canvas, box, scale, FOUND, f"{score:.2f}")
    if tile.marked is not None:
        draw_box(canvas, tile.marked, scale, MARKED)
    return centre_on_tile(canvas)


def _has_polyp(case: Case) -> bool:
    counts = case.segmentation.counts if case.segmentation else None
    return len(case.still.boxes) > 0 or (counts is not None and counts.tp + counts.fn > 0)


def _dice(case: Case) -> float:
    assert case.segmentation is not None
    return scores_of(case.segmentation.counts).dice
