"""Video over the network: RTSP, RTMP, SRT, UDP, TCP and HTTP streams."""

import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av
import av.error

from realtime_polyp.packets import Frame
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.live import live_frames
from realtime_polyp.sources.reader import Reader

_FRESH = {"fflags": "nobuffer"}  # what was looked at to learn the format is thrown away, not shown late
_RTSP = _FRESH | {"rtsp_transport": "tcp"}  # UDP loses packets, and a lost packet smears the picture for seconds
_RTMP = _FRESH | {"rtmp_live": "live"}
_UDP = _FRESH | {"overrun_nonfatal": "1", "fifo_size": "50000"}  # packets of 188 bytes
_HTTP = {"user_agent": "realtime-polyp"}  # may be a recording, whose beginning must not be thrown away

_OPTIONS: dict[str, dict[str, str]] = {  # by scheme; these schemes are all that is accepted
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": _RTMP,
    "rtmps": _RTMP,
    "srt": _FRESH,
    "udp": _UDP,
    "rtp": _FRESH,
    "tcp": _FRESH,
    "http": _HTTP,
    "https": _HTTP,
}

_CURES = {
    av.error.ExitError: "nothing answered within {open_timeout_s:g} s",
    av.error.TimeoutError: "nothing answered within {open_timeout_s:g} s",
    av.error.ConnectionRefusedError: "the other end refused the connection",
    av.error.HTTPNotFoundError: "the server has no such stream",
    av.error.HTTPUnauthorizedError: "the server asks for a user name and password (scheme://user:password@host/...)",
    av.error.HTTPForbiddenError: "the server does not allow it",
    av.error.ProtocolNotFoundError: "this build of PyAV does not speak that protocol",
    av.error.InvalidDataError: "what arrives is not a video that can be read",
}


class NetworkSource:
    """A live stream by its address; the newest frame wins.

    An HTTP address of a finished recording, one that knows its length, has live False: it can wait, so every frame
    counts. open_timeout_s, silence_s: SourceError after so long without an answer, without a frame. probe_s: how much
    of the stream may be looked at to learn its format. A read blocked in FFmpeg cannot be woken, so close() from
    another thread returns at once but frames() ends up to silence_s later. warning tells that the sender ended.
    """

    frames_total: int | None = None

    def __init__(
        self,
        url: str,
        *,
        open_timeout_s: float = 10.0,
        silence_s: float = 5.0,
        probe_s: float = 2.0,
        options: dict[str, str] | None = None,
    ) -> None:
        scheme = urlsplit(url).scheme.lower()
        self.name = _without_password(url)
        if scheme not in _OPTIONS:
            raise SourceError(f"{self.name} has the scheme {scheme!r}; allowed are {', '.join(sorted(_OPTIONS))}.")
        self.warning: str | None = None
        self._silence_s = silence_s
        try:
            container = av.open(
                url,
                "r",
                options={"analyzeduration": str(round(probe_s * 1e6))} | _OPTIONS[scheme] | (options or {}),
                timeout=(open_timeout_s, silence_s),
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            raise SourceError(f"{self.name} cannot be opened: {_why_not(error, open_timeout_s)}.") from error
        self.live = not (scheme in ("http", "https") and container.duration)
        self._reader = Reader(container, threading.Event(), name=self.name)
        self.rate_hz = self._reader.rate_hz
        self.size = (self._reader.stream.width, self._reader.stream.height)

    def frames(self) -> Iterator[Frame]:
        """Frames as they come; SourceError when they stop coming without an end."""
        begin_s = time.monotonic()
        yield from live_frames(self._reader, name=self.name, silence_s=self._silence_s)
        if self.live and not self._reader.stop.is_set():
            self.warning = f"{self.name} was ended by its sender after {time.monotonic() - begin_s:.1f} s."

    def close(self) -> None:
        self._reader.stop.set()
        self._reader.free()


def _why_not(error: av.error.FFmpegError, open_timeout_s: float) -> str:
    cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), None)
    return cure.format(open_timeout_s=open_timeout_s) if cure else str(error.strerror).lower()


def _without_password(url: str) -> str:
    """The address as it may be shown and logged."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
