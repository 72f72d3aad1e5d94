"""Paths as they come: too long, looping, closed, gone, of another kind. Each gets one sentence."""

import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from media import write_clip

from realtime_polyp.messages import printable
from realtime_polyp.sources import Source, SourceError, open_source, paths


def _loop(folder: Path) -> Path:
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    return folder / "loop.mp4"


def _dangling(folder: Path) -> Path:
    (folder / "gone.mp4").symlink_to(folder / "nothing")
    return folder / "gone.mp4"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def _socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "s.mp4"))
    return folder / "s.mp4"


def _beneath_a_file(folder: Path) -> Path:
    (folder / "a.mp4").touch()
    return folder / "a.mp4" / "b.mp4"


def _empty(folder: Path) -> Path:
    (folder / "e.mp4").touch()
    return folder / "e.mp4"


def _sparse(folder: Path) -> Path:
    with open(folder / "huge.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(6 * 10**9)
    return folder / "huge.png"


def _sparse_without_magic(folder: Path) -> Path:
    with open(folder / "zeros.png", "wb") as file:
        file.truncate(6 * 10**9)
    return folder / "zeros.png"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_loop, "loop.mp4 is a link that leads back to itself"),
        (_dangling, "gone.mp4 does not exist"),
        (_pipe, "pipe.mp4 is a pipe, a socket or a device, not a video file"),
        (_socket, "s.mp4 is a pipe, a socket or a device, not a video file"),
        (_beneath_a_file, "b.mp4 does not exist"),
        (_empty, r"e.mp4 is empty \(0 bytes\)"),
        (_sparse, r"huge.png is a still that cannot be read: it has 6,000 MB; at most 268 MB are read"),
        (_sparse_without_magic, "zeros.png is not a video of a kind that is read here"),
        (lambda folder: folder / ("x" * 300), "xxx does not exist: its name is longer than the file system allows"),
        (lambda folder: folder / "a\0b", r"a\\x00b does not exist: a name cannot contain a NUL character"),
        (lambda folder: folder / "a\x1b[31m\n\udcff", r"a\\x1b\[31m\\n\\udcff does not exist"),
        (lambda folder: Path("/dev/zero"), "zero is a pipe, a socket or a device, not a video file"),
    ],
)
def test_a_path_that_cannot_be_a_video_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(str(make(tmp_path)))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EIO, "is its disk or share still there"),
        (errno.ESTALE, "is its disk or share still there"),
        (errno.ENOTCONN, "is its disk or share still there"),
        (errno.EACCES, "may not be read by this user"),
    ],
)
def test_a_share_that_was_lost_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    clip, folder = write_clip(tmp_path / "a.mp4", count=2), tmp_path / "stills"
    folder.mkdir()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(SourceError, match=f"a.mp4 .*{message}"):
        open_source(str(clip))
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(SourceError, match=f"stills .*{message}"):
        open_source(str(folder))
    monkeypatch.setattr(paths, "is_folder", lambda _: False)
    monkeypatch.setattr(os, "stat", fail)
    with pytest.raises(SourceError, match="a.mp4"):
        open_source(str(clip))


_AS_NOBODY = """
import os, sys
from realtime_polyp.sources import SourceError, open_source
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)
for name in ("closed/a.mp4", "closed", "a.mp4"):
    try:
        open_source(name)
    except SourceError as error:
        print(error)
"""


def test_closed_folders_and_files_are_told(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    write_clip(closed / "a.mp4", count=1)
    write_clip(tmp_path / "a.mp4", count=1).chmod(0)
    closed.chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != Path("/tmp") and folder.stat().st_mode & 0o55 != 0o55:
            folder.chmod(folder.stat().st_mode | 0o55)
    told = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    closed.chmod(0o755)
    assert told == [f"{name} may not be read by this user." for name in ("closed/a.mp4", "closed", "a.mp4")]


ODD = [
    "a\0b", "\0", "pattern\0", "device:", "device:\0", "0" * 5000, "\u0663", "\u00b2", "pattern:" + "9" * 50 + "x20",
    "pattern:64x48@10:" + "9" * 400, "pattern@" + "9" * 5000, "pattern@1/" + "9" * 20, "x" * 100_000, "/" * 5000,
    "../" * 2000, "~", "-", "--", ".mp4", "..\\..", "con:", "\udcff", "\U0010ffff", "\ud800", "://\udcff",
    "file:", "data:text/plain,hello", "fd:", "pipe:", "pipe:0", "concat:a|b", "subfile,,start,0,end,0,,:x", "glob",
    "a*.png", "%", "%s%d%n", "{}", "${HOME}", "`id`", "\n", "\r\n", "\t", "\u202e", "\ufeff", "http:", "http:/",
    "lavfi", "lavfi:", "movie=/etc/passwd", "hls+http://", "cache:x", "async:x", "crypto:x", "md5:x", "tee:x",
]  # fmt: skip


def assert_opens_or_source_error(text: str) -> None:
    try:
        source: Source = open_source(text)
    except SourceError as error:
        message = str(error)
        assert message.isprintable() and message.endswith(".") and len(message) < 800
        message.encode("utf-8")
    else:
        source.close()


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_only_source_errors_whatever_is_typed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_opens_or_source_error(text)


def test_only_source_errors_for_texts_made_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng, pieces = random.Random(0), [*":@/x90a?#%[]-. =\0\n\udc80", "pattern", "device:", "gopher://", "u:p", ".mp4"]
    for _ in range(400):
        assert_opens_or_source_error("".join(rng.choices(pieces, k=rng.randrange(9))))


def test_what_is_printed_can_be_printed() -> None:
    assert printable("Süß 2.mp4 — Zoë") == "Süß 2.mp4 — Zoë"
    assert printable("a\udcff\x1b\n\u202eb") == "a\\udcff\\x1b\\n\\u202eb"
