"""The soak: what it calls grown or lost, and the stream that it sends."""

import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import needs
from fakes import picture, tried_again
from media import write_clip

from realtime_polyp.bench.__main__ import main
from realtime_polyp.bench.soak import sent_over_loopback, soak_table, verdicts_of
from realtime_polyp.bench.soak_child import Sampler, _between
from realtime_polyp.sources import NetworkSource
from realtime_polyp.telemetry.board import Status
from realtime_polyp.telemetry.ledger import Tally

DELAY = {"p50": 40.0, "p95": 50.0, "p99": 60.0, "p999": 61.0, "max": 62.0}


def report_of(**changes: Any) -> dict[str, Any]:
    samples = [{"s": float(s), "memory_mb": 500.0, "threads": 20, "files": 30} for s in range(0, 300, 3)]
    tally = {"captured": 100, "shown": 90, "dropped": 10, "pending": 0, "reasons": {"decode": {"late": 4}}}
    part = {"annotation_delay_ms": DELAY, "video_delay_ms": DELAY, "overlays": 50}
    return {
        "samples": samples,
        "warm_s": 60.0,
        "first": part,
        "last": part,
        "misses": {"period": {"limit_ms": 33.3, "share": 0.5, "share_of_painted": 0.4}},
        "every": 2,
        "pictures": tally,
        "analyses": tally,
        "cores_busy": 1.5,
        "recording": {"frames": 96, "left_out": {"results": 0, "pictures": 0}, "problems": []},
        "rate_hz": 30,
        "hours": 1.0,
        "screen": "memory",
    } | changes


def grown(name: str, by: float) -> list[dict[str, float]]:
    samples: list[dict[str, float]] = report_of()["samples"]
    return [one | {name: one[name] + by * (one["s"] > 200)} for one in samples]


def test_a_soak_that_holds_has_passed() -> None:
    report = report_of()
    assert verdicts_of(report) == []
    text = soak_table("1080p", {"30": report | {"verdicts": []}})
    assert "passed" in text and "50.00% later than 33.3 ms or never" in text and "one frame in 2 is analysed" in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"last": {"annotation_delay_ms": DELAY | {"p99": 67.0}}}, "the annotation delay (p99) grew from 60 to 67 ms"),
        ({"last": {"annotation_delay_ms": DELAY | {"p99": None}}}, "no overlay was painted"),
        ({"samples": grown("memory_mb", 21)}, "memory grew by 21 MB after the first 60 s"),
        ({"samples": grown("threads", 1)}, "the number of threads grew from 20 to 21"),
        ({"samples": grown("files", 2)}, "the number of files grew from 30 to 32"),
        (
            {"pictures": report_of()["pictures"] | {"dropped": 9}},
            "the account of pictures",
        ),
        ({"analyses": {"captured": 100, "shown": 90, "dropped": 9, "pending": 1}}, "the account of analyses"),
        ({"recording": {"frames": 96, "problems": ["the chain ends early"]}}, "the recording: the chain ends early"),
        ({"recording": {"frames": 95, "problems": []}}, "the recording lacks 1 of the frames"),
    ],
)
def test_what_has_grown_or_was_lost_is_named(changes: dict[str, Any], says: str) -> None:
    (verdict,) = verdicts_of(report_of(**changes))
    assert verdict.startswith(says)
    assert f"FAILED: {verdict}" in soak_table("1080p", {"30": report_of(verdicts=[verdict])})


def test_memory_that_grew_once_early_has_grown() -> None:
    """The heap of an hour stepped by 59 MB after five minutes, before the first quarter was over."""
    samples = [one | {"memory_mb": 600 + 59 * (one["s"] > 66)} for one in report_of()["samples"]]
    assert verdicts_of(report_of(samples=samples)) == ["memory grew by 59 MB after the first 60 s"]


def test_memory_may_grow_while_the_program_warms_up() -> None:
    samples = [one | {"memory_mb": 400 + min(one["s"], 60)} for one in report_of()["samples"]]
    assert verdicts_of(report_of(samples=samples)) == []


class CountedStream:
    """A stream of the board whose session has begun, and which counts how often it was asked for a status."""

    picture, session = object(), object()

    def __init__(self) -> None:
        self.asked = 0

    def snapshot(self) -> Status:
        self.asked += 1
        return Status("1")


def test_few_statuses_are_kept_or_they_would_look_like_memory_that_is_lost() -> None:
    stream, over = CountedStream(), threading.Event()
    board: Any = SimpleNamespace(stream=lambda: stream)
    sampler = Sampler(board, 0.6, over.set)
    assert over.wait(30) and len(sampler.samples) == 121
    assert stream.asked == 122 and len(sampler.statuses) <= 4


def test_misses_are_counted_from_the_end_of_the_warm_up() -> None:
    early = Tally(10, 4, {"queue": {"newer frame": 5}}, 1)
    late = Tally(30, 20, {"queue": {"newer frame": 6}, "analysis": {"even rate": 3}}, 1)
    assert _between(late, early) == Tally(20, 16, {"queue": {"newer frame": 1}, "analysis": {"even rate": 3}}, 0)


def test_the_clip_is_sent_again_and_again_at_the_rate_that_is_wanted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", count=12, size=(96, 72), rate=30, draw=picture)
    with sent_over_loopback(clip, 60) as address:
        source = NetworkSource(address)
        times_s = []
        for frame in source.frames():
            times_s.append(frame.stamp_s if frame.stamp_s is not None else frame.pts_s)
            if len(times_s) == 40:
                break
        source.close()
    steps = [Fraction(later - earlier).limit_denominator(1000) for earlier, later in pairwise(times_s)]
    assert steps.count(Fraction(1, 60)) > 30, steps


def test_the_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in ((["--soak", "--rate", "0"], "--rate"), (["--soak", "--hours", "0"], "--hours"),
                            (["--soak", "--live"], "do not go together")):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2 and says in capsys.readouterr().err


@needs("qt")
@tried_again
def test_a_short_soak_gives_every_figure(tmp_path: Path, fake_engines: object) -> None:
    from PyQt5.QtCore import QMetaObject, Qt
    from PyQt5.QtWidgets import QApplication

    from realtime_polyp.bench.soak_child import _Given, soak

    def close() -> None:
        for window in QApplication.topLevelWidgets():
            if window.objectName() == "" and hasattr(window, "player"):
                QMetaObject.invokeMethod(window, "close", Qt.QueuedConnection)

    clip = write_clip(tmp_path / "clip.mp4", count=12, size=(96, 72), rate=30, draw=picture)
    folder = tmp_path / "sessions"
    folder.mkdir()
    config = {"detector": "fake", "segmenter": "fake", "engine": "openvino"}
    with sent_over_loopback(clip, 30) as address:
        report = soak(_Given(config, address, 2.0, 30, str(folder)), close)
    assert verdicts_of(report | {"samples": report_of()["samples"], "last": report["first"]}) == []
    assert report["pictures"]["captured"] > 20 and report["recording"]["frames"] > 20
    assert set(report["misses"]) == {"period", "100 ms"} and report["first"]["overlays"] > 0
    assert report["recording"]["left_out"].keys() == {"results", "pictures"}
    assert len(report["samples"]) > 100 and report["samples"][-1]["files"] > 3
