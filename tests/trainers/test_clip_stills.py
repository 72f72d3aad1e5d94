"""Moments of clips as stills to learn from: their truth beyond doubt, in files that training reads like any other."""

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeDetector
from numpy.typing import NDArray
from tissue_toys import write_tissue_stills

from trainers import clip_stills
from trainers.check_data import find_problems
from trainers.clip_stills import choose_moments, main, make_training_stills
from trainers.data.stills import Still, letterboxed, read_image, read_mask, read_stills
from trainers.video.synthetic.clip import Clip, make_clip
from trainers.video.synthetic.ground_truth import true_frame

SMALL = (240, 180)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stills")
    write_tissue_stills(root)
    return root


@pytest.fixture(scope="module")
def stills(root: Path) -> list[Still]:
    return read_stills(root / "val.json", root)


@pytest.fixture(scope="module")
def clip(stills: list[Still]) -> Clip:
    return make_clip(stills, seed=3, number=0, seconds=24, frame_size=SMALL)


def test_moments_are_evenly_spread_and_know_their_place(clip: Clip) -> None:
    seen = choose_moments(clip, every=30)
    assert [one.index for one in seen] == list(range(15, len(clip), 30))
    starts = np.cumsum([0, *(len(scene) for scene in clip.scenes)])
    for one in seen:
        number = next(n for n, scene in enumerate(clip.scenes) if scene is one.scene)
        assert starts[number] + one.place == one.index


def test_a_mask_lies_on_its_picture_s_polyps_and_is_its_moment_s_truth(clip: Clip) -> None:
    by_index = {f"{clip.name.replace(' ', '-')}-{one.index}": one for one in choose_moments(clip, every=15)}
    found = list(make_training_stills(clip, every_s=0.5))
    assert any(one.mask.any() for one in found) and not all(one.mask.any() for one in found)
    for one in found:
        moment = by_index[one.name]
        true = true_frame(moment.scene, clip.scope, moment.place)
        assert bool(true.polyps) == one.mask.any() and not true.difficult
        assert one.image.shape == (*one.mask.shape, 3) == (SMALL[1] // 2, SMALL[0] // 2, 3)
        assert one.still is moment.scene.tissue.still
        ys, xs = np.nonzero(one.mask)
        for box in true.polyps.values():
            tight = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) * 2
            assert np.abs(tight - box).max() <= 3


def test_what_is_in_doubt_is_left_out(clip: Clip) -> None:
    """Moments with a difficult polyp, of which a mask says nothing."""
    seen = choose_moments(clip, every=1)
    doubtful = [one.index for one in seen if true_frame(one.scene, clip.scope, one.place).difficult]
    names = {one.name for one in make_training_stills(clip, every_s=1 / float(clip.rate_hz))}
    assert doubtful and not any(f"{clip.name.replace(' ', '-')}-{index}" in names for index in doubtful)
    assert len(names) > len(clip) / 2


def test_training_reads_what_the_command_writes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clip_stills, "_CLIP_S", 20.0)
    out = tmp_path / "out"
    main(["--data", str(root / "val.json"), "--root", str(root), "--out", str(out), "--minutes", "2", "--every", "2"])
    found = read_stills(out / "train.json", out)
    assert f"{len(found)} moments" in capsys.readouterr().out
    assert 8 <= len(found) <= 20 and {len(still.boxes) for still in found} == {0, 1}
    assert len({still.id for still in found}) == len(found) and {still.centre for still in found} == {"C1"}
    assert find_problems({"moments": found}) == {}
    for still in found:
        pixels, labels = letterboxed(still, (64, 96))
        assert pixels.shape == (64, 96, 3) and bool(labels.any()) == bool(len(still.boxes))
        assert read_image(still.image_path).shape[:2] == read_mask(still.mask_path).shape == (still.height, still.width)


def test_easy_frames_without_a_polyp_are_left_out_and_polyps_stay(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The detector finds every second picture without a polyp hard."""
    monkeypatch.setattr(clip_stills, "_CLIP_S", 20.0)

    class Odd(FakeDetector):
        def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            boxes, _ = super().__call__(pixels)
            self.calls = getattr(self, "calls", 0) + 1
            return boxes, np.full(boxes.shape[:2], 0.3 if self.calls % 2 else 0.05, np.float32)

    monkeypatch.setattr(clip_stills, "open_detector", lambda model: Odd())
    words = ["--data", str(root / "val.json"), "--root", str(root), "--minutes", "2", "--every", "2"]
    main([*words, "--out", str(tmp_path / "every")])
    every = read_stills(tmp_path / "every" / "train.json", tmp_path / "every")
    main([*words, "--out", str(tmp_path / "hard"), "--hard-for", "odd"])
    hard = read_stills(tmp_path / "hard" / "train.json", tmp_path / "hard")
    empty = [still.image_path.name for still in every if not len(still.boxes)]
    assert [one.image_path.name for one in hard if not len(one.boxes)] == empty[::2] and len(empty) >= 4
    polyps = [[one.image_path.name for one in stills if len(one.boxes)] for stills in (every, hard)]
    assert polyps[0] == polyps[1] and polyps[0]
    assert {path.name for path in (tmp_path / "hard" / "images").iterdir()} == {one.image_path.name for one in hard}
    assert {path.name for path in (tmp_path / "hard" / "masks").iterdir()} == {one.mask_path.name for one in hard}
    assert f"{len(hard)} moments, {len(empty[::2])} of them without a polyp" in capsys.readouterr().out


def test_a_moment_keeps_its_still_s_patient_so_that_a_leak_is_seen(
    stills: list[Still], clip: Clip, tmp_path: Path
) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    kept = [clip_stills.write_still(one, tmp_path) for one in make_training_stills(clip, every_s=2)]
    moments_read = read_stills(clip_stills.write_coco(kept, tmp_path / "train.json"), tmp_path)
    trouble = find_problems({"train": moments_read, "val": stills})
    assert trouble.keys() == {"patients or videos in more than one split"}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--minutes", "0"], "at least 1 minute"),
        (["--every", "0"], "0.03 to 60 s"),
        (["--hard-for", "polyp-lite2", "--hard-score", "1.5"], "--hard-score 1.5: from 0 to 1"),
        (["--hard-for", "nothing"], "nothing"),
        (["--out", str(Path(clip_stills.__file__).parent / "moments")], "inside the repository"),
        (["--data", "nowhere.json"], "no such data file: nowhere.json"),
        (["--data", "{tmp}/alone.json"], "9 stills of {tmp}/alone.json have no group, such as 0.png"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    more: list[str], sentence: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((root / "val.json").read_text())
    for image in content["images"]:
        del image["group"]
    (tmp_path / "alone.json").write_text(json.dumps(content))
    words = ["--data", str(root / "val.json"), "--root", str(root), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main([*words, *(word.format(tmp=tmp_path) for word in more)])
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and sentence.format(tmp=tmp_path) in said and "\n" not in said
    assert not (tmp_path / "out").exists() and not (Path(clip_stills.__file__).parent / "moments").exists()
