"""What is drawn over the picture: shapes in source pixels, and a painter for saved video.

The viewer paints the same shapes with Qt, so that a saved video and the screen never disagree.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Boxes, Mask, Result, Track

MaskStyle = Literal["outline", "fill", "none"]
Colour = tuple[int, int, int]

SHOWN_COLOUR: Colour = (64, 255, 128)  # RGB; green and cyan are what mucosa never is
HELD_COLOUR: Colour = (255, 208, 64)
MASK_COLOUR: Colour = (64, 224, 255)
FILL_OPACITY = 0.30
_MASK_THRESHOLD = 0.5
_MIN_MASK_CELLS = 12  # of the model's map: smaller connected components are noise
_NEAR_BOX = 0.25  # of a box's size: a connected component this far outside every shown box is not drawn


@dataclass(frozen=True)
class OverlayStyle:
    """How results are drawn.

    Attributes:
        boxes, labels: drawn or not.
        mask: as outline, filled, or not at all.
        min_score: hides tracks with a lower score at once, whatever the pipeline keeps.
    """

    boxes: bool = True
    labels: bool = True
    mask: MaskStyle = "outline"
    min_score: float = 0.0


@dataclass(frozen=True)
class BoxShape:
    """A box to draw.

    Attributes:
        box: xyxy, source px.
        label: such as "3  0.87", or "".
        held: not detected in this frame.
    """

    box: tuple[float, float, float, float]
    label: str
    held: bool


@dataclass(frozen=True)
class Shapes:
    """Everything that is drawn over one picture.

    Attributes:
        boxes: the boxes.
        outlines: mask outlines, each (n, 2) xy, source px.
        fill: fill the outlines.
    """

    boxes: tuple[BoxShape, ...]
    outlines: tuple[NDArray[np.float32], ...]
    fill: bool


NO_SHAPES = Shapes((), (), fill=False)


def shapes_of(result: Result, style: OverlayStyle = OverlayStyle()) -> Shapes:
    """The shapes of one result; none over a picture that is black or frozen."""
    if result.signal != "ok":
        return NO_SHAPES
    tracks = [track for track in result.tracks if track.visible and track.score >= style.min_score]
    boxes = tuple(_box_shape(track, style) for track in tracks) if style.boxes else ()
    if result.mask is None or style.mask == "none":
        return Shapes(boxes, (), fill=False)
    return Shapes(boxes, outlines_of(result.mask, tracks, result), fill=style.mask == "fill")


def _box_shape(track: Track, style: OverlayStyle) -> BoxShape:
    x1, y1, x2, y2 = (float(value) for value in track.box)
    label = f"{track.id}  {track.score:.2f}" if style.labels else ""
    return BoxShape((x1, y1, x2, y2), label, track.state == "held")


def outlines_of(mask: Mask, tracks: list[Track], result: Result) -> tuple[NDArray[np.float32], ...]:
    """Outlines of the mask's connected components in source px, at sub-cell precision.

    Where a detector ran, components away from every shown track are left out, so that boxes and mask agree.
    """
    height, width = mask.probability.shape
    factor = 4  # the map is coarse: interpolate before cutting, or the outline is a staircase
    fine = cv2.resize(mask.probability, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR)
    binary = (fine >= _MASK_THRESHOLD).astype(np.uint8)
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    cell = np.array([mask.field_of_view.width / fine.shape[1], mask.field_of_view.height / fine.shape[0]], np.float32)
    corner = np.array([mask.field_of_view.x1, mask.field_of_view.y1], np.float32)
    large = [c for c in contours if cv2.contourArea(c) >= _MIN_MASK_CELLS * factor**2]
    outlines = [(contour[:, 0].astype(np.float32) + 0.5) * cell + corner for contour in large]
    if not result.has_detector:
        return tuple(outlines)
    boxes = np.array([track.box for track in tracks], np.float32).reshape(-1, 4)
    return tuple(line for line in outlines if is_at_box(line.min(axis=0), line.max(axis=0), boxes))


def draw(image: Image, shapes: Shapes) -> Image:
    """A copy of the image (H, W, 3) RGB with the shapes painted on it; line widths follow the image's height."""
    painted = image.copy()
    width_px = max(1, round(image.shape[0] / 360))
    if shapes.outlines:
        _draw_outlines(painted, shapes, width_px)
    for box in shapes.boxes:
        _draw_box(painted, box, width_px)
    return painted


def _draw_outlines(painted: Image, shapes: Shapes, width_px: int) -> None:
    lines = [np.round(outline).astype(np.int32) for outline in shapes.outlines]
    if shapes.fill:
        filled = painted.copy()
        cv2.fillPoly(filled, lines, MASK_COLOUR)
        cv2.addWeighted(filled, FILL_OPACITY, painted, 1 - FILL_OPACITY, 0, dst=painted)
    cv2.polylines(painted, lines, True, MASK_COLOUR, width_px, cv2.LINE_AA)


def _draw_box(painted: Image, box: BoxShape, width_px: int) -> None:
    colour = HELD_COLOUR if box.held else SHOWN_COLOUR
    x1, y1, x2, y2 = (round(value) for value in box.box)
    cv2.rectangle(painted, (x1, y1), (x2, y2), colour, width_px, cv2.LINE_AA)
    if box.label:
        _draw_label(painted, box.label, (x1, y1), colour, width_px)


def _draw_label(painted: Image, label: str, corner: tuple[int, int], colour: Colour, width_px: int) -> None:
    """Black on the box's colour, above the box, or inside it where the picture ends."""
    scale, thickness_px = max(0.4, painted.shape[0] / 1100), max(1, width_px // 2)
    (width, height), base = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness_px)
    x, y = corner[0], corner[1] - base - width_px
    if y - height < 0:
        y = corner[1] + height + base
    cv2.rectangle(painted, (x, y - height - base), (x + width + 2 * base, y + base), colour, cv2.FILLED)
    place = (x + base, y)
    cv2.putText(painted, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thickness_px, cv2.LINE_AA)


def is_at_box(low: NDArray[np.floating], high: NDArray[np.floating], boxes: Boxes) -> bool:
    """Whether a component from low (x, y) to high (x, y) lies at one of the boxes (n, 4) xyxy, all source px."""
    margin = _NEAR_BOX * (boxes[:, 2:] - boxes[:, :2])
    apart = (high < boxes[:, :2] - margin) | (low > boxes[:, 2:] + margin)
    return bool((~apart.any(axis=1)).any())


def drawn_part(mask: NDArray[np.bool_], boxes: Boxes) -> NDArray[np.bool_]:
    """A mask (H, W) in source px without its connected components away from all shown boxes (n, 4) xyxy."""
    if not len(boxes) or not mask.any():
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    corners = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]]
    sizes = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    drawn = np.array([is_at_box(low, low + size, boxes) for low, size in zip(corners, sizes, strict=True)])
    drawn[0] = False  # the background
    return np.asarray(drawn[labels])
