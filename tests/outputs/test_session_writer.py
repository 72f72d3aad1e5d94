"""What of a session is written: every captured picture, each part once, and marks where a person sought."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import RATE_HZ, FakeDetector, ScriptedSource, frames_of, pipeline_of
from media import number_of, numbered

from realtime_polyp.cli.headless import analyse_to_outputs
from realtime_polyp.field_of_view import whole
from realtime_polyp.outputs import AlarmsWriter, ResultsWriter, VideoWriter
from realtime_polyp.outputs.every_picture import OVERLAY_LIMIT_S, EveryPicture, SceneWatch
from realtime_polyp.outputs.jumps import Coverage, Jump, JumpKind
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.outputs.results_reader import read_results
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result, Track
from realtime_polyp.pipeline import run_inline
from realtime_polyp.sources import FileSource

FRAMES = frames_of(60)
RESULTS = list(run_inline(FRAMES, pipeline_of()))


def jump(kind: JumpKind, from_s: float, to_s: float, *, every_picture: bool = False) -> Jump:
    return Jump(kind, from_s, to_s, 9.0, every_picture)


class Pictures:
    """An output that remembers the pictures that it gets, with the index of their overlay."""

    name, on_disk = "pictures to memory", True

    def __init__(self) -> None:
        self.drawn: list[tuple[int, int | None]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def write(self, result: Result) -> None:
        raise AssertionError("it takes pictures")

    def write_picture(self, frame: Frame, overlay: Result | None) -> None:
        self.go_on.wait(30)
        self.drawn.append((frame.index, overlay.frame.index if overlay else None))

    def close(self) -> None:
        pass


class Lines:
    """An output that remembers the indices of the results that it gets."""

    name, on_disk = "results to memory", True

    def __init__(self) -> None:
        self.indices: list[int] = []

    def write(self, result: Result) -> None:
        self.indices.append(result.frame.index)

    def close(self) -> None:
        pass


def test_each_picture_comes_once_in_order_with_its_own_result_or_the_newest_usable_one() -> None:
    """25 pictures per second, of which every fourth is analysed, and none from 20 to 39."""
    joined = EveryPicture()
    drawn = []
    for frame in FRAMES:
        drawn += joined.add_picture(frame)
        if frame.index % 4 == 0 and not 20 <= frame.index < 40:
            drawn += joined.add_result(RESULTS[frame.index])
    drawn += joined.flush()
    assert [frame.index for frame, _ in drawn] == list(range(60))
    last_usable = 16 + round(OVERLAY_LIMIT_S * RATE_HZ)
    for frame, overlay in drawn:
        newest = frame.index - frame.index % 4
        if 20 <= frame.index < 40:
            newest = 16
            assert (overlay is not None) == (frame.index <= last_usable)
        assert overlay is None or overlay.frame.index == newest


def test_a_late_result_is_not_waited_for_but_used_from_then_on() -> None:
    joined = EveryPicture()
    drawn = [one for frame in FRAMES[:30] for one in joined.add_picture(frame)]
    assert [frame.index for frame, overlay in drawn if overlay is None] == list(range(len(drawn))) and drawn
    drawn = joined.add_result(RESULTS[2]) + joined.add_result(RESULTS[29])
    assert drawn[-1] == (FRAMES[29], RESULTS[29]) and all(overlay is None for _, overlay in drawn[:-1])


def test_no_overlay_of_the_scene_before_a_cut_or_of_another_size() -> None:
    scene = SceneWatch()
    rng = np.random.default_rng(0)
    before = Frame(0, 0.0, 0.0, rng.integers(60, 200, (72, 96, 3), np.uint8).repeat(2, 0).repeat(2, 1))
    result = Result(before, whole(before.image), NO_DETECTIONS, (), None)
    scene.update(before)
    same = replace(before, index=1, pts_s=0.04)
    scene.update(same)
    assert scene.is_usable(result, same, 0.04) and not scene.is_usable(result, same, OVERLAY_LIMIT_S + 0.01)
    other = replace(same, index=2, image=rng.integers(60, 200, (9, 12, 3), np.uint8).repeat(16, 0).repeat(16, 1))
    scene.update(other)
    assert not scene.is_usable(result, other, 0.08)
    marked = replace(before, index=3, continues=False)
    scene.update(marked)
    assert not scene.is_usable(result, marked, 0.08)
    assert not scene.is_usable(result, replace(same, image=same.image[:100]), 0.04)


def test_a_part_that_is_watched_twice_is_covered() -> None:
    covered = Coverage()
    assert [covered.take(second) for second in (5.0, 5.5, 6.0)] == [True] * 3
    covered.jump()
    assert [covered.take(second) for second in (4.0, 5.0, 5.2, 6.0, 6.1)] == [True, False, False, False, True]
    covered.jump()
    assert [covered.take(second) for second in (3.9, 4.5, 6.1, 6.2)] == [True, False, False, True]


@pytest.mark.parametrize("every_picture", [False, True])
def test_each_part_is_written_once_however_often_it_is_watched(every_picture: bool) -> None:
    pictures, lines = Pictures(), Lines()
    recorder = Recorder([pictures, lines], live=False, every_picture=every_picture)

    def play(indices: range) -> None:
        for index in indices:
            if every_picture:
                recorder.add_picture(FRAMES[index])
            recorder.write(RESULTS[index])

    play(range(20))
    recorder.jump(jump("seek", 19 / RATE_HZ, 10 / RATE_HZ, every_picture=every_picture))
    play(range(10, 25))
    recorder.jump(jump("seek", 24 / RATE_HZ, 0.0, every_picture=every_picture))
    play(range(30))
    recorder.close()
    assert lines.indices == list(range(30))
    assert pictures.drawn == [(index, index) for index in range(30)]


def test_a_change_of_pace_neither_repeats_nor_loses_a_picture() -> None:
    """With pace kept, pictures run ahead of results; then every frame is analysed from where the screen was."""
    pictures, lines = Pictures(), Lines()
    recorder = Recorder([pictures, lines], live=False, every_picture=True)
    for index in range(20):
        recorder.add_picture(FRAMES[index])
        if index % 5 == 0:
            recorder.write(RESULTS[index])
    recorder.jump(jump("pace", 12 / RATE_HZ, 12 / RATE_HZ))
    for index in range(12, 30):
        recorder.write(RESULTS[index])
    recorder.close()
    assert [index for index, _ in pictures.drawn] == list(range(30))
    assert lines.indices == [0, 5, 10, 15, *range(16, 30)]


def test_a_slow_encoder_drops_pictures_before_results_and_counts_them() -> None:
    pictures, lines = Pictures(), Lines()
    pictures.go_on.clear()
    recorder = Recorder([pictures, lines], live=True, every_picture=True)
    for _ in range(3):
        for frame, result in zip(FRAMES, RESULTS, strict=True):
            recorder.add_picture(frame)
            if frame.index % 12 == 0:
                recorder.write(result)
    pictures.go_on.set()
    recorder.close()
    assert recorder.dropped == 0 and len(lines.indices) == 15
    assert recorder.dropped_pictures > 60 and len(pictures.drawn) + recorder.dropped_pictures == 180


def test_pictures_are_not_queued_where_no_output_takes_them() -> None:
    lines = Lines()
    recorder = Recorder([lines], live=True, every_picture=True)
    for frame in FRAMES:
        recorder.add_picture(frame)
    recorder.write(RESULTS[0])
    recorder.close()
    assert lines.indices == [0] and recorder.dropped_pictures == 0


def video_of(path: Path) -> list[Frame]:
    return list(FileSource(path).frames())


def shown(index: int) -> Result:
    frame = Frame(index, index / RATE_HZ, 0.0, numbered(index, (96, 64)))
    return Result(frame, whole(frame.image), NO_DETECTIONS, (), None)


@pytest.mark.parametrize("kind", ["seek", "again"])
def test_a_saved_video_ends_where_a_part_is_left_out_and_says_so(kind: JumpKind, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", caption=False)
    for index in range(10):
        writer.write(shown(index))
    writer.jump(jump(kind, 9 / RATE_HZ, 4.0))
    for index in range(50, 60):
        writer.write(shown(index))
    writer.close()
    assert writer.notice == "the saved video ends at 0.4 s, because a part was left out after it"
    assert [number_of(frame.image) for frame in video_of(tmp_path / "a.mp4")] == list(range(10))


def test_a_saved_video_goes_on_where_it_ended_and_after_a_reconnection(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", caption=False)
    for index in range(10):
        writer.write(shown(index))
    writer.jump(jump("seek", 9 / RATE_HZ, 0.0))
    writer.write(shown(10))
    writer.jump(jump("reconnect", 10 / RATE_HZ, 40 / RATE_HZ))
    writer.write(shown(40))
    writer.close()
    frames = video_of(tmp_path / "a.mp4")
    assert writer.notice is None and [number_of(frame.image) for frame in frames] == [*range(11), 40]
    assert frames[-1].pts_s - frames[0].pts_s == pytest.approx(40 / RATE_HZ, abs=1e-3)


def test_a_picture_without_an_overlay_is_saved(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", caption=False, blank_outside=True)
    for index in range(5):
        writer.write_picture(shown(index).frame, None)
    writer.close()
    assert len(video_of(tmp_path / "a.mp4")) == 5


def test_the_first_line_after_a_jump_has_a_mark(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "a.jsonl")
    writer.write(RESULTS[0])
    writer.jump(jump("seek", 0.0, 1.0))
    writer.jump(jump("seek", 0.0, 2.0))
    for index in (50, 51):
        writer.write(RESULTS[index])
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line.get("jumps") for line in lines] == [
        None,
        [{"kind": "seek", "from_s": 0.0, "to_s": to_s, "session_s": 9.0} for to_s in (1.0, 2.0)],
        None,
    ]
    for line in lines:
        line.pop("jumps", None)
    assert lines == [json.loads(json.dumps(RESULTS[index].to_dict())) for index in (0, 50, 51)], "nothing else differs"


def with_polyp(index: int, number: int = 1) -> Result:
    track = Track(number, np.float32([20, 10, 60, 50]), 0.9, "shown", 9.0, 0.0)
    return replace(RESULTS[index], tracks=(track,), signal="ok")


@pytest.mark.parametrize(("kind", "ends"), [("seek", ["seek", "end"]), ("again", ["seek", "end"]), ("pace", ["end"])])
def test_a_seek_ends_alarms_and_a_change_of_pace_does_not(kind: JumpKind, ends: list[str], tmp_path: Path) -> None:
    writer = AlarmsWriter(tmp_path / "a.jsonl", period_s=1 / RATE_HZ)
    for index in range(10):
        writer.write(with_polyp(index))
    writer.jump(jump(kind, 9 / RATE_HZ, 10 / RATE_HZ))
    for index in range(10, 20):
        writer.write(with_polyp(index))
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["ended"] for line in lines] == ends and {line["track"] for line in lines} == {1}
    assert sum(line["shown_s"] for line in lines) == pytest.approx(20 / RATE_HZ)
    assert writer.figures().to_dict()["polyps"] == 1 and writer.figures().count == len(ends)


def test_two_numbers_are_two_polyps() -> None:
    writer = AlarmsWriter(None, period_s=1 / RATE_HZ)
    for index in range(20):
        writer.write(with_polyp(index, 1 if index < 10 else 2))
    writer.close()
    assert writer.figures().polyps == 2


def test_a_live_headless_run_saves_every_captured_picture(tmp_path: Path) -> None:
    """60 pictures per second, and a model that needs 60 ms."""
    outputs = [ResultsWriter(tmp_path / "a.jsonl"), VideoWriter(tmp_path / "a.mp4")]
    source = ScriptedSource(60, live=True, rate_hz=60)
    session, errors, stalls = analyse_to_outputs(source, pipeline_of(FakeDetector(delay_s=0.06)), outputs)
    assert (session.state, errors, stalls) == ("ended", [], [])
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len(lines) == session.analyses.tally().shown < 40
    assert len(lines) < len(video_of(tmp_path / "a.mp4")) <= 60, "a busy machine may lose some, and says so"


def test_a_live_headless_run_ends_when_nothing_can_be_written(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.close()
    source = ScriptedSource(600, live=True, rate_hz=60)
    session, errors, _ = analyse_to_outputs(source, pipeline_of(), [writer])
    assert session.state == "failed" and "it is closed already" in str(session.error) and len(errors) == 1


def test_the_reader_of_results_reads_a_file_with_jumps(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "a.jsonl")
    writer.write(RESULTS[30])
    writer.jump(jump("seek", 30 / RATE_HZ, 0.0))
    writer.write(RESULTS[0])
    writer.close()
    assert [one.index for one in read_results(tmp_path / "a.jsonl")] == [30, 0]
