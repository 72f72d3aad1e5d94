"""Which frames of a video a file of labels is of: longer tasks, and YouTube-VIS with and without polyps."""

import json
from pathlib import Path
from typing import Any

import pytest
from media import write_clip

from realtime_polyp.metrics.truth import VideoTruth, read_truth
from trainers import video_truth

META = "<meta><task><start_frame>0</start_frame><stop_frame>{}</stop_frame></task></meta>"
BOX = '<box frame="{}" keyframe="1" outside="0" xtl="10" ytl="10" xbr="40" ybr="30"/>'


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 96x64 px at 10 Hz."""
    return write_clip(tmp_path_factory.mktemp("clip") / "v.mp4")


def made(clip: Path, option: str, text: str) -> VideoTruth:
    labels, out = clip.with_name("labels"), clip.with_name("truth.json")
    labels.write_text(text, encoding="utf-8")
    video_truth.main([option, str(labels), "--video", str(clip), "--out", str(out)])
    return read_truth(out)


def refused(clip: Path, option: str, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        made(clip, option, text)
    assert end.value.code == 2
    return capsys.readouterr().err


def cvat(last: int, *boxes: int) -> str:
    track = f'<track id="0" label="polyp">{"".join(BOX.format(frame) for frame in boxes)}</track>'
    return f"<annotations>{META.format(last)}{track}</annotations>"


def vis(video: dict[str, Any], *annotations: dict[str, Any]) -> str:
    categories = [{"id": 1, "name": "polyp"}, {"id": 2, "name": "snare"}]
    listed = [{"id": index, "video_id": 1, **one} for index, one in enumerate(annotations)]
    return json.dumps({"videos": [{"id": 1, **video}], "categories": categories, "annotations": listed})


@pytest.mark.parametrize("last_box", [11, 12, 15])
def test_labels_beyond_the_end_of_the_video_are_left_out_and_named(
    clip: Path, capsys: pytest.CaptureFixture[str], last_box: int
) -> None:
    truth = made(clip, "--cvat", cvat(15, 3, last_box))
    assert [bool(frame.polyps) for frame in truth.frames] == [index >= 3 for index in range(12)]
    assert "the labels are of 16 frames and the video has 12" in capsys.readouterr().out


def test_labels_of_a_much_longer_video_are_refused(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "another video?" in refused(clip, "--cvat", cvat(18, 3, 5), capsys)
    assert "another video?" in refused(clip, "--cvat", cvat(11, 3, 12), capsys)  # beyond the task itself


def labelled(truth: VideoTruth) -> list[int]:
    return [index for index, frame in enumerate(truth.frames) if frame.labelled]


def test_youtube_vis_tells_which_frames_were_labelled(clip: Path) -> None:
    box = [10, 10, 30, 20]
    assert labelled(made(clip, "--coco-video", vis({"length": 12}))) == list(range(12))
    assert labelled(made(clip, "--coco-video", vis({"length": 6}))) == list(range(6))
    snare = {"category_id": 2, "bboxes": [box] * 8}
    polyp = {"category_id": 1, "bboxes": [None, box, None, None]}
    truth = made(clip, "--coco-video", vis({}, snare, polyp))
    assert labelled(truth) == list(range(8)) and [bool(one.polyps) for one in truth.frames].index(True) == 1
    names = [f"v/{number:05d}.jpg" for number in range(0, 12, 3)]
    truth = made(clip, "--coco-video", vis({"file_names": names}, polyp))
    assert labelled(truth) == [0, 3, 6, 9]
    assert [index for index, frame in enumerate(truth.frames) if frame.polyps] == [3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (vis({}), "does not say which frames were labelled"),
        (vis({"length": 13}), "another video?"),
        (vis({"length": 2}, {"category_id": 1, "bboxes": [None] * 13}), "another video?"),
        (vis({"file_names": ["a.jpg"]}), "'a.jpg' has no number of a frame"),
        (vis({"file_names": ["0.jpg"]}, {"category_id": 1, "bboxes": [None] * 2}), "lists 1 frames"),
        (vis({"file_names": ["99.jpg"]}), "is frame 99"),
    ],
)
def test_youtube_vis_that_does_not_tell_is_refused(
    clip: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert said in refused(clip, "--coco-video", text, capsys)
