"""Network video: RTSP, RTMP, SRT, UDP, TCP and HTTP streams."""

import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import av.error

from realtime_polyp.messages import printable
from realtime_polyp.packets import Frame
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.damage import Damage
from realtime_polyp.sources.deinterlace import Mode
from realtime_polyp.sources.live import read_all, read_live
from realtime_polyp.sources.opening import NOT_ALLOWED, network_scheme, open_network
from realtime_polyp.sources.picture import displayed_size
from realtime_polyp.sources.reader import Reader

_FRESH = {"fflags": "nobuffer"}  # discard the frames that were probed for the format instead of showing them late
_RTSP = _FRESH | {"rtsp_transport": "tcp"}  # over UDP a lost packet smears the picture for seconds
_RTMP = _FRESH | {"rtmp_live": "live"}
_UDP = _FRESH | {
    "overrun_nonfatal": "1",
    "fifo_size": "16384",  # packets of 188 bytes: 1 s at 25 Mbit/s, or a key picture in 4K
    "buffer_size": str(2 << 20),  # bytes in the kernel, which may allow less: a burst beyond them is lost
}
_HTTP = {"user_agent": "realtime-polyp"}  # may be a recording: keep its beginning

_OPTIONS: dict[str, dict[str, str]] = {  # by scheme
    "rtsp": _RTSP,
    "rtsps": _RTSP,
    "rtmp": _RTMP,
    "rtmps": _RTMP,
    "udp": _UDP,
    "http": _HTTP,
    "https": _HTTP,
}

_CURES = {
    av.error.ExitError: "no answer within {open_timeout_s:g} s",
    av.error.TimeoutError: "no answer within {open_timeout_s:g} s",
    av.error.ConnectionRefusedError: "the other end refused the connection",
    av.error.HTTPNotFoundError: "the server has no such stream",
    av.error.HTTPUnauthorizedError: "the server asks for a user name and password (scheme://user:password@host/...)",
    av.error.HTTPForbiddenError: "the server does not allow it",
    av.error.ProtocolNotFoundError: "this build of PyAV does not speak that protocol",
    av.error.ArgumentError: NOT_ALLOWED,
    av.error.InvalidDataError: "what arrives is not a video that can be read",
}

_SEGMENT_SILENCE_S = 15.0  # two of the usual segments of HLS

_AWAY = (  # nobody is there, or has nothing to send yet
    av.error.ExitError,
    av.error.TimeoutError,
    av.error.ConnectionRefusedError,
    av.error.ConnectionResetError,
    av.error.HTTPNotFoundError,
    av.error.EOFError,
    av.error.OSError,
)


class NetworkSource:
    """A network stream. An HTTP address of a recording with a known duration is not live: it can wait.

    Arguments:
        url: address, with the scheme rtsp, rtsps, rtmp, rtmps, srt, udp, rtp, tcp, http or https.
        open_timeout_s: time limit for opening, s.
        silence_s: time without a frame after which `frames` raises SourceError, s.
        probe_s: how much of the stream is probed for its format, s.
        options: further FFmpeg options.
        allow_playlists: a playlist or a redirect may lead to other hosts.
        deinterlace: see `Deinterlacer`.

    `close` ends `frames` of a live stream at once; a read blocked in FFmpeg cannot be woken, so its connection may stay
    open up to `silence_s` longer. `warning` tells what was lost, and when the sender ended a live stream. Raises
    SourceError if the stream cannot be opened.
    """

    reads_ahead = False
    frames_total: int | None = None
    duration_s: float | None = None
    decoder: str | None = None

    def __init__(
        self,
        url: str,
        *,
        open_timeout_s: float = 10.0,
        silence_s: float = 5.0,
        probe_s: float = 2.0,
        options: dict[str, str] | None = None,
        allow_playlists: bool = False,
        deinterlace: Mode = "auto",
    ) -> None:
        scheme = network_scheme(url)
        self.name = printable(hide_secrets(url))
        self.damage, self._ending = Damage(), ""
        if _leads_to_segments(url):
            silence_s = max(silence_s, _SEGMENT_SILENCE_S)
        self._silence_s, self.deinterlace = silence_s, deinterlace
        probe = {"analyzeduration": str(round(probe_s * 1e6))}
        try:
            container = open_network(
                url,
                options=probe | _OPTIONS.get(scheme, _FRESH) | (options or {}),
                timeout_s=(open_timeout_s, silence_s),
                allow_playlists=allow_playlists,
            )
        except av.error.FFmpegError as error:  # it holds the address with its secrets: not shown as the cause
            why = _explain_open_error(error, open_timeout_s)
            raise SourceError(f"{self.name} cannot be opened: {why}.", is_away=isinstance(error, _AWAY)) from None
        self.live = not (scheme in ("http", "https") and container.duration)
        self.reader = Reader(container, threading.Event(), name=self.name)
        # FFmpeg says 25 Hz of pictures that are sent one by one; their times are those of arrival.
        is_named = not (self.live and self.reader.container_name in ("mjpeg", "mpjpeg"))
        self.rate_hz = self.reader.rate_hz if is_named else None
        try:
            self.size = displayed_size(self.reader.stream)
        except SourceError:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """Yield frames as they arrive. Raises SourceError if they stop without an end of the stream."""
        if not self.live:
            yield from read_all(
                self.reader, name=self.name, silence_s=self._silence_s, damage=self.damage, deinterlace=self.deinterlace
            )
            return
        begin_s = time.monotonic()
        yield from read_live(
            self.reader, name=self.name, silence_s=self._silence_s, damage=self.damage, deinterlace=self.deinterlace
        )
        if not self.reader.stop.is_set():
            self._ending = f"{self.name} was ended by its sender after {time.monotonic() - begin_s:.1f} s."

    @property
    def warning(self) -> str | None:
        lost = self.damage.describe_live(self.name) or ""
        return f"{lost} {self._ending}".strip() or None

    def close(self) -> None:
        self.reader.stop.set()
        self.reader.free()


def _leads_to_segments(url: str) -> bool:
    """Whether an address is that of a playlist whose segments come every few seconds."""
    return urlsplit(url).path.lower().endswith((".m3u8", ".mpd"))


def _explain_open_error(error: av.error.FFmpegError, open_timeout_s: float) -> str:
    cure = next((cure for kind, cure in _CURES.items() if isinstance(error, kind)), None)
    return cure.format(open_timeout_s=open_timeout_s) if cure else str(error.strerror).lower()
