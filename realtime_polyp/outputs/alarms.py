"""Alarms as one JSON line each, written as they end, with their best frames as pictures where those are wanted."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.field_of_view import Image
from realtime_polyp.messages import printable
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.output_file import DisplacedError, OutputFile, Place
from realtime_polyp.outputs.overlay import Shapes, draw, shapes_of
from realtime_polyp.outputs.paths import ALARM_PICTURES
from realtime_polyp.outputs.sharing import blank_outside, caption_below
from realtime_polyp.packets import Result, Track
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

EVENTS_FORMAT = 2
"""Format number of a line of `--events`. In format 1 a seek ended an alarm as a "cut"."""
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class AlarmFigures:
    """The alarms of a run that have ended.

    Attributes:
        count: how many.
        median_duration_s: None without any.
        alarms: each as `alarm_to_dict` gives it.
    """

    count: int
    median_duration_s: float | None
    alarms: tuple[dict[str, Any], ...] = ()

    @property
    def polyps(self) -> int:
        """How many different polyps: a polyp that comes back has further alarms and the same number."""
        return len({alarm["track"] for alarm in self.alarms})

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "polyps": self.polyps, "median_duration_s": self.median_duration_s}


class AlarmsWriter:
    """Each line is complete on disk before the next frame: a crash costs only the alarms that had not ended.

    path: None counts alarms without writing them. pictures: a folder, created if missing; pictures of an earlier run
    in it are removed. blank_outside: in the pictures, everything outside the field of view is black.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        pictures: Path | None = None,
        period_s: float = 1 / 30,
        blank_outside: bool = True,
    ) -> None:
        self._path, self._pictures, self.on_disk = path, pictures, path is not None
        self._blank_outside = blank_outside
        places = " and ".join(printable(place) for place in (path, pictures) if place)
        self.name = f"events to {places}" if places else "the count of alarms"
        # Sharpness is measured only where the best frame is written; the score alone costs nothing.
        self._keeper = AlarmKeeper(period_s=period_s) if path else AlarmKeeper(period_s=period_s, measure=_score)
        self._ended: list[dict[str, Any]] = []
        self._failed = False
        try:
            self._folder = _prepare_folder(pictures) if pictures else None
            self._file = OutputFile(path) if path else None
        except OSError as error:
            raise self._failure(error) from error

    def write(self, result: Result) -> None:
        try:
            if self._folder and self._folder.is_due():
                self._folder.check()
            self._write(self._keeper.update(result))
        except OSError as error:
            raise self._failure(error) from error

    def jump(self, jump: Jump) -> None:
        """End the alarms with a seek. A change of pace leaves the polyp on the screen; a reconnection is a cut."""
        if jump.kind not in ("seek", "again"):
            return
        try:
            self._write(self._keeper.seek())
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """End the alarms that are still going with the video."""
        try:
            self._end()
        except OSError as error:
            raise self._failure(error) from error

    def _end(self) -> None:
        try:
            if self._folder and not self._failed:
                self._folder.check()
            self._write(self._keeper.close())
        finally:
            if self._file:
                self._file.close()

    def figures(self) -> AlarmFigures:
        durations_s = [alarm["duration_s"] for alarm in self._ended]
        middle = round(median(durations_s), 3) if durations_s else None
        return AlarmFigures(len(self._ended), middle, tuple(self._ended))

    def _write(self, changed: tuple[Alarm, ...]) -> None:
        for alarm in changed:
            if alarm.ended:
                self._write_one(alarm)

    def _write_one(self, alarm: Alarm) -> None:
        line = alarm_to_dict(alarm, self._save(alarm))
        self._ended.append(line)
        if self._file:
            self._file.write_line(json.dumps(line, separators=(",", ":")))

    def _save(self, alarm: Alarm) -> str | None:
        """The name of its picture; None where none is wanted."""
        if not self._pictures or not self._folder or not self._file:
            return None
        try:
            return _save(alarm, self._pictures, blank=self._blank_outside)
        except OSError:
            self._folder.check()  # the better reason, where the folder is gone
            raise

    def _failure(self, error: OSError) -> OutputError:
        self._failed = True
        what = f"events to {printable(error.filename)}" if isinstance(error, DisplacedError) else self.name
        return OutputError(f"cannot write {what}: {reason_of(error)}")


def _prepare_folder(folder: Path) -> Place:
    """Create it, or remove the pictures of an earlier run. Raises OSError."""
    make_private_folder(folder)
    for old in folder.glob(ALARM_PICTURES):
        old.unlink()
    return Place(folder, folder.stat())


def _score(result: Result, track: Track) -> float:
    return track.score


def alarm_to_dict(alarm: Alarm, picture: str | None = None) -> dict[str, Any]:
    """Convert an alarm to JSON types: one line of `--events`. Boxes are source px. picture: its file's name."""
    best = alarm.best
    return {
        "format": EVENTS_FORMAT,
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


def _save(alarm: Alarm, folder: Path, *, blank: bool) -> str:
    """The best frame as alarm-0001.jpg, and with its overlay beside it; the first one's name. Raises OSError."""
    name, best = f"alarm-{alarm.number:04d}", alarm.best.result
    image = blank_outside(best.frame.image, best) if blank else best.frame.image
    _write_jpeg(folder / f"{name}.jpg", caption_below(image))
    _write_jpeg(folder / f"{name}-overlay.jpg", caption_below(draw(image, _own_shapes(alarm))))
    return f"{name}.jpg"


def _own_shapes(alarm: Alarm) -> Shapes:
    """Of the best frame's overlay, this alarm's box and every outline."""
    shapes = shapes_of(alarm.best.result)
    return replace(shapes, boxes=tuple(box for box in shapes.boxes if box.number == alarm.track))


def _write_jpeg(path: Path, image: Image) -> None:
    """All of the file or none of it."""
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    atomic_write_bytes(path, encoded.tobytes(), sync=False, private=True)  # the disk must not delay the session
