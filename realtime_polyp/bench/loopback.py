"""Live streams on loopback with scripted bad luck: pauses, freezes, black, other sizes, broken packets, restarts."""

import functools
import http.server
import io
import random
import socket
import tempfile
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import av
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from realtime_polyp.bench.loopback_rtsp import serve_rtsp

Kind = Literal["tcp", "udp", "hls", "rtsp"]
Content = Literal["moving", "frozen", "black"]
Size = tuple[int, int]

RATE_HZ = 30
SIZE: Size = (160, 128)
OTHER_SIZE: Size = (192, 144)
_KEY_EVERY = 15
_TICKS_HZ = 90_000
_ENCODER = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "crf": "16",
    "g": str(_KEY_EVERY),
    "bf": "0",
    "x264-params": "repeat-headers=1",
}
_HLS = {"hls_time": "0.5", "hls_list_size": "6", "hls_flags": "delete_segments+temp_file+omit_endlist+append_list"}
_SEND_LIMIT_S = 2.0


def picture(index: int, size: Size = SIZE, content: Content = "moving") -> NDArray[np.uint8]:
    """Tissue (H, W, 3) with one bright disc that moves with the index; black and frozen ones do not."""
    width, height = size
    if content == "black":
        return np.zeros((height, width, 3), np.uint8)
    at = 0 if content == "frozen" else index
    rows, columns = np.mgrid[:height, :width]
    red = 120 + 60 * np.sin(columns / width * 3 + at / 9) + 20 * np.cos(rows / height * 5)
    image = np.stack([red, red * 0.55, red * 0.45], -1).astype(np.uint8)
    centre = (round(width * (0.5 + 0.2 * np.sin(at / 15))), round(height * (0.5 + 0.15 * np.cos(at / 20))))
    return cast(NDArray[np.uint8], cv2.circle(image, centre, height // 6, (255, 190, 170), -1, cv2.LINE_AA))


class Scene:
    """What is in front of the camera; may be changed from any thread.

    Attributes:
        shift_s: added to every timestamp, s: a change is a jump of the sender's clock.
    """

    def __init__(self) -> None:
        self.content: Content = "moving"
        self.size = SIZE
        self.silent = False
        self.shift_s = 0.0
        self._pace = (0, time.monotonic(), 0.0, RATE_HZ)  # a picture, when it was due, its timestamp, rate from there

    def picture(self, index: int) -> NDArray[np.uint8]:
        return picture(index, self.size, self.content)

    @property
    def index(self) -> int:
        """Number of the picture that is due now."""
        index, due_s, _, rate_hz = self._pace
        return index + int((time.monotonic() - due_s) * rate_hz)

    def stamp_s(self, index: int) -> float:
        """Timestamp of a picture, s."""
        first, _, stamp_s, rate_hz = self._pace
        return stamp_s + (index - first) / rate_hz + self.shift_s

    def set_rate(self, rate_hz: int) -> None:
        """Change the rate from now on, frames/s."""
        index = self.index
        self._pace = (index, time.monotonic(), self.stamp_s(index) - self.shift_s, rate_hz)


class Server:
    """Sends a scene as MPEG-TS over TCP or UDP, as HLS or over RTSP, in real time. `start` and `kill` may alternate.

    Attributes:
        scene: what is sent.
        corrupts: this share of the bytes' pieces is overwritten with noise, 0..1.
    """

    def __init__(self, kind: Kind, scene: Scene, seed: int = 0) -> None:
        self.kind, self.scene, self.corrupts = kind, scene, 0.0
        self._chance = random.Random(seed)
        self.port = _free_port(kind)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._http: http.server.ThreadingHTTPServer | None = None
        self._listener: socket.socket | None = None
        self._folder = tempfile.TemporaryDirectory() if kind == "hls" else None

    @property
    def url(self) -> str:
        if self.kind == "hls":
            return f"http://127.0.0.1:{self.port}/live.m3u8"
        return f"{self.kind}://127.0.0.1:{self.port}" + ("/live" if self.kind == "rtsp" else "")

    def start(self) -> None:
        self._stop = threading.Event()
        kinds = {"tcp": self._serve_tcp, "rtsp": self._serve_tcp, "udp": self._send_udp, "hls": self._write_hls}
        work = kinds[self.kind]
        if self.kind in ("tcp", "rtsp"):
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self._listener.listen()
            self._listener.settimeout(0.1)
        if self.kind == "hls":
            self._serve_folder()
        self._threads = [threading.Thread(target=work, args=(self._stop,), name="loopback", daemon=True)]
        self._threads[0].start()

    def kill(self) -> None:
        """Close every connection at once."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        if self._listener:
            self._listener.close()
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def close(self) -> None:
        self.kill()
        if self._folder:
            self._folder.cleanup()

    # Kinds

    def _serve_tcp(self, stop: threading.Event) -> None:
        listener = self._listener
        assert listener
        while not stop.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if self.kind == "rtsp":
                        serve_rtsp(connection, stop, self._encode_rtp)
                        continue
                    connection.settimeout(_SEND_LIMIT_S)
                    self._encode_to(_Pieces(connection.sendall, self._harm), stop)

    def _encode_rtp(self, url: str, left: threading.Event) -> None:
        self._encode_to(url, left)
        left.set()

    def _send_udp(self, stop: threading.Event) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sender:

            def send(data: bytes) -> None:
                with suppress(ConnectionRefusedError):  # nobody listens
                    sender.sendto(data, ("127.0.0.1", self.port))

            while not stop.is_set():
                self._encode_to(_Pieces(send, self._harm), stop)

    def _write_hls(self, stop: threading.Event) -> None:
        assert self._folder
        self._encode_to(f"{self._folder.name}/live.m3u8", stop)

    def _serve_folder(self) -> None:
        assert self._folder
        for old in Path(self._folder.name).iterdir():
            old.unlink()
        handler = functools.partial(_Quiet, directory=self._folder.name)
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def _harm(self, data: bytes) -> bytes:
        if not self.corrupts or self._chance.random() >= self.corrupts:
            return data
        return bytes(self._chance.randrange(256) for _ in data)

    # Encoding

    def _encode_to(self, file: "_Pieces | str", stop: threading.Event) -> None:
        """Encode and send until `stop`, until the receiver leaves, or until the size changes or the timestamps jump
        back: a new stream begins then."""
        format, options = "mpegts", {"flush_packets": "1"}
        if isinstance(file, str):
            format, options = ("rtp", {}) if file.startswith("rtp:") else ("hls", _HLS)
        size, last, last_s = self.scene.size, -1, -1.0
        container = av.open(cast(Any, file), "w", format=format, options=options)
        try:
            stream = _open_stream(container, size)
            while not stop.is_set() and self.scene.size == size:
                index = self.scene.index
                if index == last or self.scene.silent:
                    stop.wait(0.003)
                    continue
                stamp_s = self.scene.stamp_s(index)
                if stamp_s <= last_s:
                    break
                last, last_s = index, stamp_s
                container.mux(stream.encode(_frame(self.scene.picture(index), stamp_s)))
        except OSError:
            stop.wait(0.02)
        finally:
            with suppress(OSError, av.error.FFmpegError):
                container.close()


class _Pieces(io.RawIOBase):
    """A file that hands what is written on in datagrams of seven packets of MPEG-TS."""

    def __init__(self, send: Any, harm: Any) -> None:
        super().__init__()
        self._send, self._harm = send, harm

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        whole = bytes(data)
        for at in range(0, len(whole), 1316):
            self._send(self._harm(whole[at : at + 1316]))
        return len(whole)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing is logged."""


def _open_stream(container: OutputContainer, size: Size) -> VideoStream:
    stream: VideoStream = container.add_stream("libx264", rate=RATE_HZ, options=_ENCODER)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS_HZ)
    return stream


def _frame(image: NDArray[np.uint8], stamp_s: float) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.pts, frame.time_base = round(stamp_s * _TICKS_HZ), Fraction(1, _TICKS_HZ)
    return frame


def _free_port(kind: Kind) -> int:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
