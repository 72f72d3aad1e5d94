"""Opens a recorded session and reads it: what is known about it, its frames as a table, and any frame's results."""

import copy
import sqlite3
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import Image
from realtime_polyp.json_files import parse_json
from realtime_polyp.outputs.video_picture import unfit
from realtime_polyp.packets import FilterCues, Frame, RawResult, Result, Track
from realtime_polyp.recording import blobs
from realtime_polyp.recording.missing import find_problems
from realtime_polyp.recording.opening import open_session_file
from realtime_polyp.recording.schema import ORIGINAL_FILE, SESSION_FILE, SESSION_FORMAT
from realtime_polyp.sources.deinterlace import MODES, Mode

_MEMORY_BYTES = 64 << 20


class SessionFileError(ValueError):
    """A folder is no recorded session, or cannot be read. The message is one sentence for the user."""


@dataclass(frozen=True)
class FrameTable:
    """All frames of a session as columns, in the session's order; each (n,).

    Attributes: those of table `frames` in `recording/schema.py`. picture_s is NaN where no picture was recorded.
    """

    number: NDArray[np.int64]
    source_index: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    session_s: NDArray[np.float64]
    picture_s: NDArray[np.float64]
    continues: NDArray[np.bool_]
    analysed: NDArray[np.bool_]
    signal: NDArray[np.str_]
    quality: NDArray[np.str_]
    best_score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.number)

    @property
    def duration_s(self) -> float:
        """The session's length on its own clock, s."""
        return float(self.session_s[-1]) if len(self) else 0.0


class RecordedSession:
    """A recorded session, open for reading. Use it on one thread, or open it twice.

    Attributes:
        folder: of the session.
        facts: what is known about it as a whole: source, configuration, models, versions (docs/session_format.md).
        frames: the table of its frames, as of opening.
    """

    def __init__(self, folder: Path) -> None:
        """Raises SessionFileError."""
        self.folder = folder if folder.name not in ("", "..") else folder.resolve()  # stills are named after it
        self.path = self.folder / SESSION_FILE
        if not self.path.is_file():
            raise SessionFileError(f"{folder} is no recorded session: it has no {SESSION_FILE}")
        try:
            self._database = open_session_file(self.path)
            self._database.execute(f"PRAGMA mmap_size = {_MEMORY_BYTES}")
            self._check_format()
            self.facts: dict[str, Any] = {
                name: _parse(value) for name, value in self._database.execute("SELECT name, value FROM facts")
            }
            self.frames = self._read_frames()
        except (sqlite3.Error, ValueError) as error:
            if isinstance(error, SessionFileError):
                raise
            raise SessionFileError(f"{self.path} cannot be read: {error}") from error

    @property
    def database(self) -> sqlite3.Connection:
        """For rows that this class does not read: events, alarms, actions, audit."""
        return self._database

    def again(self) -> "RecordedSession":
        """Open the session a second time, for another thread. Raises SessionFileError."""
        other = copy.copy(self)
        try:
            other._database = open_session_file(self.path)
        except sqlite3.Error as error:
            raise SessionFileError(f"{self.path} cannot be read: {error}") from error
        return other

    @property
    def original(self) -> Path | None:
        """The file with the picture: the session's own, or the source that is referred to; None where it is gone."""
        own = self.folder / (self.facts.get("original", {}).get("file") or ORIGINAL_FILE)
        if own.is_file():
            return own
        named = self.facts.get("source", {}).get("path")
        return Path(named) if named and Path(named).is_file() else None

    @property
    def deinterlace(self) -> Mode:
        """How interlaced pictures were shown; "auto" for sessions of before there was a choice."""
        named = self.facts.get("source", {}).get("deinterlace")
        return next((mode for mode in MODES if mode == named), "auto")

    @property
    def is_of_stills(self) -> bool:
        """Whether its pictures do not continue each other, so that nothing was filtered over time."""
        return bool(self.facts.get("source", {}).get("stills"))

    @property
    def ended(self) -> bool:
        """Whether recording ended in an orderly way; otherwise up to the last second is missing."""
        return bool(self.facts.get("ended"))

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What the session lacks, one sentence each: after a crash, on a full disk, where the disk was too slow."""
        return find_problems(self)

    def frame(self, number: int, image: Image | None = None) -> Frame:
        """Return one frame. image: its picture (H, W, 3), also as it was fitted into a recording of another size; None:
        a black one that takes no memory.

        Raises KeyError for a number that is not in the session.
        """
        query = "SELECT source_index, pts_s, session_s, continues, width, height FROM frames WHERE number = ?"
        row = self._database.execute(query, (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        index, pts_s, session_s, continues, width, height = row
        picture = np.broadcast_to(np.uint8(0), (height, width, 3)) if image is None else unfit(image, (height, width))
        aspect = self._database.execute("SELECT aspect FROM outputs WHERE number = ?", (number,)).fetchone()
        square = Fraction(aspect[0] if aspect else 1)
        return Frame(
            index, pts_s, session_s, picture, self.is_of_stills, continues=bool(continues), pixel_aspect=square
        )

    def raw(self, number: int, image: Image | None = None) -> RawResult:
        """Return what the models gave for a frame. Raises KeyError where it was not analysed."""
        query = "SELECT field, raw, mask, stages_ms FROM outputs WHERE number = ?"
        row = self._database.execute(query, (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        field, raw, mask, stages_ms = row
        signal = str(self.frames.signal[number - 1]) if number <= len(self.frames) else "ok"
        return RawResult(
            self.frame(number, image),
            blobs.decode_field(field),
            signal,  # type: ignore[arg-type]
            blobs.decode_detections(raw),
            blobs.decode_mask(mask),
            has_detector=bool(self.facts.get("models", {}).get("detector", True)),
            stages_ms=_parse(stages_ms),
        )

    def cues(self, number: int) -> FilterCues:
        """Return what the temporal filter worked on. Raises KeyError where the frame was not analysed."""
        query = "SELECT fused, camera, cut, appearances FROM cues WHERE number = ?"
        row = self._database.execute(query, (number,)).fetchone()
        if row is None:
            raise KeyError(number)
        fused, camera, cut, appearances = row
        decoded = blobs.decode_appearances(appearances)
        return FilterCues(blobs.decode_detections(fused), blobs.decode_camera(camera), bool(cut), decoded)

    def result(self, number: int, image: Image | None = None) -> Result:
        """Return the result of a frame as it was shown. Raises KeyError where it was not analysed."""
        raw = self.raw(number, image)
        query = "SELECT detections, filtered_mask FROM outputs WHERE number = ?"
        detections, mask = self._database.execute(query, (number,)).fetchone()
        quality = str(self.frames.quality[number - 1]) if number <= len(self.frames) else "clear"
        return Result(
            raw.frame,
            raw.field_of_view,
            blobs.decode_detections(detections),
            self.tracks(number),
            blobs.decode_mask(mask),
            raw.has_detector,
            raw.signal,
            quality,  # type: ignore[arg-type]
            raw.stages_ms,
            raw=raw,
            cues=self.cues(number),
        )

    def tracks(self, number: int) -> tuple[Track, ...]:
        """Return the recorded tracks of a frame."""
        query = "SELECT id, x1, y1, x2, y2, score, state, age_s, unseen_s FROM tracks WHERE number = ? ORDER BY id"
        return tuple(
            Track(row[0], np.array(row[1:5], np.float32), row[5], row[6], row[7], row[8])
            for row in self._database.execute(query, (number,))
        )

    def close(self) -> None:
        self._database.close()

    def _check_format(self) -> None:
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        if found != SESSION_FORMAT:
            raise SessionFileError(
                f"{self.path} has format {found}, and this version reads format {SESSION_FORMAT}: update realtime-polyp"
            )

    def _read_frames(self) -> FrameTable:
        names = (
            "number", "source_index", "pts_s", "session_s", "picture_s", "continues", "analysed", "signal", "quality",
            "best_score",
        )  # fmt: skip
        rows = self._database.execute(f"SELECT {', '.join(names)} FROM frames ORDER BY number").fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        kinds = (
            np.int64,
            np.int64,
            np.float64,
            np.float64,
            np.float64,
            np.bool_,
            np.bool_,
            np.str_,
            np.str_,
            np.float32,
        )
        return FrameTable(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def _parse(text: str) -> Any:
    return parse_json(text, object, "a value of the session", "JSON", SessionFileError)
