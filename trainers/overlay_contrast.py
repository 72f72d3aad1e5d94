"""Measure the contrast of the overlay on stills: python -m trainers.overlay_contrast --data DATA

Boxes and outlines of the ground truth are drawn as the window and saved video draw them, and the WCAG contrast ratio
is measured at every pixel that touches the drawing.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.metrics.contrast import ENOUGH, Contrasts, contrasts_of
from realtime_polyp.outputs.overlay import BoxShape, Shapes, draw
from realtime_polyp.outputs.overlay_lines import look_of
from realtime_polyp.telemetry.text_table import format_table
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still, read_image, read_mask, read_stills

_FULL_HD = 1080
_HEADER = ("drawn", "stills", "lines alone: lowest", "median", ">= 3", "with dark edges: lowest", "median", ">= 3")


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser("trainers.overlay_contrast", description="Measure the contrast of the overlay on stills.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--split", default="val", help="name of the COCO file in --data (default: %(default)s)")
    parser.add_argument("--images", type=int, default=500, help="at most so many stills (default: %(default)s)")
    parser.add_argument(
        "--height",
        type=int,
        default=_FULL_HD,
        help="draw at this height, px; 0: the still's own (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        if options.images < 1 or options.height < 0:
            given = f"{options.images} and {options.height}"
            raise ValueError(f"--images must be at least 1 and --height at least 0, not {given}")
        stills = read_stills(options.data / f"{options.split}.json", options.data)
        polyps = [still for still in stills if len(still.boxes)][: options.images]
        print(table(measure(polyps, options.height)))


def measure(stills: list[Still], height: int) -> dict[str, list[Contrasts]]:
    """Contrasts by kind of drawing, one entry per still. height: of the picture that is drawn on, px; 0: its own."""
    found: dict[str, list[Contrasts]] = defaultdict(list)
    for still in tqdm(stills, unit="still"):
        picture = read_image(still.image_path)
        scale = height / picture.shape[0] if height else 1.0
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        look = look_of(picture.shape[1], picture.shape[0])
        for kind, shapes in shapes_of_truth(still, scale):
            reach_px = int(np.ceil(look.line + 2 * look.edge))
            found[kind].append(contrasts_of(picture, draw(picture, shapes), reach_px))
    return found


def shapes_of_truth(still: Still, scale: float) -> Iterator[tuple[str, Shapes]]:
    """Each kind of drawing on its own, from the boxes and the mask of the ground truth."""
    boxes = [tuple(float(value) * scale for value in box) for box in still.boxes]
    for kind, label, held, framed in (
        ("frame, shown", "", False, True), ("corners, held", "", True, True), ("label, shown", "1  89 %", False, False),
        ("label, held", "1  89 %", True, False),
    ):  # fmt: skip
        shapes = (BoxShape(box, label, held, number, framed) for number, box in enumerate(boxes))  # type: ignore[arg-type]
        yield kind, Shapes(tuple(shapes), (), fill=False)
    if still.mask_path is not None:
        outlines = outlines_of_truth(read_mask(still.mask_path), scale)
        yield "outline", Shapes((), outlines, fill=False)
        yield "outline, filled", Shapes((), outlines, fill=True)


def outlines_of_truth(mask: NDArray[np.bool_], scale: float) -> tuple[NDArray[np.float32], ...]:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    return tuple(contour[:, 0].astype(np.float32) * scale for contour in contours if len(contour) > 2)


def table(found: dict[str, list[Contrasts]]) -> str:
    rows = []
    for kind, contrasts in found.items():
        cells = [kind, str(len(contrasts))]
        for values in ([one.line for one in contrasts], [one.best for one in contrasts]):
            every = np.concatenate(values)
            share = f"{100 * (every >= ENOUGH).mean():.1f} %" if len(every) else "-"
            cells += [f"{every.min():.2f}", f"{np.median(every):.2f}", share]
        rows.append(cells)
    return format_table(_HEADER, rows)


if __name__ == "__main__":
    main()
