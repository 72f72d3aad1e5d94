"""What the temporal filter worked on, of all frames of a session, as flat arrays: an hour is filtered again at once."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes, Detections
from realtime_polyp.recording import blobs
from realtime_polyp.recording.filter_settings import FACT, FilterSettings, from_fact
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.temporal.appearance import Appearance, StoredAppearances
from realtime_polyp.temporal.track import Batch

_ROUNDING_S = 1e-6
_MOST_ENTRIES = 60  # an appearance is looked for so many frames away
_IDENTITY = np.eye(2, 3, dtype=np.float32)


@dataclass(frozen=True)
class CueTable:
    """One entry per analysed frame of a session, in its order.

    Attributes:
        number: (n,) of the frame in the session.
        pts_s: (n,) the source's clock.
        is_clear: (n,) the frame quality as it was recorded.
        size: (n, 2) width and height of the picture, px.
        starts: (n + 1,) detections `starts[i]:starts[i + 1]` are those of entry i.
        boxes: (m, 4) xyxy source px, after calibration or fusion, down to the models' floor.
        scores: (m,) falling within a frame.
        camera: (n, 2, 3) camera motion; the identity where it is not known.
        is_known: (n,) the camera motion is known.
        cut: (n,) nothing continues from the frame before.
        fields: (n, 4) field of view, xyxy px.
        appearances: entry: the boxes (4,) and patches that were stored with the frame.
    """

    number: NDArray[np.int64]
    pts_s: NDArray[np.float64]
    is_clear: NDArray[np.bool_]
    size: NDArray[np.int32]
    starts: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    camera: NDArray[np.float32]
    is_known: NDArray[np.bool_]
    cut: NDArray[np.bool_]
    fields: NDArray[np.int32]
    appearances: dict[int, tuple[tuple[Boxes, Appearance], ...]]

    def __len__(self) -> int:
        return len(self.number)

    def best_scores(self) -> NDArray[np.float32]:
        """Highest score of each entry's detections; 0: none. (n,)"""
        padded = np.append(self.scores, np.float32(0))
        best = np.maximum.reduceat(padded, self.starts[:-1]) if len(self) else padded[:0]
        return np.where(np.diff(self.starts) > 0, best, np.float32(0))

    def detections(self, entry: int, floor: float) -> Detections:
        """The detections of an entry that reach a score."""
        part = slice(self.starts[entry], self.starts[entry + 1])
        boxes, scores = self.boxes[part], self.scores[part]
        strong = scores >= floor
        return Detections(boxes[strong], scores[strong])

    def batch(self, *, sees_always: bool) -> Batch:
        """Return the table as the tracker takes it.

        sees_always: an appearance may be that of a frame nearby; else only of frames with a stored one.
        """
        can_see = np.full(len(self), sees_always)
        can_see[self.with_appearance] = True
        return Batch(
            self.pts_s, self.starts, self.boxes, self.scores, self.camera, self._zooms, self.is_known, self.cut,
            self.is_clear, self._resets, can_see,
        )  # fmt: skip

    @cached_property
    def _zooms(self) -> NDArray[np.float64]:
        """`Motion.zoom` of all entries."""
        return np.asarray(np.sqrt(np.abs(np.linalg.det(self.camera[:, :, :2].astype(np.float64)))))

    @cached_property
    def _resets(self) -> NDArray[np.bool_]:
        """Entries whose picture has another size than the one before."""
        return np.append(False, (np.diff(self.size, axis=0) != 0).any(axis=1))[: len(self)]

    def appearance(self, entry: int, box: Boxes, *, reach_s: float = 0.0) -> Appearance | None:
        """Return the stored appearance of a box (4,) of this entry; None where there is none.

        reach_s: how far away in time a stored one may be, where this entry has none of the box.
        """
        found = StoredAppearances(self.appearances.get(entry, ())).extract(box)
        if found is not None or reach_s <= 0:
            return found
        near = np.searchsorted(self.with_appearance, (entry - _MOST_ENTRIES, entry + _MOST_ENTRIES))
        part = self.with_appearance[slice(*near)]
        for other in part[np.argsort(np.abs(part - entry), kind="stable")]:
            is_near = abs(self.pts_s[other] - self.pts_s[entry]) <= reach_s
            found = StoredAppearances(self.appearances[int(other)]).extract(box) if is_near else None
            if found is not None:
                return found
        return None

    @cached_property
    def with_appearance(self) -> NDArray[np.int64]:
        """The entries with appearances, rising."""
        return np.array(sorted(self.appearances), np.int64)


def read_cues(session: RecordedSession) -> CueTable:
    """Read the cues of a session, up to the last frame that it had when it was opened. Raises sqlite3.Error."""
    database, last = session.database, (len(session.frames),)
    query = "SELECT number, cut, fused, camera FROM cues WHERE number <= ? ORDER BY number"
    rows = database.execute(query, last).fetchall()
    numbers, cuts, fused, cameras = zip(*rows, strict=True) if rows else ((), (), (), ())
    number = np.array(numbers, np.int64)
    found = np.frombuffer(b"".join(fused), "<f4").reshape(-1, 5)
    lengths = np.array([len(blob) for blob in fused], np.int64) // (5 * 4)
    known = np.array([blob is not None for blob in cameras], np.bool_)
    camera = np.tile(_IDENTITY, (len(number), 1, 1))
    if known.any():
        camera[known] = np.frombuffer(b"".join(blob for blob in cameras if blob), "<f4").reshape(-1, 2, 3)
    at = np.searchsorted(session.frames.number, number)
    query = "SELECT number, appearances FROM cues WHERE number <= ? AND appearances IS NOT NULL"
    with_patches = database.execute(query, last)
    return CueTable(
        number,
        session.frames.pts_s[at],
        session.frames.quality[at] == "clear",
        _read_sizes(session, number),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.ascontiguousarray(found[:, :4], np.float32),
        np.ascontiguousarray(found[:, 4], np.float32),
        camera,
        known,
        np.array(cuts, np.bool_),
        _read_fields(session, number),
        {int(np.searchsorted(number, one)): blobs.decode_appearances(blob) for one, blob in with_patches},
    )


def recorded_settings(session: RecordedSession) -> FilterSettings:
    """The filter's settings while the session was recorded. Raises SessionFileError for a damaged fact."""
    try:
        settings = from_fact(session.facts.get(FACT))
        return replace(settings, temporal=None) if session.is_of_stills else settings
    except ValueError as error:
        raise SessionFileError(f"{session.path} cannot be read: {error}") from error


def read_seeks(session: RecordedSession) -> tuple[int, ...]:
    """Return the numbers of the frames before which the recording was continued elsewhere, rising."""
    rows = session.database.execute("SELECT session_s FROM events WHERE kind = 'seek' ORDER BY session_s").fetchall()
    after = np.searchsorted(session.frames.session_s, [session_s + _ROUNDING_S for (session_s,) in rows], side="right")
    return tuple(int(session.frames.number[row]) for row in after if row < len(session.frames))


def _read_sizes(session: RecordedSession, number: NDArray[np.int64]) -> NDArray[np.int32]:
    query = "SELECT width, height FROM frames WHERE analysed AND number <= ? ORDER BY number"
    rows = session.database.execute(query, (len(session.frames),)).fetchall()
    return np.array(rows, np.int32).reshape(len(number), 2)


def _read_fields(session: RecordedSession, number: NDArray[np.int64]) -> NDArray[np.int32]:
    query = "SELECT field FROM outputs WHERE number <= ? ORDER BY number"
    blob = b"".join(row[0] for row in session.database.execute(query, (len(session.frames),)))
    return np.frombuffer(blob, "<i4").reshape(len(number), 4)
