"""Every place where an output cannot be written is one sentence, before anything is analysed or emptied."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from fakes import frames_of, pipeline_of

from realtime_polyp.outputs import OutputError, OutputSpec, open_outputs
from realtime_polyp.outputs.paths import check_folder, check_outputs, check_paths
from realtime_polyp.pipeline import run_inline
from realtime_polyp.sources import FileSource

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX paths")
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def _make(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    (folder / "nowhere").symlink_to("no/such/file")
    (folder / "to folder").symlink_to(".")
    (folder / "file").write_text("kept")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(folder / "socket"))
    if shutil.which("mkfifo"):
        os.mkfifo(folder / "pipe")


REFUSED = {
    "loop": "Too many levels of symbolic links",
    "one": "Too many levels of symbolic links",
    "loop/a": "Too many levels of symbolic links",
    "nowhere": "there is no folder .*/no/such",
    "to folder": "it is a folder; name a file in it",
    "file/a": "there is no folder .*/file",
    "file/a/b": "there is no folder .*/file/a",
    "n" * 256: "File name too long",
    "ä" * 128: "File name too long",
    "a/" * 2100: "File name too long",
    "a\0b": "its name holds a NUL character",
    "\0": "its name holds a NUL character",
    "a\ud800b": "its name cannot be used: .*surrogates not allowed",
    "socket": "it is not an ordinary file; name a file",
    ".": "it is a folder; name a file in it",
    "..": "it is a folder; name a file in it",
    "/": "it is a folder; name a file in it",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_is_one_sentence(name: str, tmp_path: Path) -> None:
    _make(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    for spec in (OutputSpec(results=tmp_path / name), OutputSpec(save=tmp_path / name), OutputSpec()):
        others = [] if spec != OutputSpec() else [tmp_path / name]
        with pytest.raises(OutputError, match=f"^cannot write to .*: {REFUSED[name]}") as found:
            check_outputs(["source.mp4"], [spec], others, overwrite=True)
        assert str(found.value).isprintable(), "one line, without control characters"
    assert sorted(path.name for path in tmp_path.iterdir()) == before and (tmp_path / "file").read_text() == "kept"


FOLDERS_REFUSED = REFUSED | {
    "nowhere": "it is a link that leads nowhere; name a folder",
    "file": "it is a file; name a folder",
    "file/a": ".*file is a file; name a folder",
    "file/a/b": ".*file is a file; name a folder",
    "socket": "it is a file; name a folder",
    "pipe": "it is a file; name a folder",
}


@pytest.mark.parametrize("name", [name for name in FOLDERS_REFUSED if name not in ("to folder", ".", "..", "/")])
def test_a_folder_that_cannot_be_is_one_sentence(name: str, tmp_path: Path) -> None:
    _make(tmp_path)
    with pytest.raises(OutputError, match=f"^cannot write pictures to .*: {FOLDERS_REFUSED[name]}"):
        check_outputs([], [OutputSpec(pictures=tmp_path / name)], overwrite=True)


@pytest.mark.parametrize("name", ["loop", "a\0b", "n" * 300, "a\ud800b", "http://[::1", "concat:a|b", "/"])
def test_a_strange_source_is_no_matter_of_the_outputs(name: str, tmp_path: Path) -> None:
    _make(tmp_path)
    check_paths([name, str(tmp_path / name)], [tmp_path / "out.jsonl"])


NAMES: dict[str, str | bytes] = {
    "colon": "12:30:05.mp4",
    "protocol": "file:a.mp4",
    "other protocol": "http:a.mp4",
    "percent": "100%03d%s%%.mp4",
    "no suffix": "recording",
    "options": "-y",
    "not UTF-8": b"caf\xe9.mp4",
    "letters": "ÄÖ 息肉 🙂.mp4",
    "new line": "a\nb.mp4",
    "long": "n" * 251 + ".mp4",
    "quotes": "'\"`$(x).mp4",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_a_name(name: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the working folder: FFmpeg would take some for a protocol or a pattern."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = Path(os.fsdecode(name))
    spec = OutputSpec(save=path, results=path.with_name(f"r{path.name}"[:250]))
    check_outputs(["source.mp4"], [spec])
    outputs = open_outputs(spec, None)
    for result in run_inline(frames_of(3), pipeline_of()):
        for output in outputs:
            output.write(result)
    for output in outputs:
        output.close()
    assert {os.fsencode(one) for one in os.listdir()} == {os.fsencode(spec.save or ""), os.fsencode(spec.results or "")}
    os.rename(path, tmp_path / "plain.mp4")
    assert len(list(FileSource(tmp_path / "plain.mp4").frames())) == 3


def test_a_link_to_a_new_file_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    check_paths([], [tmp_path / "link"])
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="it is another output"):
        check_paths([], [tmp_path / "link", tmp_path / "new"])


def test_the_program_s_own_words_are_no_output(tmp_path: Path) -> None:
    """Standard output as a pipe, and as the very file that is named."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from realtime_polyp.outputs.paths import OutputError, check_paths
for name in sys.argv[1:]:
    try:
        check_paths([], [Path(name)], overwrite=True)
    except OutputError as error:
        print(error, file=sys.stderr)
check_paths([], [Path("/dev/null")])
"""
    with (tmp_path / "out").open("w") as out:
        names = ["/dev/stdout", "/dev/fd/1", "/dev/stderr", str(tmp_path / "out")]
        done = subprocess.run([sys.executable, "-c", script, *names], stdout=out, stderr=subprocess.PIPE, text=True)
    said = [line.partition(": it is the program's standard ") for line in done.stderr.splitlines()]
    assert [(one, rest) for one, _, rest in said] == [
        (f"cannot write to {name}", f"{stream}; name a file")
        for name, stream in zip(names, ["output", "output", "error", "output"], strict=True)
    ], done


@pytest.fixture
def read_only(tmp_path: Path) -> Path:
    """A file system that takes nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "under").touch()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True)
    if not done or done.returncode:
        pytest.skip("cannot mount a file system here")
    return folder


def test_a_read_only_disk_says_what_it_is(read_only: Path) -> None:
    try:
        with pytest.raises(OutputError, match="cannot write to .*a.jsonl: Read-only file system"):
            check_paths([], [read_only / "a.jsonl"])
        with pytest.raises(OutputError, match="cannot write pictures to .*: Read-only file system"):
            check_folder(read_only / "new" / "pictures")
        with pytest.raises(OutputError, match="cannot write pictures to .*disk: Read-only file system"):
            check_folder(read_only)
    finally:
        subprocess.run(["umount", "-l", read_only], check=True)


@pytest.mark.parametrize("call", ["stat", "open"])
def test_whatever_the_system_says_is_an_output_error(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share that was lost, a closed folder: of root no test can close one."""

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "old").touch()
    checks: list[Callable[[], None]] = [
        lambda: check_paths([], [tmp_path / "new"]),
        lambda: check_paths([], [tmp_path / "old"], overwrite=True),
        lambda: check_folder(tmp_path / "new"),
        lambda: check_folder(tmp_path),
    ]
    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        for check in checks:
            with pytest.raises(OutputError, match="Permission denied"):
                check()


@FULL
def test_devices_that_lose_nothing_may_be_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_paths([], [Path("/dev/null"), Path("/dev/full"), tmp_path / "pipe"])
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
