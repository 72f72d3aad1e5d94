"""Tiny clips made on the spot, each frame carrying its own number, so that a test can tell which frame it was given."""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_BITS = 6
CORNERS = {
    "top left": (220, 40, 40),
    "top right": (40, 200, 40),
    "bottom left": (40, 40, 220),
    "bottom right": (220, 220, 220),
}


def numbered(number: int, size: tuple[int, int] = (96, 64)) -> Picture:
    """A picture (h, w, 3) RGB of size (w, h): its number as black and white bars, a colour in each corner."""
    width, height = size
    image = np.full((height, width, 3), 90, np.uint8)
    band, side = height // 3, width // 5
    image[:band, :side], image[:band, -side:] = CORNERS["top left"], CORNERS["top right"]
    image[-band:, :side], image[-band:, -side:] = CORNERS["bottom left"], CORNERS["bottom right"]
    for bit in range(_BITS):
        image[band : height - band, bit * width // _BITS : (bit + 1) * width // _BITS] = 255 * (number >> bit & 1)
    return image


def number_of(image: Picture) -> int:
    """The number that `numbered` drew."""
    row = image[image.shape[0] // 2].mean(axis=1)
    return sum(int(row[(2 * bit + 1) * len(row) // (2 * _BITS)] > 127) << bit for bit in range(_BITS))


def corner_colours(image: Picture) -> dict[str, tuple[int, ...]]:
    """The colour found in the middle of each corner patch."""
    y, x = image.shape[0] // 6, image.shape[1] // 10
    spots = {"top left": (y, x), "top right": (y, -x - 1), "bottom left": (-y - 1, x), "bottom right": (-y - 1, -x - 1)}
    return {name: tuple(int(v) for v in image[spot]) for name, spot in spots.items()}


def write_clip(
    path: Path,
    *,
    count: int = 12,
    size: tuple[int, int] = (96, 64),
    rate: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: float | None = None,
    hflip: bool = False,
    aspect: Fraction | None = None,
    audio: bool = False,
    format: str | None = None,
    draw: Callable[[int, tuple[int, int]], Picture] = numbered,
    colour: tuple[int, int] | None = None,
) -> Path:
    """A clip of `count` numbered frames of size (w, h); times_ms: their own times, else one every 1/rate s.

    colour: (matrix, range) as FFmpeg numbers them, both used for the conversion and written into the stream.
    """
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if colour is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = colour
        if rotation is not None or hflip:
            stream.set_display_rotation(rotation or 0.0, hflip=hflip)
        sound = _add_sound(container) if audio else None
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(draw(number, size), format="rgb24")
            if colour is not None:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=colour[0], dst_color_range=colour[1])
            frame.pts = number if times_ms is None else times_ms[number]
            frame.time_base = Fraction(1, rate) if times_ms is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_silence(container, sound, seconds=count / rate)
    return path


def write_sound(path: Path, *, seconds: float = 0.5) -> Path:
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        _write_silence(container, _add_sound(container), seconds=seconds)
    return path


def write_with_cover(path: Path, *, count: int = 12) -> Path:
    """An mp4 whose first video stream is a large cover picture; the clip itself is second and smaller."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        clip = container.add_stream("libx264", rate=10)
        clip.width, clip.height, clip.pix_fmt = 96, 64, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(numbered(63, (320, 240)), format="rgb24")))
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(clip.encode(frame))
        container.mux(clip.encode())
    return path


def cut_file(path: Path, keep: float) -> Path:
    """Keep this share of the file's bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def spoil_bytes(path: Path, *, start: float, length: int, seed: int = 0) -> Path:
    """Overwrite bytes from this share of the file on with noise."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * start)
    data[at : at + length] = np.random.default_rng(seed).bytes(length)
    path.write_bytes(data)
    return path


def blank_pictures(path: Path) -> Path:
    """Zero the picture data of an mp4, leaving its index."""
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    return path


@contextmanager
def released(path: Path) -> Iterator[Path]:
    """The path, checked on leaving to have no descriptor of this process left open on it (Linux)."""
    yield path
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    targets = [link.readlink() for link in links if link.exists()]
    assert path not in targets, f"{path} is still open"


def _add_sound(container: OutputContainer) -> AudioStream:
    return container.add_stream("aac", rate=8000, layout="mono")


def _write_silence(container: OutputContainer, stream: AudioStream, *, seconds: float) -> None:
    for start in range(0, int(seconds * 8000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


class Sender:
    """Sends a file's bytes over loopback in small pieces, as a live encoder would; stops at the end of `with`.

    kind: "tcp", "http" or "udp". hold: keep the connection open and silent after the last byte. rounds: how often.
    """

    def __init__(self, path: Path, kind: str, *, hold: bool = False, rounds: int = 1, pause_s: float = 0.004) -> None:
        self._pieces = _pieces(path.read_bytes()) * rounds
        self._kind, self._hold, self._pause_s = kind, hold, pause_s
        self._stop = threading.Event()
        self._socket = socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.url = f"{kind}://127.0.0.1:{self.port}" + ("/live.ts" if kind == "http" else "")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sender":
        if self._kind == "udp":
            self._socket.close()  # only the number was wanted: the receiver binds it
            self._socket = socket.socket(type=socket.SOCK_DGRAM)
        else:
            self._socket.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._socket.close()
        self._thread.join(5)

    def _run(self) -> None:
        with suppress(OSError):  # the receiver may go away at any time
            self._send_datagrams() if self._kind == "udp" else self._serve()

    def _send_datagrams(self) -> None:
        for piece in self._pieces:
            if self._stop.wait(self._pause_s):
                return
            with suppress(ConnectionRefusedError):  # nobody listens yet
                self._socket.sendto(piece, ("127.0.0.1", self.port))

    def _serve(self) -> None:
        self._socket.settimeout(0.1)
        while not self._stop.is_set():
            with suppress(TimeoutError):
                connection, _ = self._socket.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._kind == "http":
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n")
        for piece in self._pieces:
            if self._stop.wait(self._pause_s):
                return
            connection.sendall(piece)
        if self._hold:
            self._stop.wait()


def _pieces(data: bytes, size: int = 1316) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
