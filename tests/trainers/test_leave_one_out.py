"""Leaving a centre out: on made-up sets, and on the real ones where they are."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, needs

from trainers.data.stills import read_stills
from trainers.leave_one_out import leave_out, main

DATA = ROOT.parent / "shared" / "data"


def coco(centres: list[str], start: int = 1) -> dict[str, Any]:
    """One image a centre named, each with two boxes; numbers from `start`."""
    images = [
        {"id": number, "file_name": f"{name}/{number}.jpg", "mask_name": f"{name}/{number}.png", "centre": name,
         "width": 40, "height": 30, "group": f"{name}/{number}"}
        for number, name in enumerate(centres, start)
    ]  # fmt: skip
    annotations = [
        {"id": 2 * place + more, "image_id": image["id"], "category_id": 1, "bbox": [image["id"], more, 9, 9]}
        for place, image in enumerate(images, 1)
        for more in (0, 1)
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "polyp"}]}


TRAIN, VAL = coco(["a", "b", "a", "c"]), coco(["b", "a", "c"])


def write(folder: Path, train: Any = TRAIN, val: Any = VAL) -> Path:
    for name, content in (("train", train), ("val", val)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_a_centre_is_left_out_of_what_is_learnt_and_all_of_it_is_tested() -> None:
    learnt, tested = leave_out(TRAIN, {"val": VAL}, "a")
    assert [image["file_name"] for image in learnt["images"]] == ["b/2.jpg", "c/4.jpg"]
    assert {one["image_id"] for one in learnt["annotations"]} == {2, 4}
    assert [image["file_name"] for image in tested["images"]] == ["a/1.jpg", "a/3.jpg", "a/2.jpg"]
    assert [image["id"] for image in tested["images"]] == [1, 2, 3]
    of_image = [(one["image_id"], one["bbox"][0]) for one in tested["annotations"]]
    assert of_image == [(1, 1), (1, 1), (2, 3), (2, 3), (3, 2), (3, 2)]  # x is the number that the image had
    assert len({one["id"] for one in tested["annotations"]}) == 6


def test_the_sets_given_are_left_as_they_were() -> None:
    before = json.dumps([TRAIN, VAL])
    leave_out(TRAIN, {"val": VAL}, "a")
    assert json.dumps([TRAIN, VAL]) == before


def test_the_unseen_centre_is_tested_at_most() -> None:
    with pytest.raises(ValueError, match="polypgen_C6, the unseen centre"):
        leave_out(coco(["a", "polypgen_C6"]), {}, "a")
    learnt, tested = leave_out(TRAIN, {"unseen": coco(["polypgen_C6"])}, "polypgen_C6")
    assert learnt["images"] == TRAIN["images"] and len(tested["images"]) == 1


@pytest.mark.parametrize(("train", "centre"), [(coco(["a", "a"]), "a"), (TRAIN, "z")])
def test_nothing_to_learn_or_to_test_is_refused(train: dict[str, Any], centre: str) -> None:
    with pytest.raises(ValueError, match=f"leaving out {centre} leaves"):
        leave_out(train, {}, centre)


def test_the_command_writes_a_folder_a_centre_and_says_how_to_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    main(["--data", str(write(tmp_path)), "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {"a", "b", "c"}
    centres = {name: {still.centre for still in read_stills(out / "a" / f"{name}.json", tmp_path)}
               for name in ("train", "val", "test_a")}  # fmt: skip
    assert centres == {"train": {"b", "c"}, "val": {"b", "c"}, "test_a": {"a"}}
    printed = capsys.readouterr().out
    assert "# without a: images in train 2, val 2, test_a 3" in printed
    assert f"python -m trainers.train_detector --data {out / 'a'} --root {tmp_path}" in printed
    assert f"--data {out / 'a' / 'test_a.json'} --root {tmp_path}" in printed


@pytest.mark.parametrize(
    ("train", "val", "more", "said"),
    [
        (TRAIN, coco(["a", "polypgen_C6"]), [], "val.json holds images of polypgen_C6"),
        ({"images": [{"id": 1}], "annotations": []}, VAL, [], "train.json is not a COCO file"),
        ([1], VAL, [], "train.json is not a COCO file"),
        ({**TRAIN, "annotations": [{"image_id": 77, "bbox": [1, 2, 3, 4]}]}, VAL, [],
         "annotations[0] refers to image 77, which is not listed"),
        ({**TRAIN, "images": [TRAIN["images"][0]] * 2}, VAL, [], "has several images with the id"),
        (TRAIN, VAL, ["--centre", "z"], "no centre 'z'"),
        (TRAIN, VAL, ["--data", "nowhere"], "no such data file"),
        (coco(["../../x", "b\n"]), VAL, ["--centre", "z"], "choose from '../../x', a, b, 'b\\n', c"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], train: Any, val: Any, more: list[str], said: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as exit_:
        main(["--data", str(write(tmp_path, train, val)), "--out", str(out), *more])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("python -m trainers.leave_one_out: ") and said in error and "\n" not in error
    assert not out.exists()


STRANGE = ["../../x", "/etc", "..", "a/b", "a_b", "it's; rm -rf *", "$(x)", "two\nlines", "Würzburg", "x" * 300]


def test_a_centre_s_name_never_leads_out_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names with slashes, quotes, spaces and line breaks; the printed commands hold the paths."""
    root = tmp_path / "my data"
    out = root / "out it's"
    root.mkdir()
    main(["--data", str(write(root, coco(STRANGE), coco(STRANGE))), "--out", str(out)])
    assert {path.name for path in root.iterdir()} == {"train.json", "val.json", out.name} and set(
        tmp_path.iterdir()
    ) == {root}
    folders = {path.name for path in out.iterdir()}
    assert len(folders) == len(STRANGE) and all(re.fullmatch(r"[\w.-]{1,69}", name) for name in folders)
    assert {"a_b", "Würzburg"} <= folders
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("python")]
    tested = [Path(words[words.index("--data") + 1]) for words in commands if "trainers.evaluate" in words]
    assert len(tested) == 3 * len(STRANGE) and all(path.is_file() and path.parent.parent == out for path in tested)
    centres = {still.centre for path in tested for still in read_stills(path, root)}
    assert centres == set(STRANGE)


@needs("data")
def test_the_real_data_loses_no_image(tmp_path: Path) -> None:
    main(["--data", str(DATA), "--out", str(tmp_path), "--centre", "polypgen_C3"])
    tested = read_stills(tmp_path / "polypgen_C3" / "test_polypgen_C3.json", DATA)
    learnt = read_stills(tmp_path / "polypgen_C3" / "train.json", DATA)
    chosen = read_stills(tmp_path / "polypgen_C3" / "val.json", DATA)
    assert len(tested) == 359 + 98 and len(learnt) == 1977 - 359 and len(chosen) == 472 - 98
    assert all(still.image_path.is_file() for still in tested)
    boxes = sum(len(still.boxes) for still in [*tested, *learnt, *chosen])
    assert boxes == sum(
        len(still.boxes) for name in ("train", "val") for still in read_stills(DATA / f"{name}.json", DATA)
    )
    assert not {still.group for still in learnt} & {still.group for still in tested}
