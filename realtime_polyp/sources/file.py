"""Recordings: every frame of a video file, in order, at its own time, as far as the file can be read."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.hardware import decoder_name, hwaccel_for
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.reader import Clock, Reader

Timed = tuple[float, VideoFrame]

_TEXT_READERS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg draws any text file as a picture of its letters
_DURATION_STORED = {"mov", "matroska", "avi", "asf", "flv"}  # others only estimate theirs
_EARLY_END_S = 0.5  # a file this much shorter than it says has lost its tail; less may be rounding
_SEEK_MARGINS_S = (0.0, 2.0, 10.0)  # a seek may land late (MPEG-TS has no index): try earlier, then from the start
_SAME_TIME_S = 1e-6
_TS_PACKETS_BYTES = (188, 192, 204)  # plain, with a time stamp, with error correction
_READ_ERRORS_ALLOWED = 3  # in a row


class FileSource:
    """A video file in any container and codec that FFmpeg reads.

    start_s, end_s: the part to read, in seconds since the stream's start; the end is excluded. The first frame is the
    first one at or after start_s, exactly. loop: begin again at the end, with pts_s and index rising on.
    thread_type: "SLICE" or "AUTO"; AUTO adds frame threads, faster for some files at a delay of a few frames.
    hardware: "cuda" to decode on a GPU if it takes the file; `decoder` says which way it went.
    warning is set at the end of a damaged file; what could be decoded of it has been yielded by then.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        loop: bool = False,
        thread_type: str = "SLICE",
        hardware: str | None = None,
    ) -> None:
        check_span(start_s, end_s)
        self._path = _checked(Path(path))
        self.name = self._path.name
        self.warning: str | None = None
        self._start_s, self._end_s, self._loop, self._thread_type = start_s, end_s, loop, thread_type
        self._stop = threading.Event()
        self._hwaccel = hwaccel_for(self._path, hardware)
        self._reader, self.duration_s = self._open()
        stream = self._reader.stream
        self.rate_hz = self._reader.rate_hz
        self.decoder = decoder_name(stream.codec_context.name, self._hwaccel, hardware)
        whole = start_s == 0 and end_s is None and not loop
        self.frames_total: int | None = (stream.frames or None) if whole else None
        self._to_rgb = RgbConverter(stream.sample_aspect_ratio)
        self._damage = _Damage()
        self._first_pass: Iterator[Timed] | None = self._one_pass()
        try:
            self._first = self._first_picture(self._first_pass)
            self.size = self._to_rgb.size(self._first[1])
        except SourceError:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """Every frame, once; SourceError when asked a second time."""
        first_pass, self._first_pass = self._first_pass, None
        if first_pass is None:
            raise SourceError(f"{self.name} has been read already: open it again.")
        try:
            for index, (pts_s, picture) in enumerate(self._timeline(first_pass)):
                image = self._to_rgb(picture)
                planes = self._to_rgb.planes(picture) if self._hwaccel else None
                yield Frame(index, pts_s, time.monotonic(), image, planes=planes)
        finally:
            self.close()

    def close(self) -> None:
        self._stop.set()
        self._reader.free()

    def _open(self) -> tuple[Reader, float | None]:
        """A reader at the file's start, and the seconds that the container announces, where it stores them."""
        try:
            container = av.open(str(self._path), "r", metadata_errors="replace", hwaccel=self._hwaccel)
        except av.error.FFmpegError as error:
            raise SourceError(_not_a_video(self._path, error)) from error
        if container.format.name in _TEXT_READERS:
            container.close()
            raise SourceError(f"{self._path} is a text file, not a video.")
        reader = Reader(container, self._stop, name=str(self._path), thread_type=self._thread_type)
        return reader, _announced_s(container, reader)

    def _first_picture(self, first_pass: Iterator[Timed]) -> Timed:
        first = next(first_pass, None)
        if first is not None:
            return first
        if self._damage.reason or (self._start_s == 0 and self._end_s is None):
            why = self._damage.reason or "it is empty"
            raise SourceError(f"{self._path} has no frame that can be decoded: {why}.")
        until = f" and before {self._end_s:g} s" if self._end_s is not None else ""
        lasts = f"; it lasts {self.duration_s:.2f} s" if self.duration_s else ""
        raise SourceError(f"{self._path} has no frame at or after {self._start_s:g} s{until}{lasts}.")

    def _timeline(self, first_pass: Iterator[Timed]) -> Iterator[Timed]:
        """The passes over the file, one after the other on a time that keeps rising."""
        if self._stop.is_set():
            return
        begin_s = pts_s = self._first[0]
        yield self._first
        shift_s, pictures = 0.0, first_pass
        while True:
            for own_s, picture in pictures:
                pts_s = own_s + shift_s
                yield pts_s, picture
            if not self._loop or self._stop.is_set():
                return
            shift_s = pts_s + self._reader.period_s - begin_s
            self._reopen()
            pictures = self._one_pass()

    def _reopen(self) -> None:
        self._reader.free()
        self._reader, _ = self._open()

    def _one_pass(self) -> Iterator[Timed]:
        """The asked part of the file, once; notes at the end what was damaged."""
        count, end_s = 0, 0.0
        for pts_s, picture in self._from_start():
            if self._end_s is not None and pts_s >= self._end_s - _SAME_TIME_S:
                break
            yield pts_s, picture
            count, end_s = count + 1, pts_s + self._shown_s(picture)
        else:
            self._damage.check_end(end_s, self.duration_s)
            self._damage.check_packets(end_s, self._reader.container_name, self._path.stat().st_size)
        if self.warning is None and count and not self._stop.is_set():
            self.warning = self._damage.sentence(self.name, count)

    def _shown_s(self, picture: VideoFrame) -> float:
        return max(self._reader.period_s, float(picture.duration * self._reader.time_base))

    def _from_start(self) -> Iterator[Timed]:
        """Pictures from start_s on: from a key picture before it, with those in between decoded and dropped."""
        pictures = self._sought() if self._start_s > 0 else self._decoded()
        for pts_s, picture in pictures:
            if pts_s >= self._start_s - _SAME_TIME_S:
                if self._start_s > 0:
                    self._damage = _Damage()  # what follows a seek may lack its references: no fault of the file
                yield pts_s, picture
                break
        yield from pictures

    def _sought(self) -> Iterator[Timed]:
        """Pictures from one at or before start_s on."""
        for margin_s in _SEEK_MARGINS_S:
            try:
                self._reader.seek(max(0.0, self._start_s - margin_s))
            except av.error.FFmpegError:
                break
            pictures = self._decoded()
            first = next(pictures, None)
            if first is not None and first[1].pts is not None and first[0] <= self._start_s + _SAME_TIME_S:
                yield first
                yield from pictures
                return
        self._reopen()
        yield from self._decoded()

    def _decoded(self) -> Iterator[Timed]:
        """Every picture that can be decoded from here on; what cannot is noted."""
        reader, errors = self._reader, 0
        clock, last_s = Clock(reader.time_base, reader.start_pts, reader.period_s), 0.0
        self._damage = _Damage()
        while errors < _READ_ERRORS_ALLOWED:
            try:
                packet = reader.packet()
                errors = 0
            except av.error.FFmpegError as error:
                self._damage.unreadable(last_s, error)
                errors += 1
                continue
            if packet is None:
                return
            for picture in self._pictures(packet, last_s):
                last_s = clock.at(picture.pts)
                yield last_s, picture
        for picture in self._pictures(None, last_s):  # what the decoder still holds
            yield clock.at(picture.pts), picture

    def _pictures(self, packet: "Packet[VideoStream] | None", last_s: float) -> list[VideoFrame]:
        try:
            pictures = self._reader.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._damage.unreadable(last_s, error)
            return []
        if (packet is not None and packet.is_corrupt) or any(picture.is_corrupt for picture in pictures):
            self._damage.incomplete(last_s)
        return pictures


@dataclass
class _Damage:
    """What went wrong while reading, and where first."""

    first_s: float | None = None
    reason: str = ""  # of the packets lost
    packets_lost: int = 0
    pictures_incomplete: int = 0
    announced_s: float | None = None
    cut: bool = False

    def unreadable(self, at_s: float, error: av.error.FFmpegError) -> None:
        self._note(at_s)
        self.reason = self.reason or str(error.strerror).lower()
        self.packets_lost += 1

    def incomplete(self, at_s: float) -> None:
        self._note(at_s)
        self.pictures_incomplete += 1

    def check_end(self, end_s: float, announced_s: float | None) -> None:
        if announced_s is not None and end_s < announced_s - _EARLY_END_S:
            self._note(end_s)
            self.announced_s = announced_s

    def check_packets(self, end_s: float, container_name: str, size_bytes: int) -> None:
        """A transport stream announces no length, but consists of whole packets."""
        if container_name == "mpegts" and all(size_bytes % packet_bytes for packet_bytes in _TS_PACKETS_BYTES):
            self._note(end_s)
            self.cut = True

    def sentence(self, name: str, count: int) -> str | None:
        """None when all was well."""
        if self.first_s is None:
            return None
        found = []
        if self.packets_lost:
            found.append(f"{_counted(self.packets_lost, 'packet')} could not be decoded ({self.reason})")
        if self.pictures_incomplete:
            found.append(f"{_counted(self.pictures_incomplete, 'picture')} incomplete")
        if self.announced_s is not None:
            found.append(f"it should last {self.announced_s:.2f} s but ends early")
        if self.cut and not found:
            found.append("it ends in the middle of a packet")
        frames = _counted(count, "frame")
        return f"{name} is damaged after {self.first_s:.2f} s ({frames} could be read): {', '.join(found)}."

    def _note(self, at_s: float) -> None:
        if self.first_s is None:
            self.first_s = at_s


def check_span(start_s: float, end_s: float | None) -> None:
    """SourceError unless 0 <= start_s < end_s."""
    if not 0 <= start_s < float("inf"):
        raise SourceError(f"The start must be 0 s or later, got {start_s:g} s.")
    if end_s is not None and not end_s > start_s:
        raise SourceError(f"The end must come after the start at {start_s:g} s, got {end_s:g} s.")


def _checked(path: Path) -> Path:
    if not path.exists():
        raise SourceError(f"{path} does not exist.")
    if path.is_dir():
        raise SourceError(f"{path} is a folder, not a video file.")
    if path.is_file() and path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (0 bytes).")
    return path


def _not_a_video(path: Path, error: av.error.FFmpegError) -> str:
    if isinstance(error, av.error.PermissionError):
        return f"{path} may not be read by this user: {error.strerror}."
    head = path.read_bytes()[:12] if path.is_file() else b""
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return f"{path} is an MP4 recording that was not finished: its index (the moov atom) is missing or damaged."
    return f"{path} is not a video that can be read: {str(error.strerror).lower()}."


def _announced_s(container: InputContainer, reader: Reader) -> float | None:
    """Seconds of the video stream as stored in the file; None where there are only estimates."""
    if not _DURATION_STORED & set(container.format.name.split(",")):
        return None
    if reader.stream.duration is not None:
        return float(reader.stream.duration * reader.time_base)
    if len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base
    return _tagged_s(reader.stream.metadata.get("DURATION", ""))


def _tagged_s(text: str) -> float | None:
    """Matroska's "00:01:02.500000000" in seconds."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
