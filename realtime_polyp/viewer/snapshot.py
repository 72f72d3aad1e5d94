"""Save the displayed frame as two PNG files: the unchanged picture, and the picture with its overlay."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.viewer.displayed import DisplayedFrame

CAPTION = "Research use only - not a medical device"
CAPTION_COLOUR = (255, 208, 64)
_LONGEST_NAME = 40  # letters, of four bytes at most: a file's name has 255 bytes


@dataclass(frozen=True)
class Saved:
    """The files of a snapshot.

    Attributes:
        plain: the unchanged picture.
        annotated: the picture with its overlay; None where there was no overlay.
    """

    plain: Path
    annotated: Path | None


def save_snapshot(displayed: DisplayedFrame, style: OverlayStyle, folder: Path, name: str, now: datetime) -> Saved:
    """Write `<name>_<date>_<position>.png` and `<name>_<date>_<position>_overlay.png`. Raises OSError, also if
    drawing or encoding fails, because any other error would close the window."""
    try:
        return _save(displayed, style, folder, name, now)
    except (cv2.error, MemoryError, ValueError) as error:
        raise OSError(reason_of(error)) from error


def _save(displayed: DisplayedFrame, style: OverlayStyle, folder: Path, name: str, now: datetime) -> Saved:
    make_private_folder(folder)
    safe = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.")[:_LONGEST_NAME] or "picture"
    stem = f"{safe}_{now:%Y-%m-%d_%H-%M-%S}-{now.microsecond // 1000:03d}_at-{displayed.frame.pts_s:.3f}s"
    plain, annotated = folder / f"{stem}.png", folder / f"{stem}_overlay.png"
    _write(plain, displayed.frame.image)
    if displayed.result is None:
        return Saved(plain, None)
    _write(annotated, draw_annotated(displayed, style))
    return Saved(plain, annotated)


def draw_annotated(displayed: DisplayedFrame, style: OverlayStyle) -> Image:
    """Draw the overlay on a copy of the picture, and the research-use notice in a corner."""
    if displayed.result is None:
        return displayed.frame.image.copy()
    # The overlay may come from an earlier frame; it is drawn where the screen shows it.
    shapes = shapes_of(displayed.result, style)
    painted = draw(displayed.frame.image, shapes)
    scale = max(0.4, painted.shape[0] / 1400)
    (width, height), base = cv2.getTextSize(CAPTION, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    bottom = painted.shape[0]
    cv2.rectangle(painted, (0, bottom - height - 2 * base), (width + 2 * base, bottom), (0, 0, 0), cv2.FILLED)
    at = (base, bottom - base)
    cv2.putText(painted, CAPTION, at, cv2.FONT_HERSHEY_SIMPLEX, scale, CAPTION_COLOUR, 1, cv2.LINE_AA)
    return painted


def saved_message(saved: Saved) -> str:
    if saved.annotated is None:
        return f"Snapshot saved: {saved.plain} (without overlay: there is none at the moment)"
    return f"Snapshot saved, with and without overlay: {saved.plain}"


def error_message(error: OSError, folder: Path) -> str:
    return f"Snapshot not saved: {error.strerror or error} ({folder})"


def _write(path: Path, image: Image) -> None:
    """Write the whole file or nothing."""
    encodable, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not encodable:
        raise OSError(f"a picture of shape {image.shape} cannot be encoded as PNG")
    atomic_write_bytes(path, encoded.tobytes(), private=True)
