"""The capture devices of this machine with what they offer, for a list to choose from."""

import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from realtime_polyp.messages import one_line, shorten
from realtime_polyp.sources import ffmpeg_devices, v4l2
from realtime_polyp.sources.capture import device_format, device_name, find_devices
from realtime_polyp.sources.capture_modes import Details

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
    """Return the devices that Linux (V4L2) lists, without those that take no picture; else those that FFmpeg finds."""
    if not sys.platform.startswith("linux"):
        return [Device(f"device:{place}", name) for place, name in ffmpeg_devices.find_names(device_format())]
    devices = []
    for place in find_devices():
        kernel = _KERNEL / Path(place).name
        # A further node of a device carries its metadata, or is another channel of a card.
        if _read(kernel / "index") not in ("", "0") and v4l2.read_details(place).problem:
            continue
        devices.append(Device(place, _read(kernel / "name") or place))
    return devices


def read_details(place: str) -> Details:
    """Ask a device for its inputs and modes. place: as `open_source` or FFmpeg takes it. It may take a second."""
    name = device_name(place.removeprefix("device:"))
    if sys.platform.startswith("linux"):
        return v4l2.read_details(name)
    return ffmpeg_devices.read_details(name, device_format())


def describe_devices() -> str:
    """What --list-devices prints: every device with its inputs and modes, a few lines each."""
    lines = []
    for device in list_devices():
        details = read_details(device.place)
        lines.append(f"{device.place}  {device.name}" + (f"  ({details.driver})" if details.driver else ""))
        lines += [f"  {details.problem}"] if details.problem else []
        lines += [
            f"  input {one.number}: {one.name}{f', {one.signal}' if one.signal else ''}" for one in details.inputs
        ]
        lines += [f"  {mode}" for mode in details.modes]
    return "\n".join(lines) or "No capture device was found."


def _read(path: Path) -> str:
    with suppress(OSError):
        return shorten(one_line(path.read_text(encoding="utf-8", errors="replace").strip()))
    return ""
