"""Figures with intervals, and the pictures drawn of them."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from green import BlindDetector, GreenDetector, GreenSegmenter, write_green_data

from realtime_polyp.metrics.curves import precision_recall, reliability
from realtime_polyp.metrics.segmentation import segmentation_figures
from realtime_polyp.packets import Detections
from trainers.data.stills import read_stills
from trainers.evaluation.figures import (
    Resampling,
    bootstrap_groups,
    challenge_summary,
    detection_figures,
    figures_per_image,
    mask_figures,
)
from trainers.evaluation.plots import draw_precision_recall, draw_reliability, mask_reliability, write_plots
from trainers.evaluation.predict import Case, evaluate


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    root = write_green_data(tmp_path_factory.mktemp("stills"))
    return evaluate(read_stills(root / "data.json", root), GreenDetector(), GreenSegmenter())


def grouped(cases: list[Case], groups: list[str]) -> list[Case]:
    return [replace(case, still=replace(case.still, group=group)) for case, group in zip(cases, groups, strict=True)]


def test_no_interval_unless_asked_for(cases: list[Case]) -> None:
    assert "intervals" not in detection_figures(cases) and "intervals" not in mask_figures(cases)


def test_intervals_name_the_figures_that_they_are_of(cases: list[Case]) -> None:
    figures = detection_figures(cases, Resampling(20))
    for one in (figures, figures["endocv"]):
        assert set(one["intervals"]) <= set(one)
    assert "score_d" in figures["endocv"]["intervals"] and "score_d" not in figures["intervals"]
    assert figures["intervals"]["AP75"] == [1, 1] and figures["intervals"]["AP_s"] is None
    masks = mask_figures(cases, Resampling(20))
    assert set(masks) - set(masks["intervals"]) == {"intervals", "pooled", "boundary_images", "hausdorff_normalised"}


def test_the_means_of_each_image_are_the_sets_figures(cases: list[Case]) -> None:
    images = [case.segmentation for case in cases if case.segmentation]
    figures = segmentation_figures(images)
    means = {name: np.nanmean(column) for name, column in figures_per_image(images).items()}
    assert means == pytest.approx({name: figures[name] for name in means})


def test_images_of_one_group_are_drawn_together(cases: list[Case]) -> None:
    assert bootstrap_groups(grouped(cases, ["", "", "", ""])) is None
    assert bootstrap_groups(grouped(cases, ["a", "", "a", "b"])) == ["a", "image 2", "a", "b"]
    one = mask_figures(grouped(cases, ["a"] * 4), Resampling(20))
    assert one["intervals"]["dice"] == pytest.approx([one["dice"]] * 2)


def test_a_missing_figure_leaves_the_average_undefined() -> None:
    with_boxes = {"data": "a", "detection": {"endocv": {"AP": 0.6}}, "segmentation": None}
    without = {"data": "b", "detection": None, "segmentation": None}
    assert challenge_summary(with_boxes, [with_boxes, with_boxes])["final_dAvg"] == pytest.approx(0.6)
    assert challenge_summary(with_boxes, [with_boxes, without])["final_dAvg"] is None
    assert len(challenge_summary(with_boxes, [without, without])["sets"]) == 2  # of one name


def test_plots_are_drawn_of_what_there_is(cases: list[Case], tmp_path: Path) -> None:
    everything = {path.name for path in write_plots(cases, tmp_path)}
    assert everything == {"precision_recall.png", "reliability_boxes.png", "reliability_masks.png"}
    blind = [replace(case, detections=Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32)), mask=None)
             for case in cases]  # fmt: skip
    assert [path.name for path in write_plots(blind, tmp_path)] == ["precision_recall.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["precision_recall.png"]  # those of the earlier run are gone
    assert write_plots([replace(case, detections=None) for case in blind], tmp_path) == []


def test_mask_pixels_are_counted_within_the_field(cases: list[Case]) -> None:
    found = mask_reliability(cases)
    assert found is not None
    assert found.count.sum() == sum(case.field_of_view.width * case.field_of_view.height for case in cases)
    assert found.error is not None and found.error < 0.02
    assert mask_reliability([replace(cases[0], mask=None)]) is None


def test_the_curve_and_the_bars_are_on_the_picture(cases: list[Case], tmp_path: Path) -> None:
    curve = precision_recall([case.boxes for case in cases])
    assert curve is not None
    draw_precision_recall({"IoU 0.5": curve}, tmp_path / "pr.png", title="boxes")
    scores = np.linspace(0.05, 0.95, 10)
    draw_reliability(
        reliability(scores, scores > 0.5), tmp_path / "r.png", title="x", things="boxes", certainty="score"
    )
    for name in ("pr.png", "r.png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture is not None and min(picture.shape[:2]) > 500
        blue = (picture[..., 0].astype(int) - picture[..., 2]) > 60
        assert blue.sum() > 300


def test_a_detector_that_finds_nothing_has_intervals_at_0(cases: list[Case]) -> None:
    blind = evaluate([case.still for case in cases], BlindDetector(), None)
    assert detection_figures(blind, Resampling(20))["intervals"]["AP"] == [0, 0]
