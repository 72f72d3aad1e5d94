"""Video files: every frame that can be decoded, in order, with its own time and number."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.messages import printable
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.damage import EARLY_END_S, Damage, Gaps
from realtime_polyp.sources.deinterlace import Mode, begins_interlaced
from realtime_polyp.sources.gaps import Gap, StampLog
from realtime_polyp.sources.hardware import decoder_name, hwaccel_for
from realtime_polyp.sources.index import begin_s, read_index, sound_end_s, stored_duration_s
from realtime_polyp.sources.opening import FILE_PLAYLISTS, open_file
from realtime_polyp.sources.packet_scan import PacketScan, Start, scan_packets
from realtime_polyp.sources.paths import check_file
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.pieces import FileClock, clock_of, has_real_clock, is_by_order
from realtime_polyp.sources.reader import Reader

Timed = tuple[float, VideoFrame]  # seconds since the stream's start, picture

_SEEK_MARGINS_S = (
    0.0,
    2.0,
    10.0,
)  # a seek may land too late (MPEG-TS has no index): retry earlier, then read from the start
_SAME_TIME_S = 1e-6
_ONLY_KEYS = {"mjpeg", "ffv1", "rawvideo", "dvvideo", "prores", "dnxhd", "huffyuv", "ffvhuff", "jpeg2000", "png"}
_WITHOUT_TIMES = ("mjpeg", "mpjpeg", "mjpeg_2000")  # containers for which FFmpeg makes times up
_READ_ERRORS_ALLOWED = 3  # consecutive
_PACKETS_TO_JOIN = 1  # between a packet that is marked where recordings were joined, and the join


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
        deinterlace: see `Deinterlacer`. "field-rate" makes two frames of each picture of a file that begins interlaced:
            those of picture n have the numbers 2n and 2n + 1, and `rate_hz` is doubled.

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
        deinterlace: Mode = "auto",
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
        self._size_bytes = 0
        self._note_size()
        stream = self.reader.stream
        self.rate_hz = self.reader.rate_hz
        self.decoder = decoder_name(stream.codec_context.name, self._hwaccel, hardware)
        whole = start_s == 0 and end_s is None and not loop
        self._index = read_index(self.reader)
        self.frames_total: int | None = self._index.count if whole else None
        self.deinterlace, self._to_rgb = deinterlace, RgbConverter(deinterlace=deinterlace)
        self._doubles = deinterlace == "field-rate" and begins_interlaced(self._open()[0])
        if self._doubles:
            self.rate_hz = self.rate_hz and 2 * self.rate_hz
            self.frames_total = self.frames_total and 2 * self.frames_total
        self._damage, self._stamps = Damage(), StampLog(float(self.reader.time_base))
        self._read_s, self._piece = 0.0, 0  # time of the newest picture that was decoded, s, and its piece
        self._flags: list[tuple[int, float]] = []  # packets marked as incomplete: how many may follow, and their times
        self._before_is_key = False
        self._jumped = False  # the clock began anew with the newest picture
        self._own_s = 0.0  # time of the newest picture in the file, s
        self._first_pass: Iterator[Timed] | None = self._one_pass()
        try:
            self._first = self._first_picture(self._first_pass)
            self.size = self._to_rgb.size(self._first[1])
        except SourceError:
            self.close()
            raise

    @property
    def explanation(self) -> str:
        """What is assumed of a file that stores no times, and the cure, in one sentence; "" of any other file."""
        rate_hz = self.reader.rate_hz
        if self.reader.container_name not in _WITHOUT_TIMES or rate_hz is None:
            return ""
        return (
            f"the file stores no times, and {float(rate_hz):g} frames per second are assumed; "
            f'ffmpeg -r HZ -i "{self.name}" -c copy OUT.mkv makes a file with another rate.'
        )

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
            frame = Frame(
                index,
                pts_s,
                time.monotonic(),
                image,
                continues=continues,
                planes=planes,
                pixel_aspect=aspect,
                stamp_s=self._own_s,
                conversions=self._to_rgb.conversions,
            )
            if self._doubles:
                yield from self._fields(frame)
            else:
                yield frame

    def _fields(self, first: Frame) -> Iterator[Frame]:
        """Yield two frames of a picture, given as the first; a progressive picture is shown twice."""
        first = replace(first, index=2 * first.index)
        yield first
        image, later_s = self._to_rgb.second_field(), self.reader.period_s / 2
        yield replace(
            first,
            index=first.index + 1,
            pts_s=first.pts_s + later_s,
            stamp_s=self._own_s + later_s,
            captured_s=time.monotonic(),
            image=first.image if image is None else image,
            continues=True,
        )

    def _open(self) -> tuple[Reader, float | None]:
        """Open a reader at the file's start; also return the stored duration, s, where there is one."""
        container = open_file(self._path, allow_playlists=self._allow_playlists, hwaccel=self._hwaccel)
        self.is_playlist = container.format.name in FILE_PLAYLISTS.split(",")
        reader = Reader(container, self._stop, name=str(self._path), thread_type=self._thread_type)
        return reader, stored_duration_s(container, reader)

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
        shift_s, pictures, has_begun = 0.0, first_pass, True
        while True:
            for own_s, picture in pictures:
                pts_s, self._own_s = own_s + shift_s, own_s
                self._jumped, has_begun = self._jumped or not has_begun, True
                yield pts_s, picture
            if not self._loop or self._stop.is_set():
                return
            if not has_begun:
                raise SourceError(f"{self.name} cannot be read again: no frame of it can be decoded any more.")
            shift_s = pts_s + self.reader.period_s - begin_s
            self._reopen()
            self._to_rgb.set_before(None)  # the last picture does not come before the first one
            pictures, has_begun = self._one_pass(), False

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
            self._damage.check_begin(begin_s(self.reader), self.duration_s)
            self._damage.check_end(end_s, self._announced_s(end_s))
            self._damage.check_packets(end_s, self.reader.container_name, self._note_size())
        self._damage.gaps = Gaps(self._find_gaps())
        if self.warning is None and count and not self._stop.is_set():
            self.warning = self._damage.describe(self.name, count)

    def _note_size(self) -> int:
        """Return the file's size now, bytes; the last one that is known where it was moved or deleted meanwhile."""
        with suppress(OSError):
            self._size_bytes = self._path.stat().st_size
        return self._size_bytes

    def _announced_s(self, end_s: float) -> float | None:
        """Return how long the picture should last, s: up to its end at `end_s` where the sound lasts longer."""
        announced_s = self.duration_s
        if announced_s is None or end_s > announced_s - EARLY_END_S:
            return announced_s
        try:
            container = open_file(self._path, allow_playlists=self._allow_playlists)
        except SourceError:  # moved or deleted meanwhile
            return announced_s
        return end_s if sound_end_s(container, end_s) > announced_s - EARLY_END_S else announced_s

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
                    self._first_index = dropped if from_file_start else self._number(pts_s)
                if self._start_s > 0:
                    self._damage = Damage()  # pictures after a seek may lack their references: the file is not damaged
                    self._stamps.forget_pictures()
                    self._note_stamp(pts_s, picture)
                yield pts_s, picture
                break
            self._to_rgb.set_before(picture)
            dropped += 1
        yield from pictures

    def _number(self, pts_s: float) -> int:
        """Return the picture's number in the file; see the class's docstring."""
        period_s = self._index.period_s
        return self._scan().count_before(pts_s - _SAME_TIME_S) if period_s is None else round(pts_s / period_s)

    def _scan(self) -> PacketScan:
        """Return the packets up to `start_s`. Reads the file from its start, decodes nothing."""
        return scan_packets(self._path, lambda: self._open()[0], until_s=self._start_s)

    def _seek(self) -> Iterator[Timed]:
        """Yield pictures from a key picture at or before `start_s` on.

        A seek by time may land in another piece of a joined recording. Unless the container lists every picture, the
        packets up to there are therefore read before, and a seek that lands anywhere else is not used.
        """
        scan = None if self._index.period_s else self._scan()
        lead_s = clock_of(self.reader).lead_s
        for margin_s in _SEEK_MARGINS_S if scan is None or scan.leads_to_times else ():
            try:
                self.reader.seek(max(0.0, self._start_s - lead_s - margin_s))
                landed = scan.land(self.reader) if scan else []
            except av.error.FFmpegError:
                break
            if scan and not landed:
                continue
            pictures = self._decode(landed, scan.beginning if scan else None)
            first = next(pictures, None)
            if first is not None and first[1].pts is not None and first[0] <= self._start_s + _SAME_TIME_S:
                yield first
                yield from pictures
                return
        start = None if scan is None else scan.start_before(self._start_s - lead_s)
        landed = self._go_to(scan, start) if scan and start else []
        if not landed:
            self._reopen()
        yield from self._decode(landed, start)

    def _go_to(self, scan: PacketScan, start: Start) -> "list[Packet[VideoStream]]":
        try:
            return scan.go_to(start, self.reader)
        except av.error.FFmpegError:
            return []

    def _decode(self, landed: "Sequence[Packet[VideoStream]]" = (), start: Start | None = None) -> Iterator[Timed]:
        """Yield every picture that can be decoded from the reader's position on; record the damage.

        landed: packets that were read after a seek. start: where decoding begins; without packets that were read, the
        reader is at the file's start.
        """
        reader = self.reader
        clock = clock_of(reader, start.piece if start else None)
        self._read_s, self._flags, self._before_is_key = 0.0, [], False
        self._damage, self._stamps = Damage(), StampLog(float(reader.time_base), keeps_pauses=has_real_clock(reader))
        for packet in self._packets(landed, skipped=start.packets if start and not landed else 0):
            is_join = packet is not None and clock.add_packet(packet)
            if packet is not None:
                self._stamps.add_packet(packet, clock.packet_piece, is_join=is_join)
            self._note_flags(packet, is_join=is_join)
            for picture in self._decode_packet(packet, clock):
                self._read_s = pts_s = clock.at(picture)
                self._jumped, self._piece = clock.jumped, clock.picture_piece
                self._to_rgb.set_aspect(reader.take_aspect(picture))
                self._note_stamp(pts_s, picture)
                yield pts_s, picture
        self._note_flags(None, is_join=False)

    def _packets(
        self, landed: "Sequence[Packet[VideoStream]]", *, skipped: int
    ) -> "Iterator[Packet[VideoStream] | None]":
        """Yield packets, and None where reading failed: the decoder is then flushed. skipped: how many to pass over."""
        yield from landed
        errors, count = 0, 0
        while errors < _READ_ERRORS_ALLOWED:
            try:
                packet = self.reader.packet()
                errors = 0
            except av.error.FFmpegError as error:
                self._damage.add_lost_packet(self._read_s, error)
                errors += 1
                continue
            if packet is None:
                return
            count += bool(packet.size)
            if count > skipped or not packet.size:
                yield packet
        yield None

    def _note_stamp(self, pts_s: float, picture: VideoFrame) -> None:
        by_order = is_by_order(self.reader)  # pictures carry times of others
        pts = round(pts_s / self.reader.time_base) if by_order else picture.pts
        self._stamps.add_picture(pts, pts_s, self._piece, is_key=picture.key_frame)

    def _decode_packet(self, packet: "Packet[VideoStream] | None", clock: FileClock) -> list[VideoFrame]:
        """Decode one packet, or flush the decoder (None)."""
        try:
            pictures = self.reader.decode(packet)
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._damage.add_lost_packet(self._read_s, error)
            if packet is not None:
                clock.note_lost(packet)
            return []
        if any(picture.is_corrupt for picture in pictures):
            self._damage.add_incomplete_picture(self._read_s)
        return pictures

    def _note_flags(self, packet: "Packet[VideoStream] | None", *, is_join: bool) -> None:
        """Record a picture whose packet lacks data, if the next two packets do not begin a key picture. Where
        recordings were joined, the count of the transport stream's packets breaks off, and FFmpeg marks the last
        pictures before: they lack nothing, unless their decoder says so."""
        is_key = packet is not None and packet.is_keyframe
        if is_join or (is_key and not self._before_is_key):
            self._flags.clear()
        while self._flags and (packet is None or self._flags[0][0] <= 0):
            self._damage.add_incomplete_picture(self._flags.pop(0)[1])
        self._flags = [(packets - 1, at_s) for packets, at_s in self._flags]
        if packet is not None and packet.is_corrupt and not is_join:
            self._flags.append((_PACKETS_TO_JOIN, self._read_s))
        self._before_is_key = is_key


def check_span(start_s: float, end_s: float | None) -> None:
    """Raise SourceError unless 0 <= start_s < end_s."""
    if not 0 <= start_s < float("inf"):
        raise SourceError(f"The start must be 0 s or later, got {start_s:g} s.")
    if end_s is not None and not end_s > start_s:
        raise SourceError(f"The end must come after the start at {start_s:g} s, got {end_s:g} s.")
