"""Writes a stretch of a session as video, with and without its overlay."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from realtime_polyp.outputs.video import VideoWriter
from realtime_polyp.packets import Frame, Result
from realtime_polyp.review.alarms import SessionAlarm, frame_period_s
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.review.recorded import RecordedSession

AROUND_S = 1.0
"""What a clip of an alarm shows before and after it, s."""


def write_clip(
    session: RecordedSession,
    original: Path,
    start_s: float,
    end_s: float,
    path: Path,
    *,
    overlay: bool = True,
    blank: bool = True,
) -> int:
    """Write the frames of a stretch, s on the session's clock; returns how many. Without any there is no file.

    original: the file with the session's pictures.
    overlay: draw boxes and outlines as they were shown. blank: everything outside the field of view is black. The
    research-use notice is always drawn. Raises OutputError, SourceError.
    """
    rate_hz = Fraction(1 / frame_period_s(session.frames)).limit_denominator(1001)
    writer = VideoWriter(path, rate_hz=rate_hz, blank_outside=blank)
    written = 0
    try:
        for frame, result in _frames(session, original, start_s, end_s):
            writer.write_picture(frame, result if overlay else _without_overlay(result))
            written += 1
    finally:
        writer.close()
    if not written and path.is_file():  # nothing plays a file without a picture
        path.unlink()
    return written


def clip_of(alarm: SessionAlarm, duration_s: float) -> tuple[float, float]:
    """The stretch of a clip of an alarm: a little before and after it, s."""
    return max(0.0, alarm.start_s - AROUND_S), min(duration_s, alarm.end_s + AROUND_S)


def _frames(
    session: RecordedSession, original: Path, start_s: float, end_s: float
) -> Iterator[tuple[Frame, Result | None]]:
    """Frames whose picture is at hand, with the result of that frame or None; their time is the session's clock."""
    pictures = PictureFile(original, deinterlace=session.deinterlace)
    try:
        for row in range(*np.searchsorted(session.frames.session_s, (start_s, end_s))):
            number, picture_s = int(session.frames.number[row]), float(session.frames.picture_s[row])
            picture = None if np.isnan(picture_s) else pictures.at(picture_s)
            if picture is None:
                continue
            result = session.result(number, picture.image) if session.frames.analysed[row] else None
            frame = result.frame if result else session.frame(number, picture.image)
            yield replace(frame, pts_s=float(session.frames.session_s[row])), result
    finally:
        pictures.close()


def _without_overlay(result: Result | None) -> Result | None:
    """The same result, from which nothing is drawn; its field of view is still known."""
    return replace(result, tracks=(), mask=None) if result else None
