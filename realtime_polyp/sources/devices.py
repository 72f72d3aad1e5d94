"""The capture devices of this machine, for a list to choose from."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from realtime_polyp.messages import one_line, shorten
from realtime_polyp.sources.capture import find_devices

_KERNEL = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class Device:
    """A capture device.

    Attributes:
        place: what `open_source` opens, such as /dev/video0.
        name: what its maker calls it.
    """

    place: str
    name: str


def list_devices() -> list[Device]:
    """Return the devices that Linux (V4L2) lists, without those that take no picture; empty on other systems."""
    devices = []
    for place in find_devices():
        kernel = _KERNEL / Path(place).name
        if _read(kernel / "index") not in ("", "0"):  # a second node of the same device carries its metadata
            continue
        devices.append(Device(place, _read(kernel / "name") or place))
    return devices


def _read(path: Path) -> str:
    with suppress(OSError):
        return shorten(one_line(path.read_text(encoding="utf-8", errors="replace").strip()))
    return ""
