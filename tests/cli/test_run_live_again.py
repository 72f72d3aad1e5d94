"""A headless run of a live source that goes away and comes back: one session, one set of outputs."""

import json
import sqlite3
import threading
import time
from pathlib import Path

from conftest import Run

from realtime_polyp.bench.loopback import Scene, Server
from realtime_polyp.sources import FileSource

FEW = 15


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def test_a_server_that_comes_back_leaves_one_session(run: Run, tmp_path: Path) -> None:
    server, results = Server("tcp", Scene()), tmp_path / "r.jsonl"
    server.start()

    def wait_for_more(count: int) -> int:
        until_s = time.monotonic() + 30
        while lines_of(results) < count + FEW and time.monotonic() < until_s:
            time.sleep(0.01)
        return lines_of(results)

    def break_twice() -> None:
        count = wait_for_more(0)
        server.kill()
        time.sleep(0.3)
        server.start()
        wait_for_more(count)
        server.kill()

    breaks = threading.Thread(target=break_twice, daemon=True)
    breaks.start()
    outputs = ("--results", results, "--save", tmp_path / "v.mp4", "--summary", tmp_path / "s.json")
    code, _, stderr = run(server.url, "--give-up-after", 4, *outputs, "--record", tmp_path / "sessions")
    breaks.join(30)
    server.close()
    assert code == 2 and "trying again" in stderr and "the picture is back after" in stderr
    found = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    indices, times_s = [one["index"] for one in found], [one["pts_s"] for one in found]
    assert indices == sorted(set(indices)) and times_s == sorted(set(times_s))
    summary = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [jump["kind"] for jump in summary["jumps"]] == ["reconnect"]
    gap_s = summary["jumps"][0]["to_s"] - summary["jumps"][0]["from_s"]
    assert gap_s > 0.3 and "was away once" in summary["warning"]
    video = list(FileSource(tmp_path / "v.mp4").frames())
    assert max(late.pts_s - early.pts_s for early, late in zip(video, video[1:], strict=False)) > 0.3, "a gap"
    (session,) = (tmp_path / "sessions").iterdir()
    with sqlite3.connect(session / "session.sqlite") as database:
        kinds = [kind for (kind,) in database.execute("SELECT kind FROM events ORDER BY rowid")]
    assert [kind for kind in kinds if kind.startswith("source")] == ["source away", "source back", "source away"]
