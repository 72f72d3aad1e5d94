"""What would spoil a training run is found before it, and named."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, needs
from stills import write_stills

from trainers.check_data import find_problems, main
from trainers.data.stills import Still, read_stills


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight stills, the first six to learn from, the others to choose by."""
    root = write_stills(tmp_path / "stills")
    _split(root, {"train": range(6), "val": range(6, 8)})
    return root


def _split(root: Path, splits: dict[str, range]) -> None:
    whole = json.loads((root / "train.json").read_text())
    for name, numbers in splits.items():
        images = [image for image in whole["images"] if image["id"] in numbers]
        annotations = [one for one in whole["annotations"] if one["image_id"] in numbers]
        (root / f"{name}.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def _edit(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def splits_of(root: Path) -> dict[str, list[Still]]:
    return {name: read_stills(root / f"{name}.json", root) for name in ("train", "val")}


def test_sound_data_have_no_trouble(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_problems(splits_of(data)) == {}
    main(["--data", str(data)])
    assert "train: 6 images of 2 centres, 4 polyps, 2 without one; val: 2 images" in capsys.readouterr().out


def test_a_box_that_begins_a_pixel_before_its_image_is_not_empty(data: Path) -> None:
    mask = np.zeros((128, 192), np.uint8)
    mask[:40, :50] = 255
    cv2.imwrite(str(data / "1_mask.png"), mask)
    _edit(data / "train.json", lambda c: c["annotations"][1].update(bbox=[-1, -1, 51, 41]))
    assert find_problems(splits_of(data)) == {}


def _lose_mask(root: Path) -> None:
    (root / "1_mask.png").unlink()


def _lose_image(root: Path) -> None:
    (root / "1.png").unlink()


def _spoil_mask(root: Path) -> None:
    (root / "1_mask.png").write_bytes(b"not a picture")


def _shrink_mask(root: Path) -> None:
    cv2.imwrite(str(root / "1_mask.png"), np.zeros((10, 10), np.uint8))


def _empty_mask(root: Path) -> None:
    cv2.imwrite(str(root / "1_mask.png"), np.zeros((128, 192), np.uint8))


def _empty_box(root: Path) -> None:
    _edit(root / "train.json", lambda c: c["annotations"][0].update(bbox=[5, 5, 0, 9]))


def _stray_box(root: Path) -> None:
    _edit(root / "train.json", lambda c: c["annotations"][0].update(bbox=[150, 5, 90, 9]))


def _forget_box(root: Path) -> None:
    _edit(root / "train.json", lambda c: c["annotations"].pop(0))


def _same_picture(root: Path) -> None:
    (root / "7.png").write_bytes((root / "1.png").read_bytes())


def _same_patient(root: Path) -> None:
    for name in ("train", "val"):
        _edit(root / f"{name}.json", lambda c: c["images"][0].update(group="patient 9"))


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_lose_mask, "missing masks: 1 (1.png)"),
        (_lose_image, "missing images: 1 (1.png)"),
        (_spoil_mask, "unreadable masks: 1 (1.png)"),
        (_shrink_mask, "masks of another size than the data file says: 1 (1.png)"),
        (_empty_mask, "boxes with an empty mask: 1 (1.png)"),
        (_empty_box, "empty boxes: 1 (0.png)"),
        (_stray_box, "boxes outside their image: 1 (0.png)"),
        (_forget_box, "polyps in the mask that have no box: 1 (0.png)"),
        (_same_picture, "images in more than one split: 1 (7.png in train and val)"),
        (_same_patient, "patients or videos in more than one split: 1 (patient 9 in train and val)"),
    ],
)
def test_each_kind_of_trouble_is_named_with_where_it_is(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    spoil,
    kind: str,  # type: ignore[no-untyped-def]
) -> None:
    spoil(data)
    with pytest.raises(SystemExit) as end:
        main(["--data", str(data)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and f"the data cannot be used as they are: {kind}" in said


@needs("data")
def test_the_real_splits_share_no_patient() -> None:
    root = ROOT.parent / "shared" / "data"
    groups = [{s.group for s in read_stills(root / f"{name}.json", root)} for name in ("train", "val", "unseen_C6")]
    assert all(groups) and not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
