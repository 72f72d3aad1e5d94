"""A camera that exists in memory alone: it can be unplugged, fall silent, freeze, change its size, or block."""

import threading
import time
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import av.error
from numpy.typing import NDArray

from realtime_polyp.bench.loopback import RATE_HZ, Scene
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.live import read_live

_TICKS_HZ = 1_000_000


class FakeDevice:
    """What is plugged in. `open` returns a source that reads it as a capture card is read.

    Attributes:
        scene: what it sees.
        plugged: whether the cable is in.
        blocks: a read does not return, as in a driver that hangs.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.plugged, self.blocks = scene, True, False

    def open(self, *, silence_s: float = 1.5) -> "FakeCapture":
        """Raises SourceError while it is unplugged."""
        if not self.plugged:
            raise SourceError("The capture device /dev/video7 cannot be opened: there is no such device.", is_away=True)
        return FakeCapture(self, silence_s)


class FakeCapture(CaptureSource):
    """A capture source over a fake device in place of FFmpeg's."""

    def __init__(self, device: FakeDevice, silence_s: float) -> None:
        self.name, self.rate_hz, self.size = "fake device", Fraction(RATE_HZ), device.scene.size
        self.damage, self._silence_s, self.deinterlace = Damage(), silence_s, "auto"
        self.reader: Any = _FakeReader(device)

    def frames(self) -> Any:
        return read_live(self.reader, name=self.name, silence_s=self._silence_s, damage=self.damage)


class _FakeReader:
    """Gives the pictures of a device as packets, as `Reader` does; a device without one yet raises BlockingIOError."""

    time_base, period_s, container_name = Fraction(1, _TICKS_HZ), 1 / RATE_HZ, "fake"

    def __init__(self, device: FakeDevice) -> None:
        self._device, self._last = device, -1
        self.stop = threading.Event()
        self.stream = SimpleNamespace(sample_aspect_ratio=None, codec_context=SimpleNamespace(name="rawvideo"))
        self.tap = None

    def packet(self) -> Any:
        while self._device.blocks and not self.stop.is_set():
            time.sleep(0.01)
        if self.stop.is_set():
            return None
        if not self._device.plugged:
            raise av.error.OSError(19, "No such device")
        index = self._device.scene.index
        if index == self._last or self._device.scene.silent:
            raise av.error.BlockingIOError(11, "Resource temporarily unavailable")
        self._last = index
        stamp = round((time.monotonic() + self._device.scene.shift_s) * _TICKS_HZ)
        image = self._device.scene.picture(index)
        return SimpleNamespace(pts=stamp, dts=stamp, size=1, is_keyframe=True, is_corrupt=False, image=image)

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        return [] if packet is None else [_picture(packet.image, packet.pts)]

    def take_aspect(self, picture: av.VideoFrame) -> None:
        return None

    def forget(self) -> None:
        """Nothing is held back."""

    def free(self) -> None:
        self.stop.set()


def _picture(image: "NDArray[Any]", stamp: int) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
    picture.pts = stamp
    return picture
