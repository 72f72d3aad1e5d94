"""Opens a capture device in the mode that fits best, and says what was got."""

from dataclasses import replace

from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.capture import CaptureSource, device_format
from realtime_polyp.sources.capture_modes import CaptureRequest, choose_mode, rate_text, shortfall
from realtime_polyp.sources.deinterlace import Mode as Deinterlace
from realtime_polyp.sources.devices import read_details


def open_capture(
    device: str,
    request: CaptureRequest = CaptureRequest(),
    *,
    format: str | None = None,
    deinterlace: Deinterlace = "auto",
) -> CaptureSource:
    """Open a device; its `explanation` says which mode it sends, and what was asked for and not got.

    format: FFmpeg's device format; None: the operating system's, whose devices are asked for their modes first. A
    device that refuses the mode that nobody asked for is opened as it is. Raises SourceError.
    """
    details = read_details(device) if format in (None, device_format()) else None
    if details and details.inputs and request.input is not None:
        numbers = [one.number for one in details.inputs]
        if request.input not in numbers:
            there = ", ".join(f"{one.number} ({one.name})" for one in details.inputs)
            raise SourceError(f"{device} has no input {request.input}; it has {there}.")
    chosen = choose_mode(details.modes, request) if details and details.modes else request
    try:
        source = _open(device, chosen, format, deinterlace)
    except SourceError:
        if chosen == request or request.is_given:
            raise
        source = _open(device, replace(request), format, deinterlace)
    source.explanation = explain(source, request)
    return source


def explain(source: CaptureSource, request: CaptureRequest) -> str:
    """Say what a device sends, in one sentence."""
    width, height = source.sent_size
    rate = f" at {rate_text(source.rate_hz)}" if source.rate_hz else ""
    missing = shortfall(request, source.sent_size, source.rate_hz, source.format)
    less = f"; less than was asked for: {missing}" if missing else ""
    return f"{source.name} sends {width} x {height}{rate} as {source.format}{less}"


def _open(device: str, mode: CaptureRequest, format: str | None, deinterlace: Deinterlace) -> CaptureSource:
    return CaptureSource(
        device,
        format=format,
        size=mode.size,
        rate_hz=mode.rate_hz,
        pixel_format=mode.format,
        input=mode.input,
        deinterlace=deinterlace,
    )
