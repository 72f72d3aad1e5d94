"""The command that trains the frame quality classifier, from stills to the file that the product reads."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tissue_toys import tissue_picture

from realtime_polyp.temporal.frame_quality import FRAME_QUALITIES, compute_features, read_frame_quality
from trainers.frame_quality.corruptions import corruptions, keep_surround
from trainers.train_quality import main

STILLS = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.json and val.json of small tissue pictures from two centres, each picture a patient of its own."""
    root = tmp_path_factory.mktemp("stills")
    for name, first in (("train", 0), ("val", 1000)):
        images = []
        for number in range(first, first + STILLS):
            grain = np.random.default_rng(number).normal(0, 12, (120, 160, 1))
            picture = cv2.resize(tissue_picture(number), (160, 120), interpolation=cv2.INTER_AREA)
            image = np.clip(picture + grain, 0, 255).astype(np.uint8)
            cv2.imwrite(str(root / f"{number}.png"), image[..., ::-1])
            names = {"file_name": f"{number}.png", "mask_name": f"{number}.png"}
            size = {"width": 160, "height": 120}
            images.append({"id": number, "centre": f"C{number % 2}", "group": f"p{number}", **names, **size})
        (root / f"{name}.json").write_text(json.dumps({"images": images, "annotations": []}))
    return root


@pytest.fixture(scope="module")
def written(data: Path) -> Path:
    out = data / "made" / "quality.json"
    main(["--data", str(data), "--out", str(out)])
    return out


def test_the_product_reads_what_it_writes(written: Path) -> None:
    classifier, document = read_frame_quality(written), json.loads(written.read_text())
    assert classifier.kinds[0] == "clear" and set(classifier.qualities) == set(FRAME_QUALITIES)
    assert document["data"] == f"{STILLS} stills of train.json, corrupted with seed 0"
    assert (classifier.margin >= 0).all() and list(written.parent.iterdir()) == [written]


def test_clear_frames_of_real_video_join_the_training_and_the_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((data / "val.json").read_text())
    for place, image in enumerate(document["images"]):
        image["group"] = f"polypgen_negative/{'seq15' if place < 20 else 'seq04'}"
        for key in ("file_name", "mask_name"):
            (data / "video" / image["group"]).mkdir(parents=True, exist_ok=True)
            name = f"video/{image['group']}/{place:04d}.png"
            shutil.copyfile(data / f"{image['id']}.png", data / name)
            image[key] = name
    (data / "negative.json").write_text(json.dumps(document))
    out = tmp_path / "quality.json"
    main(["--data", str(data), "--negatives", str(data / "negative.json"), "--out", str(out)])
    told = f"{STILLS} stills of train.json and 19 frames of video, corrupted with seed 0"  # one of the 20 is blurred
    assert json.loads(out.read_text())["data"] == told
    report = capsys.readouterr().out
    assert "frames of real video rejected: clear" in report and "  seq04: clear" in report and "seq15" not in report


def test_it_separates_unseen_clear_pictures_from_corrupted_ones(data: Path, written: Path) -> None:
    classifier = read_frame_quality(written)
    rng = np.random.default_rng(3)
    darken = corruptions([])["no mucosa"]["dark"]
    clear, rejected = 0, 0
    for number in range(1000, 1000 + STILLS):
        picture = np.ascontiguousarray(cv2.imread(str(data / f"{number}.png"))[..., ::-1])
        clear += classifier.classify(compute_features(picture)) == "clear"
        rejected += classifier.classify(compute_features(keep_surround(picture, darken(picture, rng)))) != "clear"
    assert clear >= 0.8 * STILLS and rejected >= 0.8 * STILLS


def test_the_same_seed_gives_the_same_file_and_the_report_names_every_centre(
    data: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--data", str(data), "--out", str(tmp_path / "again.json")])
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
    report = capsys.readouterr().out
    assert f"clear stills rejected: {''}" in report and "C0: " in report and "C1: " in report
    assert all(quality in report for quality in FRAME_QUALITIES)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--limit", "0"], "--limit is 0: it must be 1 or more"),
        (["--limit", "3"], "3 groups of training stills are too few: at least 5 are needed"),
        (["--data", "nowhere"], "no such data file: nowhere/train.json"),
        (["--photographs", "nowhere"], "no photographs (JPEG or PNG) in nowhere"),
    ],
)
def test_bad_input_is_one_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--data", str(data), "--out", str(tmp_path / "quality.json"), *more])
    assert end.value.code == 2 and sentence in capsys.readouterr().err
    assert not (tmp_path / "quality.json").exists()
