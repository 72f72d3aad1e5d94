"""Opens the sources of the command line, live ones so that they come back by themselves."""

import sys
from collections.abc import Callable
from functools import partial

from tqdm import tqdm

from realtime_polyp.cli.options import Options
from realtime_polyp.cli.source_options import check_pictures
from realtime_polyp.engines import decoding_device
from realtime_polyp.packets import Frame
from realtime_polyp.sources import CaptureSource, Source, open_source
from realtime_polyp.sources.continued import LastFrame
from realtime_polyp.sources.reconnecting import Reconnecting, inner, keep_open
from realtime_polyp.watchdog import Trouble


def open_named(
    options: Options, text: str, *, start_s: float = 0.0, loop: bool = False, last: LastFrame | None = None
) -> Source:
    """Open one source. last: the picture of a live source that it continues. Raises SourceError."""
    open_it: Callable[[], Source] = partial(
        open_source,
        text,
        start_s=start_s,
        end_s=options.end_s,
        loop=loop,
        hardware=decoding_device(options.device),
        allow_playlists=options.allow_playlists,
        rate_hz=options.rate,
        deinterlace=options.deinterlace,
        capture=options.capture,
    )
    source = keep_open(open_it, give_up_after_s=options.give_up_after, last=last)
    if isinstance(source, Reconnecting):
        source.on_trouble = print_trouble
        source.on_return = print_return
    if explanation := capture_text(source):
        print(f"realtime-polyp: {explanation}", file=sys.stderr)
    check_pictures(source, rate_hz=options.rate, field=options.field)
    return source


def capture_text(source: Source) -> str:
    """What a capture device sends, and what was asked for and not got; "" of any other source."""
    found = inner(source)
    return found.explanation if isinstance(found, CaptureSource) else ""


def print_trouble(trouble: Trouble) -> None:
    """Say on standard error that pictures have stopped, and that the source is opened again."""
    tqdm.write(f"realtime-polyp: {trouble.reason.rstrip('.')}; trying again", file=sys.stderr)


def print_return(frame: Frame, last: LastFrame, trouble: Trouble) -> None:
    """Say on standard error that the picture is back."""
    away_s = frame.captured_s - last.captured_s
    tqdm.write(f"realtime-polyp: the picture is back after {away_s:.1f} s", file=sys.stderr)
