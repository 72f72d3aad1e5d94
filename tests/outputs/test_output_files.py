"""Outputs whose file or folder is taken away, whose disk is full or fails, and who may read them."""

import errno
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import frames_of, picture, pipeline_of

from realtime_polyp.atomic_write import write_private
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import AlarmsWriter, Output, OutputError, ResultsWriter, VideoWriter, output_file
from realtime_polyp.outputs.recorder import OutputGroup
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result, Track
from realtime_polyp.pipeline import run_inline
from realtime_polyp.private_files import make_private_folder, open_private
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry.summary import write_json, write_trace
from realtime_polyp.telemetry.trace import Trace

RESULTS = list(run_inline(frames_of(8), pipeline_of()))
GONE = "it was deleted or its folder moved while it was written"
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
Open = Callable[[Path], Output]
WRITERS: dict[str, Open] = {
    "results": lambda folder: ResultsWriter(folder / "out"),
    "video": lambda folder: VideoWriter(folder / "out", rate_hz=Fraction(25)),
    "events": lambda folder: AlarmsWriter(folder / "out"),
}


def alarm(index: int, *, tracks: int = 1, noise: bool = False) -> Result:
    """A frame that shows so many polyps."""
    image = np.random.default_rng(index).integers(0, 256, (72, 96, 3), np.uint8) if noise else picture(index)
    shown = tuple(
        Track(one + 1, np.array([10, 10, 40, 40], np.float32), 0.9, "shown", 1e3, 0.0) for one in range(tracks)
    )
    return Result(Frame(index, index / 25, 0.0, image), FieldOfView(0, 0, 96, 72), NO_DETECTIONS, shown, None)


def move_away(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}-moved"))


def swap(path: Path) -> None:
    """Another file or folder in its place, as after an unmount or a sync program's download."""
    move_away(path)
    path.mkdir() if path.with_name(f"{path.name}-moved").is_dir() else path.write_text("another")


TAKEN_AWAY: dict[str, tuple[Callable[[Path], None], str]] = {
    "file deleted": (lambda folder: (folder / "out").unlink(), GONE),
    "folder deleted": (shutil.rmtree, GONE),
    "folder deleted and made again": (lambda folder: (shutil.rmtree(folder), folder.mkdir()), GONE),  # type: ignore[dict-item, return-value]
    "folder moved": (move_away, GONE),
    "folder replaced": (swap, "its folder was unmounted or replaced while it was written"),
    "file moved": (lambda folder: move_away(folder / "out"), "it was moved or renamed while it was written"),
    "file replaced": (lambda folder: swap(folder / "out"), "it was replaced while it was written"),
    "file emptied": (lambda folder: os.truncate(folder / "out", 0), "another program shortened it while it was"),
}


@posix
@pytest.mark.parametrize("during", [True, False], ids=["during", "at the end"])
@pytest.mark.parametrize("taken", TAKEN_AWAY)
@pytest.mark.parametrize("kind", WRITERS)
def test_an_output_that_is_taken_away_fails_and_says_so(
    kind: str, taken: str, during: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_file, "_CHECK_EVERY_S", 0.0 if during else 1e9)
    folder, (take, said) = tmp_path / "folder", TAKEN_AWAY[taken]
    folder.mkdir()
    output = WRITERS[kind](folder)
    output.write(alarm(0))
    for index in range(1, 200):
        output.write(alarm(index, tracks=0))  # the alarm ends, and its line is written
    take(folder)
    with pytest.raises(OutputError, match=f"cannot write {kind} to .*out: {said}"):
        if during:
            output.write(alarm(200))
            output.write(alarm(201, tracks=0))
        output.close()
    output.close()


@posix
@pytest.mark.parametrize("during", [True, False], ids=["during", "at the end"])
def test_a_folder_of_pictures_that_is_taken_away(during: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_file, "_CHECK_EVERY_S", 0.0 if during else 1e9)
    writer = AlarmsWriter(tmp_path / "a.jsonl", pictures=tmp_path / "pictures")
    writer.write(alarm(0))
    (tmp_path / "pictures").rmdir()
    with pytest.raises(OutputError, match=f"cannot write events to .*pictures: {GONE}"):
        writer.write(alarm(1)) if during else writer.close()


@posix
def test_what_is_where_it_was_named_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a link, a second name, a name relative to the working folder, and without a name at all."""
    monkeypatch.setattr(output_file, "_CHECK_EVERY_S", 0.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("target")
    read, write = os.pipe()
    for path in (Path("link"), Path("a"), Path(f"/dev/fd/{write}"), Path(os.devnull)):
        writer = ResultsWriter(path)
        writer.write(RESULTS[0])
        if path == Path("a"):
            os.link("a", "second name")
        writer.write(RESULTS[1])
        writer.close()
    os.close(write)
    with os.fdopen(read) as pipe:
        assert len(pipe.readlines()) == 2
    assert (tmp_path / "target").read_text() == (tmp_path / "a").read_text() != ""


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EDQUOT, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["write", "stat", "fsync"])
def test_the_reason_is_the_systems_own(call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that was lost, a quota: at a write, when the file is looked for, and when a network's disk takes it."""
    monkeypatch.setattr(output_file, "_CHECK_EVERY_S", 0.0)
    writers = [ResultsWriter(tmp_path / "a.jsonl"), VideoWriter(tmp_path / "a.mp4"), AlarmsWriter(tmp_path / "e.jsonl")]
    group = OutputGroup(writers)  # type: ignore[arg-type]
    for number in range(20):
        group.write(alarm(number))

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(output_file.os, call, fail)
        with pytest.raises(OutputError, match=os.strerror(code)):
            group.write(alarm(20))
            group.write(alarm(21, tracks=0))
            group.close()
        with pytest.raises(OutputError):
            group.close()
    assert [str(error).rpartition(": ")[2] for error in group.errors] == [os.strerror(code)] * 3
    assert (tmp_path / "a.jsonl").read_text().count("\n") >= 20
    assert len(list(FileSource(tmp_path / "a.mp4").frames())) >= 19


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("cannot mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_a_disk_that_fills_up_before_the_end_leaves_the_video(ending: str, small_disk: Path) -> None:
    """FFmpeg marks an MP4 as indexed before it writes the index, and half a fragment's head spoils the whole file."""
    writer = VideoWriter(small_disk / f"a.{ending}")
    for index in range(20):
        writer.write(alarm(index, noise=True))
    with open(small_disk / "other", "wb", buffering=0) as other, pytest.raises(OSError, match="No space left"):
        while True:
            other.write(bytes(512))
    with pytest.raises(OutputError, match="No space left on device"):
        writer.write(alarm(20, noise=True))
        writer.close()
    writer.close()
    assert len(list(FileSource(small_disk / f"a.{ending}").frames())) >= 19


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_disk_that_is_full(ending: str, small_disk: Path) -> None:
    """Every output tells the reason; what was written before can be read; a summary of before is kept."""
    for name in ("summary.json", "trace.json"):
        (small_disk / name).write_text('"old"')
    trace = Trace()
    for number in range(5_000):
        trace.add("thread", f"work {number}", number, number + 1)
    group = OutputGroup(
        [
            ResultsWriter(small_disk / "a.jsonl"),
            VideoWriter(small_disk / f"a.{ending}"),
            AlarmsWriter(small_disk / "e.jsonl", pictures=small_disk / "pictures"),
        ]
    )
    with pytest.raises(OutputError, match="No space left on device"):
        for index in range(2_000):
            group.write(alarm(index, noise=True, tracks=5 if index % 200 < 3 else 0))
    full = "No space left on device"
    assert sorted(str(error).split(" ")[2] for error in group.errors) == ["events", "results", "video"]
    assert all(str(error).endswith(full) for error in group.errors)
    with pytest.raises(OutputError, match=f"cannot write the trace to .*: {full}"):
        write_trace(trace, small_disk / "trace.json")
    with pytest.raises(OutputError, match=f"cannot write the summary to .*: {full}"):
        write_json("x" * 200_000, small_disk / "summary.json", "the summary")
    assert {(small_disk / name).read_text() for name in ("summary.json", "trace.json")} == {'"old"'}
    left = {path.name for path in small_disk.iterdir()}
    assert left == {"a.jsonl", f"a.{ending}", "e.jsonl", "pictures", "summary.json", "trace.json"}, "no temporary files"
    lines = (small_disk / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(len(lines))) and len(lines) > 3
    events = [json.loads(line) for line in (small_disk / "e.jsonl").read_text().splitlines()]
    for event in events:
        assert (small_disk / "pictures" / event["picture"]).read_bytes().endswith(b"\xff\xd9")
    assert len(list(FileSource(small_disk / f"a.{ending}").frames())) >= 2


def test_a_share_that_is_unmounted(small_disk: Path) -> None:
    """Lazily, as a share that is gone is: the open files live on, and nobody finds them."""
    group = OutputGroup([ResultsWriter(small_disk / "a.jsonl"), VideoWriter(small_disk / "a.mp4")])
    group.write(alarm(0))
    subprocess.run(["umount", "-l", small_disk], check=True)
    try:
        with pytest.raises(OutputError, match="cannot write results to .*: its folder was unmounted or replaced"):
            group.close()
        assert [str(error).split(" ")[2] for error in group.errors] == ["results", "video"]
    finally:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", small_disk], check=True)  # for the fixture to unmount


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
@pytest.mark.parametrize("existing", [True, False])
def test_outputs_can_be_read_by_their_owner_only(umask: int, existing: bool, tmp_path: Path) -> None:
    snapshot = pytest.importorskip("realtime_polyp.viewer.snapshot", exc_type=ImportError)
    displayed = pytest.importorskip("realtime_polyp.viewer.displayed")
    names = ["a.jsonl", "a.mp4", "e.jsonl", "s.json", "t.json"]
    if existing:
        for name in names:
            (tmp_path / name).write_text("old")
            (tmp_path / name).chmod(0o666)
    before = os.umask(umask)
    try:
        group = OutputGroup(
            [
                ResultsWriter(tmp_path / "a.jsonl"),
                VideoWriter(tmp_path / "a.mp4"),
                AlarmsWriter(tmp_path / "e.jsonl", pictures=tmp_path / "new" / "pictures"),
            ]
        )
        assert set(modes(tmp_path).values()) <= {0o600, 0o700} or existing, "before the first byte"
        group.write(alarm(0))
        group.close()
        write_json({}, tmp_path / "s.json", "the summary")
        write_trace(Trace(), tmp_path / "t.json")
        shown = displayed.DisplayedFrame(alarm(0).frame, alarm(0))
        snapshot.save_snapshot(
            shown, snapshot.OverlayStyle(), tmp_path / "deep" / "er", "ä" * 250, datetime(2026, 5, 4)
        )
    finally:
        os.umask(before)
    found = modes(tmp_path)
    folders = {"new", "pictures", "deep", "er"}
    assert {name: oct(mode) for name, mode in found.items() if mode != (0o700 if name in folders else 0o600)} == {}
    assert len(found) == len(names) + len(folders) + 4, "two pictures of the alarm, two of the snapshot"
    assert json.loads((tmp_path / "s.json").read_text()) == {}


def test_a_snapshot_that_cannot_be_drawn_or_named_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = pytest.importorskip("realtime_polyp.viewer.snapshot", exc_type=ImportError)
    displayed = pytest.importorskip("realtime_polyp.viewer.displayed")
    shown = displayed.DisplayedFrame(alarm(0).frame, alarm(0))
    rest = "name", datetime(2026, 5, 4)
    with pytest.raises(OSError, match="NUL character|null byte|null character"):
        snapshot.save_snapshot(shown, snapshot.OverlayStyle(), tmp_path / "a\0b", *rest)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(snapshot, "draw", fail)
    with pytest.raises(OSError, match="MemoryError"):
        snapshot.save_snapshot(shown, snapshot.OverlayStyle(), tmp_path, *rest)


@posix
def test_folders_that_exist_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o755)
    make_private_folder(tmp_path / "old" / "new")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o755
    with pytest.raises(FileExistsError):
        (tmp_path / "file").touch()
        make_private_folder(tmp_path / "file" / "x")


@posix
def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for open_ in (ResultsWriter, VideoWriter, AlarmsWriter):
        with pytest.raises(OutputError, match="pipe: no program reads from this pipe"):
            open_(tmp_path / "pipe")
    with pytest.raises(OutputError, match="cannot write the summary to .*pipe: no program reads from this pipe"):
        write_json({}, tmp_path / "pipe", "the summary")


@posix
def test_a_pipe_that_is_read_gets_everything(tmp_path: Path) -> None:
    """Also the video, which then has no index at its end."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.mkv")
    for number, (write, pipe) in enumerate(((ResultsWriter, "pipe"), (VideoWriter, "pipe"), (VideoWriter, "pipe.mkv"))):
        copied = tmp_path / f"copy {number}"
        with copied.open("wb") as out, subprocess.Popen(["cat", tmp_path / pipe], stdout=out):
            writer = _when_read(lambda write=write, pipe=pipe: write(tmp_path / pipe))  # type: ignore[misc]
            for result in RESULTS:
                writer.write(result)
            writer.close()
    assert len((tmp_path / "copy 0").read_text().splitlines()) == len(RESULTS)
    for name, kind in (("copy 1", "mov"), ("copy 2", "matroska")):
        assert len(list(FileSource(tmp_path / name).frames())) == len(RESULTS)
        with av.open(str(tmp_path / name)) as container:
            assert kind in container.format.name


def _when_read(open_: Callable[[], Output]) -> Output:
    """As soon as a reader is there."""
    while True:
        try:
            return open_()
        except OutputError:
            continue


@posix
def test_a_link_a_device_and_a_closed_folder_keep_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text("old")
    (tmp_path / "link.json").symlink_to("target.json")
    write_private(tmp_path / "link.json", b"new")
    assert (tmp_path / "link.json").is_symlink() and (tmp_path / "target.json").read_text() == "new"
    write_private(Path(os.devnull), b"new")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@posix
def test_a_file_in_a_folder_that_takes_no_other_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.json"
    path.write_text("old and longer")
    real = os.open

    def closed_folder(name: object, flags: int, *rest: int) -> int:
        if flags & os.O_EXCL:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, flags, *rest)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "open", closed_folder)
    write_private(path, b"new")
    assert path.read_text() == "new"


def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    for path in (tmp_path / ("n" * 250 + ".json"), tmp_path / ("n." + "s" * 253), tmp_path / ("ä" * 125 + ".json")):
        write_json({}, path, "the summary")
        assert path.read_text() == "{}\n"
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_names_that_cannot_be(tmp_path: Path) -> None:
    for name in ("a\0b", "n" * 300):
        with pytest.raises(OSError):
            os.close(open_private(tmp_path / name))
        for open_ in (ResultsWriter, VideoWriter, AlarmsWriter):
            with pytest.raises(OutputError, match="NUL character|File name too long"):
                open_(tmp_path / name)
