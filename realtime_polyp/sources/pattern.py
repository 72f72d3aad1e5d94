"""A test camera: a moving pattern in real time, to try out a screen, a recorder or the pipeline without a scope."""

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import av.error

from realtime_polyp.messages import shorten_path
from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.live import read_all
from realtime_polyp.sources.opening import open_device
from realtime_polyp.sources.paced import Pacer
from realtime_polyp.sources.reader import Reader

_NUMBER = r"[0-9]{1,9}"
_TEXT = re.compile(
    rf"pattern(?::({_NUMBER})x({_NUMBER}))?"
    rf"(?:@({_NUMBER}(?:\.{_NUMBER}|/[1-9][0-9]{{0,8}})?))?(?::({_NUMBER}(?:\.{_NUMBER})?))?"
)
_FINEST_RATE = 10**6  # the largest denominator of a rate: FFmpeg's numbers have 32 bits
_SILENCE_S = 5.0


@dataclass(frozen=True)
class Pattern:
    """A test pattern.

    Attributes:
        size: (width, height) px.
        rate_hz: frames per second.
        seconds: duration, s; None: endless.
    """

    size: tuple[int, int] = (1280, 720)
    rate_hz: Fraction = Fraction(25)
    seconds: float | None = None


def parse_pattern(text: str) -> Pattern:
    """Parse `pattern:WxH@fps:seconds`, where each part is optional. Raises SourceError for anything else."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise SourceError(f"{shorten_path(text)!r} is not a test pattern: write pattern or pattern:WxH@fps:seconds.")
    width, height, rate, seconds = match.groups()
    given = Pattern(
        (int(width), int(height)) if width else Pattern.size,
        Fraction(rate).limit_denominator(_FINEST_RATE) if rate else Pattern.rate_hz,
        float(seconds) if seconds else None,
    )
    if min(given.size) < 16 or max(given.size) > 8192 or not 0 < given.rate_hz <= 240:
        raise SourceError(f"{text!r} must be 16 to 8192 px wide and high, and above 0 to 240 frames/s.")
    return given


class PatternSource:
    """FFmpeg's testsrc2 as a live camera. `close` ends it at once. Raises SourceError if FFmpeg lacks the pattern."""

    live, reads_ahead = True, False
    duration_s: float | None = None
    decoder: str | None = None
    warning: str | None = None

    def __init__(self, pattern: Pattern | str = "pattern") -> None:
        given = parse_pattern(pattern) if isinstance(pattern, str) else pattern
        self.name, self.size = "test pattern", given.size
        self.rate_hz: Fraction | None = given.rate_hz
        self.frames_total = None if given.seconds is None else round(given.seconds * given.rate_hz)
        graph = f"testsrc2=size={given.size[0]}x{given.size[1]}:rate={given.rate_hz}"
        length = "" if given.seconds is None else f":duration={given.seconds}"
        try:
            container = open_device(graph + length, format="lavfi", options={}, timeout_s=None)
        except (av.error.FFmpegError, ValueError) as error:  # ValueError: PyAV built without lavfi
            raise SourceError(f"This build of PyAV cannot draw a test pattern: {error}.") from error
        self.reader = Reader(container, threading.Event(), name=self.name)
        self._pacer = Pacer(self.reader.stop)

    def frames(self) -> Iterator[Frame]:
        """Yield frames at their times; frames that are overdue come at once."""
        for frame in read_all(self.reader, name=self.name, silence_s=_SILENCE_S):
            if not self._pacer.wait(frame.pts_s):
                return
            yield replace(frame, captured_s=time.monotonic())

    def close(self) -> None:
        self.reader.stop.set()
        self.reader.free()
