"""A picture as it is on the screen, saved as two PNG files: untouched, and with its overlay."""

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.viewer.view import View

CAPTION = "Research use only - not a medical device"
CAPTION_COLOUR = (255, 208, 64)


@dataclass(frozen=True)
class Saved:
    """annotated: None where there was no overlay to draw."""

    plain: Path
    annotated: Path | None


def save_snapshot(view: View, style: OverlayStyle, folder: Path, name: str, now: datetime) -> Saved:
    """Write `<name>_<date>_<position>.png`, and `..._overlay.png` beside it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    safe = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.") or "picture"
    stem = f"{safe}_{now:%Y-%m-%d_%H-%M-%S}-{now.microsecond // 1000:03d}_at-{view.frame.pts_s:.3f}s"
    plain, annotated = folder / f"{stem}.png", folder / f"{stem}_overlay.png"
    _write(plain, view.frame.image)
    if view.result is None:
        return Saved(plain, None)
    _write(annotated, annotated_image(view, style))
    return Saved(plain, annotated)


def annotated_image(view: View, style: OverlayStyle) -> Image:
    """The picture with its overlay and, in a corner, what it must not be used for."""
    if view.result is None:
        return view.frame.image.copy()
    # The overlay may come from a picture a moment earlier; it is drawn where the screen drew it.
    shapes = shapes_of(view.result, style)
    painted = draw(view.frame.image, shapes)
    scale = max(0.4, painted.shape[0] / 1400)
    (width, height), base = cv2.getTextSize(CAPTION, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    bottom = painted.shape[0]
    cv2.rectangle(painted, (0, bottom - height - 2 * base), (width + 2 * base, bottom), (0, 0, 0), cv2.FILLED)
    at = (base, bottom - base)
    cv2.putText(painted, CAPTION, at, cv2.FONT_HERSHEY_SIMPLEX, scale, CAPTION_COLOUR, 1, cv2.LINE_AA)
    return painted


def said(saved: Saved) -> str:
    if saved.annotated is None:
        return f"Snapshot saved: {saved.plain} (there is no overlay at this moment)"
    return f"Snapshot saved, with and without overlay: {saved.plain}"


def complaint(error: OSError, folder: Path) -> str:
    return f"Snapshot not saved: {error.strerror or error} ({folder})"


def _write(path: Path, image: Image) -> None:
    """All of the file or none of it."""
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise OSError(f"a picture of shape {image.shape} cannot be written as PNG")
    part = path.with_suffix(".part")
    try:
        part.write_bytes(encoded.tobytes())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
