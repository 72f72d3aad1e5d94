"""A window on one recording, with seeks: one session, one clock, one number per polyp in everything that is written."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import write_clip
from viewer_fakes import RATE_HZ, FakeDetector, FakeSegmenter, FakeSource, picture

from realtime_polyp import session
from realtime_polyp.cli.options import parse
from realtime_polyp.outputs import open_outputs
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.sources import FileSource, open_source
from realtime_polyp.sources.base import SourceError
from realtime_polyp.sources.continued import Continued, LastFrame
from realtime_polyp.viewer import session_factory
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted, SourceInfo
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.recording import Recording, recording_text
from realtime_polyp.viewer.session_factory import SessionFactory

SECONDS, CLIP_HZ = 3, 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, count=SECONDS * CLIP_HZ, size=(160, 128), rate=CLIP_HZ, draw=picture)


class Show:
    """A player over a session factory, without a window; everything that can be written is."""

    def __init__(self, source: str, folder: Path, *more: str, live: bool = False, opened: Any = None) -> None:
        self.folder = folder
        names = {"results": "r.jsonl", "events": "e.jsonl", "summary": "s.json", "save": "v.mp4"}
        written = [word for option, name in names.items() for word in (f"--{option}", str(folder / name))]
        options = parse(["--source", source, *written, *more])
        first = opened or open_source(source)
        self.outputs = open_outputs(options.output_specs[0], first.rate_hz)
        waits = not live and not options.keep_pace
        recorder = Recorder(self.outputs, live=not waits, every_picture=not waits)
        pipeline = Pipeline(FakeDetector(), FakeSegmenter())
        pipeline.warm_up()
        self.factory = SessionFactory(first, pipeline, options, recorder, keep_pace=options.keep_pace)
        duration_s = None if live else first.duration_s
        self.player = Player(self.factory.open_feed, SourceInfo("clip", live, duration_s), self.paint)
        self.frames: list[DisplayedFrame] = []
        self.player.set_speed(1.0 if live else 4.0)  # every frame is analysed all the same, because it is written
        self.player.open()

    def paint(self, displayed: DisplayedFrame) -> Painted:
        self.frames.append(displayed)
        return Painted(picture=True, overlay=displayed.result is not None)

    def run(self, until: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline_s, (self.player.phase, self.player.position_s)
            time.sleep(self.player.tick())

    def play_until(self, position_s: float) -> None:
        self.run(lambda: self.player.phase == "playing" and self.player.position_s >= position_s)

    def seek(self, to_s: float) -> None:
        self.player.seek(to_s)
        seen = len(self.frames)
        self.run(lambda: self.player.phase == "playing" and len(self.frames) > seen)

    def run_out(self) -> None:
        self.run(lambda: self.player.phase in ("ended", "failed"))

    def close(self) -> dict[str, Any]:
        """Returns the summary."""
        assert self.player.close()
        assert self.factory.close(self.outputs) == []
        return json.loads((self.folder / "s.json").read_text())

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


def test_seeks_neither_repeat_nor_restart_anything(clip: Path, tmp_path: Path) -> None:
    show = Show(str(clip), tmp_path)
    show.play_until(0.6)
    show.seek(0.2)
    show.play_until(1.0)
    show.seek(0.0)
    show.run_out()
    summary = show.close()
    results = show.lines("r.jsonl")
    assert [line["index"] for line in results] == list(range(SECONDS * CLIP_HZ)), "each frame once"
    assert all(line["pts_s"] == pytest.approx(line["index"] / CLIP_HZ, abs=1e-4) for line in results)
    shown = {track["id"] for line in results for track in line["tracks"] if track["state"] != "tentative"}
    assert shown == {1} == {track.id for one in show.frames for track in one.result.tracks if track.visible}
    jumps = [jump for line in results for jump in line.get("jumps", [])]
    assert [(jump["kind"], jump["to_s"]) for jump in jumps] == [("seek", 0.2), ("seek", 0.0)] and jumps == summary[
        "jumps"
    ]
    assert 0.6 <= jumps[0]["from_s"] < 1.0 <= jumps[1]["from_s"]
    events = show.lines("e.jsonl")
    assert [event["ended"] for event in events] == ["seek", "seek", "end"] and {one["track"] for one in events} == {1}
    spans = [(event["start_s"], event["end_s"]) for event in events]
    assert all(after[0] >= before[1] - 1e-6 for before, after in zip(spans, spans[1:], strict=False)), (
        "none counted twice"
    )
    assert summary["alarms"] == {"count": 3, "polyps": 1, "median_duration_s": summary["alarms"]["median_duration_s"]}
    video = list(FileSource(tmp_path / "v.mp4").frames())
    assert len(video) == len(results) and summary["recorder"]["ended"] == []
    assert video[-1].pts_s == pytest.approx(results[-1]["pts_s"] - results[0]["pts_s"], abs=1e-3), "one clock"


def test_the_summary_covers_all_stretches(clip: Path, tmp_path: Path) -> None:
    show = Show(str(clip), tmp_path)
    sessions = []
    for to_s in (0.5, 2.0):
        show.play_until(0.3)
        sessions.append(show.factory.session)
        show.seek(to_s)
    show.run_out()
    sessions.append(show.factory.session)
    summary = show.close()
    tallies = [session.tally() for session in sessions]
    assert summary["frames_captured"] == sum(tally.captured for tally in tallies) > 3 * 20
    assert summary["frames_shown"] == sum(tally.shown for tally in tallies) and summary["frames_pending"] == 0
    dropped = sum(count for reasons in summary["dropped"].values() for count in reasons.values())
    assert summary["frames_captured"] == summary["frames_shown"] + dropped
    assert summary["frames_analysed"] == sum(session.analyses.tally().shown for session in sessions)
    assert show.player.tally().captured == summary["frames_captured"]


def test_a_part_that_is_left_out_ends_the_saved_video_and_is_said(clip: Path, tmp_path: Path) -> None:
    show = Show(str(clip), tmp_path)
    show.play_until(0.4)
    assert show.factory.watch() is None and len(show.factory.recording().names) == 3
    show.seek(2.0)
    show.run(lambda: show.factory.watch() is not None)
    said = show.factory.watch()
    assert said.startswith("The saved video ends at 0.") and said.endswith("because a part was left out after it")
    assert [name.split(" ")[0] for name in show.factory.recording().names] == ["results", "events"]
    show.run_out()
    summary = show.close()
    assert [f"{one[:1].upper()}{one[1:]}" for one in summary["recorder"]["ended"]] == [said]
    last_s = max(line["pts_s"] for line in show.lines("r.jsonl") if line["pts_s"] < 1.7)
    video = list(FileSource(tmp_path / "v.mp4").frames())
    assert video[-1].pts_s - video[0].pts_s == pytest.approx(last_s, abs=1e-3)
    numbers = {track["id"] for line in show.lines("r.jsonl") for track in line["tracks"] if track["state"] == "shown"}
    assert numbers == {1, 2}, "after a seek forward nobody knows whether it is the same polyp"


def test_playing_again_writes_nothing_twice(clip: Path, tmp_path: Path) -> None:
    show = Show(str(clip), tmp_path)
    show.seek(2.5)
    show.run_out()
    show.factory.set_keep_pace(False)  # chosen at the end, it is no jump of its own
    show.player.toggle_pause()
    show.run(lambda: show.frames[-1].frame.pts_s < 2.0)
    show.play_until(0.5)
    summary = show.close()
    assert [jump["kind"] for jump in summary["jumps"]] == ["seek", "again"]
    indices = [line["index"] for line in show.lines("r.jsonl")]
    assert len(indices) == len(set(indices)) and 0 in indices and SECONDS * CLIP_HZ - 1 in indices


def test_keeping_pace_and_back_goes_on_at_the_same_place_with_the_same_number(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "lower_thread_priority", lambda: None)  # a busy machine would analyse next to nothing
    show = Show(str(clip), tmp_path)
    show.player.set_speed(1.0)
    show.play_until(0.4)
    for on in (True, False):
        show.factory.set_keep_pace(on)
        before_s = show.player.position_s
        show.player.reopen()
        show.run(lambda: show.player.phase == "playing")
        show.play_until(before_s + 0.5)
        assert show.player.feed.display == ("paced" if on else "synced")
    show.run_out()
    summary = show.close()
    assert [jump["kind"] for jump in summary["jumps"]] == ["pace", "pace"]
    assert summary["alarms"]["polyps"] == 1 and {event["ended"] for event in show.lines("e.jsonl")} <= {"end", "gone"}
    video = list(FileSource(tmp_path / "v.mp4").frames())
    assert (
        len(video) + summary["recorder"]["pictures_dropped"] == SECONDS * CLIP_HZ and not summary["recorder"]["ended"]
    )
    indices = [line["index"] for line in show.lines("r.jsonl")]
    assert indices == sorted(set(indices))


def test_a_live_source_that_is_opened_anew_goes_on_with_index_clock_and_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> FakeSource:
        return FakeSource(30, live=True, fails_at=25, failure=SourceError("no picture for 5 s"))

    monkeypatch.setattr(session_factory, "open_named", lambda *_, last, **__: Continued(opened(), last))
    show = Show("pattern:160x128@50", tmp_path, live=True, opened=opened())
    show.run_out()
    show.player.toggle_pause()
    show.run(lambda: show.player.phase == "playing")
    show.run_out()
    summary = show.close()
    assert [jump["kind"] for jump in summary["jumps"]] == ["reconnect"] and summary["frames_captured"] == 50
    assert not summary["recorder"]["ended"]
    results = show.lines("r.jsonl")
    indices, times_s = [line["index"] for line in results], [line["pts_s"] for line in results]
    assert indices == sorted(set(indices)) and max(indices) > 25 and times_s == sorted(times_s)
    video = list(FileSource(tmp_path / "v.mp4").frames())
    assert len(video) + summary["recorder"]["pictures_dropped"] == 50, "every captured picture"
    assert len(results) <= 50 and summary["frames_analysed"] <= 50


def test_a_continued_source_counts_on() -> None:
    source = Continued(FakeSource(3), LastFrame(index=9, pts_s=4.0, captured_s=time.monotonic() - 2.5))
    frames = list(source.frames())
    assert [frame.index for frame in frames] == [10, 11, 12]
    assert [frame.continues for frame in frames] == [False, True, True]
    assert frames[0].pts_s >= 6.5
    assert np.diff([frame.pts_s for frame in frames]) == pytest.approx(1 / RATE_HZ)


def test_the_light_says_what_was_lost() -> None:
    assert recording_text(None) == "" == recording_text(Recording((), 3.0))
    assert recording_text(Recording(("video to a.mp4",), 3725.9)) == "REC 1:02:05"
    text = recording_text(Recording(("video to a.mp4",), 9.0, 1, 2))
    assert text == "REC 0:00:09  1 picture not saved  2 results not saved"
    assert recording_text(Recording(("results to a.jsonl",), 9.0, video_ended=True)) == "REC 0:00:09  saved video ended"
