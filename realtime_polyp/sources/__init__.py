"""Where frames come from. `open_source` takes what a person would type; `Paced` shows a recording as if live."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from realtime_polyp.sources.base import Source, SourceError
from realtime_polyp.sources.capture import CaptureSource
from realtime_polyp.sources.file import FileSource
from realtime_polyp.sources.images import ImageFolderSource
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.paced import Paced
from realtime_polyp.sources.pattern import PatternSource, parse_pattern

__all__ = [
    "CaptureSource",
    "FileSource",
    "ImageFolderSource",
    "NetworkSource",
    "Paced",
    "PatternSource",
    "Source",
    "SourceError",
    "open_source",
]


@dataclass(frozen=True)
class _Asked:
    """What the person wants of the source besides its name."""

    start_s: float = 0.0
    end_s: float | None = None
    loop: bool = False
    device_format: str | None = None
    hardware: str | None = None


def open_source(
    text: str,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    loop: bool = False,
    device_format: str | None = None,
    hardware: str | None = None,
) -> Source:
    """Open a video file, a folder of stills, a camera (`0`, `/dev/video0`, `device:NAME`), a URL or `pattern[...]`.

    start_s, end_s, loop are for files and folders; device_format (FFmpeg's device reader) for cameras;
    hardware: "cuda" to decode files on a GPU where it can.
    SourceError says what is wrong with the text or with what it names.
    """
    asked = _Asked(start_s, end_s, loop, device_format, hardware)
    for recognises, build in _KINDS:
        if recognises(text):
            return build(text, asked)
    raise SourceError("No source is named: give a video file, a folder of stills, a camera, a URL or pattern.")


def _file(text: str, asked: _Asked) -> Source:
    return FileSource(text, start_s=asked.start_s, end_s=asked.end_s, loop=asked.loop, hardware=asked.hardware)


def _folder(text: str, asked: _Asked) -> Source:
    return ImageFolderSource(text, start_s=asked.start_s, end_s=asked.end_s, loop=asked.loop)


def _device(text: str, asked: _Asked) -> Source:
    _must_be_whole(text, asked)
    return CaptureSource(text.removeprefix("device:"), format=asked.device_format)


def _network(text: str, asked: _Asked) -> Source:
    _must_be_whole(text, asked)
    return NetworkSource(text)


def _pattern(text: str, asked: _Asked) -> Source:
    _must_be_whole(text, asked)
    return PatternSource(parse_pattern(text))


def _must_be_whole(text: str, asked: _Asked) -> None:
    if asked.start_s or asked.end_s is not None or asked.loop:
        raise SourceError(f"{text} is live: a start, an end and a loop are for recordings.")


def _is_device(text: str) -> bool:
    return text.startswith(("device:", "/dev/video")) or text.isdecimal()


# In order: what exists on disk wins over what its name looks like, except a device, which exists too.
_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str, _Asked], Source]], ...] = (
    (_is_device, _device),
    (lambda text: bool(text.strip()) and Path(text).is_dir(), _folder),
    (lambda text: bool(text.strip()) and Path(text).exists(), _file),
    (lambda text: "://" in text, _network),
    (lambda text: text.startswith("pattern"), _pattern),
    (lambda text: bool(text.strip()), _file),
)
