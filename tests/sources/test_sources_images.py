import os
import time
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import number_of, numbered

from realtime_polyp.image_files import ImageError
from realtime_polyp.sources import ImageFolderSource, SourceError, images
from realtime_polyp.sources.images import find_stills


def write_still(path: Path, number: int, size: tuple[int, int] = (96, 64)) -> Path:
    assert cv2.imwrite(str(path), numbered(number, size)[..., ::-1])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["1.png", "2.jpg", "10.bmp", "011.tif"]):
        write_still(tmp_path / name, number, (96 + number, 64))
    (tmp_path / "notes.txt").write_text("no still")
    (tmp_path / "._1.png").write_bytes(b"left by macOS")
    (tmp_path / "more").mkdir()
    return tmp_path


def test_stills_come_in_natural_order_whatever_their_size(folder: Path) -> None:
    source = ImageFolderSource(folder, rate_hz=10)
    frames = list(source.frames())
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3]
    assert [f.image.shape[1] for f in frames] == [96, 97, 98, 99]
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (source.size, source.frames_total, source.rate_hz, source.live) == ((96, 64), 4, 10, False)
    assert source.warning is None


def test_stills_are_rgb(folder: Path) -> None:
    image = next(ImageFolderSource(folder).frames()).image
    assert np.array_equal(image, numbered(0))


def test_unreadable_stills_are_left_out_and_named(folder: Path) -> None:
    (folder / "3.png").write_bytes(b"broken")
    (folder / "4.png").touch()
    source = ImageFolderSource(folder, rate_hz=10)
    frames = list(source.frames())
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3]
    assert [f.index for f in frames] == [0, 1, 4, 5]
    assert [f.file_name for f in frames] == ["1.png", "2.jpg", "10.bmp", "011.tif"]
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.1, 0.4, 0.5])
    assert all(f.is_still and not f.continues for f in frames)
    assert source.warning == (
        f"2 of 6 stills in {folder.name} cannot be read: "
        "3.png (it is not a JPEG, PNG, BMP, TIFF or WebP), 4.png (it is empty)."
    )


def test_a_part_of_the_folder_and_loops(folder: Path) -> None:
    part = ImageFolderSource(folder, rate_hz=10, start_s=0.1, end_s=0.3)
    assert [(number_of(f.image), f.index, f.file_name) for f in part.frames()] == [(1, 1, "2.jpg"), (2, 2, "10.bmp")]
    source = ImageFolderSource(folder, rate_hz=10, loop=True)
    frames = [frame for frame, _ in zip(source.frames(), range(6), strict=False)]
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3, 0, 1]
    assert [f.index for f in frames] == list(range(6))
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_names_of_equal_numbers_have_one_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["001.png", "01.png", "1.png"]
    for name in names:
        (tmp_path / name).touch()
    entries = sorted(os.scandir(tmp_path), key=lambda entry: entry.name)
    for listed in (entries, entries[::-1]):  # a file system lists files in any order
        monkeypatch.setattr(os, "scandir", lambda _, listed=listed: nullcontext(listed))
        assert [path.name for path in find_stills(tmp_path)] == names


def test_a_loop_over_a_folder_that_is_gone_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ImageFolderSource(folder, loop=True)
    frames = source.frames()
    assert [number_of(next(frames).image) for _ in range(4)] == [0, 1, 2, 3]
    tried: list[Path] = []

    def fail(path: Path) -> None:
        tried.append(path)
        assert len(tried) < 9, "it goes round for ever"
        raise ImageError("no such file or directory")

    monkeypatch.setattr(images, "load_image", fail)
    assert list(frames) == []
    assert source.warning is not None and source.warning.startswith("4 of 4 stills")


def test_an_endless_end_is_no_end(folder: Path) -> None:
    assert len(list(ImageFolderSource(folder, end_s=float("inf")).frames())) == 4


def test_close_ends_the_frames(folder: Path) -> None:
    source = ImageFolderSource(folder, loop=True)
    frames = source.frames()
    next(frames)
    source.close()
    assert list(frames) == []


def test_other_depths_are_brought_to_8_bit_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 9), 128 * 257, np.uint16))
    cv2.imwrite(str(tmp_path / "2.png"), np.full((8, 9, 4), 60, np.uint8))
    for frame, level in zip(ImageFolderSource(tmp_path).frames(), (128, 60), strict=True):
        assert frame.image.shape == (8, 9, 3) and frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - level).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0}, "above 0 and up to 1000 a second, got 0"),
        ({"start_s": 9.0}, "no still at or after 9 s"),
        ({"start_s": 1e308, "rate_hz": 1000.0}, r"no still at or after 1e\+308 s"),
        ({"start_s": -1.0}, "0 s or later, got -1 s"),
    ],
)
def test_impossible_wishes_are_refused(folder: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        ImageFolderSource(folder, **options)  # type: ignore[arg-type]


def test_folders_without_a_readable_still_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none does not exist"):
        ImageFolderSource(tmp_path / "none")
    with pytest.raises(SourceError, match="folder without stills"):
        ImageFolderSource(tmp_path)
    (tmp_path / "1.png").write_bytes(b"broken")
    with pytest.raises(SourceError, match="None of the 1 stills"):
        ImageFolderSource(tmp_path)


def test_stills_that_cannot_be_looked_at_are_named(folder: Path) -> None:
    (folder / "20.png").symlink_to(folder / "20.png")
    (folder / "21.png").symlink_to(folder / "nothing.png")
    os.mkfifo(folder / "22.png")
    (folder / "23.png").mkdir()
    source = ImageFolderSource(folder)
    assert [f.file_name for f in source.frames()] == ["1.png", "2.jpg", "10.bmp", "011.tif"]
    assert source.warning == (
        f"3 of 7 stills in {folder.name} cannot be read: 20.png (too many levels of symbolic links), "
        "21.png (no such file or directory), 22.png (it is not a regular file)."
    )


def test_odd_names_are_read_and_can_be_written(tmp_path: Path) -> None:
    for number, name in enumerate(["a\n.png", "b%03d.png", "c:d.png", "ü\udcff.png"]):
        write_still(tmp_path / "x.png", number).rename(tmp_path / name)
    names = [frame.file_name for frame in ImageFolderSource(tmp_path).frames()]
    assert names == ["a\n.png", "b%03d.png", "c:d.png", "ü\\udcff.png"]


def test_time_grows_with_the_number_of_bad_stills_and_not_with_its_square(tmp_path: Path) -> None:
    write_still(tmp_path / "0.png", 0)
    source = ImageFolderSource(tmp_path)
    error, bad = ImageError("it is damaged"), [tmp_path / f"{n}.png" for n in range(100_000)]
    source._stills = list(enumerate(bad))
    begin_s = time.process_time()
    for path in bad:
        source._note_unreadable(path, error)
    assert time.process_time() - begin_s < 20  # 150 s where each is sought in a list
    assert source.warning == (
        f"100000 of 100000 stills in {tmp_path.name} cannot be read: "
        "0.png (it is damaged), 1.png (it is damaged), 2.png (it is damaged) and 99997 more."
    )
