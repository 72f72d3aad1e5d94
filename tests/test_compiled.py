"""Machine code is kept where it may be written; damaged files and unwritable folders do no harm."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from realtime_polyp.compiled import compiled

@compiled()
def twice(x: int) -> int:
    return 2 * x
"""
RUN = "from story import twice; print(twice(21), sum(twice.stats.cache_hits.values()))"


@pytest.fixture
def story(tmp_path: Path) -> Path:
    (tmp_path / "story.py").write_text(MODULE)
    return tmp_path


def run(folder: Path, **environment: str) -> tuple[str, str]:
    """What a process of its own, which calls `twice` once, says: standard output and standard error."""
    import os

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_CACHE"))}
    root = Path(__file__).resolve().parents[1]
    clean |= {"PYTHONPATH": f"{folder}{os.pathsep}{root}", "PYTHONDONTWRITEBYTECODE": "1"} | environment
    done = subprocess.run([sys.executable, "-c", RUN], env=clean, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def make_unwritable(story: Path) -> None:
    """A file where the folder would be: no user, not even root, can write there."""
    (story / "__pycache__").write_text("")


def test_code_is_kept_beside_the_source(story: Path) -> None:
    assert run(story) == ("42 0", "") and run(story) == ("42 1", "")
    assert list((story / "__pycache__").glob("*.nbc"))


def test_code_goes_to_the_user_s_cache_where_the_package_cannot_be_written(story: Path) -> None:
    make_unwritable(story)
    cache = str(story / "cache")
    assert run(story, XDG_CACHE_HOME=cache) == ("42 0", "") and run(story, XDG_CACHE_HOME=cache) == ("42 1", "")
    assert list((story / "cache" / "realtime-polyp" / "numba").rglob("*.nbc"))


def test_without_any_writable_folder_there_is_one_sentence(story: Path) -> None:
    make_unwritable(story)
    for _ in range(2):
        found, said = run(story, XDG_CACHE_HOME="/dev/null/x")
        assert found == "42 0" and said.count("\n") == 1 and "set XDG_CACHE_HOME" in said


@pytest.mark.parametrize("suffix", ["nbc", "nbi"])
@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "other"])
def test_damaged_files_are_replaced(story: Path, suffix: str, damage: str) -> None:
    run(story)
    (path,) = (story / "__pycache__").glob(f"*.{suffix}")
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    path.write_bytes(
        {"empty": b"", "half": data[: len(data) // 2], "flipped": bytes(flipped), "other": b"x" * 99}[damage]
    )
    assert run(story)[0] in ("42 0", "42 1")
    assert run(story) == ("42 1", "")
