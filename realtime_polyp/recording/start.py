"""Starts the recording of a session: makes its folder, and chooses how its picture is kept."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av.error

from realtime_polyp.messages import full_path
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.encoder import EncodedPackets
from realtime_polyp.recording.facts import describe_session, source_file, states_of
from realtime_polyp.recording.folders import new_session_folder
from realtime_polyp.recording.live_original import LiveOriginal
from realtime_polyp.recording.original import FileOriginal, Original
from realtime_polyp.recording.packets import CopiedPackets, PacketFeed, can_be_copied, is_raw
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.continued import LastFrame
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.reader import Reader
from realtime_polyp.sources.reconnecting import Reconnecting, inner
from realtime_polyp.watchdog import Trouble

_LIKELY_RATE_HZ = 30


def start_recorder(
    folder: Path,
    text: str,
    source: Source,
    pipeline: Pipeline,
    *,
    start_s: float = 0.0,
    copies_source: bool = False,
    waits: bool = False,
) -> SessionRecorder:
    """Begin to record a session into a new folder in `folder`. Raises OutputError.

    Arguments:
        text: the source as the user typed it. start_s: where it begins.
        copies_source: a video file is copied into the folder; else it is referred to.
        waits: see `SessionRecorder` and `EncodedPackets`.
    """
    place = new_session_folder(folder, source.name)
    with discarding(place) as opened:
        try:
            opened += [original := _choose_original(text, source, place, copies_source, waits)]
            facts = describe_session(text, source, pipeline, start_s=start_s)  # it looks at the file
        except (OSError, av.error.FFmpegError, ValueError) as error:  # ValueError: no encoder
            raise OutputError(f"cannot record to {full_path(place)}: {reason_of(error)}") from error
        recorder = SessionRecorder(
            place,
            facts,
            original,
            live=source.live,
            period_s=period_of(source),
            waits=waits and not source.live,
            states=lambda: states_of(pipeline.config),
        )
    if isinstance(source, Reconnecting) and isinstance(original, LiveOriginal):
        _follow(source, original, recorder)
    return recorder


@contextmanager
def discarding(folder: Path) -> Iterator[list[Original]]:
    """Where a recording cannot begin, close the originals that were added to the list, and remove its folder unless
    something lies in it."""
    opened: list[Original] = []
    try:
        yield opened
    except BaseException:
        for original in opened:
            with suppress(Exception):  # the failure is known
                original.close()
        with suppress(OSError):
            folder.rmdir()
        raise


def _follow(source: Reconnecting, original: LiveOriginal, recorder: SessionRecorder) -> None:
    """Record the picture of a source also after it was opened again, and that it was."""

    def attach(opened: Source) -> None:
        if told := original.attach(reader_of(opened)):
            print(f"realtime-polyp: {told}", file=sys.stderr)
            recorder.add_event("format changed", text=told)

    tell_away, tell_back = source.on_trouble, source.on_return

    def note_away(trouble: Trouble) -> None:
        tell_away(trouble)
        recorder.add_event("source away", text=trouble.reason)

    def note_back(frame: Frame, last: LastFrame, trouble: Trouble) -> None:
        tell_back(frame, last, trouble)
        recorder.add_event("source back", away_s=round(frame.pts_s - last.pts_s, 3), attempts=trouble.attempts)

    source.on_open, source.on_trouble, source.on_return = attach, note_away, note_back


def period_of(source: Source) -> float:
    """The time from one frame of a source to the next, s."""
    return float(1 / (source.rate_hz or _LIKELY_RATE_HZ))


def reader_of(source: Source) -> Reader | None:
    """The reader of a source whose packets can be copied; None for any other."""
    source = inner(source)
    if isinstance(source, CaptureSource | NetworkSource) and can_be_copied(source.reader):
        return source.reader
    return None


def is_away(source: Source) -> bool:
    """Whether a source that sends compressed packets is closed, so that its format is not known until it is back."""
    source = inner(source)
    if not isinstance(source, CaptureSource | NetworkSource) or is_raw(source.reader):
        return False
    with source.reader.hold() as usable:
        return not usable


def open_feed(source: Source, *, keep_s: float = 0.0, folder: Path | None = None, waits: bool = False) -> PacketFeed:
    """Open the packets of a source that is no file: its own where they are compressed, else encoded here.

    keep_s: how much of the past is kept for a recording that begins later, s. folder: an existing one, on whose disk it
    is kept if it is much; None: only in memory. waits: a source that is not live waits for the encoder. Raises
    FFmpegError.
    """
    keep_ms, rate_hz = round(keep_s * 1000), source.rate_hz or Fraction(_LIKELY_RATE_HZ)
    if reader := reader_of(source):
        with suppress(ValueError):  # it was closed meanwhile
            return CopiedPackets(reader, keep_ms=keep_ms, folder=folder)
    waits = waits and not source.live
    return EncodedPackets(source.size, rate_hz, live=source.live, waits=waits, keep_ms=keep_ms, folder=folder)


def _choose_original(text: str, source: Source, place: Path, copies_source: bool, waits: bool) -> Original:
    if path := source_file(text, source):
        return FileOriginal(path, place, copies=copies_source)
    return LiveOriginal(open_feed(source, waits=waits), place)
