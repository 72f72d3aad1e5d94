"""Folders with the frames of a video: their names, rate, times, and the truth that is made of them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import number_of, numbered

from realtime_polyp.cli.main import main
from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.sources import ImageFolderSource, SourceError, open_source
from realtime_polyp.sources.numbered import frame_numbers
from trainers import video_truth


def write_frames(folder: Path, numbers: list[int], name: str = "frame_{:04}.png") -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        assert cv2.imwrite(str(folder / name.format(number)), numbered(number % 64)[..., ::-1])
    return folder


@pytest.mark.parametrize(
    "names, numbers",
    [
        ([f"frame_{n:04}.jpg" for n in range(1, 7)], [1, 2, 3, 4, 5, 6]),
        ([f"case_M_20181001100941_0U62363100354631_1_001_002_{n:04}.jpg" for n in range(6)], [0, 1, 2, 3, 4, 5]),
        ([f"001-003_{n}.jpg" for n in range(8, 13)], [8, 9, 10, 11, 12]),
        ([f"{n}.webp" for n in (1, 2, 4, 5, 8)], [1, 2, 4, 5, 8]),
        ([f"{n}.PNG" for n in (5, 10, 15, 20, 30)], [5, 6, 7, 8, 10]),  # every fifth frame
        ([f"{n}.png" for n in range(4)], None),  # too few
        ([f"{n}.png" for n in (1, 2, 3, 40, 900)], None),
        (["a1.png", "a2.png", "b3.png", "b4.png", "b5.png"], None),
        (["1.png", "2.png", "3.jpg", "4.png", "5.png"], None),
        (["1_1.png", "1_2.png", "2_1.png", "2_2.png", "3_1.png"], None),
        ([f"{n}{kind}.png" for n in range(3) for kind in ("", "_mask")], None),
        ([f"{name}.png" for name in "abcde"], None),
        (["1.png", "01.png", "001.png", "2.png", "3.png"], None),
    ],
)
def test_names_of_frames_and_of_stills(names: list[str], numbers: list[int] | None) -> None:
    assert frame_numbers(names) == numbers


def test_numbered_names_are_a_video(tmp_path: Path) -> None:
    source = open_source(str(write_frames(tmp_path / "seq", [7, 8, 9, 10, 12])))
    assert isinstance(source, ImageFolderSource) and source.is_video
    assert (source.rate_hz, source.duration_s, source.frames_total) == (25, 6 / 25, 5)
    frames = list(source.frames())
    assert [(f.index, f.file_name, number_of(f.image)) for f in frames] == [
        (place, f"frame_{number:04}.png", number) for place, number in ((0, 7), (1, 8), (2, 9), (3, 10), (5, 12))
    ]
    assert [f.pts_s for f in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.2])
    assert [(f.is_still, f.continues) for f in frames] == [(False, False)] + 4 * [(False, True)]


def test_a_rate_makes_a_video_of_any_names_and_none_of_numbered_ones(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for number, name in enumerate(("b2.png", "b10.png", "c.webp")):
        assert cv2.imwrite(str(folder / name), numbered(number)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])
    video = open_source(str(folder), rate_hz=30)
    assert [(f.file_name, f.is_still) for f in video.frames()] == [(n, False) for n in ("b2.png", "b10.png", "c.webp")]
    assert video.rate_hz == 30
    stills = open_source(str(write_frames(tmp_path / "seq", list(range(6)))), rate_hz=0)
    assert all(frame.is_still for frame in stills.frames()) and stills.duration_s is None


def test_a_part_and_a_loop_of_a_video_with_missing_frames(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "seq", [1, 2, 3, 5, 6])
    part = ImageFolderSource(folder, start_s=0.08, end_s=0.2)
    assert [(f.index, number_of(f.image)) for f in part.frames()] == [(2, 3), (4, 5)]
    frames = [frame for frame, _ in zip(ImageFolderSource(folder, loop=True).frames(), range(7), strict=False)]
    assert [f.index for f in frames] == [0, 1, 2, 4, 5, 6, 7]
    assert [f.continues for f in frames] == [False, True, True, True, True, False, True]


def test_numbered_pictures_of_several_sizes_are_stills(tmp_path: Path) -> None:
    for number in range(1, 7):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((20 + number, 30, 3), np.uint8))
    assert not ImageFolderSource(tmp_path).is_video


def test_a_rate_of_anything_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"a\.mp4 is no folder of stills"):
        open_source(str(tmp_path / "a.mp4"), rate_hz=25)


def test_the_command_line_says_how_a_folder_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write_frames(tmp_path / "seq", list(range(1, 7))), tmp_path / "r.jsonl"
    words = ["--headless", "--source", str(folder), "--detector", "none", "--segmenter", "none", "--results", str(out)]
    assert main(words) == 0
    assert "seq: numbered pictures are read as a video of 25 frames per second" in capsys.readouterr().err
    assert main([*words, "--rate", "50", "--overwrite"]) == 0
    assert capsys.readouterr().err == ""
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["pts_s"], line["file"]) for line in lines][1] == (0.02, "frame_0002.png")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--rate", "fast"])
    assert ended.value.code == EXIT_BAD_INPUT and "'fast' is no rate" in capsys.readouterr().err


def test_the_truth_of_a_folder_counts_as_its_results_do(tmp_path: Path) -> None:
    folder, labels = write_frames(tmp_path / "seq", [11, 12, 13, 15, 16]), tmp_path / "labels"
    labels.mkdir()
    for number in (11, 12, 13, 15, 16):
        polyp = number in (12, 15)
        (labels / f"frame_{number:04}.txt").write_text("0 0.5 0.5 0.25 0.5\n" if polyp else "")
    out = tmp_path / "t.json"
    words = ["--yolo", str(labels), "--class", "0", "--video", str(folder), "--rate", "30", "--out", str(out)]
    video_truth.main(words)
    truth = read_truth(out)
    assert (truth.size, truth.rate_hz, len(truth.frames)) == ((96, 64), 30, 6)
    assert [bool(frame.polyps) for frame in truth.frames] == [False, True, False, False, True, False]
    assert [frame.labelled for frame in truth.frames] == [True, True, True, False, True, True]
    assert next(iter(truth.frames[1].polyps.values())).tolist() == [36, 16, 60, 48]


def test_a_label_without_its_picture_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, labels = write_frames(tmp_path / "seq", [1, 2, 3, 5, 6]), tmp_path / "labels"
    labels.mkdir()
    (labels / "4.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    with pytest.raises(SystemExit) as ended:
        video_truth.main(["--yolo", str(labels), "--class", "0", "--video", str(folder), "--out", str(tmp_path / "t")])
    assert ended.value.code == EXIT_BAD_INPUT and "frame 3 is labelled, and " in capsys.readouterr().err
