"""The remote page: who has the token sees the picture and the states; nobody else sees anything, and nothing waits."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromium
import cv2
import numpy as np
import pytest
from fakes import frames_of, pipeline_of
from starlette.testclient import TestClient

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.operations import errors
from realtime_polyp.operations.errors import OperationsError
from realtime_polyp.operations.start import OperationsConfig, open_operations
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import run_inline
from realtime_polyp.remote.access import read_or_make_token
from realtime_polyp.remote.page import COOKIE, RemotePage
from realtime_polyp.remote.pictures import annotate, card, choose, encode
from realtime_polyp.remote.server import RemoteServer, is_loopback
from realtime_polyp.telemetry.board import Board, Condition

TOKEN = "a-token-of-this-test-1234"
RUNNING, LOST = Condition("running"), Condition("no signal", "bad", blanks=True)


class Line:
    """Stands for a session: frames and results come at 25 per second until it is closed."""

    def __init__(self, board: Board) -> None:
        self.stream, self.condition, self._end = board.stream(), RUNNING, threading.Event()
        self._results = list(run_inline(frames_of(30), pipeline_of()))
        self.stream.set_condition(RUNNING)
        self.stream.session = self  # type: ignore[assignment]
        self.longest_s = 0.0
        self.count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.stream.detach()

    def _run(self) -> None:
        while not self._end.wait(0.04):
            now_s = time.monotonic()
            result = self._results[self.count % len(self._results)]
            self.count += 1
            frame = replace(result.frame, index=self.count, captured_s=now_s)
            self.stream.set_condition(self.condition)
            self.stream.take_frame(frame)
            self.stream.take_result(replace(result, frame=frame, analysed_s=now_s))
            self.longest_s = max(self.longest_s, time.monotonic() - now_s)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board whose stream runs."""
    board = Board()
    monkeypatch.setattr("realtime_polyp.telemetry.board._describe", lambda status, session, before: status)
    line = Line(board)
    board.line = line  # type: ignore[attr-defined]
    yield board
    line.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def server(board: Board, token_file: Path) -> Iterator[RemoteServer]:
    server = RemoteServer(board, 0, host="127.0.0.1", token_file=token_file, blank=False)
    yield server
    server.close()


def ask(server: RemoteServer, path: str, *, token: str | None = TOKEN) -> tuple[int, dict[str, str], bytes]:
    """One request by hand: code, head and body."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        access = f"Authorization: Bearer {token}\r\n" if token else ""
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{access}Connection: close\r\n\r\n".encode())
        said = b""
        while part := client.recv(1 << 16):
            said += part
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest), body


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime_polyp.remote.page._WRONG_TOKEN_S", 0.0)


# Access


def page_client(board: Board) -> TestClient:
    return TestClient(RemotePage(board, TOKEN).app(), follow_redirects=False)


@pytest.mark.parametrize("path", ["/", "/status", "/picture.jpg", "/stream.mjpeg"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Cookie": f"{COOKIE}=wrong"}])
def test_nothing_is_shown_without_the_token(path: str, headers: dict[str, str]) -> None:
    answer = page_client(Board()).get(path, headers=headers)
    assert answer.status_code == 401 and "streams" not in answer.text and TOKEN not in answer.text


def test_the_token_leaves_the_address_and_becomes_a_cookie_that_no_script_reads() -> None:
    client = page_client(Board())
    answer = client.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in answer.headers["Set-Cookie"].split(";")}
    page = client.get("/")
    assert page.status_code == 200 and "not a medical device" in page.text and TOKEN not in page.text
    assert client.get("/status").json()["streams"][0]["state"] == "idle"


def test_the_form_lets_in_with_the_token_only() -> None:
    client = page_client(Board())
    assert client.post("/enter", content="token=wrong").status_code == 401
    assert client.post("/enter", content="token=" + "x" * 10_000).status_code == 413
    assert client.post("/enter", content=f"token={TOKEN}").status_code == 303
    assert client.get("/").status_code == 200


def test_it_only_reads_and_tells_browsers_to_keep_nothing() -> None:
    client = page_client(Board())
    client.get(f"/?token={TOKEN}")
    for path in ("/", "/status", "/picture.jpg"):
        assert client.post(path).status_code == client.delete(path).status_code == 405
    head = client.get("/").headers
    assert head["Cache-Control"] == "no-store" and "default-src 'none'" in head["Content-Security-Policy"]
    assert client.get("/page.js").status_code == client.get("/page.css").status_code == 200


def test_a_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "token"
    token = read_or_make_token(path)
    assert len(token) >= 32 and read_or_make_token(path) == token
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        with pytest.raises(OperationsError, match="other users can read the token"):
            read_or_make_token(path)


@pytest.mark.parametrize("text", ["", "short", "with a blank in it, which is wrong"])
def test_what_is_no_token_is_refused(token_file: Path, text: str) -> None:
    token_file.write_text(text)
    with pytest.raises(OperationsError, match="holds no token"):
        read_or_make_token(token_file)


# The picture


def result_with_polyp() -> Result:
    return next(one for one in run_inline(frames_of(30), pipeline_of()) if any(track.visible for track in one.tracks))


def test_a_result_is_drawn_over_its_own_frame_and_never_in_a_bad_state() -> None:
    result = result_with_polyp()
    now_s, later = result.analysed_s, Frame(99, 4.0, result.analysed_s, result.frame.image)
    assert choose(result, later, RUNNING, now_s) == (result.frame, result)
    assert choose(result, later, RUNNING, now_s + 5) == (later, None)
    assert choose(result, later, Condition("paused", "busy"), now_s + 60) == (result.frame, result)
    assert choose(result, later, Condition("frozen picture", "warn", blanks=True), now_s) == (later, None)
    assert choose(result, later, Condition("model failed", "bad", blanks=True), now_s) == (later, None)
    assert choose(result, later, Condition("disk low", "bad"), now_s) == (result.frame, result)
    assert choose(result, later, LOST, now_s) == (None, None)


def test_the_overlay_is_the_one_of_the_screen_and_the_notice_is_on_every_picture() -> None:
    result = result_with_polyp()
    plain = annotate(result.frame, None, RUNNING, False)
    drawn = annotate(result.frame, result, RUNNING, False)
    x1, y1, x2, y2 = (round(float(value)) for value in result.tracks[0].box)
    assert (plain != result.frame.image).any(), "the notice"
    assert (drawn[y1:y2, x1:x2] != plain[y1:y2, x1:x2]).any()
    assert card(LOST, 12.0).max() > 200 and result.frame.image is not drawn


def test_outside_the_field_of_view_it_is_black_where_that_is_wanted() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    image[20:220, 110:310] = (180, 90, 80)
    image[100:110, 10:80] = 255  # a name
    shown = annotate(Frame(0, 0.0, 0.0, image), None, RUNNING, True)
    assert shown[100:110, 10:80].max() == 0 and shown[120, 200].any()
    assert annotate(Frame(0, 0.0, 0.0, image), None, RUNNING, False)[100:110, 10:80].min() == 255


def test_a_picture_without_a_result_shows_no_more_than_the_field_that_a_person_named() -> None:
    """The automatic search would show another picture; a result of before knows the named field."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[20:220, 110:310] = (180, 90, 80)
    result = result_with_polyp()
    for named, is_shown in ((FieldOfView(100, 60, 320, 240), True), (FieldOfView(0, 0, 90, 240), False)):
        before = replace(result, frame=Frame(0, 0.0, 0.0, image), field_of_view=named)
        shown = annotate(Frame(1, 0.0, 0.0, image), None, RUNNING, True, before)
        assert shown[120, 200].any() == is_shown and not shown[20:59, 110:310].any()


def test_a_large_picture_is_made_smaller() -> None:
    image = np.zeros((2160, 3840, 3), np.uint8)
    assert annotate(Frame(0, 0.0, 0.0, image), None, RUNNING, False).shape == (720, 1280, 3)
    assert cv2.imdecode(np.frombuffer(encode(image), np.uint8), cv2.IMREAD_COLOR).shape == image.shape


# The server


def test_pictures_come_one_after_another_and_a_state_takes_their_place(server: RemoteServer, board: Any) -> None:
    code, head, body = ask(server, "/picture.jpg")
    assert code == 200 and head["content-type"] == "image/jpeg" and body.startswith(b"\xff\xd8")
    number = int(head["x-picture"])
    code, head, _ = ask(server, f"/picture.jpg?after={number}")
    assert code == 200 and int(head["x-picture"]) > number
    assert ask(server, f"/picture.jpg?after={'9' * 5000}")[0] == 200
    assert ask(server, "/picture.jpg", token=None)[0] == 401
    assert ask(server, "/picture.jpg?stream=other")[0] == 404
    board.line.condition = LOST
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        image = cv2.imdecode(np.frombuffer(ask(server, "/picture.jpg")[2], np.uint8), cv2.IMREAD_COLOR)
        if image.shape == (720, 1280, 3):
            break
    assert image.shape == (720, 1280, 3) and np.median(image) < 8, "the state, not the last picture"


def test_whoever_comes_back_sees_no_picture_of_before(server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime_polyp.remote.pictures._WATCHED_S", 0.2)
    number = int(ask(server, "/picture.jpg")[1]["x-picture"])
    maker = next(iter(server._page.gallery._makers.values()))  # type: ignore[union-attr]
    until_s = time.monotonic() + 30
    while server._page.gallery._newest and time.monotonic() < until_s:  # type: ignore[union-attr]
        time.sleep(0.02)
    last = maker._number
    assert last >= number and int(ask(server, "/picture.jpg")[1]["x-picture"]) > last


def test_one_picture_that_cannot_be_drawn_does_not_end_the_later_ones(
    server: RemoteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("a picture of no size")

    with monkeypatch.context() as failing:
        failing.setattr("realtime_polyp.remote.pictures.annotate", fail)
        code, head, body = ask(server, "/picture.jpg")
        assert code == 200 and cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR).shape == (720, 1280, 3)
    until_s, shape = time.monotonic() + 30, (0, 0, 0)
    while shape != (72, 96, 3) and time.monotonic() < until_s:
        shape = cv2.imdecode(np.frombuffer(ask(server, "/picture.jpg")[2], np.uint8), cv2.IMREAD_COLOR).shape
    assert shape == (72, 96, 3)


def test_the_stream_is_motion_jpeg(server: RemoteServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\nCookie: {COOKIE}={TOKEN}\r\n\r\n".encode())
        said = b""
        while said.count(b"--picture") < 3:
            part = client.recv(1 << 16)
            assert part
            said += part
    assert b"multipart/x-mixed-replace; boundary=picture" in said and said.count(b"\xff\xd8\xff") >= 2


def test_whoever_connects_and_asks_nothing_keeps_nobody_out(
    board: Board, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime_polyp.remote.server._REQUEST_S", 0.3)
    server = RemoteServer(board, 0, host="127.0.0.1", token_file=token_file, blank=False)
    try:
        idle = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(70)]
        idle[0].sendall(b"GET /status HTTP/1.1\r\nHost: lo")  # and never ends
        for one in idle:
            with suppress(ConnectionResetError):
                assert one.recv(100) == b""  # closed by the server
        assert ask(server, "/status")[0] == 200
    finally:
        for one in idle:
            one.close()
        server.close()


def test_the_line_never_waits_for_a_client_that_reads_nothing(server: RemoteServer, board: Any) -> None:
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(4)]
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(
            f"GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
    before = board.line.count
    time.sleep(1.5)
    assert board.line.count > before and board.line.longest_s < 1.0
    assert ask(server, "/picture.jpg")[0] == 200, "others are served meanwhile"
    for client in clients:
        client.close()


def test_it_ends_with_its_threads_though_somebody_looks(board: Board, token_file: Path) -> None:
    before = threading.active_count()
    server = RemoteServer(board, 0, host="127.0.0.1", token_file=token_file, blank=True)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(f"GET /stream.mjpeg HTTP/1.1\r\nHost: x\r\nCookie: {COOKIE}={TOKEN}\r\n\r\n".encode())
        assert client.recv(100)
        server.close()
    until_s = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.05)
    assert threading.active_count() <= before


def test_it_is_on_loopback_unless_told_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_operations(OperationsConfig(remote=0, remote_token=tmp_path / "t")):
        said = capsys.readouterr().err
    token = (tmp_path / "t").read_text().strip()
    assert "remote page at http://127.0.0.1:" in said and token not in said and "network" not in said
    with open_operations(OperationsConfig(remote=0, remote_host="0.0.0.0", remote_token=tmp_path / "t")):
        assert "open to the network, and its picture is not encrypted" in capsys.readouterr().err
    assert [is_loopback(one) for one in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1", "host")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


def test_a_taken_port_and_a_missing_extra_are_one_sentence(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"host": "127.0.0.1", "token_file": token_file, "blank": True}
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OperationsError, match="cannot serve the remote page on port"),
    ):
        RemoteServer(Board(), taken.getsockname()[1], **where)  # type: ignore[arg-type]
    monkeypatch.setattr(errors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OperationsError, match=r"pip install 'realtime-polyp\[remote\]'"):
        RemoteServer(Board(), 0, **where)  # type: ignore[arg-type]


# In a browser


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium is installed here")
def test_a_browser_is_refused_without_the_token_shows_frames_and_survives_a_restart(
    board: Any, token_file: Path, tmp_path: Path
) -> None:
    server = RemoteServer(board, 0, host="127.0.0.1", token_file=token_file, blank=False)
    browser = chromium.Chromium(tmp_path / "profile")
    try:
        browser.open(server.address)
        browser.wait_for("document.body.dataset.page === 'enter'")
        browser.open(f"{server.address}?token={TOKEN}")
        browser.wait_for("Number(document.body.dataset.pictures) > 3 && document.body.dataset.state === 'running'")
        assert browser.evaluate("document.querySelector('img').naturalWidth") == 96
        assert "token" not in browser.evaluate("location.href")
        port, host = server.port, server.host
        server.close()
        browser.wait_for("document.body.dataset.state === 'no connection'")
        browser.wait_for("getComputedStyle(document.querySelector('.cover')).display === 'flex'")
        server = RemoteServer(board, port, host=host, token_file=token_file, blank=False)
        seen = browser.evaluate("Number(document.body.dataset.pictures)")
        browser.wait_for(f"Number(document.body.dataset.pictures) > {seen} + 2")
        browser.wait_for("document.body.dataset.state === 'running'")
        assert browser.evaluate("getComputedStyle(document.querySelector('.cover')).display") == "none"
        board.line.condition = LOST
        browser.wait_for("document.querySelector('.state').textContent === 'No signal'")
        browser.wait_for("document.querySelector('img').naturalWidth === 1280")
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder, "remote.png").write_bytes(browser.screenshot())
    finally:
        browser.close()
        server.close()


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium is installed here")
def test_a_browser_covers_the_picture_where_the_network_is_cut_and_requests_hang(
    board: Any, token_file: Path, tmp_path: Path
) -> None:
    server = RemoteServer(board, 0, host="127.0.0.1", token_file=token_file, blank=False)
    browser = chromium.Chromium(tmp_path / "profile")
    try:
        browser.open(f"{server.address}?token={TOKEN}")
        browser.wait_for("Number(document.body.dataset.pictures) > 3")
        browser.evaluate("void (window.fetch = () => new Promise(() => {}))")
        browser.wait_for("document.body.dataset.state === 'no connection'")
        browser.wait_for("getComputedStyle(document.querySelector('.cover')).display === 'flex'")
        assert browser.evaluate("document.querySelector('.cover').offsetHeight") > 0
    finally:
        browser.close()
        server.close()
