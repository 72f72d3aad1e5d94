"""The video behind a session: its file, exact rate and size, and which of its pictures each frame is."""

import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av.error
import numpy as np

from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import find_original
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.packet_scan import scan_file
from realtime_polyp.sources.reader import Reader


class ExportError(ValueError):
    """Nothing was exported. The message is one sentence for the user."""


@dataclass(frozen=True)
class VideoClock:
    """The timing of the file with the picture: exact rate, Hz, and number of pictures."""

    rate_hz: Fraction
    count: int


def video_of(session: RecordedSession) -> Path:
    """Return the file with the picture. Raises ExportError where it is gone, or another one now."""
    path, _ = find_original(session)
    if path is not None:
        return path
    if (found := session.original) is not None:
        raise ExportError(
            f"{found} has another size than the video that {session.folder} was recorded from: put that one back"
        )
    named = session.facts.get("source", {}).get("path")
    if not named:
        raise ExportError(f"{session.folder} has no video: it was not recorded, or its file was removed")
    raise ExportError(f"{session.folder} refers to {named}, which is gone: put it back, or record with --copy-source")


def read_video_clock(session: RecordedSession) -> VideoClock:
    """Read rate and number of pictures. Raises SourceError for a file that cannot be read."""
    path = video_of(session)
    try:
        container = open_file(path)
        reader = Reader(container, threading.Event(), name=str(path))
        reader.free()
        count = len(scan_file(path).times_s)
    except av.error.FFmpegError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    if not reader.rate_hz:
        raise ExportError(f"{path} has no even rate: make one with `ffmpeg -i IN -fps_mode cfr OUT`")
    return VideoClock(Fraction(reader.rate_hz), count)


def places_of(session: RecordedSession, clock: VideoClock) -> dict[int, int]:
    """Return {number of a frame in the session: index of its picture in the video}. Raises ExportError."""
    frames = session.frames
    with_picture = ~np.isnan(frames.picture_s)
    places = np.rint(frames.picture_s[with_picture] * float(clock.rate_hz)).astype(int)
    if len(set(places.tolist())) < len(places) or places.max(initial=0) >= clock.count:
        raise ExportError(
            f"the pictures of {session.folder} do not follow an even rate of {clock.rate_hz} Hz: make such a video "
            "with `ffmpeg -i IN -fps_mode cfr OUT`, and record a session of it"
        )
    return dict(zip(frames.number[with_picture].tolist(), places.tolist(), strict=True))


def picture_size(session: RecordedSession) -> tuple[int, int]:
    """The size (width, height) px of the pictures. Raises ExportError where it changes."""
    sizes = session.database.execute("SELECT DISTINCT width, height FROM frames").fetchall()
    if len(sizes) != 1:
        raise ExportError(
            f"the pictures of {session.folder} have {len(sizes)} sizes: only sessions of one are exported"
        )
    width, height = sizes[0]
    return width, height
