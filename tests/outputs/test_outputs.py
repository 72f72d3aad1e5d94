"""Outputs on a thread of their own: nothing is lost, nothing waits for a slow disk, every failure is told."""

import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fakes import frames_of, picture, pipeline_of
from media import number_of, numbered
from pycocotools import mask as coco_mask

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import OutputError, OutputSpec, VideoWriter, open_outputs
from realtime_polyp.outputs.paths import check_paths
from realtime_polyp.outputs.recorder import OutputGroup, Recorder
from realtime_polyp.outputs.results import ResultsWriter
from realtime_polyp.outputs.video_picture import pad_to_even
from realtime_polyp.packets import Frame, Mask, Result
from realtime_polyp.pipeline import run_inline
from realtime_polyp.sources import FileSource

RESULTS = list(run_inline(frames_of(20), pipeline_of()))


class Disk:
    """An output that remembers; slow, or failing at a write or at the end."""

    name, on_disk = "pictures to disk", True

    def __init__(self, *, delay_s: float = 0.0, fails_at: int | None = None, fails_at_end: bool = False) -> None:
        self.written: list[int] = []
        self.closed = 0
        self.may_go_on = threading.Event()
        self._delay_s, self._fails_at, self._fails_at_end = delay_s, fails_at, fails_at_end

    def write(self, result: Result) -> None:
        if len(self.written) == self._fails_at:
            raise OutputError("cannot write to disk: full")
        time.sleep(self._delay_s)
        self.written.append(result.frame.index)

    def close(self) -> None:
        self.closed += 1
        if self._fails_at_end:
            raise OutputError("cannot finish: full")


@pytest.mark.parametrize("live", [False, True])
def test_everything_is_written_in_order_to_every_output(live: bool) -> None:
    disks = [Disk(), Disk()]
    recorder = Recorder(disks, live=live)
    for result in RESULTS:
        recorder.write(result)
    recorder.close()
    assert [disk.written for disk in disks] == [list(range(20))] * 2
    assert recorder.dropped == 0 and [disk.closed for disk in disks] == [1, 1]


def test_a_slow_disk_makes_a_file_wait_and_a_live_source_drop() -> None:
    for live in (False, True):
        disk = Disk(delay_s=0.01)
        recorder = Recorder([disk], live=live)
        for _ in range(4):
            for result in RESULTS:
                recorder.write(result)
        waiting = 80 - len(disk.written) - recorder.dropped
        recorder.close()
        assert len(disk.written) + recorder.dropped == 80
        assert (recorder.dropped > 0) if live else (recorder.dropped == 0 and waiting < 40)  # it waited for the disk
        assert disk.written[-1] == 19  # the newest are kept


def test_a_disk_that_fails_ends_alone_and_is_reported_at_the_end() -> None:
    bad, good = Disk(fails_at=3), Disk()
    recorder = Recorder([good, bad], live=False)
    for result in RESULTS * 5:
        recorder.write(result)  # never blocks and never raises: the session goes on
    with pytest.raises(OutputError, match="cannot write to disk: full"):
        recorder.close()
    assert recorder.error is not None and bad.written == [0, 1, 2] and good.closed == bad.closed == 1
    assert good.written == list(range(20)) * 5, "one failing output does not end the others"


def test_once_every_output_has_failed_the_run_ends() -> None:
    group = OutputGroup([Disk(fails_at=3), Disk(fails_at=5)])
    for result in RESULTS[:5]:
        group.write(result)
    with pytest.raises(OutputError, match="cannot write to disk: full"):
        group.write(RESULTS[5])
    assert len(group.errors) == 2


def test_all_are_closed_though_one_fails_and_the_first_failure_is_told() -> None:
    disks = [Disk(), Disk(fails_at_end=True), Disk()]
    with pytest.raises(OutputError, match="cannot finish: full"):
        OutputGroup(disks).close()
    assert [disk.closed for disk in disks] == [1, 1, 1]


def test_outputs_are_those_asked_for(tmp_path: Path) -> None:
    assert open_outputs(OutputSpec(), None) == []
    outputs = open_outputs(OutputSpec(tmp_path / "a.jsonl", tmp_path / "a.mp4"), Fraction(25))
    for output in outputs:
        for result in RESULTS:
            output.write(result)
    for output in outputs * 2:  # closing twice does no harm
        output.close()
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 20
    assert len(list(FileSource(tmp_path / "a.mp4").frames())) == 20


def test_each_line_is_whole_on_disk_before_the_next_frame(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "a.jsonl")
    for count, result in enumerate(RESULTS, 1):
        writer.write(result)
        text = (tmp_path / "a.jsonl").read_text()
        assert text.count("\n") == count and text.endswith("\n")
    writer.close()


def test_a_mask_s_run_lengths_are_the_mask() -> None:
    field = FieldOfView(40, 20, 360, 220)
    mask = Mask(np.random.default_rng(0).random((50, 80)).astype(np.float32), field)
    encoded = mask.to_rle(240, 400)
    assert encoded["size"] == [240, 400]
    with pytest.warns(DeprecationWarning):  # pycocotools's own
        found = coco_mask.decode(encoded)
    assert np.array_equal(found.astype(bool), mask.to_source(240, 400))
    assert not found[:20].any() and not found[:, :40].any() and found.any()


def result_at(index: int, pts_s: float, size: tuple[int, int] = (96, 64)) -> Result:
    frame = Frame(index, pts_s, 0.0, numbered(index, size))
    return Result(frame, FieldOfView(0, 0, *size), RESULTS[0].detections, (), None)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_times_that_stand_still_or_go_back_do_not_spoil_the_video(name: str, tmp_path: Path) -> None:
    """A seek backwards, a clock set anew: the saved video goes on, every frame in it."""
    writer = VideoWriter(tmp_path / name, rate_hz=Fraction(25))
    for index, pts_s in enumerate([0.0, 0.04, 0.04, 0.08, 5.0, 5.04, 0.2, 0.24, 0.28]):
        writer.write(result_at(index, pts_s))
    writer.close()
    frames = list(FileSource(tmp_path / name).frames())
    assert [number_of(frame.image) for frame in frames] == list(range(9))
    times_s = [frame.pts_s for frame in frames]
    assert times_s == sorted(times_s) and times_s[-1] == pytest.approx(5.04 + 0.08, abs=0.02)


def test_a_video_that_begins_late_keeps_its_length(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", rate_hz=Fraction(25))
    for index in range(10):
        writer.write(result_at(index, 60 + index / 25))
    writer.close()
    frames = list(FileSource(tmp_path / "a.mp4").frames())
    assert len(frames) == 10 and frames[-1].pts_s - frames[0].pts_s == pytest.approx(9 / 25, abs=1e-3)


def test_a_source_that_changes_its_size_goes_on_in_the_first_one(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", rate_hz=Fraction(25))
    for index, size in enumerate([(96, 64), (192, 128), (96, 64)]):
        writer.write(result_at(index, index / 25, size))
    writer.close()
    frames = list(FileSource(tmp_path / "a.mp4").frames())
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 3
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2]


def test_a_video_of_no_frames_closes(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4")
    writer.close()
    writer.close()
    with pytest.raises(OutputError, match="it is closed already"):
        writer.write(result_at(0, 0.0))


@pytest.mark.parametrize("size", [(96, 72), (97, 72), (96, 73), (97, 73), (1, 1)])
def test_pictures_are_made_even_by_repeating_their_rim(size: tuple[int, int]) -> None:
    image = picture(0, (96, 73))[: size[1], : size[0]] if size != (1, 1) else np.full((1, 1, 3), 7, np.uint8)
    found = pad_to_even(image)
    assert found.shape[0] % 2 == found.shape[1] % 2 == 0
    assert np.array_equal(found[: image.shape[0], : image.shape[1]], image)
    assert np.array_equal(found[-1, : image.shape[1]], image[-1]) and np.array_equal(
        found[: image.shape[0], -1], image[:, -1]
    )


def test_places_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"precious")
    check_paths([str(source)], [tmp_path / "b.mp4", None, tmp_path / "b.jsonl"])
    check_paths(["rtsp://scope.example/1"], [tmp_path / "b.mp4"])
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "hard.mp4").hardlink_to(source)
    (tmp_path / "old.jsonl").write_text("an earlier run's")
    (tmp_path / "old too.jsonl").hardlink_to(tmp_path / "old.jsonl")
    for paths, said in (
        ([tmp_path / "link.mp4"], "it is the source itself"),
        ([tmp_path / "hard.mp4"], "it is the source itself"),
        ([tmp_path / "old.jsonl", tmp_path / "old too.jsonl"], "it is another output"),
        ([tmp_path / "x", tmp_path / "sub" / ".." / "x"], "it is another output"),
        ([tmp_path], "it is a folder"),
        ([tmp_path / "no" / "b.mp4"], "there is no folder"),
    ):
        with pytest.raises(OutputError, match=said):
            check_paths([str(source)], paths, overwrite=True)
    with pytest.raises(OutputError, match="it exists already; add --overwrite to replace it"):
        check_paths([str(source)], [tmp_path / "old.jsonl"])
    check_paths([str(source)], [tmp_path / "old.jsonl", Path("/dev/null")], overwrite=True)
    check_paths([str(source)], [Path("/dev/null")])
    assert source.read_bytes() == b"precious" and (tmp_path / "old.jsonl").read_text() == "an earlier run's"


@pytest.mark.parametrize("where", ["write", "close"])
def test_an_output_with_a_bug_ends_alone_with_its_reason_and_leaves_nobody_waiting(where: str) -> None:
    class Broken(Disk):
        def write(self, result: Result) -> None:
            if where == "write":
                raise ZeroDivisionError("a bug")

        def close(self) -> None:
            raise MemoryError

    good = Disk()
    recorder = Recorder([Broken(), good], live=False)
    feeder = threading.Thread(target=lambda: [recorder.write(result) for result in RESULTS * 5], daemon=True)
    feeder.start()
    feeder.join(5)
    assert not feeder.is_alive()
    said = "ZeroDivisionError: a bug" if where == "write" else "MemoryError"
    with pytest.raises(OutputError, match=f"^cannot write pictures to disk: {said}$"):
        recorder.close()
    assert good.written == list(range(20)) * 5 and good.closed == 1
