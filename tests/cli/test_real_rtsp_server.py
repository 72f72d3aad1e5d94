"""A live source behind GStreamer's RTSP server, which is killed and started again ten times. Skipped without it."""

import json
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, Run

SYSTEM_PYTHON = Path("/usr/bin/python3")
HAS_SERVER = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
RESTARTS = 10
FEW = 10


def is_there() -> bool:
    if not SYSTEM_PYTHON.exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", HAS_SERVER], capture_output=True, cwd="/").returncode == 0


def start_server(port: int) -> "subprocess.Popen[str]":
    words = [SYSTEM_PYTHON, ROOT / "tests" / "gst_server.py", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd="/")
    assert server.stdout is not None and server.stdout.readline() == "ready\n"
    return server


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(not is_there(), reason="GStreamer's RTSP server is not installed")
def test_a_server_that_is_killed_ten_times_leaves_one_session(run: Run, tmp_path: Path) -> None:
    port, results = free_port(), tmp_path / "r.jsonl"

    def wait_for_more(count: int) -> int:
        until_s = time.monotonic() + 60
        while time.monotonic() < until_s:
            found = results.read_bytes().count(b"\n") if results.is_file() else 0
            if found >= count + FEW:
                return found
            time.sleep(0.02)
        return count

    def kill_and_start() -> None:
        nonlocal server
        count = wait_for_more(0)
        for _ in range(RESTARTS):
            server.kill()
            server.wait()
            server = start_server(port)
            count = wait_for_more(count)
        server.kill()

    server = start_server(port)
    breaks = threading.Thread(target=kill_and_start, daemon=True)
    breaks.start()
    outputs = ("--results", results, "--summary", tmp_path / "s.json")
    code, _, stderr = run(f"rtsp://127.0.0.1:{port}/live", "--give-up-after", 6, *outputs)
    breaks.join(60)
    server.kill()
    assert code == 2 and stderr.count("the picture is back after") == RESTARTS
    found = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    indices, times_s = [one["index"] for one in found], [one["pts_s"] for one in found]
    assert indices == sorted(set(indices)) and times_s == sorted(set(times_s))
    summary = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [jump["kind"] for jump in summary["jumps"]] == ["reconnect"] * RESTARTS
    dropped = sum(count for reasons in summary["dropped"].values() for count in reasons.values())
    assert summary["frames_captured"] == summary["frames_shown"] + dropped + summary["frames_pending"]
