"""Alarms as one JSON line each, written as they end, with their best frames as pictures where those are wanted."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.base import OutputError
from realtime_polyp.outputs.overlay import Shapes, draw, shapes_of
from realtime_polyp.packets import Result
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class AlarmFigures:
    """Of the alarms that have ended. median_duration_s: None without any."""

    count: int
    median_duration_s: float | None


class AlarmsWriter:
    """Each line is whole on disk before the next frame: a crash costs the alarms that were still going, no others.

    path: None counts alarms without writing them. pictures: a folder, made where it is not there.
    """

    def __init__(self, path: Path | None, *, pictures: Path | None = None, period_s: float = 1 / 30) -> None:
        self._path, self._pictures = path, pictures
        # Without lines nobody asks for the best frame, and its measure would be worked out in vain.
        self._keeper = AlarmKeeper(period_s=period_s) if path else AlarmKeeper(period_s=period_s, measure=_no_measure)
        self._durations_s: list[float] = []
        try:
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8") if path else None
        except OSError as error:
            raise self._failure(error) from error

    def write(self, result: Result) -> None:
        self._write(self._keeper.update(result))

    def close(self) -> None:
        """Whatever still goes on ends with the video."""
        try:
            self._write(self._keeper.close())
        finally:
            self._close_file()

    def figures(self) -> AlarmFigures:
        count = len(self._durations_s)
        return AlarmFigures(count, round(median(self._durations_s), 3) if count else None)

    def _write(self, changed: tuple[Alarm, ...]) -> None:
        try:
            for alarm in changed:
                if alarm.ended:
                    self._durations_s.append(alarm.duration_s)
                    self._write_one(alarm)
        except OSError as error:
            raise self._failure(error) from error

    def _write_one(self, alarm: Alarm) -> None:
        if self._file is None:
            return
        picture = _save(alarm, self._pictures) if self._pictures else None
        self._file.write(json.dumps(line_of(alarm, picture), separators=(",", ":")) + "\n")
        self._file.flush()

    def _close_file(self) -> None:
        try:
            if self._file:
                self._file.close()
        except OSError as error:  # the buffer's rest met the same full disk
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> OutputError:
        places = " and ".join(str(place) for place in (self._path, self._pictures) if place)
        return OutputError(f"cannot write events to {places}: {error.strerror}")


def _no_measure(*_: object) -> float:
    return 0.0


def line_of(alarm: Alarm, picture: str | None = None) -> dict[str, Any]:
    """One alarm, ready for JSON; box in source px. picture: its file's name in the folder of pictures."""
    best = alarm.best
    return {
        "alarm": alarm.number,
        "track": alarm.track,
        "start_s": round(alarm.start_s, 6),
        "end_s": round(alarm.end_s, 6),
        "duration_s": round(alarm.duration_s, 6),
        "shown_s": round(alarm.shown_s, 6),
        "peak_score": round(alarm.peak_score, 4),
        "best": {
            "index": best.index,
            "pts_s": round(best.pts_s, 6),
            "box": [round(value, 2) for value in best.box],
            "score": round(best.score, 4),
        },
        "ended": alarm.ended,
        "picture": picture,
    }


def _save(alarm: Alarm, folder: Path) -> str:
    """The best frame as alarm-0001.jpg, and with its overlay beside it; the first one's name. Raises OSError."""
    name = f"alarm-{alarm.number:04d}"
    frame = alarm.best.result.frame
    _write_jpeg(folder / f"{name}.jpg", frame.image)
    _write_jpeg(folder / f"{name}-overlay.jpg", draw(frame.image, _own_shapes(alarm)))
    return f"{name}.jpg"


def _own_shapes(alarm: Alarm) -> Shapes:
    """Of the best frame's overlay, this alarm's box and every outline."""
    shapes = shapes_of(alarm.best.result)
    return Shapes(tuple(box for box in shapes.boxes if box.box == alarm.best.box), shapes.outlines, shapes.fill)


def _write_jpeg(path: Path, image: Image) -> None:
    """All of the file or none of it."""
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    part = path.with_suffix(".part")
    try:
        part.write_bytes(encoded.tobytes())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
