"""Video files: every frame that can be decoded, in order, with its own time and number."""

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.messages import printable
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.gaps import Gap, StampLog
from realtime_polyp.sources.hardware import decoder_name, hwaccel_for
from realtime_polyp.sources.opening import open_file
from realtime_polyp.sources.paths import check_file
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.reader import Clock, Reader

Timed = tuple[float, VideoFrame]  # seconds since the stream's start, picture

_DURATION_STORED = {"mov", "matroska", "avi", "asf", "flv"}  # containers that store a duration; others estimate it
_SEEK_MARGINS_S = (
    0.0,
    2.0,
    10.0,
)  # a seek may land too late (MPEG-TS has no index): retry earlier, then read from the start
_SAME_TIME_S = 1e-6
_ONLY_KEYS = {"mjpeg", "ffv1", "rawvideo", "dvvideo", "prores", "dnxhd", "huffyuv", "ffvhuff", "jpeg2000", "png"}
_READ_ERRORS_ALLOWED = 3  # consecutive


class FileSource:
    """A video file in any container and codec that FFmpeg reads.

    Arguments:
        start_s, end_s: the part to read, in seconds since the stream's start; `end_s` is excluded. The first frame is
            exactly the first one at or after `start_s`.
        loop: restart at the end; `pts_s` and `index` keep rising.
        thread_type: FFmpeg's threading, "SLICE" or "AUTO". AUTO adds frame threads: faster for some files, at a delay
            of a few frames.
        hardware: "cuda" decodes on a GPU if the GPU supports the file; `decoder` tells which decoder is used.
        allow_playlists: a playlist may lead to other files.

    `Frame.index` is the frame's number in the file, also after a seek to `start_s`. If the container's index lists
    every frame at an even rate (most MP4 and AVI files), the number is `pts_s` over the period. Otherwise (a variable
    rate, or Matroska and MPEG-TS, which have no such index) the packets before `start_s` are counted: the file is read
    up to there, without decoding.

    `warning` is set at the end of a damaged file, after every frame that could be decoded. It also names the gaps of a
    recording whose steps are even otherwise (`sources.gaps`).

    Raises SourceError for a file that cannot be opened or has no frame in the span.
    """

    live = reads_ahead = False

    def __init__(
        self,
        path: str | Path,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        loop: bool = False,
        thread_type: str = "SLICE",
        hardware: str | None = None,
        allow_playlists: bool = False,
    ) -> None:
        check_span(start_s, end_s)
        self._path, self._allow_playlists = check_file(Path(path)), allow_playlists
        self.name = printable(self._path.name)
        self.warning: str | None = None
        self._start_s, self._end_s, self._loop, self._thread_type = start_s, end_s, loop, thread_type
        self._first_index: int | None = None
        self._stop = threading.Event()
        self._hwaccel = hwaccel_for(self._path, hardware, allow_playlists=allow_playlists)
        self.reader, self.duration_s = self._open()
        stream = self.reader.stream
        self.rate_hz = self.reader.rate_hz
        self.decoder = decoder_name(stream.codec_context.name, self._hwaccel, hardware)
        whole = start_s == 0 and end_s is None and not loop
        self.frames_total: int | None = (stream.frames or None) if whole else None
        self._to_rgb = RgbConverter()
        self._damage, self._stamps = Damage(), StampLog(float(self.reader.time_base))
        self._jumped = False  # the clock began anew with the newest picture
        self._own_s = 0.0  # time of the newest picture in the file, s
        self._first_pass: Iterator[Timed] | None = self._one_pass()
        try:
            self._first = self._first_picture(self._first_pass)
            self.size = self._to_rgb.size(self._first[1])
        except SourceError:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """Yield every frame once. Raises SourceError on a second call."""
        first_pass, self._first_pass = self._first_pass, None
        if first_pass is None:
            raise SourceError(f"{self.name} has been read already: open it again.")
        try:
            yield from mark_continuity(self._convert(first_pass))
        finally:
            self.close()

    def close(self) -> None:
        self._stop.set()
        self.reader.free()

    def _convert(self, first_pass: Iterator[Timed]) -> Iterator[Frame]:
        for index, (pts_s, picture) in enumerate(self._timeline(first_pass), self._first_index or 0):
            image = self._to_rgb(picture)
            planes = self._to_rgb.planes(picture) if self._hwaccel else None
            continues = not self._jumped
            aspect = self._to_rgb.aspect
            yield Frame(
                index,
                pts_s,
                time.monotonic(),
                image,
                continues=continues,
                planes=planes,
                pixel_aspect=aspect,
                stamp_s=self._own_s,
            )

    def _open(self) -> tuple[Reader, float | None]:
        """Open a reader at the file's start; also return the stored duration, s, where there is one."""
        container = open_file(self._path, allow_playlists=self._allow_playlists, hwaccel=self._hwaccel)
        reader = Reader(container, self._stop, name=str(self._path), thread_type=self._thread_type)
        return reader, _stored_duration_s(container, reader)

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
        """Chain the passes over the file, with times that keep rising."""
        if self._stop.is_set():
            return
        begin_s = pts_s = self._own_s = self._first[0]
        yield self._first
        shift_s, pictures = 0.0, first_pass
        while True:
            for own_s, picture in pictures:
                pts_s, self._own_s = own_s + shift_s, own_s
                yield pts_s, picture
            if not self._loop or self._stop.is_set():
                return
            shift_s = pts_s + self.reader.period_s - begin_s
            self._reopen()
            pictures = self._one_pass()

    def _reopen(self) -> None:
        self.reader.free()
        self.reader, _ = self._open()

    def _one_pass(self) -> Iterator[Timed]:
        """Read the span once, and set `warning` at its end if the file is damaged."""
        count, end_s = 0, 0.0
        for pts_s, picture in self._from_start():
            if self._end_s is not None and pts_s >= self._end_s - _SAME_TIME_S:
                break
            yield pts_s, picture
            count, end_s = count + 1, pts_s + self._shown_s(picture)
        else:
            self._damage.check_begin(_begin_s(self.reader), self.duration_s)
            self._damage.check_end(end_s, self.duration_s)
            self._damage.check_packets(end_s, self.reader.container_name, self._path.stat().st_size)
        self._damage.gaps = self._find_gaps()
        if self.warning is None and count and not self._stop.is_set():
            self.warning = self._damage.describe(self.name, count)

    def _find_gaps(self) -> list[Gap]:
        """Return where pictures are missing. AVI stores a dropped picture as nothing, which repeats the one before."""
        is_avi = self.reader.container_name == "avi"
        only_keys = self.reader.stream.codec_context.name in _ONLY_KEYS
        return self._stamps.gaps(joins_begin_with_keys=is_avi or not only_keys)

    def _shown_s(self, picture: VideoFrame) -> float:
        return max(self.reader.period_s, float(picture.duration * self.reader.time_base))

    def _from_start(self) -> Iterator[Timed]:
        """Yield pictures from `start_s` on; those between the key picture before it and `start_s` are dropped."""
        pictures = self._seek() if self._start_s > 0 else self._decode()
        dropped, from_file_start = 0, False
        for pts_s, picture in pictures:
            from_file_start = from_file_start or (dropped == 0 and pts_s <= _SAME_TIME_S)
            if pts_s >= self._start_s - _SAME_TIME_S:
                if self._first_index is None:
                    self._first_index = dropped if from_file_start else self._number(pts_s, picture)
                if self._start_s > 0:
                    self._damage = Damage()  # pictures after a seek may lack their references: the file is not damaged
                    self._stamps.forget_pictures()
                    self._note_stamp(pts_s, picture)
                yield pts_s, picture
                break
            dropped += 1
        yield from pictures

    def _number(self, pts_s: float, picture: VideoFrame) -> int:
        """Return the picture's number in the file; see the class's docstring."""
        period_s = _even_period_s(self.reader)
        return self._count_before(picture) if period_s is None else round(pts_s / period_s)

    def _count_before(self, picture: VideoFrame) -> int:
        """Count the packets that are shown before the picture. Reads the file from its start, decodes nothing."""
        reader, _ = self._open()
        count, until = 0, picture.pts or 0
        try:
            while (packet := reader.packet()) is not None:
                if packet.dts is not None and packet.dts >= until:
                    break  # a packet is never shown before it is decoded
                shown_at = packet.dts if packet.pts is None else packet.pts
                count += shown_at is not None and shown_at < until and not packet.is_discard
        except av.error.FFmpegError:
            pass  # a damaged file: the count covers what can be read
        finally:
            reader.free()
        return count

    def _seek(self) -> Iterator[Timed]:
        """Yield pictures from a key picture at or before `start_s` on."""
        for margin_s in _SEEK_MARGINS_S:
            try:
                self.reader.seek(max(0.0, self._start_s - margin_s))
            except av.error.FFmpegError:
                break
            pictures = self._decode()
            first = next(pictures, None)
            if first is not None and first[1].pts is not None and first[0] <= self._start_s + _SAME_TIME_S:
                yield first
                yield from pictures
                return
        self._reopen()
        yield from self._decode()

    def _decode(self) -> Iterator[Timed]:
        """Yield every picture that can be decoded from the reader's position on; record the damage."""
        reader, errors = self.reader, 0
        clock, last_s = Clock(reader.time_base, reader.start_pts, reader.period_s, ends_s=self.duration_s), 0.0
        self._damage, self._stamps = Damage(), StampLog(float(reader.time_base))
        while errors < _READ_ERRORS_ALLOWED:
            try:
                packet = reader.packet()
                errors = 0
            except av.error.FFmpegError as error:
                self._damage.add_lost_packet(last_s, error)
                errors += 1
                continue
            if packet is None:
                return
            self._stamps.add_packet(packet.dts, packet.pts, is_discard=packet.is_discard)
            for picture in self._decode_packet(packet, last_s):
                last_s = clock.at(picture.pts)
                self._jumped = clock.jumped
                self._to_rgb.set_aspect(reader.take_aspect(picture))
                self._note_stamp(last_s, picture)
                yield last_s, picture
        for picture in self._decode_packet(None, last_s):  # flush the decoder
            last_s = clock.at(picture.pts)
            self._jumped = clock.jumped
            self._to_rgb.set_aspect(reader.take_aspect(picture))
            self._note_stamp(last_s, picture)
            yield last_s, picture

    def _note_stamp(self, pts_s: float, picture: VideoFrame) -> None:
        self._stamps.add_picture(picture.pts, pts_s, is_key=picture.key_frame)

    def _decode_packet(self, packet: "Packet[VideoStream] | None", last_s: float) -> list[VideoFrame]:
        """Decode one packet, or flush the decoder (None)."""
        try:
            pictures = self.reader.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._damage.add_lost_packet(last_s, error)
            return []
        if (packet is not None and packet.is_corrupt) or any(picture.is_corrupt for picture in pictures):
            self._damage.add_incomplete_picture(last_s)
        return pictures


def check_span(start_s: float, end_s: float | None) -> None:
    """Raise SourceError unless 0 <= start_s < end_s."""
    if not 0 <= start_s < float("inf"):
        raise SourceError(f"The start must be 0 s or later, got {start_s:g} s.")
    if end_s is not None and not end_s > start_s:
        raise SourceError(f"The end must come after the start at {start_s:g} s, got {end_s:g} s.")


def _even_period_s(reader: Reader) -> float | None:
    """Return the time between frames, s, if the container's index lists all of them at an even rate, else None."""
    stream = reader.stream
    times = [entry.timestamp for entry in stream.index_entries]
    if len(times) < 2 or len(times) != stream.frames:
        return None
    mean = (times[-1] - times[0]) / (len(times) - 1)
    even = all(abs(after - before - mean) <= 1 for before, after in pairwise(times))  # timestamps are rounded
    return mean * float(reader.time_base) if even else None


def _stored_duration_s(container: InputContainer, reader: Reader) -> float | None:
    """Return the video stream's stored duration, s; None if the container only estimates one."""
    if not _DURATION_STORED & set(container.format.name.split(",")):
        return None
    if reader.stream.duration is not None:
        return float(reader.stream.duration * reader.time_base)
    if len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base - _begin_s(reader)
    duration_s = _parse_duration_s(reader.stream.metadata.get("DURATION", ""))
    return None if duration_s is None else duration_s - _begin_s(reader)


def _begin_s(reader: Reader) -> float:
    """Return when a Matroska file's first picture comes, s: its stored durations count from 0. 0.0 for any other."""
    if not reader.container_name.startswith("matroska"):
        return 0.0
    return max(0.0, float((reader.start_pts or 0) * reader.time_base))


def _parse_duration_s(text: str) -> float | None:
    """Parse Matroska's duration tag, such as "00:01:02.500000000", to seconds; None if it is malformed."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None
