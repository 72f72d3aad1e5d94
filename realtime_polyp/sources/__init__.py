"""Sources of frames. `open_source` opens what a user types; `Paced` plays a recording as if live."""

from collections.abc import Callable
from dataclasses import dataclass

from realtime_polyp.messages import shorten_path
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.sources.base import Source, SourceError
from realtime_polyp.sources.capture import CaptureSource, is_number
from realtime_polyp.sources.capture_modes import CaptureRequest
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.file import FileSource
from realtime_polyp.sources.images import ImageFolderSource
from realtime_polyp.sources.negotiation import open_capture
from realtime_polyp.sources.network import NetworkSource
from realtime_polyp.sources.paced import Paced
from realtime_polyp.sources.paths import exists, is_folder
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
    "is_device",
    "open_source",
]


@dataclass(frozen=True)
class SourceOptions:
    """Options of `open_source`; see there."""

    start_s: float = 0.0
    end_s: float | None = None
    loop: bool = False
    device_format: str | None = None
    hardware: str | None = None
    allow_playlists: bool = False
    rate_hz: float | None = None
    deinterlace: Mode = "auto"
    capture: CaptureRequest = CaptureRequest()


def open_source(
    text: str,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    loop: bool = False,
    device_format: str | None = None,
    hardware: str | None = None,
    allow_playlists: bool = False,
    rate_hz: float | None = None,
    deinterlace: Mode = "auto",
    capture: CaptureRequest = CaptureRequest(),
) -> Source:
    """Open a video file, a folder of stills, a camera (`0`, `/dev/video0`, `device:NAME`), a URL or `pattern[...]`.

    Arguments:
        text: what to open.
        start_s, end_s: the part of a file or folder to read, s; the end is excluded.
        loop: restart a file or folder at its end.
        device_format: FFmpeg's device format for a camera, such as "decklink".
        hardware: "cuda" decodes files on a GPU if it supports them.
        allow_playlists: a playlist may lead to other files, a network playlist or a redirect to other hosts.
        rate_hz: a folder of stills is a video of so many frames per second; 0: it is none. None: its names tell.
        deinterlace: "auto" makes whole pictures of interlaced ones, "off" leaves them; "field-rate" makes two of each,
            of files only.
        capture: size, rate, format and input to ask of a camera or card; None of them: the best that it offers.

    Raises SourceError if the text names nothing that can be opened, or for an option that does not fit.
    """
    folder = (hardware, allow_playlists, rate_hz)
    options = SourceOptions(start_s, end_s, loop, device_format, *folder, deinterlace, capture)
    for recognises, build in _KINDS:
        if recognises(text):
            if capture != CaptureRequest() and build is not _device:
                name = shorten_path(hide_secrets(text))
                raise SourceError(f"{name} is no capture device: --capture options are only for cameras and cards.")
            if rate_hz is not None and build is not _folder:
                name = shorten_path(hide_secrets(text))
                other = "; ffmpeg -r HZ -i FILE -c copy OUT.mkv gives a video another rate" if build is _file else ""
                raise SourceError(f"{name} is no folder of stills: a rate is only for their frames{other}.")
            return build(text, options)
    raise SourceError("The source is empty: give a video file, a folder of stills, a camera, a URL or pattern.")


def _file(text: str, options: SourceOptions) -> Source:
    if "\0" in text:  # FFmpeg would open what comes before it
        raise SourceError(f"{shorten_path(hide_secrets(text))} does not exist: a name cannot contain a NUL character.")
    return FileSource(
        text,
        start_s=options.start_s,
        end_s=options.end_s,
        loop=options.loop,
        hardware=options.hardware,
        allow_playlists=options.allow_playlists,
        deinterlace=options.deinterlace,
    )


def _folder(text: str, options: SourceOptions) -> Source:
    video = None if options.rate_hz is None else options.rate_hz > 0
    return ImageFolderSource(
        text,
        rate_hz=options.rate_hz or None,
        video=video,
        start_s=options.start_s,
        end_s=options.end_s,
        loop=options.loop,
    )


def _device(text: str, options: SourceOptions) -> Source:
    _check_live_options(text, options)
    name = text.removeprefix("device:")
    if not name.strip():
        raise SourceError("device: names no device: write device:NAME, a number, or a path such as /dev/video0.")
    return open_capture(name, options.capture, format=options.device_format, deinterlace=options.deinterlace)


def _network(text: str, options: SourceOptions) -> Source:
    _check_live_options(text, options)
    return NetworkSource(text, allow_playlists=options.allow_playlists, deinterlace=options.deinterlace)


def _pattern(text: str, options: SourceOptions) -> Source:
    _check_live_options(text, options)
    return PatternSource(parse_pattern(text))


def _check_live_options(text: str, options: SourceOptions) -> None:
    if options.start_s or options.end_s is not None or options.loop:
        named = shorten_path(hide_secrets(text))
        raise SourceError(f"{named} plays as it comes: start, end and loop apply to files and folders only.")


def is_device(text: str) -> bool:
    """Whether a text names a camera or a card."""
    return "\0" not in text and (text.startswith(("device:", "/dev/video")) or is_number(text))


# Checked in order. A path that exists wins over what its name looks like, except for devices, which exist too.
_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str, SourceOptions], Source]], ...] = (
    (is_device, _device),
    (lambda text: bool(text.strip()) and is_folder(text), _folder),
    (lambda text: bool(text.strip()) and exists(text), _file),
    (lambda text: "://" in text, _network),
    (lambda text: text.startswith("pattern") and "\0" not in text, _pattern),
    (lambda text: bool(text.strip()), _file),
)
