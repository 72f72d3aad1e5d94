"""What is drawn over the picture: shapes in source pixels, and a painter for saved video.

The viewer paints the same shapes with Qt, so that a saved video and the screen never disagree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.labels import Label, LabelPlacer, Place, Rect
from realtime_polyp.outputs.overlay_lines import EDGE_COLOUR, Look, bars_of, gap_of, leader_of, look_of, within
from realtime_polyp.packets import Result, Track
from realtime_polyp.postprocess.polyp_shape import Outline, PolypShape, outlines_of

Colour = tuple[int, int, int]

SHOWN_COLOUR: Colour = (64, 255, 128)  # RGB; green and cyan are what mucosa never is
HELD_COLOUR: Colour = (255, 208, 64)
MASK_COLOUR: Colour = (64, 224, 255)
LABEL_DARK: Colour = (16, 16, 16)  # background of a held polyp's label
FILL_OPACITY = 0.30
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX, _DIGIT_PX = 29, 20  # size of the font at scale 1, and height of its digits
_LARGEST_PX = 32_000  # further away OpenCV's integers overflow


@dataclass(frozen=True)
class OverlayStyle:
    """How results are drawn.

    Attributes:
        boxes, outline, labels, fill: drawn or not, each on its own. The outline and the fill are the mask's.
        min_score: hides tracks with a lower score at once, whatever the pipeline keeps.
        shown_colour, held_colour, outline_colour: RGB, of a box, of a box without a detection, and of the mask.
    """

    boxes: bool = True
    labels: bool = True
    outline: bool = True
    fill: bool = False
    min_score: float = 0.0
    shown_colour: Colour = SHOWN_COLOUR
    held_colour: Colour = HELD_COLOUR
    outline_colour: Colour = MASK_COLOUR


@dataclass(frozen=True)
class BoxShape:
    """A box to draw.

    Attributes:
        box: xyxy, source px: where its frame is drawn, around the outline if there is one.
        label: such as "3  87 %", or "".
        held: not detected in this frame.
        number: of the polyp.
        framed: its frame is drawn, not its label alone.
        own_colour: RGB; None: the default for its state.
    """

    box: tuple[float, float, float, float]
    label: str
    held: bool
    number: int = 0
    framed: bool = True
    own_colour: Colour | None = None

    @property
    def colour(self) -> Colour:
        return self.own_colour or (HELD_COLOUR if self.held else SHOWN_COLOUR)


@dataclass(frozen=True)
class Shapes:
    """Everything that is drawn over one picture.

    Attributes:
        boxes: the boxes.
        outlines: of the polyps.
        fill: fill the outlines.
        lined: draw the outlines.
        colour: RGB, of the outlines.
    """

    boxes: tuple[BoxShape, ...]
    outlines: tuple[Outline, ...]
    fill: bool
    lined: bool = True
    colour: Colour = MASK_COLOUR

    def polyps(self, scale: float = 1.0, left: float = 0.0, top: float = 0.0) -> list[Rect]:
        """The areas of all boxes and outlines, which no label may cover, scaled and moved to the drawing's px."""
        rects = [box.box for box in self.boxes]
        rects += [(*outline.min(axis=0).tolist(), *outline.max(axis=0).tolist()) for outline in self.outlines]
        return [moved(rect, scale, left, top) for rect in rects]


NO_SHAPES = Shapes((), (), fill=False)


def moved(rect: Rect, scale: float, left: float, top: float) -> Rect:
    """An area of the source in px of a drawing whose picture begins at (left, top)."""
    x1, y1, x2, y2 = rect
    return left + x1 * scale, top + y1 * scale, left + x2 * scale, top + y2 * scale


def shapes_of(result: Result, style: OverlayStyle = OverlayStyle()) -> Shapes:
    """The shapes of one result; none over a picture that is black or frozen."""
    if result.signal != "ok":
        return NO_SHAPES
    pairs = zip(result.visible, result.shapes, strict=True)
    polyps = [(track, shape) for track, shape in pairs if track.score >= style.min_score]
    boxes: tuple[BoxShape, ...] = ()
    if style.boxes or style.labels:
        height, width = result.frame.image.shape[:2]
        gap = gap_of(look_of(width, height))
        boxes = tuple(_box_shape(track, shape, style, gap) for track, shape in polyps)
    if result.mask is None or not (style.outline or style.fill):
        return Shapes(boxes, (), fill=False)
    found = tuple(shape.outline for _, shape in polyps if shape.outline is not None)
    outlines = found if result.has_detector else outlines_of(result.mask)
    return Shapes(boxes, outlines, fill=style.fill, lined=style.outline, colour=style.outline_colour)


def _box_shape(track: Track, shape: PolypShape, style: OverlayStyle, gap: float) -> BoxShape:
    """gap: from the outline to the frame, source px."""
    around = 0.0 if shape.outline is None else gap
    x1, y1, x2, y2 = (float(value + side * around) for value, side in zip(shape.box, (-1, -1, 1, 1), strict=True))
    label = label_text(track.id, track.score) if style.labels else ""
    held = track.state == "held"
    colour = style.held_colour if held else style.shown_colour
    return BoxShape((x1, y1, x2, y2), label, held, track.id, framed=style.boxes, own_colour=colour)


def label_text(number: int, score: float) -> str:
    """Such as "3  87 %", or "87 %" for what is no numbered polyp; 100 % is kept for certainty."""
    share = f"{min(99, round(score * 100)) if score < 1 else 100} %"
    return f"{number}  {share}" if number > 0 else share


def draw(image: Image, shapes: Shapes, placer: LabelPlacer | None = None) -> Image:
    """A copy of the image (H, W, 3) RGB with the shapes painted on it; sizes follow the image's.

    placer: the one of the previous pictures, so that labels stay where they are.
    """
    painted = image.copy()
    height, width = image.shape[:2]
    look = look_of(width, height)
    if shapes.outlines:
        _draw_outlines(painted, shapes, look)
    for box in shapes.boxes:
        if box.framed:
            _draw_frame(painted, box, look)
    if labelled := labelled_boxes(shapes):
        _draw_labels(painted, labelled, shapes, look, placer or LabelPlacer())
    return painted


def labelled_boxes(shapes: Shapes) -> dict[int, BoxShape]:
    """The boxes with a label by number, which is unique also where two boxes share one."""
    labelled: dict[int, BoxShape] = {}
    for index, box in enumerate(shapes.boxes):
        if box.label:
            labelled[-1 - index if box.number in labelled else box.number] = box
    return labelled


def _draw_outlines(painted: Image, shapes: Shapes, look: Look) -> None:
    lines = [np.round(outline).astype(np.int32) for outline in shapes.outlines]
    if shapes.fill:
        _tint(painted, lines, shapes.colour)
    if shapes.lined:
        # The edge is one px wider, because the smooth line takes half a px on either side, and is not smooth itself.
        width = max(2, math.floor(look.outline))
        cv2.polylines(painted, lines, True, EDGE_COLOUR, width + 2 * round(look.edge) + 1, cv2.LINE_8)
        cv2.polylines(painted, lines, True, shapes.colour, width, cv2.LINE_AA)


def _tint(painted: Image, lines: Sequence[NDArray[np.int32]], colour: Colour) -> None:
    """Fill the outlines, within the rectangle around them: the rest of the picture is not touched."""
    height, width = painted.shape[:2]
    points = np.concatenate(lines)
    x1, y1 = np.clip(points.min(axis=0), 0, (width, height))
    x2, y2 = np.clip(points.max(axis=0) + 1, 0, (width, height))
    if x1 < x2 and y1 < y2:
        part = painted[y1:y2, x1:x2]
        filled = part.copy()
        cv2.fillPoly(filled, list(lines), colour, offset=(-int(x1), -int(y1)))
        painted[y1:y2, x1:x2] = cv2.addWeighted(filled, FILL_OPACITY, part, 1 - FILL_OPACITY, 0)


def _draw_frame(painted: Image, box: BoxShape, look: Look) -> None:
    height, width = painted.shape[:2]
    bars = bars_of(within(box.box, (0, 0, width, height), look), look, held=box.held)
    for colour, grow in ((EDGE_COLOUR, look.edge), (box.colour, 0.0)):
        for bar in bars:
            _fill_rect(painted, bar, colour, grow)


def _fill_rect(painted: Image, rect: Rect, colour: Colour, grow: float = 0.0) -> None:
    low = [math.floor(min(max(value - grow, -_LARGEST_PX), _LARGEST_PX) + 0.5) for value in rect[:2]]
    high = [math.floor(min(max(value + grow, -_LARGEST_PX), _LARGEST_PX) - 0.5) for value in rect[2:]]
    cv2.rectangle(painted, low, high, colour, cv2.FILLED)


def _draw_labels(
    painted: Image, labelled: dict[int, BoxShape], shapes: Shapes, look: Look, placer: LabelPlacer
) -> None:
    height, width = painted.shape[:2]
    pad = look.text * 0.3
    labels = []
    for number, box in labelled.items():
        (text_width, _), _ = cv2.getTextSize(box.label, _FONT, look.text / _FONT_PX, _pen(look))
        labels.append(Label(number, box.box, text_width + 2 * pad, look.text * 1.2))
    places = placer.place(labels, (0, 0, width, height), polyps=shapes.polyps())
    for number, place in places.items():
        _draw_label(painted, labelled[number], place, look, pad)


def _draw_label(painted: Image, box: BoxShape, place: Place, look: Look, pad: float) -> None:
    """Dark letters on the box's colour; for a held polyp, letters of its colour on a dark ground."""
    if not place.touches:
        start, end = (tuple(round(value) for value in point) for point in leader_of(place.rect, box.box))
        for colour, line in ((EDGE_COLOUR, look.line + 2 * look.edge), (box.colour, look.line)):
            cv2.line(painted, start, end, colour, round(line), cv2.LINE_AA)
    _fill_rect(painted, place.rect, EDGE_COLOUR)
    _fill_rect(painted, place.rect, box.colour, -look.edge)
    if box.held:
        _fill_rect(painted, place.rect, LABEL_DARK, -look.edge - look.line)
    digits = look.text * _DIGIT_PX / _FONT_PX
    at = (round(place.rect[0] + pad), round((place.rect[1] + place.rect[3] + digits) / 2))
    ink = box.colour if box.held else EDGE_COLOUR
    cv2.putText(painted, box.label, at, _FONT, look.text / _FONT_PX, ink, _pen(look), cv2.LINE_AA)


def _pen(look: Look) -> int:
    return max(1, round(look.text / 13))
