"""A source opens what was named and nothing else: no other file, no other host."""

import shutil
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import write_clip

from realtime_polyp.cli.main import main
from realtime_polyp.sources import FileSource, NetworkSource, SourceError, open_source, opening
from realtime_polyp.sources.hardware import decodes_on
from trainers.video.labels import read_clock

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:1.5,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
LEADS_ELSEWHERE = {
    "list.m3u8": HLS.format("secret/patient.ts"),
    "file.m3u8": HLS.format("file:///etc/hostname"),
    "other.m3u8": HLS.format("http://192.0.2.1/a.ts"),
    "list.mp4": "ffconcat version 1.0\nfile secret/patient.ts",
    "bom.txt": "\ufeff\n" + HLS.format("secret/patient.ts"),
    "x.sdp": SDP,
    "x.mpd": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
    "cpl.xml": '<?xml version="1.0"?>\n<CompositionPlaylist></CompositionPlaylist>',
    "x.pls": "[playlist]\nFile1=secret/patient.ts",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "secret").mkdir()
    write_clip(folder / "secret/patient.ts", count=15)
    for name, text in LEADS_ELSEWHERE.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", sorted(LEADS_ELSEWHERE))
def test_a_file_that_leads_to_others_is_refused(folder: Path, name: str) -> None:
    kind = "--allow-playlists" if name in ("list.m3u8", "list.mp4") else "playlist"
    with pytest.raises(SourceError, match=f"{name} is a playlist.*{kind}" if kind != "playlist" else "is a playlist"):
        open_source(str(folder / name))


def test_every_way_to_a_video_file_has_the_same_limits(folder: Path) -> None:
    with pytest.raises(ValueError, match="is a playlist"):
        read_clock(folder / "list.m3u8")
    assert not decodes_on("cuda", folder / "list.m3u8")


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
def test_playlists_open_where_they_are_allowed(folder: Path, name: str) -> None:
    assert len(list(open_source(str(folder / name), allow_playlists=True).frames())) == 15


def test_an_allowed_playlist_on_this_disk_leads_to_no_host(folder: Path) -> None:
    with pytest.raises(SourceError, match="cannot be"), _server(lambda _: (200, b"", {})) as server:
        (folder / "net.m3u8").write_text(HLS.format(f"{server.url}/a.ts"))
        open_source(str(folder / "net.m3u8"), allow_playlists=True)
    assert server.asked == []


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "concat:good.mp4", "-x.mp4", "a%03d.mp4", "ü \udcff.mp4"])
def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(Path("good.mp4"), count=3)
    shutil.move("good.mp4", name)
    source = open_source(name)
    assert len(list(source.frames())) == 3
    assert source.name == name.replace("\udcff", "\\udcff")


def test_a_name_like_a_series_is_one_file(tmp_path: Path) -> None:
    for name in ("a%03d.png", "a000.png", "a001.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    assert len(list(FileSource(tmp_path / "a%03d.png").frames())) == 1
    with pytest.raises(SourceError, match="does not exist"):
        FileSource(tmp_path / "a%04d.png")


@pytest.mark.parametrize("extension", ["mp4", "mov", "mkv", "avi", "ts", "mpg", "flv", "nut", "h264", "mxf", "ogv"])
def test_recordings_of_every_common_kind_are_opened(tmp_path: Path, extension: str) -> None:
    codecs = {"mpg": "mpeg2video", "mxf": "mpeg2video", "ogv": "libtheora"}
    codec = codecs.get(extension, "libx264")
    try:
        path = write_clip(tmp_path / f"a.{extension}", count=5, rate=25, codec=codec)
    except ValueError:
        pytest.skip(f"this build of PyAV writes no {extension}")
    assert len(list(FileSource(path).frames())) == 5


# --- pictures of any size


@pytest.mark.parametrize("size", [(60000, 60000), (12000, 8000)])  # FFmpeg itself would decode the second
def test_a_video_that_claims_too_large_a_picture_is_refused_before_decoding(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = write_clip(tmp_path / "a.mov", count=2, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    at = data.index(b"jpeg", data.index(b"stsd")) + 28  # width and height of the sample description
    assert data[at : at + 4] == struct.pack(">HH", 96, 64)
    data[at : at + 4] = struct.pack(">HH", *size)
    inside = struct.pack(">HBHH", 0x11, 8, 64, 96)  # the same in each JPEG
    assert data.count(inside) == 2
    path.write_bytes(data.replace(inside, struct.pack(">HBHH", 0x11, 8, size[1], size[0])))
    with pytest.raises(SourceError, match="its picture has no size or more than 67 megapixels"):
        FileSource(path)


def test_a_raw_video_that_claims_too_large_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W12000 H8000 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(100))
    with pytest.raises(SourceError, match="has too large a picture: 12000 x 8000 px; at most 67 megapixels"):
        FileSource(tmp_path / "a.y4m")


# --- hosts


class _server:
    """An HTTP server. answer: takes a path, gives (status, body, headers). asked: the paths that were asked for."""

    def __init__(self, answer: Callable[[str], tuple[int, bytes, dict[str, str]]]) -> None:
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                status, body, headers = answer(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "_server":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def _listener(host: str = "127.0.0.2") -> Iterator[tuple[int, list[object]]]:
    """A port of an address of this machine, and the connections that it got."""
    got: list[object] = []
    with socket.create_server((host, 0)) as other:
        other.settimeout(0.05)
        yield int(other.getsockname()[1]), got
        try:
            got.append(other.accept()[1])
        except TimeoutError:
            pass


@pytest.mark.parametrize(("path", "why"), [("list.m3u8", "--allow-playlists"), ("video.ts", "not a video")])
def test_a_playlist_from_the_network_sends_the_machine_nowhere(path: str, why: str) -> None:
    with _listener() as (port, got):
        playlist = HLS.format(f"http://127.0.0.2:{port}/a.ts").encode()
        with _server(lambda _: (200, playlist, {})) as server, pytest.raises(SourceError, match=why):
            open_source(f"{server.url}/{path}")
    assert got == [] and set(server.asked) == {f"/{path}"}


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.1"], ids=["host", "port"])
def test_a_redirect_to_another_host_or_port_is_refused_by_name(host: str) -> None:
    with _listener(host) as (port, got):
        target = f"http://{host}:{port}/a.ts?token=secret"
        with _server(lambda _: (302, b"", {"Location": target})) as server:
            with pytest.raises(SourceError, match=rf"leads to another address, http://{host}.*token=\*\*\*"):
                open_source(f"{server.url}/a.ts")
    assert got == []


def test_an_answer_that_is_no_http_is_no_redirect() -> None:
    with _server(lambda _: (302, b"", {f"X-{number}": "a" for number in range(200)})) as server:
        assert opening._location(f"{server.url}/a.ts", 5.0) is None  # more headers than http.client reads


@pytest.mark.parametrize("allowed", [False, True])
def test_an_rtsp_redirect_is_followed_only_where_it_is_allowed(allowed: bool) -> None:
    with _listener() as (port, got), socket.create_server(("127.0.0.1", 0)) as server:
        address = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        target = f"rtsp://127.0.0.2:{port}/x"
        threading.Thread(target=_redirect_rtsp, args=(server, target), daemon=True).start()
        with pytest.raises(SourceError, match=None if allowed else "a redirect.*--allow-playlists"):
            NetworkSource(address, open_timeout_s=1, allow_playlists=allowed)
    assert len(got) == allowed


def _redirect_rtsp(server: socket.socket, target: str) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as stream:
        lines: list[bytes] = []
        while line := stream.readline():
            lines.append(line.strip())
            if not lines[-1]:
                number = next(one for one in lines if one.lower().startswith(b"cseq"))
                answer = b"200 OK" if lines[0].startswith(b"OPTIONS") else b"302 Found\r\nLocation: " + target.encode()
                stream.write(b"RTSP/1.0 " + answer + b"\r\n" + number + b"\r\n\r\n")
                stream.flush()
                lines = []


def test_redirects_on_the_same_host_are_followed(folder: Path) -> None:
    video = (folder / "secret/patient.ts").read_bytes()

    def answer(path: str) -> tuple[int, bytes, dict[str, str]]:
        return (200, video, {}) if path == "/new.ts" else (307, b"", {"Location": "/new.ts"})

    with _server(answer) as server:
        assert len(list(open_source(f"{server.url}/old.ts").frames())) == 15
        assert len(list(open_source(f"HTTP{server.url[4:]}/new.ts").frames())) == 15


def test_endless_redirects_end() -> None:
    with _server(lambda _: (302, b"", {"Location": "/a.ts"})) as server:
        with pytest.raises(SourceError, match="redirected more than 5 times"):
            open_source(f"{server.url}/a.ts")


def test_playlists_from_the_network_open_where_they_are_allowed(folder: Path) -> None:
    video = (folder / "secret/patient.ts").read_bytes()

    def answer(path: str) -> tuple[int, bytes, dict[str, str]]:
        return (200, HLS.format("a.ts").encode(), {}) if path.endswith("m3u8") else (200, video, {})

    with _server(answer) as server:
        assert len(list(open_source(f"{server.url}/x.m3u8", allow_playlists=True).frames())) == 15


def test_an_allowed_playlist_from_the_network_reads_no_file_of_this_machine(folder: Path) -> None:
    playlist = HLS.format(f"file://{folder}/secret/patient.ts").encode()
    with _server(lambda _: (200, playlist, {})) as server, pytest.raises(SourceError):
        open_source(f"{server.url}/x.m3u8", allow_playlists=True)


def test_the_command_line_refuses_and_allows_playlists(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--headless", "--detector", "none", "--segmenter", "none", "--source", str(folder / "list.m3u8")]
    assert main(asked) == 2
    assert "list.m3u8 is a playlist" in capsys.readouterr().err
    assert main([*asked, "--allow-playlists"]) == 0
    assert "15 of 15 frames analysed" in capsys.readouterr().out
