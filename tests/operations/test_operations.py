"""Metrics, health and log: what they say, that they name no patient, and that nothing waits for them."""

import json
import os
import socket
import stat
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from fakes import ScriptedSource, picture, ran_on_board, wait_until
from media import write_clip

from realtime_polyp.cli.options import parse
from realtime_polyp.operations import errors
from realtime_polyp.operations.errors import OperationsError
from realtime_polyp.operations.event_log import EventLog
from realtime_polyp.operations.metrics import open_registry, text_of
from realtime_polyp.operations.pages import OperationsServer
from realtime_polyp.operations.start import OperationsConfig, open_operations
from realtime_polyp.operations.watch import LogWriter
from realtime_polyp.session import Session
from realtime_polyp.telemetry.board import Board, Condition, Status
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import Tally

NAME = "MUSTERFRAU_Anna_1961"


class NamedSource(ScriptedSource):
    """Its name and its failure name a patient."""

    name = f"{NAME}.mp4"


def ran(board: Board, source: ScriptedSource | None = None) -> Session:
    return ran_on_board(board.stream(), source or NamedSource(40))


def get(address: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Metrics and health


def test_metrics_and_health_say_what_the_session_counts() -> None:
    board = Board()
    session = ran(board)
    server = OperationsServer(board, 0)
    try:
        code, text = get(f"{server.address}/metrics")
        assert code == 200 and NAME not in text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(values['realtime_polyp_frames_captured_total{stream="1"}']) == 40
        assert float(values['realtime_polyp_frames_analysed_total{stream="1"}']) == session.analyses.tally().shown
        assert float(values['realtime_polyp_annotation_delay_seconds_count{stream="1"}']) == 40
        assert float(values['realtime_polyp_annotation_delay_seconds_bucket{le="+Inf",stream="1"}']) == 40
        assert values['realtime_polyp_state{state="ended",stream="1"}'] == "1.0"
        assert float(values["process_resident_memory_bytes"]) > 1e6 or os.name != "posix"
        code, text = get(f"{server.address}/health")
        health = json.loads(text)
        assert code == 200 and health["status"] == "ok" and health["streams"][0]["frames_captured"] == 40
        assert NAME not in text and get(f"{server.address}/")[0] == 404
    finally:
        server.close()


def test_the_count_of_misses_never_falls() -> None:
    """Ten frames are due, then the overlays of all but two come in time; another source begins at 0."""
    board = Scripted()
    registry = open_registry(board)  # type: ignore[arg-type]
    counts = []
    for captured, painted, source in ((10, 0, 1), (10, 8, 1), (20, 8, 1), (3, 1, 2)):
        delays = Histogram()
        for _ in range(painted):
            delays.add(5.0)
        board.status = Status(
            "1", live=True, pictures=Tally(captured, 0, {}, 0), annotation_delay_ms=delays, source=source
        )
        (line,) = [one for one in text_of(registry).decode().splitlines() if "misses_total{" in one]
        counts.append(float(line.rsplit(" ", 1)[1]))
    assert counts == [10, 10, 12, 2]


class Scripted:
    """Stands for a board: the test says what its stream's status is."""

    status: Status

    def snapshot(self) -> tuple[Status, ...]:
        return (self.status,)


def test_a_bad_state_is_unhealthy_and_a_name_of_elsewhere_is_refused() -> None:
    board = Board()
    ran(board, NamedSource(9, fails_at=4, failure=OSError(NAME)))
    server = OperationsServer(board, 0)
    try:
        code, text = get(f"{server.address}/health")
        assert code == 503 and json.loads(text)["streams"][0]["state"] == "decoder failed" and NAME not in text
        assert 'state="decoder failed"' in get(f"{server.address}/metrics")[1]
        assert get(f"{server.address}/health", Host="evil.example:80")[0] == 403
        assert get(f"{server.address}/health", Host="localhost")[0] == 503
    finally:
        server.close()


def test_the_server_ends_with_its_threads_and_only_loopback_reaches_it() -> None:
    before = threading.active_count()
    server = OperationsServer(Board(), 0)
    port = int(server.address.rpartition(":")[2])
    assert server.address.startswith("http://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", port)):  # a client that never asks
        assert get(f"{server.address}/health")[0] == 200
    server.close()
    until_s = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.05)
    assert threading.active_count() <= before
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OperationsError, match="cannot serve metrics"):
        OperationsServer(Board(), taken.getsockname()[1])


def test_a_missing_extra_names_its_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OperationsError, match=r"pip install 'realtime-polyp\[metrics\]'"):
        OperationsServer(Board(), 0)


# The log


def test_the_log_tells_the_story_and_names_nobody(tmp_path: Path) -> None:
    path, board = tmp_path / "log.jsonl", Board()
    writer = LogWriter(board, EventLog(path), figures_s=0.01)
    ran(board, NamedSource(30, fails_at=25, failure=OSError(f"{NAME} is out")))
    time.sleep(0.4)
    writer.close(1)
    told = lines_of(path)
    assert [told[0]["event"], told[-1]["event"], told[-1]["exit_code"]] == ["start", "end", 1]
    assert all(line["time"].endswith("Z") and line["level"] in ("info", "warning", "error") for line in told)
    failed = next(line for line in told if line["event"] == "state" and line["state"] == "decoder failed")
    assert (failed["level"], failed["stage"], failed["error"]) == ("error", "decoder", "OSError")
    figures = [line for line in told if line["event"] == "figures"][-1]
    assert figures["captured"] == figures["shown"] + figures["dropped"] + figures["pending"] == 25
    assert any(line["event"] == "source" and line["width"] == 96 for line in told)
    assert NAME not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 or os.name != "posix"


def test_the_log_has_a_line_for_each_source_also_of_the_same_size(tmp_path: Path) -> None:
    path, board = tmp_path / "log.jsonl", Scripted()
    board.status = Status("1", size=(96, 72), models=("fake",), source=1)
    writer = LogWriter(board, EventLog(path))  # type: ignore[arg-type]
    wait_until(lambda: '"source"' in path.read_text())
    board.status = Status("1", live=True, size=(96, 72), models=("fake",), source=2)
    writer.close(0)
    assert [line["live"] for line in lines_of(path) if line["event"] == "source"] == [False, True]


def test_the_log_goes_on_where_it_ended_and_rotates(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        log = EventLog(path)
        log.write("state", state="running")
        log.close()
    assert len(lines_of(path)) == 2
    log = EventLog(path, file_bytes=400, old_files=2)
    for number in range(30):
        log.write("state", number=number)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    assert all(file.stat().st_size <= 400 for file in files)
    assert lines_of(path)[-1]["number"] == 29
    if os.name == "posix":
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


def test_a_log_that_a_crash_cut_in_a_line_goes_on_in_a_new_one_and_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"time": "2026')
    path.chmod(0o644)
    log = EventLog(path)
    log.write("state", state="running")
    log.close()
    cut, whole = path.read_text().splitlines()
    assert cut == '{"time": "2026' and json.loads(whole)["state"] == "running"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 or os.name != "posix"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    log = EventLog(Path("/dev/full"))
    log.write("state", state="running")
    assert log.lost == 1 and log.error == "No space left on device"
    log.close()


def test_a_log_in_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OperationsError, match="cannot write the log to .*: No such file"):
        EventLog(tmp_path / "none" / "log.jsonl")


# Together


def test_all_is_opened_and_closed_with_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.jsonl"
    with open_operations(OperationsConfig(metrics=0, log=path)) as operations:
        operations.board.stream().set_condition(Condition("running"))
        operations.code = 130
    assert "metrics at http://127.0.0.1:" in capsys.readouterr().err
    assert lines_of(path)[-1] == lines_of(path)[-1] | {"event": "end", "exit_code": 130, "lost": 0}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--metrics", "-1"], "--metrics must be a port"),
        (["--metrics", "9000", "--remote", "9000"], "need a port each"),
        (["--remote-host", "0.0.0.0"], "--remote-host needs --remote PORT"),
        (["--remote-token", "t"], "--remote-token needs --remote PORT"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["v.mp4", *arguments])
    assert says in capsys.readouterr().err


def test_a_whole_run_is_in_the_log_and_nothing_in_it_names_a_patient(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    video = write_clip(folder / f"{NAME}.mkv", count=12, size=(96, 72), rate=25, draw=picture)
    log = tmp_path / "log.jsonl"
    code, _, said = run("--source", video, video, "--no-fusion", "--log", log, "--metrics", "0")
    assert code == 0 and "metrics at" in said
    told = lines_of(log)
    assert (told[-1]["event"], told[-1]["exit_code"]) == ("end", 0) and NAME not in log.read_text()
    figures = {line["stream"]: line for line in told if line["event"] == "figures"}
    assert [figures[name]["captured"] for name in ("1", "2")] == [12, 12]


def test_a_run_that_is_refused_is_in_the_log_too(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "log.jsonl"
    assert run("--source", tmp_path / f"{NAME}.mp4", "--log", log)[0] == 2
    assert lines_of(log)[-1]["exit_code"] == 2 and NAME not in log.read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_the_log_names_the_exit_code_of_a_run_whose_trace_cannot_be_written(tmp_path: Path, run: Run) -> None:
    video = write_clip(tmp_path / "v.mkv", count=4, size=(96, 72), rate=25, draw=picture)
    log = tmp_path / "log.jsonl"
    code, _, said = run("--source", video, "--no-fusion", "--log", log, "--trace", "/dev/full")
    assert code == 2 and "cannot write the trace to /dev/full: No space left on device" in said
    assert lines_of(log)[-1]["exit_code"] == 2


def test_the_log_never_replaces_the_source_or_another_output(tmp_path: Path, run: Run) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(b"pixels")
    code, _, said = run(video, "--headless", "--log", video)
    assert code == 2 and "it is the source itself" in said and video.read_bytes() == b"pixels"
    out = tmp_path / "out.jsonl"
    code, _, said = run(video, "--headless", "--log", out, "--results", out)
    assert code == 2 and "it is another output" in said
