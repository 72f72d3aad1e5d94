"""What the window says of recording and disk, and what of all that is logged."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import wait_until

from realtime_polyp.viewer.condition import READY, Condition, PlayerState, condition_of
from realtime_polyp.viewer.health import DiskWatch, Health, Watched
from realtime_polyp.watchdog import Trouble

PLAYING = PlayerState("playing", live=True, has_picture=True)


def test_a_disk_that_is_nearly_full_is_told_as_long_as_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [5 << 20]
    watch = DiskWatch(lambda folder: free[0], low_bytes=10 << 20)
    watch.look([tmp_path])
    wait_until(lambda: watch.look([tmp_path]) == f"5 MB are left for {tmp_path}: make room, or end the recording")
    assert watch.look([]) == "", "nothing is written any more"
    free[0] = 20 << 20
    wait_until(lambda: watch.look([tmp_path]) == "")


def test_a_disk_that_hangs_is_looked_at_once() -> None:
    looks: list[Path] = []

    def hangs(folder: Path) -> int:
        looks.append(folder)
        time.sleep(1.5)
        raise OSError("gone")

    watch = DiskWatch(hangs)
    begin_s = time.monotonic()
    while time.monotonic() < begin_s + 1.2:
        assert watch.look([Path("a")]) == ""
    assert looks == [Path("a")]


def test_a_failed_recording_is_a_condition_and_lasting_ones_are_logged() -> None:
    failed, logged = [""], list[str]()
    player = SimpleNamespace(state=lambda: PLAYING)
    health = Health(player, Watched(lambda: failed[0], tuple, lambda one: logged.append(one.name)))  # type: ignore[arg-type]
    assert health.condition().name == "running"
    failed[0] = "the disk is full"
    found = health.condition()
    assert (found.name, found.detail, found.tone) == ("recording failed", "the disk is full", "bad")
    running = Condition("running", "Running")
    for one in (READY, running, found, running, Condition("view not clear", "Blurred"), running):
        health.log(one)
    assert logged == ["recording failed", "running"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (
            {"troubles": (Trouble("source", "it refused.", 0.0, 3, None),), "no_picture_s": 12.2},
            "It refused.\nNo picture for 12 s; trying again, attempt 3",
        ),
        (
            {"troubles": (Trouble("source", "it refused.", 0.0, 3, 99.0),), "no_picture_s": 12.2},
            "It refused.\nNo picture for 12 s; trying again, attempt 4",
        ),
        ({"troubles": (Trouble("model", "out of memory", 0.0, 1),)}, "out of memory \u2013 starting it again"),
    ],
)
def test_what_is_tried_and_since_when(change: dict[str, object], detail: str) -> None:
    assert condition_of(replace(PLAYING, **change)).detail == detail  # type: ignore[arg-type]


def test_no_overlay_is_on_the_screen_in_a_bad_state() -> None:
    bad: list[Callable[[], Condition]] = [
        lambda: condition_of(replace(PLAYING, no_picture_s=1.1)),
        lambda: condition_of(replace(PLAYING, signal="frozen")),
        lambda: condition_of(replace(PLAYING, signal="black")),
        lambda: condition_of(replace(PLAYING, troubles=(Trouble("source", "x", 0.0),))),
        lambda: condition_of(replace(PLAYING, troubles=(Trouble("decoder", "x", 0.0),))),
        lambda: condition_of(replace(PLAYING, troubles=(Trouble("model", "x", 0.0),))),
    ]
    assert all(one().blanks for one in bad)
