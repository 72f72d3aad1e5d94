"""Results in a notebook: pictures with the overlay, tables, a progress bar, and lists that fit into memory."""

import importlib
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from realtime_polyp.atomic_write import write_private
from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Result

_COLUMNS = (
    "index",
    "pts_s",
    "track",
    "x1",
    "y1",
    "x2",
    "y2",
    "score",
    "state",
    "frame_quality",
    "signal",
)


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows by itself.

    Attributes:
        image: (H, W, 3) uint8 RGB.
    """

    image: Image

    def _repr_png_(self) -> bytes:
        """What IPython calls to show the last value of a cell."""
        encodable, encoded = cv2.imencode(".png", np.ascontiguousarray(self.image[..., ::-1]))
        if not encodable:
            raise ValueError(f"a picture of shape {self.image.shape} cannot be encoded as PNG")
        return encoded.tobytes()

    def save(self, path: str | Path) -> None:
        """Write it as PNG, readable by its owner only. Raises OSError."""
        write_private(Path(path), self._repr_png_())


def draw_result(result: Result, largest_px: int) -> Picture:
    """Draw a result over its picture, with the research-use notice. largest_px: of the longer side.

    Raises ValueError where the picture was not kept.
    """
    from realtime_polyp.outputs.overlay import draw, shapes_of
    from realtime_polyp.outputs.sharing import add_caption

    if not result.frame.has_picture:
        raise ValueError("the pictures of these results were not kept: pass keep_pictures=True")
    painted = draw(result.frame.image, shapes_of(result))
    scale = largest_px / max(painted.shape[:2])
    if scale < 1:
        painted = cv2.resize(painted, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    add_caption(painted)
    return Picture(painted)


def to_rows(results: Iterable[Result]) -> list[dict[str, Any]]:
    """One row per frame and polyp that was shown; a frame without one has a row whose polyp columns are None.

    Boxes are source px, xyxy. Nothing is shown over a black or frozen picture. Results may come without pictures.
    """
    rows = []
    for result in results:
        frame: dict[str, Any] = {
            "index": result.frame.index,
            "pts_s": result.frame.pts_s,
            "frame_quality": result.frame_quality,
            "signal": result.signal,
        }
        shown = result.visible if result.signal == "ok" else ()
        for track in shown:
            box = dict(zip(("x1", "y1", "x2", "y2"), (float(value) for value in track.box), strict=True))
            rows.append({**frame, "track": track.id, **box, "score": float(track.score), "state": track.state})
        if not shown:
            rows.append(frame)
    return [{name: row.get(name) for name in _COLUMNS} for row in rows]


def to_dataframe(results: Iterable[Result]) -> Any:
    """The rows of `to_rows` as a pandas DataFrame. Raises ImportError, with the cure, where pandas is missing."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("to_dataframe needs pandas: pip install pandas; to_rows gives the same without it") from error
    return pandas.DataFrame(to_rows(results), columns=list(_COLUMNS)).astype({"track": "Int64"})


def without_pictures(results: Iterator[Result]) -> Generator[Result, None, None]:
    """The same results without pixels and without what the filter worked on: a few kB each instead of megabytes."""
    for result in results:
        yield without_picture(result)


def without_picture(result: Result) -> Result:
    """A result whose frame keeps its size, but neither its picture nor the models' raw outputs."""
    frame = result.frame
    image = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), frame.image.shape)  # any size in one byte
    return replace(result, frame=replace(frame, image=image, planes=None), raw=None, cues=None)


def with_progress(results: Iterator[Result], total: int | None, name: str) -> Generator[Result, None, None]:
    """The same results, counted by a progress bar that suits notebook and terminal. total: frames; None: not known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tqdm, where a notebook has no widgets: the plain bar does
        from tqdm.auto import tqdm

        bar = tqdm(total=total, unit="frame", desc=name)
    try:
        for result in results:
            yield result
            bar.update()
    finally:
        bar.close()
