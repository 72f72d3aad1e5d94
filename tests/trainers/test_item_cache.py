"""Stills at model size, kept in one file for the next run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trainers.data.compose import Item
from trainers.data.item_cache import cached_items


def items(counted: list[int]) -> Iterator[Item]:
    for number in (1, 2):
        counted.append(number)
        yield np.full((4, 6, 3), number, np.uint8), np.full((4, 6), 10 * number, np.uint8)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.jpg", "a.png", "b.jpg", "b.png")]
    for path in paths:
        path.write_bytes(b"pixels")
    return paths


def test_a_second_run_reads_the_file_and_not_the_images(tmp_path: Path, files: list[Path]) -> None:
    counted: list[int] = []
    for _ in range(2):
        found = cached_items(items(counted), files, (4, 6), tmp_path / "cache")
        assert [(int(image[0, 0, 2]), int(labels[3, 5])) for image, labels in found] == [(1, 10), (2, 20)]
        found[0][0][:] = 99  # stays this run's own
    assert counted == [1, 2]


def test_an_image_that_changed_is_read_again(tmp_path: Path, files: list[Path]) -> None:
    counted: list[int] = []
    cached_items(items(counted), files, (4, 6), tmp_path / "cache")
    files[2].write_bytes(b"other pixels")
    cached_items(items(counted), files, (4, 6), tmp_path / "cache")
    assert counted == [1, 2, 1, 2]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_what_a_killed_process_left_is_removed(tmp_path: Path, files: list[Path]) -> None:
    folder = tmp_path / "cache"
    cached_items(items([]), files, (4, 6), folder)
    (path,) = folder.glob("items-*.npy")
    path.rename(path.with_name(f".{path.stem}.writing-1-1.npy"))  # as `replacing` names what is not finished
    found = cached_items(items([]), files, (4, 6), folder)
    assert len(found) == 2 and [one.name for one in folder.glob("*.npy")] == [path.name]
