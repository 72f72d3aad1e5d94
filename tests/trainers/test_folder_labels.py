"""Labels of a folder of frames belong to the pictures of their names, however these are numbered."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime_polyp.metrics.truth import read_truth
from trainers import video_truth

RECTANGLE = [[10.0, 10.0], [30.0, 30.0]]
NUMBERS = {
    "from 0": list(range(12)),
    "from 100": list(range(100, 112)),
    "every fifth": list(range(0, 60, 5)),
    "every fifth from 7": list(range(7, 67, 5)),
    "with a gap": [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13],
    "few of many": [0, 1, 2, 9, 10, 11, 12, 30, 31, 47, 60, 75],
}


def write_labelme(folder: Path, stems: Sequence[str], polyps: Sequence[str]) -> list[str]:
    folder.mkdir()
    for stem in stems:
        shape = {"label": "polyp", "group_id": 1, "shape_type": "rectangle", "points": RECTANGLE, "flags": {}}
        content = {"shapes": [shape] if stem in polyps else [], "imageWidth": 64, "imageHeight": 48}
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return ["--labelme", str(folder)]


def write_coco(path: Path, stems: Sequence[str], polyps: Sequence[str]) -> list[str]:
    images = [{"id": at, "file_name": f"{stem}.png", "width": 64, "height": 48} for at, stem in enumerate(stems, 1)]
    found = [
        {"id": one["id"], "image_id": one["id"], "category_id": 1, "instance_id": 1, "bbox": [10, 10, 20, 20]}
        for one in images
        if str(one["file_name"])[:-4] in polyps
    ]
    categories = [{"id": 1, "name": "polyp"}]
    path.write_text(json.dumps({"images": images, "annotations": found, "categories": categories}))
    return ["--coco-video", str(path)]


@pytest.mark.parametrize("write", [write_labelme, write_coco])
@pytest.mark.parametrize("scheme", NUMBERS)
def test_labels_are_those_of_the_pictures_with_their_names(
    tmp_path: Path, scheme: str, write: Callable[[Path, Sequence[str], Sequence[str]], list[str]]
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "truth.json"
    folder.mkdir()
    stems = [f"frame_{number:06d}" for number in NUMBERS[scheme]]
    for stem in stems:
        cv2.imwrite(str(folder / f"{stem}.png"), np.full((48, 64, 3), 90, np.uint8))
    arguments = write(tmp_path / "labels", stems[2:10], stems[4:7])
    video_truth.main([*arguments, "--video", str(folder), "--out", str(out)])
    truth = read_truth(out)
    places = video_truth.read_folder_clock(folder, None).names
    assert places is not None
    assert [at for at, frame in enumerate(truth.frames) if frame.polyps] == [places[stem] for stem in stems[4:7]]
    assert [at for at, frame in enumerate(truth.frames) if frame.labelled] == [places[stem] for stem in stems[2:10]]


def test_labels_that_name_no_picture_of_unevenly_numbered_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in NUMBERS["few of many"]:
        cv2.imwrite(str(folder / f"frame_{number:04d}.png"), np.full((48, 64, 3), 90, np.uint8))
    arguments = write_labelme(tmp_path / "labels", ["label_3", "label_4"], ["label_3"])
    with pytest.raises(SystemExit) as end:
        video_truth.main([*arguments, "--video", str(folder), "--out", str(tmp_path / "truth.json")])
    assert end.value.code == 2 and "no picture of the folder is called so" in capsys.readouterr().err
    arguments += ["--first-frame", "0"]  # they count the pictures
    video_truth.main([*arguments, "--video", str(folder), "--out", str(tmp_path / "truth.json")])
    truth = read_truth(tmp_path / "truth.json")
    assert [at for at, frame in enumerate(truth.frames) if frame.polyps] == [3]


@pytest.mark.parametrize(
    ("mark", "difficult"),
    [(True, 1), (1, 1), ("true", 1), ("1", 1), (False, 0), (0, 0), ("false", 0), ("0", 0), (None, 0)],
)
def test_a_mark_that_says_false_is_none(tmp_path: Path, mark: object, difficult: int) -> None:
    folder, labels, out = tmp_path / "frames", tmp_path / "labels.json", tmp_path / "truth.json"
    folder.mkdir()
    stems = [f"frame_{number:02d}" for number in range(10)]
    for stem in stems:
        cv2.imwrite(str(folder / f"{stem}.png"), np.full((48, 64, 3), 90, np.uint8))
    arguments = write_coco(labels, stems, stems[:1])
    content = json.loads(labels.read_text())
    content["annotations"][0]["attributes"] = {"faint": mark}
    labels.write_text(json.dumps(content))
    video_truth.main([*arguments, "--video", str(folder), "--out", str(out)])
    assert sum(bool(frame.difficult) for frame in read_truth(out).frames) == difficult
