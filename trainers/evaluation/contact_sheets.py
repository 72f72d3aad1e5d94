"""Draw contact sheets: captioned pictures with outlines and boxes, on a dark page with a title and a legend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.geometry import shrink

matplotlib.use("Agg")  # evaluation runs on machines without a screen
import matplotlib.pyplot as plt  # noqa: E402

Colour = tuple[int, int, int]
TRUE: Colour = (0, 229, 255)  # these three are distinguishable on mucosa, with colour blindness too
FOUND: Colour = (255, 221, 0)
MARKED: Colour = (255, 255, 255)
COLUMNS, ROWS = 4, 3
_TILE_PX = (400, 320)  # width, height
_BACKGROUND = "#16181c"
_TEXT = "#e8e8e8"
_LABEL_SCALE = 0.38


@dataclass(frozen=True)
class Page:
    """One contact sheet.

    Attributes:
        stem: file name without its suffix.
        title: heading.
        tiles: painted pictures (h, w, 3), each with its caption.
        legend: meaning -> colour.
    """

    stem: str
    title: str
    tiles: Sequence[tuple[Image, str]]
    legend: Mapping[str, Colour]


def write_pages(pages: Sequence[Page], folder: Path) -> list[Path]:
    """Write the pages that have tiles as JPEG files and return their paths; delete earlier files of empty pages."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in pages:
        path = folder / f"{page.stem}.jpg"
        path.unlink(missing_ok=True)
        if page.tiles:
            _draw(page, path)
            written.append(path)
    return written


def _draw(page: Page, path: Path) -> None:
    rows = -(-len(page.tiles) // COLUMNS)
    width_inch, height_inch = COLUMNS * 4.1, rows * 3.75 + 0.8
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(width_inch, height_inch), squeeze=False, facecolor=_BACKGROUND)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (picture, caption) in zip(axes.flat, page.tiles, strict=False):
        axis.imshow(picture)
        axis.set_title(caption, color=_TEXT, fontsize=10, loc="left", pad=4)
    head = 1 - 0.55 / height_inch  # bottom of the title, as a fraction of the height
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.1 / height_inch, top=head - 0.55 / height_inch, wspace=0.03, hspace=0.17
    )
    figure.text(0.012, head, page.title, color=_TEXT, fontsize=17, weight="bold")
    _draw_legend(figure, page.legend, head)
    figure.savefig(path, dpi=100, facecolor=_BACKGROUND, pil_kwargs={"quality": 90})
    plt.close(figure)


def _draw_legend(figure: Figure, legend: Mapping[str, Colour], head: float) -> None:
    lines = [Line2D([], [], color="#{:02x}{:02x}{:02x}".format(*rgb), lw=3, label=name) for name, rgb in legend.items()]
    figure.legend(
        handles=lines, loc="center right", bbox_to_anchor=(0.995, head + 0.008), ncols=len(lines), frameon=False,
        labelcolor=_TEXT, fontsize=13,
    )  # fmt: skip


# Tiles


def fit_to_tile(image: Image) -> tuple[Image, float]:
    """Resize an image (H, W, 3) to fit into a tile. Returns a copy to paint on and its scale."""
    height, width = image.shape[:2]
    scale = min(_TILE_PX[0] / width, _TILE_PX[1] / height)
    return shrink(image, (round(height * scale), round(width * scale))).copy(), scale


def draw_outline(canvas: Image, mask: NDArray[np.bool_], scale: float, colour: Colour) -> None:
    """Draw the outline of a mask (H, W), in px of the original image."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    lines = [np.round(contour * scale).astype(np.int32) for contour in contours]
    cv2.polylines(canvas, lines, True, (0, 0, 0), 4, cv2.LINE_AA)  # a dark border keeps it visible on highlights
    cv2.polylines(canvas, lines, True, colour, 2, cv2.LINE_AA)


def draw_box(canvas: Image, box: NDArray[np.float32], scale: float, colour: Colour, label: str = "") -> None:
    """Draw a box (4,) xyxy, in px of the original image, with its label above it."""
    x1, y1, x2, y2 = (round(float(edge) * scale) for edge in box)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), (0, 0, 0), 3, cv2.LINE_AA)
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, 1, cv2.LINE_AA)
    if label:
        _chip(canvas, label, (x1, y1), colour)


def _chip(canvas: Image, label: str, corner: tuple[int, int], colour: Colour) -> None:
    """Draw a filled label above a box, or inside it at the top of the image."""
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, _LABEL_SCALE, 1)
    left = min(max(0, corner[0]), canvas.shape[1] - width - 4)
    foot = corner[1] if corner[1] >= height + 6 else corner[1] + height + 6
    cv2.rectangle(canvas, (left, foot - height - 6), (left + width + 4, foot), colour, cv2.FILLED)
    cv2.putText(canvas, label, (left + 2, foot - 3), cv2.FONT_HERSHEY_SIMPLEX, _LABEL_SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def centre_on_tile(canvas: Image) -> Image:
    """Centre an image on a black tile."""
    width, height = _TILE_PX
    tile = np.zeros((height, width, 3), np.uint8)
    top, left = (height - canvas.shape[0]) // 2, (width - canvas.shape[1]) // 2
    tile[top : top + canvas.shape[0], left : left + canvas.shape[1]] = canvas
    return tile
