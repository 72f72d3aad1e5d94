"""Truth and results meet in one pixel space: that of the picture as shown."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media import Picture, write_clip
from numpy.typing import NDArray

from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, read_truth, write_truth
from realtime_polyp.sources import FileSource
from trainers import evaluate_video, video_truth

STORED = (96, 64)
BOX = (8, 16, 40, 32)  # stored px


def spot(number: int, size: tuple[int, int]) -> Picture:
    """A white box on black, in stored px."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    x1, y1, x2, y2 = BOX
    image[y1:y2, x1:x2] = 255
    return image


def spot_shown(path: Path) -> list[int]:
    """The box of the white pixels in the picture as a run sees it, xyxy px."""
    white = next(FileSource(path).frames()).image.mean(axis=2) > 127
    x, y, width, height = cv2.boundingRect(white.astype(np.uint8))
    return [x, y, x + width, y + height]


def labels(folder: Path, size: tuple[int, int] | None, *, outline: bool = False) -> Path:
    """The spot, labelled in stored px in every one of 3 frames."""
    x1, y1, x2, y2 = BOX
    given = {} if size is None else {"width": size[0], "height": size[1]}
    images: list[dict[str, Any]] = [{"id": at, "frame_id": at, **given} for at in range(3)]
    drawn = {"segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]} if outline else {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    annotations = [{"id": at, "image_id": at, "instance_id": 1, **drawn} for at in range(3)]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def made(clip: Path, source: Path, *more: str, option: str = "--coco-video") -> VideoTruth:
    out = clip.with_name("truth.json")
    video_truth.main([option, str(source), "--video", str(clip), "--out", str(out), *more])
    return read_truth(out)


def refused(run: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        run()
    text = capsys.readouterr().err
    assert end.value.code == 2 and text.count("\n") == 1
    return text


def check(known: VideoTruth, clip: Path) -> None:
    """The truth's box and mask are where the run sees the spot, in a picture of its size."""
    assert known.size == FileSource(clip).size
    (frame, *_) = known.frames
    assert np.abs(frame.polyps[1] - spot_shown(clip)).max() <= 1
    for runs in frame.masks.values():
        mask: NDArray[np.uint8] = decode(runs)
        x, y, width, height = cv2.boundingRect(mask)
        assert np.abs(np.subtract([x, y, x + width, y + height], spot_shown(clip))).max() <= 1
        assert mask.sum() == width * height


@pytest.mark.parametrize("outline", [False, True])
@pytest.mark.parametrize("rotation", [None, 90, 270])
@pytest.mark.parametrize("aspect", [None, Fraction(16, 15), Fraction(1, 2)])
def test_labels_of_stored_pictures_are_stretched_and_turned(
    tmp_path: Path, outline: bool, rotation: int | None, aspect: Fraction | None
) -> None:
    clip = write_clip(tmp_path / "v.mp4", count=3, rotation=rotation, aspect=aspect, draw=spot, options={"qp": "4"})
    check(made(clip, labels(tmp_path, STORED, outline=outline)), clip)


@pytest.mark.parametrize(("rotation", "hflip"), [(180, False), (0, True)])
def test_where_the_size_does_not_tell_the_pixels_are_asked_for(
    tmp_path: Path, rotation: int, hflip: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "v.mp4", count=3, rotation=rotation, hflip=hflip, draw=spot, options={"qp": "4"})
    source = labels(tmp_path, STORED)
    assert "give --pixels stored or --pixels shown" in refused(lambda: made(clip, source), capsys)
    check(made(clip, source, "--pixels", "stored"), clip)
    assert made(clip, source, "--pixels", "shown").frames[0].polyps[1].tolist() == list(BOX)


def test_labels_without_a_size_are_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = write_clip(tmp_path / "plain.mp4", count=3, draw=spot)
    assert made(plain, labels(tmp_path, None)).frames[0].polyps[1].tolist() == list(BOX)
    wide = write_clip(tmp_path / "wide.mp4", count=3, aspect=Fraction(16, 15), draw=spot)
    source = labels(tmp_path, None)
    said = refused(lambda: made(wide, source), capsys)
    assert "is stored as (96, 64) px and shown as (102, 64) px" in said and "labels.json" in said


def test_labels_of_shown_pictures_stay_and_of_others_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "v.mp4", count=3, rotation=90, draw=spot)
    assert made(clip, labels(tmp_path, (64, 96))).frames[0].polyps[1].tolist() == list(BOX)
    other = labels(tmp_path, (100, 64))
    assert "of pictures of (100, 64) px, the video's are (64, 96) px or (96, 64) px" in refused(
        lambda: made(clip, other), capsys
    )
    stored = labels(tmp_path, STORED)
    assert "of pictures of (96, 64) px" in refused(lambda: made(clip, stored, "--pixels", "shown"), capsys)


def test_the_size_in_cvat_tells(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "v.mp4", count=3, rotation=270, draw=spot, options={"qp": "4"})
    x1, y1, x2, y2 = BOX
    box = f'<box frame="{{}}" outside="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/>'
    size = "<original_size><width>96</width><height>64</height></original_size>"
    source = tmp_path / "labels.xml"
    source.write_text(
        f'<annotations><meta><task>{size}</task></meta><track id="1" label="polyp">{box.format(0)}{box.format(2)}'
        "</track></annotations>"
    )
    check(made(clip, source, option="--cvat"), clip)


def test_shares_of_a_stretched_picture_need_no_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "f_0.txt").write_text("0 0.25 0.375 0.3333333 0.25")  # of BOX
    wide = write_clip(tmp_path / "v.mp4", count=3, aspect=Fraction(16, 15), draw=spot, options={"qp": "4"})
    check(made(wide, folder, "--class", "0", option="--yolo"), wide)
    turned = write_clip(tmp_path / "t.mp4", count=3, rotation=90, draw=spot, options={"qp": "4"})
    options = ("--class", "0")
    assert "give --pixels" in refused(lambda: made(turned, folder, *options, option="--yolo"), capsys)
    check(made(turned, folder, *options, "--pixels", "stored", option="--yolo"), turned)


def test_results_of_pictures_of_another_size_are_never_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing was found, and there is no mask."""
    write_truth(VideoTruth("t", STORED, Fraction(10), [TrueFrame({}, {})]), tmp_path / "t.json", video="v.mp4")
    line = {"format": 2, "index": 0, "pts_s": 0.0, "signal": "black", "detections": [], "tracks": [], "mask": None}
    pair = ["--truth", str(tmp_path / "t.json"), "--results", str(tmp_path / "r.jsonl")]
    for size, right in (([96, 64], True), ([102, 64], False), ([64, 96], False)):
        (tmp_path / "r.jsonl").write_text(json.dumps({**line, "frame_size": size}) + "\n")
        if right:
            evaluate_video.main(pair)
            capsys.readouterr()
        else:
            said = refused(lambda: evaluate_video.main(pair), capsys)
            assert f"t.json is of pictures of (96, 64) px, the result of frame 0 is of {tuple(size)} px" in said


def test_a_field_of_view_outside_the_truth_s_picture_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of earlier versions do not say the size."""
    write_truth(VideoTruth("t", STORED, Fraction(10), [TrueFrame({}, {})]), tmp_path / "t.json", video="v.mp4")
    line = {"index": 0, "pts_s": 0.0, "field": [10, 0, 102, 64], "signal": "ok", "detections": [], "tracks": []}
    (tmp_path / "r.jsonl").write_text(json.dumps({**line, "mask": None}) + "\n")
    pair = ["--truth", str(tmp_path / "t.json"), "--results", str(tmp_path / "r.jsonl")]
    assert "reaches to (102, 64) px" in refused(lambda: evaluate_video.main(pair), capsys)
