"""Machine code is kept where only its owner can write; damaged files and unwritable folders do no harm."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from realtime_polyp import compiled, folders

MODULE = """
from realtime_polyp.compiled import compiled

@compiled()
def twice(x: int) -> int:
    return 2 * x
"""
OTHER_USER = 65534


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "story.py").write_text(MODULE)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_warned", False)
    return tmp_path


def hits(folder: Path) -> int:
    """Import the module afresh and call its function: how often its code came from a file."""
    spec = importlib.util.spec_from_file_location("story", folder / "story.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.twice(21) == 42
    return sum(module.twice.stats.cache_hits.values())


def test_code_is_made_anew_when_a_function_that_it_calls_has_changed(
    story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(story)
    (story / "story.py").write_text(
        "from called import inner\nfrom realtime_polyp.compiled import compiled\n\n"
        "@compiled()\ndef outer(x: int) -> int:\n    return inner(x)\n"
    )
    for factor in (2, 2, 1000):  # another length, because Python's own cache looks at time in seconds and size
        (story / "called.py").write_text(
            "from realtime_polyp.compiled import compiled\n\n"
            f"@compiled()\ndef inner(x: int) -> int:\n    return {factor} * x\n"
        )
        for name in ("story", "called"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        assert importlib.import_module("story").outer(21) == factor * 21


def make_unwritable(story: Path) -> None:
    """A file where the folder would be: no user, not even root, can write there."""
    (story / "__pycache__").write_text("")


def test_code_is_kept_beside_the_source(story: Path) -> None:
    assert [hits(story), hits(story)] == [0, 1]
    assert list((story / "__pycache__").glob("*.nbc"))


def test_code_goes_to_the_user_s_cache_where_the_package_cannot_be_written(story: Path) -> None:
    make_unwritable(story)
    assert [hits(story), hits(story)] == [0, 1]
    assert list((story / "cache" / "realtime-polyp" / "numba").rglob("*.nbc"))
    for folder in (story / "cache", story / "cache" / "realtime-polyp" / "numba"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_code_goes_to_the_folder_that_was_named(story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(story / "named"))
    assert [hits(story), hits(story)] == [0, 1]
    assert list((story / "named").rglob("*.nbc")) and not (story / "__pycache__").exists()


def test_without_any_writable_folder_there_is_one_sentence(
    story: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_unwritable(story)
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/x")
    assert [hits(story), hits(story)] == [0, 0]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Not a directory" in said and "set XDG_CACHE_HOME" in said


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def give_away(path: Path) -> None:
    path.chmod(0o666)


def put_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte": lambda path: path.write_bytes(flip(path.read_bytes())),
    "garbage": lambda path: path.write_bytes(b"x" * 99),
    "a bomb": lambda path: path.write_bytes(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00."),
    "code": lambda path: path.write_bytes(b"cos\n_exit\n(I9\ntR."),
    "other version": lambda path: path.write_bytes(b"\x80\x04\x95\x0a\0\0\0\0\0\0\0\x8c\x060.60.0\x94."),
    "missing": lambda path: path.unlink(),
    "closed": lambda path: path.chmod(0),
    "open to all": give_away,
    "a loop": link_to_itself,
}


@pytest.mark.parametrize("suffix", ["nbc", "nbi"])
def test_damaged_files_are_replaced(story: Path, suffix: str) -> None:
    hits(story)
    (path,) = (story / "__pycache__").glob(f"*.{suffix}")
    for name, damage in DAMAGE.items():
        damage(path)
        unharmed = name == "closed" and os.geteuid() == 0  # root reads it all the same
        assert [hits(story), hits(story)] == [int(unharmed), 1], name


@pytest.mark.parametrize("suffix", ["nbc", "nbi"])
def test_a_folder_in_a_file_s_place_is_named(story: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    hits(story)
    (path,) = (story / "__pycache__").glob(f"*.{suffix}")
    put_folder(path)
    assert [hits(story), hits(story)] == [0, 0]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and path.name in said and "Is a directory" in said


def test_a_folder_where_others_can_write_is_not_used(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """numba's files are pickles: who can write one decides what is run."""
    hits(story)
    (story / "__pycache__").chmod(0o777)
    assert [hits(story), hits(story)] == [0, 1]  # the user's cache
    (user,) = (story / "cache" / "realtime-polyp" / "numba").iterdir()
    user.chmod(0o770)
    assert hits(story) == 0 and f"chmod 700 {user}" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_another_user_s_folder_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, OTHER_USER, OTHER_USER)
    with pytest.raises(PermissionError, match="another user owns it"):
        folders.private_folder(tmp_path)


def test_settings_in_the_current_folder_are_not_read(story: Path) -> None:
    """A stick with pictures may hold a file that leads numba to pickles of its own."""
    (story / ".numba_config.yaml").write_text(f"cache_dir: {story}/stick\ndisable_jit: 1\n")
    script = "import numba.core.config as c, realtime_polyp.compiled; print(repr(c.CACHE_DIR), c.DISABLE_JIT)"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | {"PYTHONPATH": str(ROOT)}, cwd=story, capture_output=True, text=True
    )
    assert done.stdout.split() == ["''", "0"], done.stderr


_SERVICE = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, realtime_polyp.postprocess.nms, realtime_polyp.temporal.tracker
from realtime_polyp.geometry import pairwise_iou
boxes = np.array([[0, 0, 2, 2]], np.float32)
print(realtime_polyp.__file__, pairwise_iou(boxes, boxes)[0, 0])
"""
# Root, who may write everywhere, gives up that right.
AS_USER = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.name == "posix" and os.geteuid() == 0 else []


@pytest.mark.skipif(bool(AS_USER) and not shutil.which("setpriv"), reason="root needs setpriv to be like any user")
def test_a_service_user_without_a_home_can_use_a_read_only_copy(tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "realtime_polyp"
    shutil.copytree(ROOT / "realtime_polyp", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy.parent, *(path for path in copy.parent.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    home = copy.parent / "home"  # cannot be made
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [*AS_USER, sys.executable, "-P", "-c", _SERVICE, str(copy.parent)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=300)
    for folder in copy.parent.rglob("*"):
        folder.chmod(0o755)  # so that pytest can remove them
    copy.parent.chmod(0o755)
    assert done.stdout.split() == [str(copy / "__init__.py"), "1.0"], done.stderr
    assert done.stderr.count("\n") == 1 and "Permission denied" in done.stderr and not home.exists()
