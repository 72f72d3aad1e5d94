"""Files of arrays: whatever is wrong with one is one error that names it."""

from pathlib import Path

import numpy as np
import pytest

from realtime_polyp.array_files import read_arrays


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "a.npz", one=np.arange(6).reshape(2, 3), other=np.array("text"))
    return tmp_path / "a.npz"


def test_all_arrays_are_read_or_the_named_ones(path: Path) -> None:
    every = read_arrays(path)
    assert set(every) == {"one", "other"} and str(every["other"]) == "text"
    assert list(read_arrays(path, "one")) == ["one"]
    np.testing.assert_array_equal(every["one"], [[0, 1, 2], [3, 4, 5]])


def test_a_file_that_is_not_there_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "a.npz")


def test_a_directory_of_the_archive_that_points_nowhere_is_damage(path: Path) -> None:
    """From a file, zipfile would raise OSError without its name."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x05\x06") + 16  # offset of the directory
    content[at : at + 4] = (int.from_bytes(content[at : at + 4], "little") + 1000).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is damaged$"):
        read_arrays(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_what_is_no_archive_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is damaged$"):
        read_arrays(path)


def test_one_array_alone_and_one_that_is_missing_are_damage(path: Path) -> None:
    with pytest.raises(ValueError, match="is damaged"):
        read_arrays(path, "another")
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match="is damaged"):
        read_arrays(path)


def test_objects_are_never_unpickled(path: Path) -> None:
    np.savez(path, one=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="is damaged"):
        read_arrays(path)


@pytest.mark.parametrize("seed", range(20))
def test_any_damage_is_refused_or_read(path: Path, seed: int) -> None:
    random, content = np.random.default_rng(seed), path.read_bytes()
    for _ in range(20):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 3):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read_arrays(path)
        except ValueError as error:
            assert str(error) == f"{path} is damaged"
