"""Save the displayed frame as two PNG files, with and without its overlay, each above the research-use notice."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.field_of_view import Image
from realtime_polyp.messages import full_path
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.outputs.overlay import OverlayStyle, draw, shapes_of
from realtime_polyp.outputs.sharing import blank_outside, caption_below
from realtime_polyp.packets import Result
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.viewer.displayed import DisplayedFrame

_LONGEST_NAME = 40  # letters, of four bytes at most: a file's name has 255 bytes


@dataclass(frozen=True)
class Saved:
    """The files of a snapshot.

    Attributes:
        plain: the picture without overlay.
        annotated: the picture with its overlay; None where there was no overlay.
    """

    plain: Path
    annotated: Path | None


def save_snapshot(
    displayed: DisplayedFrame,
    style: OverlayStyle,
    folder: Path,
    name: str,
    now: datetime,
    *,
    blank: bool = False,
    earlier: Result | None = None,
) -> Saved:
    """Write `<name>_<date>_<position>.png` and `<name>_<date>_<position>_overlay.png`.

    blank: everything outside the field of view is black, and the file's name is left out of the snapshots' names.
    earlier: the newest result there is, whose field a person may have named, for a picture without one.
    Raises OSError, also if drawing or encoding fails, because any other error would close the window.
    """
    try:
        image = displayed.frame.image
        plain = blank_outside(image, displayed.result, earlier) if blank else image
        return _save(displayed, plain, style, folder, "picture" if blank else name, now)
    except (cv2.error, MemoryError, ValueError) as error:
        raise OSError(reason_of(error)) from error


def _save(
    displayed: DisplayedFrame, image: Image, style: OverlayStyle, folder: Path, name: str, now: datetime
) -> Saved:
    """image: the displayed one, or what of it may be seen."""
    make_private_folder(folder)
    safe = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.")[:_LONGEST_NAME] or "picture"
    stem = f"{safe}_{now:%Y-%m-%d_%H-%M-%S}-{now.microsecond // 1000:03d}_at-{displayed.frame.pts_s:.3f}s"
    plain, annotated = folder / f"{stem}.png", folder / f"{stem}_overlay.png"
    _write(plain, caption_below(image))
    if displayed.result is None:
        return Saved(plain, None)
    # The overlay may come from an earlier frame; it is drawn where the screen shows it.
    _write(annotated, caption_below(draw(image, shapes_of(displayed.result, style))))
    return Saved(plain, annotated)


def saved_message(saved: Saved) -> str:
    if saved.annotated is None:
        return f"Snapshot saved: {full_path(saved.plain)} (without overlay: there is none at the moment)"
    return f"Snapshot saved, with and without overlay: {full_path(saved.plain)}"


def error_message(error: OSError, folder: Path) -> str:
    return f"Snapshot not saved: {error.strerror or error} ({full_path(folder)})"


def _write(path: Path, image: Image) -> None:
    """Write the whole file or nothing."""
    encodable, encoded = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not encodable:
        raise OSError(f"a picture of shape {image.shape} cannot be encoded as PNG")
    atomic_write_bytes(path, encoded.tobytes(), private=True)
