"""Score calibration: the fits, cross-validation, the calibration file and the command."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from green import GreenDetector, GreenSegmenter

from calibration import scores
from calibration.fitting.calibration_file import load_or_create, with_operating_point, with_scores
from calibration.fitting.fit import (
    FITS,
    Samples,
    assign_folds,
    cross_validate,
    fit_isotonic,
    fit_temperature,
    log_loss,
    map_held_out,
    to_dict,
)
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.metrics.detection import ImageBoxes, coco_ap
from realtime_polyp.packets import Mask
from realtime_polyp.postprocess.score_calibration import TemperatureMap, parse_calibration, read_calibration

POINT = {"score_threshold": 0.4, "confirm_s": None, "hold_s": None, "release_s": None, "data": "a.json"}


def samples_of(map_: TemperatureMap, count: int = 20_000, *, seed: int = 0) -> Samples:
    """Scores that are right as often as the map says."""
    rng = np.random.default_rng(seed)
    values = rng.beta(0.6, 0.8, count).clip(0.005, 0.995)
    return Samples(values, rng.random(count) < map_(values), np.arange(count) // 4)


def test_fit_recovers_temperature_and_bias() -> None:
    found = fit_temperature(samples_of(TemperatureMap(0.4, 0.8)))
    assert found.temperature == pytest.approx(0.4, abs=0.03) and found.bias == pytest.approx(0.8, abs=0.1)


def test_without_bias_a_half_stays_a_half() -> None:
    found = fit_temperature(samples_of(TemperatureMap(1.7)), bias=False)
    assert found.temperature == pytest.approx(1.7, abs=0.06) and found(np.array([0.5])) == pytest.approx(0.5)


@pytest.mark.parametrize("method", FITS)
def test_fit_reduces_the_calibration_error(method: str) -> None:
    found = cross_validate(samples_of(TemperatureMap(0.4, 0.8)), FITS[method])
    assert found.before.error and found.after.error
    assert found.before.error > 0.1 and found.after.error < 0.02 and found.loss_after < found.loss_before


@pytest.mark.parametrize("method", FITS)
def test_map_rises_strictly_and_keeps_the_ap(method: str) -> None:
    samples = samples_of(TemperatureMap(0.3, -1.0), 300)
    map_ = FITS[method](samples)
    rising = np.unique(samples.scores)
    assert len(rising) > 200 and (np.diff(map_(rising)) > 0).all()
    box, away = [[0, 0, 10, 10]], [[50, 50, 60, 60]]
    before = [
        ImageBoxes(np.float32(box), np.float32(box if right else away), np.array([score]))
        for score, right in zip(samples.scores, samples.right, strict=True)
    ]
    after = [ImageBoxes(one.true, one.found, map_(one.scores)) for one in before]
    assert coco_ap(after) == coco_ap(before) and 0.1 < coco_ap(before)["AP"] < 0.99  # type: ignore[operator]


def test_isotonic_map_is_the_share_right_of_each_step() -> None:
    values = np.repeat([0.2, 0.4, 0.6], 10)
    right = np.concatenate([np.arange(10) < share for share in (1, 6, 4)])  # 0.1, then 0.6 and 0.4 pooled to 0.5
    map_ = fit_isotonic(Samples(values, right, np.arange(30)))
    assert map_.scores == pytest.approx((0, 0.2, 0.5, 1))
    assert map_.probabilities == pytest.approx((0, 0.1, 0.5, 1), abs=0.011)


def test_separable_scores_have_a_finite_map() -> None:
    found = fit_temperature(Samples(np.array([0.2, 0.3, 0.6, 0.7]), np.array([0, 0, 1, 1], bool), np.arange(4)))
    assert 0.05 <= found.temperature < 0.2


@pytest.mark.parametrize("method", FITS)
def test_one_class_is_an_error(method: str) -> None:
    for right, word in ((True, "right"), (False, "wrong")):
        samples = Samples(np.array([0.2, 0.9]), np.array([right, right]), np.arange(2))
        with pytest.raises(ValueError, match=f"all of 2 scores are {word}"):
            FITS[method](samples)


def test_folds_are_even_and_keep_patients_together() -> None:
    groups = np.repeat(np.arange(13), np.arange(1, 14))
    folds = assign_folds(groups, 5)
    for group in range(13):
        assert len(set(folds[groups == group])) == 1
    counts = np.bincount(folds, minlength=5)
    assert counts.min() >= 16 and counts.max() <= 20  # of 91
    with pytest.raises(ValueError, match="2 patients or videos are too few for 5 folds"):
        assign_folds(np.array([0, 0, 1]), 5)


def test_held_out_samples_do_not_influence_their_map() -> None:
    """One patient whose answers are turned round changes every map but the one it is judged with."""
    samples = samples_of(TemperatureMap(0.5), 400)
    turned = Samples(samples.scores, samples.right ^ (samples.groups == 7), samples.groups)
    own = assign_folds(samples.groups, 5) == assign_folds(samples.groups, 5)[samples.groups == 7][0]
    before, after = map_held_out(samples, fit_temperature), map_held_out(turned, fit_temperature)
    assert np.array_equal(before[own], after[own]) and np.isclose(before[~own], after[~own]).mean() < 0.05


def test_log_loss_is_finite_at_0_and_1() -> None:
    assert log_loss(np.array([0.0, 1.0]), np.array([False, True])) == pytest.approx(0, abs=1e-6)
    assert log_loss(np.array([0.0]), np.array([True])) == pytest.approx(-np.log(1e-7))


def test_cell_is_on_a_polyp_if_its_centre_is() -> None:
    true = np.zeros((20, 30), bool)
    true[4:9, 10:16] = True
    mask = Mask(
        np.zeros((4, 5), np.float32), FieldOfView(5, 2, 25, 18)
    )  # cells of 4 x 4 px, the first's middle at (4, 7)
    assert np.argwhere(scores.sample_truth(mask, true)).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


# the file


class Keyed(GreenDetector):
    key = "k1"


class KeyedMask(GreenSegmenter):
    key = "k2"


@pytest.mark.parametrize("method", FITS)
def test_map_survives_writing_and_reading(method: str) -> None:
    map_ = FITS[method](samples_of(TemperatureMap(0.4, 0.8), 500))
    document = json.loads(json.dumps(with_scores({"format": 1}, Keyed(), to_dict(map_))))
    read = parse_calibration(document, "c.json").detector
    assert read and read.map == map_ and (read.model, read.engine, read.key) == ("green-boxes", "fake", "k1")


def test_new_detector_map_removes_the_operating_point() -> None:
    scores_part = to_dict(TemperatureMap(0.5))
    document = with_operating_point(with_scores({"format": 1}, Keyed(), scores_part), Keyed(), POINT)
    assert document["detector"]["scores"] == scores_part
    assert with_scores(document, KeyedMask(), scores_part)["operating_point"] == POINT
    again = with_scores(document, Keyed(), scores_part)
    assert "operating_point" not in again and "operating_point" in document


def test_other_json_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text('{"AP": 1}')
    with pytest.raises(ValueError, match="not a calibration file of format 1"):
        load_or_create(path)


# the command, with engines that see what is green


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Twenty lit pictures with a green disc each; the smaller ones are often no polyp."""
    return write_discs(tmp_path)


def write_discs(root: Path) -> Path:
    rng = np.random.default_rng(3)
    images, annotations = [], []
    for number in range(20):
        image, mask = np.full((96, 128, 3), (70, 80, 150), np.uint8), np.zeros((96, 128), np.uint8)
        x, y, radius = (int(value) for value in (rng.integers(30, 90), rng.integers(30, 60), 8 + number))
        cv2.circle(image, (x, y), radius, (60, 220, 60), -1)
        if rng.random() < radius / 32:
            cv2.circle(mask, (x, y), radius, 255, -1)
            box = [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
            annotations.append({"image_id": number, "category_id": 1, "bbox": box})
        cv2.imwrite(str(root / f"{number}.png"), image)
        cv2.imwrite(str(root / f"{number}_mask.png"), mask)
        images.append({"id": number, "file_name": f"{number}.png", "mask_name": f"{number}_mask.png", "width": 128,
                       "height": 96, "centre": "north"})  # fmt: skip
    (root / "data.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


class PaleMask(KeyedMask):
    """Never quite sure."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:  # type: ignore[override]
        return 0.1 + 0.8 * super().__call__(pixels)


def calibrate(root: Path, monkeypatch: pytest.MonkeyPatch, engine: object, *more: str) -> Path:
    monkeypatch.setattr(scores, "open_engine", lambda model, task, name: engine)
    out = root / "calibration.json"
    scores.main(["--model", "m", "--data", str(root / "data.json"), "--root", str(root), "--out", str(out), *more])
    return out


def test_both_models_share_one_file_and_are_plotted(
    stills: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = stills / "boxes.png"
    calibrate(stills, monkeypatch, Keyed(), "--picture", str(picture))
    out = calibrate(stills, monkeypatch, PaleMask())
    found, document = read_calibration(out), json.loads(out.read_text())
    assert found.detector and found.segmenter and found.segmenter.model == "green-mask"
    assert document["detector"]["scores"]["data"] == "data.json, 20 images"
    assert document["segmenter"]["scores"]["bias"] == 0 and document["segmenter"]["scores"]["cells"] == 20_000
    assert picture.read_bytes()[:4] == b"\x89PNG" and "are of held-out folds" in capsys.readouterr().out


def test_removed_operating_point_is_reported(
    stills: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    document = with_operating_point({"format": 1}, Keyed(), POINT)
    (stills / "calibration.json").write_text(json.dumps(document))
    out = calibrate(stills, monkeypatch, Keyed())
    assert "operating_point" not in json.loads(out.read_text())
    assert "is removed: run calibration.operating_point again" in capsys.readouterr().out


def test_unseen_centre_and_isotonic_masks_are_rejected(
    stills: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        calibrate(stills, monkeypatch, KeyedMask(), "--method", "isotonic")
    assert end.value.code == 2 and "isotonic is for detectors" in capsys.readouterr().err
    data = stills / "data.json"
    data.write_text(data.read_text().replace("north", "polypgen_C6"))
    with pytest.raises(SystemExit) as end:
        calibrate(stills, monkeypatch, Keyed())
    assert end.value.code == 2 and "calibrate on other data" in capsys.readouterr().err


def test_unknown_model_is_a_usage_error(stills: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(stills / "data.json"), "--root", str(stills), "--out", str(stills / "out.json")]
    with pytest.raises(SystemExit) as end:
        scores.main(["--model", "nowhere", *data])
    message = capsys.readouterr().err
    assert end.value.code == 2 and "unknown model 'nowhere': choose from " in message and "gflv2-lite0" in message
