"""What labels mean: classes, numbers of frames and polyps, frames that nobody labelled; LabelMe and YOLO text."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import write_clip

from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, read_truth, write_truth
from realtime_polyp.metrics.video import video_report
from realtime_polyp.outputs.results_reader import ShownFrame
from trainers import video_truth
from trainers.video.overlap_links import link_boxes

CATEGORIES = [{"id": 1, "name": "Polyp"}, {"id": 2, "name": "instrument"}, {"id": 3, "name": "faint"}]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 96x64 px at 10 Hz."""
    return write_clip(tmp_path_factory.mktemp("clip") / "v.mp4")


def made(clip: Path, option: str, labels: Path, *more: str) -> VideoTruth:
    out = clip.with_name("truth.json")
    video_truth.main([option, str(labels), "--video", str(clip), "--out", str(out), *more])
    return read_truth(out)


def refused(clip: Path, capsys: pytest.CaptureFixture[str], option: str, labels: Path, *more: str) -> str:
    with pytest.raises(SystemExit) as end:
        made(clip, option, labels, *more)
    text = capsys.readouterr().err
    assert end.value.code == 2 and text.count("\n") == 1 and labels.name in text
    return text


def coco(folder: Path, annotations: Sequence[dict[str, Any]], *, bom: bool = False, **changes: Any) -> Path:
    """A CocoVID file of all 12 frames."""
    images = [{"id": 100 + index, "video_id": 1, "frame_id": index} for index in range(12)]
    whole = [{"id": index, "instance_id": 1, "bbox": [10, 20, 30, 15], **one} for index, one in enumerate(annotations)]
    content = {"videos": [{"id": 1, "name": "v"}], "images": images, "annotations": whole, **changes}
    path = folder / "labels.json"
    path.write_bytes(b"\xef\xbb\xbf" * bom + json.dumps(content).encode())
    return path


def numbered(*numbers: int, name: str = "frame_{:06d}.png") -> list[dict[str, Any]]:
    return [{"id": 100 + number, "file_name": name.format(number)} for number in numbers]


def cvat(folder: Path, *tracks: tuple[str, str], names: Sequence[str] = ()) -> Path:
    """A CVAT file with one track of frames 1 to 3 per (label, value of the attribute 'polyp')."""
    box = '<box frame="{}" outside="0" xtl="1" ytl="2" xbr="9" ybr="8">{}</box>'
    text = "".join(
        f'<track id="{index}" label="{label}">'
        + "".join(box.format(at, f'<attribute name="polyp">{polyp}</attribute>' if polyp else "") for at in (1, 2, 3))
        + "</track>"
        for index, (label, polyp) in enumerate(tracks)
    )
    labels = "".join(f"<label><name>{name}</name></label>" for name in names)
    path = folder / "labels.xml"
    path.write_text(f"<annotations><meta><task><labels>{labels}</labels></task></meta>{text}</annotations>")
    return path


# classes


def test_only_polyps_of_coco_are_polyps(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = [(103, 1), (103, 2), (104, 2), (105, 3)]
    annotations = [{"image_id": image, "category_id": one, "instance_id": one} for image, one in of]
    known = made(clip, "--coco-video", coco(tmp_path, annotations, categories=CATEGORIES))
    assert [sorted(frame.polyps) for frame in known.frames[3:6]] == [[1], [], []] and set(
        known.frames[5].difficult
    ) == {3}
    assert "left out, not polyps: 2 of 'instrument'" in capsys.readouterr().out


def test_only_polyps_of_cvat_are_polyps(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = made(clip, "--cvat", cvat(tmp_path, ("instrument", ""), ("Polyp", ""), ("text", "")))
    assert [sorted(frame.polyps) for frame in known.frames[:4]] == [[], [1], [1], [1]]
    assert "left out, not polyps: 1 of 'instrument', 1 of 'text'" in capsys.readouterr().out


def test_other_names_of_polyps_are_asked_for_and_given(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = cvat(tmp_path, ("adenoma", ""), ("serrated", ""), ("snare", ""))
    said = refused(clip, capsys, "--cvat", labels)
    assert "none of its classes ('adenoma', 'serrated', 'snare') is called 'polyp'" in said
    known = made(clip, "--cvat", labels, "--class", "Adenoma", "--class", "serrated")
    assert set(known.frames[2].polyps) == {0, 1}


def test_a_video_without_polyps_may_hold_other_classes(clip: Path, tmp_path: Path) -> None:
    known = made(clip, "--cvat", cvat(tmp_path, ("snare", ""), names=["polyp", "snare"]))
    assert not any(frame.polyps for frame in known.frames) and all(frame.labelled for frame in known.frames)


def test_a_class_that_is_not_listed_is_an_error(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = coco(tmp_path, [{"image_id": 103, "category_id": 9}], categories=CATEGORIES)
    assert "annotation 0 has the category_id '9'" in refused(clip, capsys, "--coco-video", labels).replace(
        " 9,", " '9',"
    )


# which polyp, which frame


def test_a_byte_order_mark_and_text_ids_are_read(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = ["polyp_A", 1, "B", "polyp_A"]
    annotations = [
        {"id": str(at), "image_id": str(100 + at), "instance_id": one, "category_id": "1"} for at, one in enumerate(ids)
    ]
    known = made(clip, "--coco-video", coco(tmp_path, annotations, bom=True, categories=CATEGORIES))
    assert [sorted(frame.polyps) for frame in known.frames[:5]] == [[2], [1], [3], [2], []]
    assert "polyps by number: polyp_A is 2, B is 3" in capsys.readouterr().out


def test_polyps_of_cvat_may_have_names(clip: Path, tmp_path: Path) -> None:
    known = made(clip, "--cvat", cvat(tmp_path, ("polyp", "left"), ("polyp", "right")))
    assert set(known.frames[1].polyps) == {1, 2}


@pytest.mark.parametrize(
    ("annotation", "changes", "said"),
    [
        ({"image_id": 999}, {}, "annotation 0 is of image 999, which is not listed"),
        ({"image_id": 103, "bbox": [97, 20, 30, 15]}, {}, "frame 3: the box [97.0, 20.0, 127.0, 35.0] lies outside"),
        ({"image_id": 103, "bbox": [86, 20, 30, 15]}, {}, "frame 3: the box [86.0, 20.0, 116.0, 35.0] lies mostly out"),
        ({"image_id": 103, "segmentation": [[97, 9, 99, 9, 99, 20]]}, {}, "annotation 0 in frame 3: the box [97.0"),
        ({"image_id": 103, "bbox": [float("nan"), 20, 30, 15]}, {}, "NaN is not a valid number in line 1"),
        ({"image_id": 101}, {"images": numbered(*range(1, 12))}, "1, and the video's first frame is 0: give --first"),
        ({"image_id": 106}, {"images": numbered(0, 6, 12)}, "image 112 is frame 12, and the video has frames 0 to 11"),
        ({}, {"images": [*numbered(0, 6), {"id": 1, "frame_id": 6}]}, "image 106 and image 1 are both frame 6"),
        ({}, {"images": [{"id": 106, "frame_id": 0, "video_id": 8}]}, "image 106 is of video 8, which is not listed"),
    ],
)  # fmt: skip
def test_wrong_places_in_coco_are_named(
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    annotation: dict[str, Any],
    changes: dict[str, Any],
    said: str,
) -> None:
    assert said in refused(clip, capsys, "--coco-video", coco(tmp_path, [{"image_id": 106, **annotation}], **changes))


def test_frames_that_count_from_1_are_read_when_told(clip: Path, tmp_path: Path) -> None:
    labels = coco(tmp_path, [{"image_id": 112}], images=numbered(*range(1, 13)))
    known = made(clip, "--coco-video", labels, "--first-frame", "1")
    assert [index for index, frame in enumerate(known.frames) if frame.polyps] == [11]


def test_a_box_that_hangs_over_the_edge_is_cut(clip: Path, tmp_path: Path) -> None:
    known = made(clip, "--coco-video", coco(tmp_path, [{"image_id": 103, "bbox": [76, 46, 30, 20]}]))
    assert known.frames[3].polyps[1].tolist() == [76, 46, 96, 64]


def test_boxes_without_a_number_are_linked_by_overlap() -> None:
    at = {0: [0], 1: [2, 60], 2: [58, 4], 30: [5]}
    frames = [frame for frame, lefts in at.items() for _ in lefts]
    boxes = [np.array([left, 0, left + 10, 10], np.float32) for lefts in at.values() for left in lefts]
    assert link_boxes(frames, boxes, rate_hz=10.0) == [1, 1, 2, 2, 1, 3]


# frames that nobody labelled


def test_every_fifth_frame_labelled_leaves_the_others_unknown(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = coco(tmp_path, [{"image_id": 100}, {"image_id": 105}], videos=[], images=numbered(0, 5, 10))
    known = made(clip, "--coco-video", labels)
    assert [index for index, frame in enumerate(known.frames) if frame.labelled] == [0, 5, 10]
    assert "3 frames are labelled, the others are not scored" in capsys.readouterr().out
    part = known.labelled_part()
    assert len(part.frames) == 3 and part.rate_hz == Fraction(2)


def test_unlabelled_frames_are_not_scored(tmp_path: Path) -> None:
    """The polyp is labelled in every fifth frame of the first second; boxes in between are no false alarms."""
    box = np.array([10, 10, 50, 50], np.float32)
    frames = [TrueFrame({1: box} if at <= 10 else {}, {}, cut=at == 12, labelled=at % 5 == 0) for at in range(30)]
    frames = [frame if frame.labelled else TrueFrame({}, {}, frame.cut, labelled=False) for frame in frames]
    write_truth(VideoTruth("t.json", (96, 64), Fraction(10), frames), tmp_path / "t.json", video="v.mp4")
    truth = read_truth(tmp_path / "t.json")
    shown = [
        ShownFrame(at, at / 10, box[None], np.array([1]), np.array([0.9], np.float32))
        if at != 5 and at < 16
        else ShownFrame(at, at / 10)
        for at in range(30)
    ]
    report = video_report(truth, shown)
    assert (report.frames.positive, report.frames.reached) == (3, 2)
    assert (report.frames.negative, report.frames.silent) == (3, 2)  # frame 15 shows a box
    assert report.events.minutes * 60 == pytest.approx(3) and report.events.polyps == 1
    (record,) = report.records
    assert record.polyps[0].in_view_s == pytest.approx(1.5) and len(record.polyps[0].shown) == 2
    assert [(run.start_s, run.duration_s) for run in record.false_alarms] == [(1.5, pytest.approx(0.5))]
    assert truth.labelled_part().frames[3].cut and report.boxes.gap_s == pytest.approx(0.5)


def test_a_truth_without_a_labelled_frame_is_refused(tmp_path: Path) -> None:
    truth = VideoTruth("t.json", (96, 64), Fraction(10), [TrueFrame({}, {}, labelled=False)])
    write_truth(truth, tmp_path / "t.json", video="v.mp4")
    with pytest.raises(ValueError, match="t.json has no labelled frame"):
        read_truth(tmp_path / "t.json")


# LabelMe


def labelme(folder: Path, number: int, *shapes: dict[str, Any], **changes: Any) -> Path:
    content = {
        "version": "5.4.1",
        "imagePath": f"f_{number}.png",
        "imageData": None,
        "imageWidth": 96,
        "imageHeight": 64,
    }
    rectangle = {"label": "polyp", "points": [[30, 40], [10, 20]], "group_id": None, "shape_type": "rectangle"}
    whole = {**content, "shapes": [{**rectangle, **one} for one in shapes], **changes}
    (folder / f"f_{number}.json").write_text(json.dumps(whole))
    return folder


def test_labelme_is_read(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corners = {"shape_type": "polygon", "points": [[10, 20], [40, 20], [40, 35], [10, 35]], "group_id": 4}
    labelme(tmp_path, 3, {"group_id": 7}, corners, {"label": "snare"})
    labelme(tmp_path, 4, {"group_id": 7, "flags": {"faint": True}})
    labelme(tmp_path, 5)
    known = made(clip, "--labelme", tmp_path)
    assert known.frames[3].polyps[7].tolist() == [10, 20, 30, 40] and known.frames[3].polyps[4].tolist() == [
        10,
        20,
        40,
        35,
    ]
    assert set(known.frames[3].masks) == {4} and set(known.frames[4].difficult) == {7}
    assert [index for index, frame in enumerate(known.frames) if frame.labelled] == [3, 4, 5]
    assert "left out, not polyps: 1 of 'snare'" in capsys.readouterr().out


def test_labelme_without_groups_is_linked_and_said(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        labelme(tmp_path, number, {}, {"points": [[60, 5], [70, 15]], "shape_type": "circle"} if number else {})
        if not number:
            labelme(tmp_path, 0, {})
    known = made(clip, "--labelme", tmp_path)
    assert set(known.frames[0].polyps) == {1} and set(known.frames[11].polyps) == {1, 2}
    assert "by overlap they are 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "changes", "said"),
    [
        ({"points": [[100, 9], [200, 20]]}, {}, "f_3.json: shapes[0]: the box [100.0, 9.0, 200.0, 20.0] lies outside"),
        ({"points": [[1, 9]]}, {}, "f_3.json: shapes[0]: a rectangle has two points, not 1"),
        ({"shape_type": "line"}, {}, "f_3.json: shapes[0]: it is a line"),
        ({"points": [[1, 9], [9, float("nan")]]}, {}, "f_3.json is not a file of LabelMe: NaN is not a valid"),
        ({}, {"imageWidth": 192}, "f_3.json: the labels are of pictures of (192, 64) px"),
        ({"label": "lesion"}, {}, "none of its classes ('lesion') is called 'polyp'"),
    ],
)  # fmt: skip
def test_damaged_labelme_is_one_sentence(
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: dict[str, Any],
    changes: dict[str, Any],
    said: str,
) -> None:
    assert said in refused(clip, capsys, "--labelme", labelme(tmp_path, 3, shape, **changes))


def test_labelme_that_groups_some_shapes_only_is_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelme(tmp_path, 3, {"group_id": 1}, {})
    assert "f_3.json: shapes[1] does not say which polyp it is" in refused(clip, capsys, "--labelme", tmp_path)


# YOLO


def yolo(folder: Path, texts: dict[int, str], names: str = "polyp\ninstrument\n") -> Path:
    if names:
        (folder / "classes.txt").write_text(names)
    for number, text in texts.items():
        (folder / f"v_{number:05d}.txt").write_text(text)
    return folder


def test_yolo_is_read(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outline = "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5\n"
    texts = {0: "\ufeff0 0.5 0.5 0.25 0.25\r\n1 0.1 0.1 0.1 0.1\r\n", 1: outline, 2: ""}
    known = made(clip, "--yolo", yolo(tmp_path, texts))
    assert known.frames[0].polyps[1].tolist() == [36, 24, 60, 40] and known.frames[1].polyps[1].tolist() == [
        24,
        16,
        48,
        32,
    ]
    assert [frame.labelled for frame in known.frames[:4]] == [True, True, True, False]
    assert "left out, not polyps: 1 of 'instrument'" in capsys.readouterr().out


def test_yolo_without_names_needs_the_class(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = yolo(tmp_path, {1: "0 0.5 0.5 0.25 0.25", 2: "", 12: "1 0.5 0.5 0.25 0.25"}, names="")
    assert "none of its classes ('0', '1') is" in refused(clip, capsys, "--yolo", labels, "--first-frame", "1")
    known = made(clip, "--yolo", labels, "--first-frame", "1", "--class", "1")
    assert [index for index, frame in enumerate(known.frames) if frame.polyps] == [11]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({0: "0 0.5 0.5 0.25"}, "v_00000.txt: line 1: it has 3 numbers after the class"),
        ({0: "0 0.5 0.5 0.2 0.2\n\n0 0.5 0.5 0.25 0.25 0.9"}, "v_00000.txt: line 3: it has 5 numbers"),
        ({0: "0 nan 0.5 0.2 0.2"}, "v_00000.txt: line 1: 'nan' is not a share of the picture"),
        ({0: "0 48 32 20 20"}, "v_00000.txt: line 1: '48' is not a share of the picture"),
        ({0: "0 1.5 0.5 0.2 0.2"}, "v_00000.txt: line 1: the box [134.4"),
        ({0: "7 0.5 0.5 0.2 0.2"}, "v_00000.txt: line 1: class 7 is not among the 2 listed"),
        ({0: "polyp 0.5 0.5 0.2 0.2"}, "line 1: 'polyp' is not the number of a class"),
        ({12: ""}, "v_00012.txt is frame 12, and the video has frames 0 to 11"),
        ({1: "", 2: ""}, "begin with number 1"),
        ({}, "holds no labels"),
    ],
)
def test_damaged_yolo_is_one_sentence(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], texts: dict[int, str], said: str
) -> None:
    assert said in refused(clip, capsys, "--yolo", yolo(tmp_path, texts))
