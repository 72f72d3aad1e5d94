"""Outputs that are lost during a run: one sentence, exit code 2, and the others complete."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from fakes import ScriptedSource, picture, pipeline_of
from media import write_clip

from realtime_polyp.cli.headless import close_outputs
from realtime_polyp.outputs import ResultsWriter, output_file, video
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.packets import Result
from realtime_polyp.recording.file_copy import FileCopy
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource

Run = Callable[..., tuple[int, str, str]]
COUNT = 30
GONE = "it was deleted or its folder moved while it was written"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="an open file cannot be deleted elsewhere")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=(192, 144), rate=10, draw=picture)


def at_frame(index: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something to the disk when that frame is written."""
    write = ResultsWriter.write

    def acting(self: ResultsWriter, result: Result) -> None:
        if result.frame.index == index:
            act()
        write(self, result)

    monkeypatch.setattr(ResultsWriter, "write", acting)


@pytest.mark.parametrize("often", [True, False], ids=["looked for at once", "looked for at the end"])
@pytest.mark.parametrize("take", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))])
def test_a_folder_that_is_taken_away_is_said_and_the_others_go_on(
    take: Callable[[Path], object], often: bool, run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_file, "_CHECK_EVERY_S", 0.0 if often else 1e9)
    folder, video_path, summary = tmp_path / "folder", tmp_path / "out.mp4", tmp_path / "s.json"
    folder.mkdir()
    at_frame(10, lambda: take(folder), monkeypatch)
    results = folder / "out.jsonl"
    code, _, said = run("--source", clip, "--results", results, "--save", video_path, "--summary", summary)
    assert (code, said) == (2, f"realtime-polyp: cannot write results to {results}: {GONE}\n")
    assert len(list(FileSource(video_path).frames())) == COUNT
    assert json.loads(summary.read_text())["frames_analysed"] == COUNT


def test_a_fault_in_an_output_is_its_own(run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a library raises while the overlay is drawn: the results are complete."""

    def fail(*_: object) -> None:
        raise cv2.error("no such colour")

    monkeypatch.setattr(video, "draw", fail)
    results, saved = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    code, _, said = run("--source", clip, "--results", results, "--save", saved)
    assert (code, said) == (2, f"realtime-polyp: cannot write video to {saved}: error: no such colour\n")
    assert len(results.read_text().splitlines()) == COUNT


def test_a_copy_of_the_video_that_failed_is_said(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FileCopy, "write", fail)
    code, _, said = run("--source", clip, "--record", tmp_path / "sessions", "--copy-source")
    assert (code, said) == (
        2,
        "realtime-polyp: the original picture is no longer recorded: No space left on device\n",
    )


def test_what_was_deleted_is_not_called_written(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_frame(10, (tmp_path / "out.jsonl").unlink, monkeypatch)
    _, printed, _ = run("--source", clip, "--results", tmp_path / "out.jsonl", "--save", tmp_path / "out.mp4")
    assert f"written: {tmp_path / 'out.mp4'}" in printed.splitlines()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_summary_that_failed_is_not_called_written(run: Run, clip: Path, tmp_path: Path) -> None:
    results = tmp_path / "out.jsonl"
    code, printed, _ = run("--source", clip, "--results", results, "--summary", "/dev/full", "--overwrite")
    assert code == 2 and f"written: {results}" in printed.splitlines()


class Stuck:
    """An output that takes nothing until it may go on."""

    name, on_disk = "results to disk", True

    def __init__(self) -> None:
        self.may_go_on = threading.Event()

    def write(self, result: Result) -> None:
        self.may_go_on.wait()

    def close(self) -> None:
        return


def test_results_that_a_slow_disk_lost_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    disk = Stuck()
    group = Recorder([disk], live=True)
    session = Session(ScriptedSource(60), pipeline_of(), group.write)
    session.start()
    session.wait()
    disk.may_go_on.set()
    assert close_outputs(group, session) == [] and group.dropped > 0
    assert f"{group.dropped} of 60 results were not written" in capsys.readouterr().err
