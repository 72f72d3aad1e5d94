"""The picture of a live source as `original.mkv`: packets as they were sent, or encoded, on a thread of its own.

The file can be played at any moment while it is written. Each frame is a cluster, so that a crash
loses no more than what was not handed to the system.
"""

import os
import shutil
import threading
from collections import deque
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
from av.packet import Packet
from av.stream import Stream

from realtime_polyp.outputs.output_file import DisplacedError, OutputFile, Place
from realtime_polyp.packets import Frame
from realtime_polyp.private_files import make_private_folder, open_private
from realtime_polyp.recording.original import NoOriginal
from realtime_polyp.recording.packets import CopiedPackets, PacketFeed, StoredPacket
from realtime_polyp.recording.schema import ORIGINAL_FILE

if TYPE_CHECKING:
    from realtime_polyp.sources.reader import Reader

_OPTIONS = {"cluster_time_limit": "0", "flush_packets": "1", "avoid_negative_ts": "disabled"}
_MOST_BYTES = 64 << 20  # waiting for the disk; then packets are dropped up to the next keyframe
_SETTLE_S = 5.0  # for pictures that still wait for the encoder
_COPY_BYTES = 4 << 20
_MS = Fraction(1, 1000)


class FeedPlaces(NoOriginal):
    """Tells the places of pictures that are only kept in memory for now."""

    def __init__(self, feed: PacketFeed) -> None:
        self._feed = feed

    def place(self, frame: Frame) -> float | None:
        return self._feed.place(frame)


class OriginalFile(OutputFile):
    """The file of the original picture. Where its folder is removed, it is written there again and goes on; where the
    folder is moved, it goes on where that went."""

    def check(self) -> None:
        try:
            super().check()
        except DisplacedError as error:
            status = os.fstat(self._open())
            if status.st_size < self._size:  # another program shortened it
                raise
            if status.st_nlink == 0:
                self._save(error)

    def _save(self, error: DisplacedError) -> None:
        """Copy the deleted file, which is there as long as it is open. Only Linux can open it again for that."""
        before = self._open()
        try:
            with open(f"/proc/self/fd/{before}", "rb") as deleted:
                make_private_folder(self.path.parent)
                saved = open_private(self.path, new=True)
                try:
                    with open(saved, "wb", closefd=False) as file:
                        shutil.copyfileobj(deleted, file, _COPY_BYTES)
                except OSError:
                    os.close(saved)
                    raise
        except OSError:
            raise error from None
        os.lseek(saved, os.lseek(before, 0, os.SEEK_CUR), os.SEEK_SET)
        self._handle, self._place = saved, Place(self.path, os.fstat(saved))
        os.close(before)


class LiveOriginal:
    """Writes the packets of a feed to `original.mkv`.

    folder: of the session. back_s: begin with what has passed this long ago, s. owns_feed: nobody else needs the feed
    afterwards. Raises OSError, FFmpegError.
    """

    def __init__(self, feed: PacketFeed, folder: Path, *, back_s: float = 0.0, owns_feed: bool = True) -> None:
        self._owns_feed = owns_feed
        self.error: Exception | None = None
        self._feed, self._dropped_before = feed, feed.dropped
        self._queue: deque[StoredPacket] = deque()
        self._queued_bytes, self._lost, self._loses = 0, 0, False
        self._gaps: list[tuple[int, int | None]] = []  # times that the file lacks, on the feed's clock
        self._closing = False
        self._changed = threading.Condition()
        self._zero_ms: int | None = None
        self._has_begun = self._has_past = False
        with ExitStack() as undo:
            if owns_feed:
                undo.callback(feed.finish)
            self._file = OriginalFile(folder / ORIGINAL_FILE)
            undo.callback(self._file.close)
            self._container = av.open(self._file, "w", format="matroska", options=_OPTIONS)
            self._stream: Stream = feed.add_stream(self._container)
            self._thread = threading.Thread(target=self._run, name="write original", daemon=True)
            self._thread.start()
            undo.pop_all()
        feed.recent.listen(self._put, back_ms=round(back_s * 1000))
        self._has_past = True

    def attach(self, reader: "Reader | None") -> str | None:
        """Go on with the same source, opened again; see `CopiedPackets.attach`. reader: None where it sends raw
        pictures."""
        if self.error or not isinstance(self._feed, CopiedPackets):
            return None
        return self._feed.attach(reader)

    def place(self, frame: Frame) -> float | None:
        if self.error and self._owns_feed:
            return None
        place = self._feed.place(frame)
        if place is not None and self._zero_ms is None and self._feed.is_encoded:  # its packet comes later
            self._zero_ms = round(place)
        return place

    def picture_s(self, place: float | None) -> float | None:
        if place is None or self._zero_ms is None or place < self._zero_ms or self.error:
            return None
        if any(start <= place and (end is None or place < end) for start, end in self._gaps):
            return None
        return round(place - self._zero_ms) / 1000

    def facts(self) -> dict[str, Any]:
        return {**self._feed.describe(), "file": ORIGINAL_FILE}

    def step(self) -> dict[str, Any] | None:
        return None

    def check(self) -> None:
        if error := self.error or self._feed.error:
            raise error

    def sync(self) -> None:
        self._file.sync()

    @property
    def dropped(self) -> int:
        return self._lost if self.error else self._lost + self._feed.dropped - self._dropped_before

    def close(self) -> None:
        if self._owns_feed:
            self._feed.finish()
        else:
            self._feed.settle(_SETTLE_S)
        self._feed.recent.stop_listening()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.check()

    def _put(self, packet: StoredPacket) -> None:
        """On the feed's thread: take the next packet, or drop it where too many wait."""
        with self._changed:
            if self.error:
                return
            if self._zero_ms is None or not self._has_begun:
                placed_ms = packet.time_ms if self._zero_ms is None else self._zero_ms
                self._zero_ms, self._has_begun = min(placed_ms, packet.time_ms), True
            # What has passed is in memory anyhow.
            full = self._has_past and self._queued_bytes + len(packet.data) > _MOST_BYTES
            if full or (self._loses and not packet.is_key):
                self._lost += 1
                if not self._loses:
                    self._gaps.append((packet.time_ms, None))
                self._loses = True
                return
            if self._loses:
                self._gaps[-1] = (self._gaps[-1][0], packet.time_ms)
                self._loses = False
            self._queue.append(packet)
            self._queued_bytes += len(packet.data)
            self._changed.notify_all()

    def _run(self) -> None:
        # At the usual priority: it does little, and what it has not written is lost in a crash.
        try:
            while (packet := self._next()) is not None:
                self._mux(packet)
            self._container.close()
            self._file.close()
        except Exception as error:  # noqa: BLE001 - the recorder reports it, and the session goes on
            with self._changed:
                self._lost, self.error = (
                    self.dropped,
                    self._file.error or error,
                )  # what follows is not dropped, but lost
                self._queue.clear()
                self._queued_bytes = 0
            self._feed.recent.stop_listening()
            if self._owns_feed:
                self._feed.finish()
            self._leave()

    def _next(self) -> StoredPacket | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            packet = self._queue.popleft()
            self._queued_bytes -= len(packet.data)
            return packet

    def _mux(self, stored: StoredPacket) -> None:
        packet: Packet[Any] = Packet(stored.load())
        zero_ms = self._zero_ms or 0
        packet.stream, packet.time_base = self._stream, _MS
        packet.pts, packet.dts = stored.time_ms - zero_ms, stored.dts_ms - zero_ms
        packet.duration, packet.is_keyframe = stored.duration_ms, stored.is_key
        self._container.mux_one(packet)
        if self._file.error:  # FFmpeg may go on after a failed write
            raise self._file.error

    def _leave(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError, av.error.FFmpegError):
            self._container.close()
