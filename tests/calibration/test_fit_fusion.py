"""Fitting the detector-segmenter fusion: weights are recovered, views hold what they claim, files are readable."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from green import BLOBS, GreenDetector, GreenSegmenter, write_green_data
from numpy.typing import NDArray

from calibration import fusion
from calibration.fusing import dataset
from calibration.fusing.figures import (
    EvaluatedView,
    Evaluation,
    calibration_errors,
    evaluate_views,
    false_alarm_scores,
    format_table,
    hit_scores,
    mean_dice,
    threshold_for_hits,
)
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.segmentation import count
from realtime_polyp.packets import Detections, Mask
from realtime_polyp.postprocess.fusion import FusionError, box_support, logit, read_fusion
from trainers.data.stills import Still, read_mask, read_stills


class NoisyDetector(GreenDetector):
    """Finds the two largest blobs, in every second image with a lower score, and adds a false box to every image."""

    key = "k1"

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32)
        _, _, stats, _ = cv2.connectedComponentsWithStats(self.green(pixels)[0].astype(np.uint8))
        largest = sorted((row for row in stats[1:] if row[4] > 200), key=lambda row: -row[4])[:2]
        for place, (x, y, width, height, _) in enumerate(largest):
            boxes[0, place], scores[0, place] = (x, y, x + width, y + height), 0.4 if len(self.sizes) % 2 else 0.9
        boxes[0, 2], scores[0, 2] = (110, 30, 130, 50), 0.5
        return boxes, scores


class NoisySegmenter(GreenSegmenter):
    """Adds a false region to every map."""

    key = "k2"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        probability = np.array(super().__call__(pixels), np.float32)
        probability[:, 26:29, 8:11] = 0.9
        return probability


@pytest.fixture
def stills(tmp_path: Path) -> list[Still]:
    write_green_data(tmp_path)
    return read_stills(tmp_path / "data.json", tmp_path)


def sample(
    *boxes: tuple[float, ...], scores: tuple[float, ...], true: list[list[float]], centre: str = "C1"
) -> dataset.FusionSample:
    """A field of 80 x 60 px, a map of 4 px per map px, and a mask that fills the true boxes."""
    true_mask, probability = np.zeros((60, 80), bool), np.zeros((15, 20), np.float32)
    for x1, y1, x2, y2 in np.array(true, int).reshape(-1, 4):
        true_mask[y1:y2, x1:x2] = True
        probability[y1 // 4 : y2 // 4, x1 // 4 : x2 // 4] = 1
    detections = Detections(np.float32(boxes).reshape(-1, 4), np.float32(scores))
    mask = Mask(probability, FieldOfView(0, 0, 80, 60))
    return dataset.FusionSample(
        centre, "patient", np.float32(true).reshape(-1, 4), detections, mask, np.packbits(true_mask), (60, 80)
    )


# the training data


def test_background_views_hold_no_polyp(stills: list[Still]) -> None:
    views = list(dataset.background_views(stills))
    assert len(views) == len(stills)
    for view in views:
        assert not len(view.boxes) and not view.mask.any() and view.mask.shape == view.image.shape[:2]
        red, green = view.image[..., 0].astype(int), view.image[..., 1].astype(int)
        assert (green > red).mean() < 0.01, "no green blob is in the crop"
        assert (view.image.max(axis=2) > 40).mean() >= 0.7, "it is lit"


def test_a_still_that_is_all_polyp_has_no_background(stills: list[Still]) -> None:
    cv2.imwrite(str(stills[0].mask_path), np.full((200, 240), 255, np.uint8))
    assert len(list(dataset.background_views(stills[:1]))) == 0


def test_augmented_views_keep_boxes_and_mask_together_and_are_repeatable(stills: list[Still]) -> None:
    first, again = (list(dataset.augmented_views(stills, (128, 160))) for _ in range(2))
    assert len(first) == len(stills)
    for one, other in zip(first, again, strict=True):
        assert one.image.shape == (128, 160, 3) and one.mask.shape == (128, 160)
        assert np.array_equal(one.image, other.image) and np.array_equal(one.boxes, other.boxes)
        covered = np.zeros_like(one.mask)
        for x1, y1, x2, y2 in one.boxes.round().astype(int):
            covered[y1:y2, x1:x2] = True
        assert not (one.mask & ~covered).any() and one.mask.any() == bool(len(one.boxes))


def test_augmented_background_views_have_the_size_asked_for_and_no_truth(stills: list[Still]) -> None:
    for view in dataset.augmented_background_views(stills, (128, 160)):
        assert view.image.shape == (128, 160, 3) and not view.mask.any() and not len(view.boxes)


def test_predictions_stand_beside_the_truth_of_their_still(stills: list[Still]) -> None:
    engines = GreenDetector(), GreenSegmenter()
    samples = dataset.predict_views(dataset.original_views(stills), *engines, total=4, description="toys")  # type: ignore[arg-type]
    for one, still in zip(samples, stills, strict=True):
        assert np.array_equal(one.true_mask, read_mask(still.mask_path))
        assert len(one.detections) == len(still.boxes)
        if len(still.boxes):
            assert iou_matrix(one.detections.boxes, still.boxes).max(axis=1).min() > 0.8
            assert ((one.mask.probability >= 0.5) == one.true_map).mean() > 0.97
        assert one.group == f"image {still.id}" and one.centre == still.centre
    assert [len(one.image_boxes.true) for one in samples] == [len(blobs) for blobs in BLOBS]


# the fit


def test_the_weights_that_made_the_data_are_recovered() -> None:
    random = np.random.default_rng(0)
    samples = random.normal(0, 1.5, (30_000, 2))
    right = random.random(len(samples)) < 1 / (1 + np.exp(1 - 2 * samples[:, 0] - 0.5 * samples[:, 1]))
    bias, weights = fusion.fit_logistic(samples, right, "boxes")
    assert bias == pytest.approx(-1, abs=0.08) and weights == pytest.approx([2, 0.5], abs=0.08)


@pytest.mark.parametrize("support", [0.5, 3.0])
def test_bias_and_score_are_fitted_to_a_given_weight_of_the_support(support: float) -> None:
    random = np.random.default_rng(0)
    samples = random.normal(0, 1.5, (30_000, 2))
    right = random.random(len(samples)) < 1 / (1 + np.exp(1 - 2 * samples[:, 0] - support * samples[:, 1]))
    assert fusion.fit_to_support(samples, right, support) == pytest.approx((-1, 2), abs=0.1)
    doubled = fusion.fit_to_support(samples, right, 2 * support)  # a weight that did not make the data
    assert np.isfinite(doubled).all() and doubled != pytest.approx((-1, 2), abs=0.1)


@pytest.mark.parametrize(("right", "kind"), [(True, "right"), (False, "wrong")])
def test_samples_of_one_label_cannot_be_fitted(right: bool, kind: str) -> None:
    with pytest.raises(ValueError, match=f"all 3 boxes are {kind}"):
        fusion.fit_logistic(np.zeros((3, 2)), np.full(3, right), "boxes")
    with pytest.raises(ValueError, match=f"all 3 boxes are {kind}"):
        fusion.fit_to_support(np.zeros((3, 2)), np.full(3, right), 4.0)


def test_samples_are_the_boxes_best_first_and_the_regions() -> None:
    polyp, astray = (8.0, 8.0, 32.0, 32.0), (44.0, 20.0, 68.0, 44.0)
    one = sample(astray, scores=(0.4,), true=[list(polyp)])
    other = sample(polyp, scores=(0.8,), true=[list(polyp)])
    values, right = fusion.box_samples([one, other])
    assert right.tolist() == [True, False] and values[:, 0] == pytest.approx(logit(np.float32([0.8, 0.4])))
    assert values[0, 1] == box_support(other.mask, np.float32([polyp]))[0] > 0.6 and values[1, 1] == 0
    supports, real = fusion.region_samples([one, other])
    assert real.tolist() == [True, True] and supports[0, 0] == 0
    assert supports[1, 0] == pytest.approx(np.log(4) + np.log(19), rel=1e-5)
    false = replace(other, packed_mask=np.packbits(np.zeros((60, 80), bool)))
    assert fusion.region_samples([false])[1].tolist() == [False]


# the figures


def evaluated(true: list[list[float]], found: list[list[float]], scores: list[float]) -> EvaluatedView:
    boxes = ImageBoxes(np.float32(true).reshape(-1, 4), np.float32(found).reshape(-1, 4), np.array(scores))
    return EvaluatedView("C1", "p", boxes, count(np.zeros((4, 4), bool), np.zeros((4, 4), bool)))


def test_hits_false_alarms_and_the_threshold_between_them() -> None:
    box, away = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    views = [
        evaluated([box], [away, box], [0.9, 0.6]),
        evaluated([box], [away], [0.7]),
        evaluated([box], [box], [0.4567]),
        evaluated([], [away], [0.2]),
    ]
    assert hit_scores(views).tolist() == [0.6, 0, 0.4567] and false_alarm_scores(views).tolist() == [0.9, 0.7, 0.2]
    assert [threshold_for_hits(views, wanted) for wanted in (0, 1, 2, 3)] == [0, 0.6, 0.456, 0]


def test_the_table_shows_what_fusion_changes() -> None:
    polyp, astray = (8.0, 8.0, 32.0, 32.0), (44.0, 20.0, 68.0, 44.0)
    samples = [sample(astray, polyp, scores=(0.8, 0.6), true=[list(polyp)]) for _ in range(3)]
    fitted = fusion.Fusion(
        "f", fusion.FusedModel("d", "e", "k"), fusion.FusedModel("s", "e", "k"), fusion.BoxFusion(-3, 1, 6), None
    )
    before, after = (Evaluation(evaluate_views(samples, one), 0.5) for one in (None, fitted))
    assert mean_dice(before.views) == mean_dice(after.views) > 0.99
    errors = calibration_errors([before, after])
    assert errors[0] and errors[1] and errors[1] < errors[0]
    (row,) = format_table({"toys": (before, after)}).splitlines()[2:]
    assert row.split(" | ")[:3] == ["| toys", "3", "0.500 -> 1.000"] and "1.000 -> 0.000" in row
    assert fusion.drop_useless_sides(fitted, samples, []).boxes == fitted.boxes
    harmful = replace(fitted, boxes=fusion.BoxFusion(3, 1, -9))
    assert fusion.drop_useless_sides(harmful, samples, []).boxes is None


# the command


def test_the_command_writes_a_file_that_the_runtime_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_green_data(tmp_path)
    monkeypatch.setattr(fusion, "open_detector", lambda *_: NoisyDetector())
    monkeypatch.setattr(fusion, "open_segmenter", lambda *_: NoisySegmenter())
    data, out, picture = str(tmp_path / "data.json"), tmp_path / "new" / "fusion.json", tmp_path / "gain.png"
    sets = ["--data", data, "--val", data, "--unseen", data, "--root", str(tmp_path)]
    fusion.main([*sets, "--out", str(out), "--picture", str(picture), "--stills", "4", "--free", "4"])
    fitted, document = read_fusion(out), json.loads(out.read_text())
    assert (fitted.detector.model, fitted.segmenter.model) == ("green-boxes", "green-mask")
    assert document["format"] == 1 and document["learnt_on"] == "data.json: 8 views, 5 without a polyp"
    assert fitted.boxes is not None and fitted.boxes.score > 0 and fitted.boxes.support > 0
    assert fitted.masks is not None and fitted.masks.support > 0
    printed = capsys.readouterr().out
    assert "| val | 4 |" in printed and "| val, north |" in printed and "| data | 4 |" in printed
    assert picture.read_bytes()[:4] == b"\x89PNG"
    fusion.main([*sets, "--out", str(out), "--stills", "4", "--free", "4", "--support", "5"])
    given = read_fusion(out).boxes
    assert given is not None and given.support == 5 and given.score > 0 and given.least_support == 0.1


def test_a_fusion_that_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="`detector` is missing"):
        fusion.save(tmp_path / "f.json", {"format": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--stills", "0", "must be 1 or more"),
        ("--free", "0", "must be 1 or more"),
        ("--support", "-1", "--support -1: from 0 to 20"),
        ("--least-support", "1.5", "--least-support 1.5: from 0 to 1"),
        ("--segmenter", "none", "fusion needs both models"),
    ],
)
def test_bad_options_are_one_sentence(
    option: str, value: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--data", "a.json", "--val", "b.json", "--root", ".", "--out", str(tmp_path / "f.json")]
    with pytest.raises(SystemExit) as error:
        fusion.main([*names, option, value])
    assert error.value.code == 2 and sentence in capsys.readouterr().err
