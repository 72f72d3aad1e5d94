"""Reads live inputs, and detects silence, the end of the stream, lost packets and late packets."""

import threading
import time
from collections.abc import Iterator
from typing import TypeAlias

import av.error
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from realtime_polyp.packets import Frame
from realtime_polyp.sources.backlog import Backlog, Waiting
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continuity import mark_continuity
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.gaps import Gap, LiveGaps
from realtime_polyp.sources.lateness import DueClock
from realtime_polyp.sources.paced import BurstPacer
from realtime_polyp.sources.picture import RgbConverter
from realtime_polyp.sources.pieces import FileClock, clock_of
from realtime_polyp.sources.reader import Clock, Reader

VideoPacket: TypeAlias = "Packet[VideoStream]"

LEAST_UNDECODED = 8
"""So many packets in a row without a picture are a failure of the decoder: some hold a few pictures back."""

_GAVE_UP, _HELD_BACK_S = 0.95, 0.02  # share of the silence: a read that took so long gave up; and for how long it shows
_ASLEEP_S = 0.5  # far longer than a wait for packets takes
_POLL_S = 0.002  # between two polls of a device; small beside a frame's 17 to 40 ms
_WAKE_S = 0.02  # between two checks whether the source was closed
_BURSTS = ("hls", "dash")  # a segment of some seconds at a time
_CLOCKLESS = (  # FFmpeg invents 25 pictures per second for them
    "h264 hevc vvc evc av1 obu apv mjpeg mpjpeg mjpeg_2000 mpegvideo m4v h261 h263 vc1 dirac dnxhd cavsvideo avs2 avs3 "
    "rawvideo"
).split()
_LAST_READ_S = 0.5  # a read of the network gives up after silence_s, and only then hands out the last pictures


def read_live(
    reader: Reader, *, name: str, silence_s: float, damage: Damage | None = None, deinterlace: Mode = "auto"
) -> Iterator[Frame]:
    """Yield frames as they arrive, until the sender ends the stream or `reader.stop` is set. Frees the reader.

    A thread reads packets continuously, so that none waits in a socket. Packets that wait too long for the decoder are
    skipped (`sources.backlog`). Streams that come in bursts are paced by their timestamps; those without a clock take
    the times of arrival. `Frame.index` counts all pictures from the first one on, including skipped ones.
    `Frame.captured_s` is when the picture was due (`sources.lateness`). `pts_s` is 0 at the first frame.

    name: for error messages. damage: receives lost and incomplete pictures. Raises SourceError after
    `silence_s` without a picture (at most 0.5 s later), or if the device or connection fails: after the last picture.
    """
    return mark_continuity(_convert(reader, name, silence_s, damage or Damage(), deinterlace))


def read_all(
    reader: Reader, *, name: str, silence_s: float, damage: Damage | None = None, deinterlace: Mode = "auto"
) -> Iterator[Frame]:
    """Yield every frame of a recording that comes over the network. Frees the reader.

    No packet is skipped: the sender waits for the consumer. damage: receives lost and incomplete pictures. Raises
    SourceError as `read_live` does.
    """
    return mark_continuity(_convert_all(reader, name, silence_s, damage or Damage(), deinterlace))


def _convert(reader: Reader, name: str, silence_s: float, damage: Damage, deinterlace: Mode) -> Iterator[Frame]:
    backlog: Backlog[VideoPacket] = Backlog()
    if reader.container_name in _CLOCKLESS:
        reader.stamp_by_arrival()
    decoding = _Decoding(reader, damage, deinterlace)
    failures: list[Exception] = []
    threading.Thread(
        target=_read_packets, args=(reader, backlog, decoding.due, silence_s, failures), name="packets", daemon=True
    ).start()
    silent_from_s = time.monotonic()
    try:
        while not reader.stop.is_set():
            asked_s = time.monotonic()
            taken = backlog.take(_WAKE_S)
            if (asleep_s := time.monotonic() - asked_s) > _ASLEEP_S:  # the machine was suspended: that is no silence
                silent_from_s += asleep_s
            if taken.skipped:
                decoding.skip(taken.skipped)
                silent_from_s = time.monotonic()
            if taken.next is not None:
                since_s = time.monotonic()
                damage.undecoded += 1
                for frame in decoding.decode(taken.next):
                    damage.undecoded = 0
                    yield frame
                    silent_from_s = silent_from_s if taken.next.held_back else time.monotonic()
                backlog.add_cost(time.monotonic() - since_s)
            elif taken.ended:
                yield from decoding.flush()
                _check_ending(reader, name, silence_s, failures, damage)
                return
            if not reader.stop.is_set() and time.monotonic() > silent_from_s + silence_s + _LAST_READ_S:
                yield from decoding.flush()
                raise _silence(name, silence_s, damage)
    finally:
        backlog.stop()
        reader.free()


def _read_packets(
    reader: Reader, backlog: Backlog[VideoPacket], due: DueClock, silence_s: float, failures: list[Exception]
) -> None:
    """Move packets from the container to the backlog until the stream ends or fails, or the backlog is stopped.

    A read that gives up after the silence may still hand out pictures that were held back: they do not end the silence.
    """
    gave_up_s = -_HELD_BACK_S
    pacer = BurstPacer() if reader.container_name in _BURSTS else None
    try:
        while not backlog.stopped:
            asked_s = time.monotonic()
            try:
                packet = reader.packet()
            except av.error.BlockingIOError:  # non-blocking device without data
                reader.stop.wait(_POLL_S)
                continue
            if packet is None:
                return
            if packet.size:  # the last one is empty
                now_s = time.monotonic()
                gave_up_s = now_s if now_s - asked_s >= _GAVE_UP * silence_s else gave_up_s
                held_back = now_s - gave_up_s < _HELD_BACK_S
                stamp = packet.pts if packet.dts is None else packet.dts
                stamp_s = None if stamp is None else float(stamp * reader.time_base)
                if pacer:
                    reader.stop.wait(pacer.due_s(stamp_s, now_s) - now_s)
                    now_s = time.monotonic()
                due.add(stamp_s, now_s, rises=packet.dts is not None)
                backlog.put(Waiting(packet, packet.is_keyframe, stamp_s, now_s, packet.size, held_back=held_back))
    except Exception as error:  # noqa: BLE001 - whatever a device raises, it reaches the thread that waits for packets
        failures.append(error)
    finally:
        backlog.close()


class _Decoding:
    """Decodes the packets of a live stream; gives each picture its index and times."""

    def __init__(self, reader: Reader, damage: Damage, deinterlace: Mode) -> None:
        self.due = DueClock()
        self._reader, self._damage = reader, damage
        self._clock = Clock(reader.time_base, None, reader.period_s)
        self._to_rgb = RgbConverter(deinterlace=deinterlace)
        self._gaps = LiveGaps()
        self._inside: dict[int, Waiting[VideoPacket]] = {}  # packets in the decoder, by PTS
        self._index = 0
        self._last_s = 0.0
        self._is_joined = False  # a complete picture was decoded; a stream joined midway starts broken
        self._begins_anew = False  # the next packet is the first one after skipped packets
        self._key_pts: int | None = None  # of the keyframe after skipped packets; pictures before it lack references

    def skip(self, items: list[Waiting[VideoPacket]]) -> None:
        """Count skipped pictures and those still in the decoder; decoding restarts at a keyframe."""
        for item in items:
            self._note_packet(item)
        if self._is_joined:
            self._index += len(items) + len(self._inside)
        self._inside.clear()
        self._reader.forget()
        self._key_pts, self._begins_anew = None, True

    def decode(self, item: Waiting[VideoPacket]) -> Iterator[Frame]:
        """Yield the frames that the packet completes."""
        self._note_packet(item)
        packet = item.packet
        if self._begins_anew:
            self._begins_anew, self._key_pts = False, packet.pts
        if packet.pts is not None:
            self._inside[packet.pts] = item
        try:
            pictures = self._reader.decode(packet)
        except av.error.FFmpegError as error:  # also where a stream is joined midway
            if packet.pts is not None:
                self._inside.pop(packet.pts, None)
            if self._is_joined:
                self._damage.add_lost_packet(self._last_s, error)
            return
        if packet.is_corrupt and self._is_joined and not any(picture.is_corrupt for picture in pictures):
            self._damage.add_incomplete_picture(self._last_s)
        for picture in pictures:
            frame = self._frame(picture, item)
            if frame is not None:
                yield frame

    def flush(self) -> Iterator[Frame]:
        """Yield the frames that the decoder still holds."""
        try:
            pictures = self._reader.decode(None)
        except av.error.FFmpegError:
            return
        for picture in pictures:
            item = None if picture.pts is None else self._inside.get(picture.pts)
            if item is not None and (frame := self._frame(picture, item)) is not None:
                yield frame

    def _frame(self, picture: VideoFrame, item: Waiting[VideoPacket]) -> Frame | None:
        """Return the picture as a frame; None if it is counted but not shown."""
        self._to_rgb.set_aspect(self._reader.take_aspect(picture))
        pts = picture.pts
        if pts is not None:
            item = self._inside.pop(pts, item)
            for older in [stamp for stamp in self._inside if stamp < pts]:  # the decoder returned no picture for them
                del self._inside[older]
        is_leading = pts is not None and self._key_pts is not None and pts < self._key_pts
        if not is_leading:  # pictures come in order: a lower timestamp from now on is that of a clock that began anew
            self._key_pts = None
        if picture.is_corrupt and self._is_joined and not is_leading:
            self._damage.add_incomplete_picture(self._last_s)
        self._is_joined = self._is_joined or not picture.is_corrupt
        number, self._index = self._index, self._index + 1
        if is_leading or not item.shows:
            return None
        self._last_s = self._clock.at(pts)
        if self._clock.jumped:
            self._damage.jumps_at_s.append(self._last_s)
        captured_s = self.due.due_s(item.stamp_s, item.arrived_s)
        image, continues, aspect = self._to_rgb(picture), not self._clock.jumped, self._to_rgb.aspect
        stamp_s = None if pts is None else float(pts * self._reader.time_base)
        return Frame(
            number,
            self._last_s,
            captured_s,
            image,
            continues=continues,
            pixel_aspect=aspect,
            stamp_s=stamp_s,
            conversions=self._to_rgb.conversions,
        )

    def _note_packet(self, item: Waiting[VideoPacket]) -> None:
        """Add a packet in the order of arrival. A jump of the timestamps means that packets were lost."""
        if item.stamp_s is None:
            return
        gap = self._gaps.add(item.stamp_s)
        if gap is not None and self._is_joined:
            begin_s = self._last_s + self._reader.period_s
            self._damage.gaps.append(Gap(begin_s, begin_s + gap.missing_s))


def _check_ending(reader: Reader, name: str, silence_s: float, failures: list[Exception], damage: Damage) -> None:
    """Raise SourceError if the stream failed; return if it ended."""
    if not failures or reader.stop.is_set():
        return
    raise _failure(failures[0], name, silence_s, damage)


def _failure(error: Exception, name: str, silence_s: float, damage: Damage | None = None) -> SourceError:
    if isinstance(error, (av.error.ExitError, TimeoutError)):  # the read timeout of the container
        return _silence(name, silence_s, damage)
    reason = str(getattr(error, "strerror", None) or error)
    return SourceError(f"{name} stopped delivering pictures: {reason.lower()}.")


def _silence(name: str, silence_s: float, damage: Damage | None = None) -> SourceError:
    if damage and damage.undecoded >= LEAST_UNDECODED:
        return SourceError(f"{name} sends data, but for {silence_s:g} s no picture of it could be decoded.")
    return SourceError(f"{name} has sent no picture for {silence_s:g} s: check its signal and its cable.")


def _convert_all(reader: Reader, name: str, silence_s: float, damage: Damage, deinterlace: Mode) -> Iterator[Frame]:
    clock = clock_of(reader)
    to_rgb = RgbConverter(deinterlace=deinterlace)
    index, begin_s, last_s = 0, None, 0.0
    try:
        while not reader.stop.is_set():
            try:
                packet = reader.packet()
            except av.error.FFmpegError as error:
                if reader.stop.is_set():
                    return
                raise _failure(error, name, silence_s) from None  # the cause contains the address with its secrets
            if packet is None:
                return
            clock.add_packet(packet)
            for picture in _decode(reader, packet, clock, damage, last_s):
                to_rgb.set_aspect(reader.take_aspect(picture))
                stamp_s = None if picture.pts is None else float(picture.pts * reader.time_base)
                pts_s = clock.at(picture)
                begin_s = pts_s if begin_s is None else begin_s
                last_s = pts_s - begin_s
                when, image, aspect = (last_s, time.monotonic()), to_rgb(picture), to_rgb.aspect
                done = to_rgb.conversions
                goes_on = not clock.jumped
                yield Frame(
                    index, *when, image, continues=goes_on, pixel_aspect=aspect, stamp_s=stamp_s, conversions=done
                )
                index += 1
    finally:
        reader.free()


def _decode(reader: Reader, packet: VideoPacket, clock: FileClock, damage: Damage, last_s: float) -> list[VideoFrame]:
    """Decode a packet of a recording; a broken one is noted and gives no picture.

    last_s: time of the picture before it.
    """
    try:
        pictures = reader.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError as error:
        damage.add_lost_packet(last_s, error)
        clock.note_lost(packet)
        return []
    if any(picture.is_corrupt for picture in pictures):
        damage.add_incomplete_picture(last_s)
    return pictures
