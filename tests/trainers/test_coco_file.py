"""COCO files of stills: good ones are read as they are, damaged ones are one sentence with the file and the place."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers.data.stills import read_stills

GOOD: dict[str, Any] = {
    "info": {"year": 2021},
    "images": [
        {"id": 1, "file_name": "a.jpg", "mask_name": "a.png", "width": 800, "height": 640, "original_width": 1350,
         "centre": "C1", "group": "C1/3"},
        {"id": 2, "file_name": "b.jpg", "mask_name": "b.png", "width": 192, "height": 128, "frame": 0},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [372, 325.5, 144, 89], "iscrowd": 0},
        {"id": 2, "image_id": 1, "bbox": [-3, 0, 900, 9], "segmentation": [[1e300, None]]},
    ],
}  # fmt: skip


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


def test_a_good_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps(GOOD))
    first, second = read_stills(tmp_path / "d.json", Path("root"))
    assert (first.id, first.image_path, first.mask_path) == (1, Path("root/a.jpg"), Path("root/a.png"))
    assert (first.width, first.height, first.centre, first.group) == (800, 640, "C1", "C1/3")
    assert first.original_scale == 1350 / 800 and first.boxes.dtype == np.float32
    assert first.boxes.tolist() == [[372, 325.5, 516, 414.5], [-3, 0, 897, 9]]
    assert (second.centre, second.group, second.original_scale, len(second.boxes)) == ("unknown", "", 1.0, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(("annotations", 1, "bbox"), [2e9, 0, 5, 5]), r"annotations\[1\] has the box \[2000000000.0, 0.0, 5.0"),
        (changed(("annotations", 1, "bbox", 2), -4), r"`annotations\[1\].bbox\[2\]`"),
        (changed(("annotations", 1, "bbox", 0), 1e300), r"`annotations\[1\].bbox\[0\]`"),
        (changed(("annotations", 1, "bbox", 0), float("nan")), "NaN is not a valid number in line 1"),
        (changed(("annotations", 1, "bbox", 0), float("inf")), "Infinity is not a valid number in line 1"),
        (changed(("annotations", 1, "bbox"), [1, 2, 3]), r"`annotations\[1\].bbox`"),
        (changed(("annotations", 1, "image_id"), 77), r"annotations\[1\] refers to image 77, which is not listed"),
        (changed(("annotations", 1, "image_id"), 10**400), "is too large a number in line 1"),
        (changed(("images", 1, "id"), 1), "several images with the id 1"),
        (changed(("images", 1, "width"), 2**31), r"`images\[1\].width`"),
        (changed(("images", 1, "width"), 0), r"`images\[1\].width`"),
        (changed(("images", 1, "file_name"), ["a"]), r"`images\[1\].file_name`"),
        (changed(("images",), {}), "`images`"),
        ([1, 2], "not a COCO file"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: Any, said: str) -> None:
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as found:
        read_stills(tmp_path / "d.json", tmp_path)
    assert "d.json" in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize("text", [b"", b"[" * 200_000, b'{"images": [1' + b"0" * 400, b"\xff\xfe{}", b'{"images": [{'])
def test_text_that_is_no_json_is_one_sentence(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "d.json").write_bytes(text)
    with pytest.raises(ValueError, match="d.json is not a COCO file"):
        read_stills(tmp_path / "d.json", tmp_path)


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """Nothing but ValueError, whatever stands at any place; what passes is finite."""
    rng, path, passed = random.Random(0), tmp_path / "d.json", 0
    values = [None, True, -1, 0, 1.5, 2**63, 10**30, 1e308, "", "x", "\x00", [], {}, [[]], {"id": 1}]
    for _ in range(600):
        content = copy.deepcopy(GOOD)
        place: Any = content
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            if not isinstance(place[key], dict | list) or rng.random() < 0.3:
                place[key] = rng.choice(values)
                break
            place = place[key]
        path.write_text(json.dumps(content))
        try:
            passed += all(np.isfinite(still.boxes).all() for still in read_stills(path, tmp_path))
        except ValueError as error:
            assert "d.json" in str(error)
    assert 50 < passed < 500
