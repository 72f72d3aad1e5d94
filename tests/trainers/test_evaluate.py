"""Evaluation from files to figures on a made-up data set: green blobs on pink, found by engines that look for green."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from green import (
    HEIGHT,
    WIDTH,
    AlarmDetector,
    AlarmSegmenter,
    BlindDetector,
    BlindSegmenter,
    EagerGreenDetector,
    GreenDetector,
    GreenSegmenter,
    write_empty_frames,
    write_green_data,
)

import trainers.evaluate as command
from realtime_polyp.packets import Detections
from trainers.data.stills import Still, read_stills
from trainers.evaluate import main
from trainers.evaluation.figures import build_report, compute_figures, generalisation
from trainers.evaluation.gallery import false_alarms, misses, sheets_of
from trainers.evaluation.predict import Case, evaluate
from trainers.evaluation.report_file import read_report_file
from trainers.evaluation.results import origin_of_run, round_figure, write_result
from trainers.evaluation.tables import format_report
from trainers.table import read_result
from trainers.training.run_folder import write_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_green_data(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def stills(root: Path) -> list[Still]:
    return read_stills(root / "data.json", root)


@pytest.fixture(scope="module")
def cases(stills: list[Still]) -> list[Case]:
    return evaluate(stills, GreenDetector(), GreenSegmenter())


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command opens the fakes, whatever names it is given."""
    monkeypatch.setattr(command, "open_detector", lambda model, engine: GreenDetector())
    monkeypatch.setattr(command, "open_segmenter", lambda model, engine: GreenSegmenter())


def report(cases: list[Case]) -> dict[str, Any]:
    return build_report(cases, GreenDetector(), GreenSegmenter(), data="data.json")


def test_models_that_see_the_truth_score_nearly_1(cases: list[Case]) -> None:
    figures = compute_figures(cases)
    assert (figures["images"], figures["detection"]["true_boxes"]) == (4, 4)
    assert figures["detection"]["AP75"] == pytest.approx(1)
    assert figures["segmentation"]["dice"] > 0.96
    assert figures["segmentation"]["pooled"]["dice"] > 0.96
    assert 0 < figures["segmentation"]["hd95_px"] < 4
    assert figures["segmentation"]["boundary_images"] == 3


def test_the_field_is_cut_out_as_live(cases: list[Case]) -> None:
    assert all(case.field_of_view.x1 > 0 and case.field_of_view.x2 < WIDTH for case in cases)


def test_sizes_are_counted_on_the_grid_that_the_report_names(cases: list[Case]) -> None:
    detection = report(cases)["detection"]
    assert detection["AP_m"] is not None and detection["AP_l"] is None  # about 60 x 50 stored px
    assert detection["endocv"]["AP_medium"] is not None  # about 120 x 100 original px
    assert (detection["endocv"]["AP_small"], detection["endocv"]["score_d"]) == (None, None)
    assert "stored" in report(cases)["size_grids"]["AP_s AP_m AP_l"]
    assert "original" in report(cases)["size_grids"]["endocv"]


def test_each_centre_is_reported(cases: list[Case]) -> None:
    centres = report(cases)["per_centre"]
    assert {name: one["images"] for name, one in centres.items()} == {"north": 2, "south": 2}
    assert centres["north"]["detection"]["true_boxes"] == 3
    assert centres["south"]["segmentation"]["boundary_images"] == 1


def test_models_that_see_nothing_score_0_but_are_right_where_there_is_nothing(stills: list[Still]) -> None:
    figures = compute_figures(evaluate(stills, BlindDetector(), BlindSegmenter()))
    assert figures["detection"]["AP"] == 0
    assert figures["segmentation"]["dice"] == 0.25  # the one image without a polyp
    assert figures["segmentation"]["hd95_px"] is None
    assert figures["segmentation"]["specificity"] == 1


def test_a_model_that_did_not_run_has_no_figures(stills: list[Still]) -> None:
    cases = evaluate(stills, None, GreenSegmenter())
    assert compute_figures(cases)["detection"] is None
    assert "Detection" not in format_report(build_report(cases, None, GreenSegmenter(), data="x"))
    assert compute_figures(evaluate(stills, GreenDetector(), None))["segmentation"] is None
    with pytest.raises(ValueError, match=r"1\.jpg"):
        _ = cases[0].boxes


def test_the_report_is_plain_json(cases: list[Case]) -> None:
    text = json.dumps(report(cases), allow_nan=False)
    assert json.loads(text)["models"] == {"detector": "green-boxes", "segmenter": "green-mask"}
    assert json.loads(text)["engine"] == "fake"


def test_tables_are_aligned_and_show_a_dash_for_no_value(cases: list[Case]) -> None:
    detection, endocv, segmentation = format_report(report(cases)).strip().split("\n\n")[1:4]
    for block in (detection, endocv, segmentation):
        _, *rows = block.split("\n")
        assert len({len(row) for row in rows}) == 1
    assert detection.split("\n")[2].split()[:2] == ["all", "4"]
    assert "-" in endocv.split("\n")[2].split()
    assert "nan" not in format_report(report(cases)).lower()


def test_the_command_writes_figures_and_pictures(
    root: Path, tmp_path: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out, gallery = tmp_path / "deep" / "figures.json", tmp_path / "gallery"
    main([*_data(root), "--segmenter", "mask", "--json", str(out), "--gallery", str(gallery), "--limit", "3"])
    assert (json.loads(out.read_text())["images"], json.loads(out.read_text())["set_images"]) == (3, 4)
    best = cv2.imread(str(gallery / "dice_best.jpg"))
    assert best is not None and best.shape[1] > 1000 and best.std() > 10
    assert not (gallery / "misses.jpg").exists()  # nothing was missed
    printed = capsys.readouterr().out
    assert "AP50" in printed and "north" in printed and "data.json, 3 of 4 images" in printed
    assert "mIoU_p" in printed and "mIoU_p+b = (IoU_p + IoU_b) / 2" in printed
    assert "licence" in printed


def test_a_result_of_a_part_of_the_set_is_a_row_that_says_so(root: Path, tmp_path: Path, engines: None) -> None:
    out = tmp_path / "row.json"
    main([*_data(root), "--detector", "gflv2-lite0", "--segmenter", "none", "--limit", "3", "--result", str(out)])
    row = read_result(out)
    assert (row.config, row.set, row.images, row.set_images) == ("gflv2-lite0", "data", 3, 4)
    assert row.is_partial and row.figures["AP75"] == pytest.approx(1)


def test_a_result_of_a_run_names_the_backbone_that_it_was_trained_on(cases: list[Case], tmp_path: Path) -> None:
    """Else `trainers.table` shows a row on a small backbone as the paper's own."""
    recipe: dict[str, Any] = {"config": "gflv2-r50", "task": "detector", "size": [64, 96], "init": "random"}
    recipe |= {"differs": {}, "loop": {}}
    backbones: list[dict[str, str]] = [{"backbone": "lite0"}, {}]
    found = []
    for given in backbones:
        write_recipe({**recipe, **given}, tmp_path)
        path = write_result(tmp_path / "row.json", report(cases), origin_of_run(tmp_path, "a command"))
        found.append(read_result(path).backbone)
    assert found == ["lite0", "paper"]


def test_a_result_file_holds_more_decimals_than_a_table_prints() -> None:
    """0.56846 is 56.8 %; after a rounding to 0.5685 it may be printed as 56.9 %."""
    assert round_figure(0.56846) == 0.56846 and round_figure(None) is None


def test_the_deviation_from_a_mixed_set_is_told(
    root: Path, tmp_path: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = tmp_path / "mixed.json"
    main([*_data(root), "--segmenter", "mask", "--json", str(mixed)])
    main([*_data(root), "--segmenter", "mask", "--mixed", str(mixed)])
    said = "Deviation from data.json, as the challenge defines it (0 within a tenth, asymmetric): "
    assert said + "detection (dev_g) -, segmentation 0.000" in capsys.readouterr().out  # dev_g lacks small and large


def test_final_average_and_deviation_from_two_written_reports(
    root: Path, tmp_path: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    for path, more in zip(paths, ([], ["--limit", "1"]), strict=True):
        main([*_data(root), "--segmenter", "mask", "--json", path, *more])
        content = json.loads(Path(path).read_text())
        content["data"], content["detection"]["endocv"]["AP"] = Path(path).name, 0.5
        Path(path).write_text(json.dumps(content))
    out = tmp_path / "mixed.json"
    main([*_data(root), "--segmenter", "mask", "--generalisation", *paths, "--json", str(out)])
    report = json.loads(out.read_text())
    expected = (report["detection"]["endocv"]["AP"] + 0.5 + 0.5) / 3
    assert report["challenge"]["final_dAvg"] == pytest.approx(expected)
    printed = capsys.readouterr().out
    assert f"final_dAvg, mean AP of this set with a.json and b.json: {100 * expected:.1f} %" in printed
    assert "Deviation of b.json, as the challenge defines it: detection (dev_g) -" in printed


def test_intervals_are_printed_and_written_with_how_they_were_made(
    root: Path, tmp_path: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    main([*_data(root), "--segmenter", "mask", "--bootstrap", "30", "--json", str(out)])
    report = json.loads(out.read_text())
    assert report["bootstrap"] == {"samples": 30, "level": 0.95, "seed": 0, "drawn": "images"}
    for figures in (report["detection"], report["detection"]["endocv"], report["segmentation"]):
        for name, interval in figures["intervals"].items():
            assert interval is None or 0 <= interval[0] <= interval[1]
            assert (interval is None) == (figures[name] is None), name
    low, high = report["segmentation"]["intervals"]["dice"]
    assert low < report["segmentation"]["dice"] < high
    printed = capsys.readouterr().out
    assert "95 % interval, percentiles of 30 draws of images" in printed
    assert f"[{100 * low:.1f} {100 * high:.1f}]" in printed
    for block in printed.strip().split("\n\n")[1:4]:
        assert len({len(row) for row in block.split("\n")[1:]}) == 1


def test_a_multi_scale_test_opens_eager_engines_and_says_so(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    monkeypatch.setattr(command, "open_detector", lambda model, engine: asked.append(engine) or EagerGreenDetector())
    out = tmp_path / "figures.json"
    main([*_data(root), "--segmenter", "none", "--multi-scale", "--json", str(out)])
    assert asked == ["eager"]
    assert json.loads(out.read_text())["multi_scale"] == {"scales": [0.75, 1.0, 1.25], "mirrored": True}
    assert "each image at 0.75, 1, 1.25 of the model's size, and flipped" in capsys.readouterr().out


def test_the_command_draws_plots(root: Path, tmp_path: Path, engines: None) -> None:
    main([*_data(root), "--segmenter", "mask", "--plots", str(tmp_path)])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"precision_recall.png", "reliability_boxes.png", "reliability_masks.png"}


def test_deviation_of_reports() -> None:
    segmentation = {"dice": 0.5, "sensitivity": 0.5, "precision": 0.5, "hausdorff_normalised": 0.5}
    endocv = dict.fromkeys(("AP", "AP_small", "AP_medium", "AP_large"), 0.5)
    mixed = {"data": "mixed", "detection": {"endocv": endocv}, "segmentation": segmentation}
    other = {"detection": {"endocv": {**endocv, "AP_small": 0.25}}, "segmentation": {**segmentation, "dice": 0.7}}
    found = generalisation(other, mixed)
    assert (found["dev_g"], found["segmentation_deviation"]) == pytest.approx((0.2 / 4, 0.25 / 4))
    nothing = generalisation({"detection": None, "segmentation": None}, mixed)
    assert (nothing["dev_g"], nothing["segmentation_deviation"]) == (None, None)


def _data(root: Path) -> list[str]:
    return ["--data", str(root / "data.json"), "--root", str(root)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "nowhere.json"], "no such data file: nowhere.json"),
        (["--data", "{root}/text.json"], "not a COCO file"),
        (["--data", "{root}/list.json"], "not a COCO file"),
        (["--data", "{root}/lacking.json"], "`annotations[0]`: `bbox` is missing"),
        (["--data", "{root}/empty.json"], "has no images"),
        (["--root", "{root}/elsewhere"], "no such image"),
        (["--data", "{root}/maskless.json"], "no such mask"),
        (["--data", "{root}/mismatch.json"], "sizes must agree"),
        (["--mixed", "nowhere.json"], "nowhere.json"),
        (
            ["--mixed", "{root}/data.json"],
            "is not a report of figures as trainers.evaluate --json writes it: `data` is missing",
        ),
        (["--generalisation", "nowhere.json", "nowhere.json"], "nowhere.json"),
        (["--limit", "0"], "--limit is 0"),
        (["--size", "320", "384"], "--size needs --run"),
        (["--size", "320", "390", "--run", "runs/joint"], "--size 320 390: multiples of 32 from 64 on are allowed"),
        (["--bootstrap", "-5"], "--bootstrap is -5"),
        (["--multi-scale", "--engine", "openvino-int8"], "openvino-int8 is compiled for one input size"),
        (["--score-threshold", "30"], "--score-threshold is 30.0"),
        (["--detector", "none", "--segmenter", "none"], "nothing to evaluate"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    root: Path, engines: None, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    _write_bad_files(root)
    with pytest.raises(SystemExit) as exit_:
        main([*_data(root), "--segmenter", "mask", *(word.replace("{root}", str(root)) for word in more)])
    assert exit_.value.code == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("python -m trainers.evaluate: ") and said in last


def _write_bad_files(root: Path) -> None:
    first = json.loads((root / "data.json").read_text())["images"][0]
    cv2.imwrite(str(root / "narrow.png"), np.zeros((HEIGHT, WIDTH // 2), np.uint8))
    contents: dict[str, Any] = {
        "list": [1, 2],
        "lacking": {"images": [first], "annotations": [{"image_id": 1}]},
        "empty": {"images": [], "annotations": []},
        "maskless": {"images": [{**first, "mask_name": "no.png"}], "annotations": []},
        "mismatch": {"images": [{**first, "mask_name": "narrow.png"}], "annotations": []},
    }
    for name, content in contents.items():
        (root / f"{name}.json").write_text(json.dumps(content))
    (root / "text.json").write_text("not JSON")


def test_a_mask_is_not_needed_to_measure_a_detector(
    root: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_bad_files(root)
    main(["--data", str(root / "maskless.json"), "--root", str(root), "--segmenter", "none"])
    said = capsys.readouterr().out
    assert "Detection" in said and "Segmentation" not in said


# Frames without a polyp


@pytest.fixture
def with_empty_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data beside which negative.json lies, and models that raise false alarms in its blue frames."""
    monkeypatch.setattr(command, "open_detector", lambda model, engine: AlarmDetector())
    monkeypatch.setattr(command, "open_segmenter", lambda model, engine: AlarmSegmenter())
    write_empty_frames(write_green_data(tmp_path), ["seq04", "seq04", "seq06", "seq05"], blue=(1, 3))
    return tmp_path


def test_frames_without_a_polyp_beside_the_data_are_evaluated_too(
    with_empty_frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = with_empty_frames, with_empty_frames / "figures.json"
    main([*_data(root), "--segmenter", "mask", "--json", str(out)])
    report = json.loads(out.read_text())
    found = report["negatives"]
    assert (report["images"], found["data"], found["all"]["frames"]) == (4, "negative.json", 3)  # none that may train
    assert found["thresholds"] == {"score": 0.3, "mask": 0.5, "area": 0.001}
    assert [found["all"][name] for name in ("box_share", "mask_share", "area_share")] == [1 / 3] * 3
    assert [one["box_share"] for one in found["sequences"].values()] == [0.5, 0.0]
    lines = capsys.readouterr().out.split("\n")
    title = next(
        place for place, line in enumerate(lines) if line.startswith("Frames without a polyp of negative.json")
    )
    assert lines[title + 2].split() == ["all", "3", "33.3", "33.3", "33.3", "1"]


def test_the_figures_of_the_stills_do_not_depend_on_frames_without_a_polyp(with_empty_frames: Path) -> None:
    root, outs = with_empty_frames, [with_empty_frames / "with.json", with_empty_frames / "without.json"]
    main([*_data(root), "--segmenter", "mask", "--json", str(outs[0])])
    main([*_data(root), "--segmenter", "mask", "--json", str(outs[1]), "--negatives", "none"])
    with_them, without = (json.loads(out.read_text()) for out in outs)
    assert "negatives" not in without
    assert {name: value for name, value in with_them.items() if name != "negatives"} == without
    assert read_report_file(outs[0])["negatives"]["data"] == "negative.json"


def test_one_model_alone_has_its_own_figures_of_frames_without_a_polyp(with_empty_frames: Path) -> None:
    out = with_empty_frames / "figures.json"
    main([*_data(with_empty_frames), "--detector", "none", "--segmenter", "mask", "--json", str(out)])
    found = json.loads(out.read_text())["negatives"]["all"]
    assert (found["box_share"], found["longest_run"], found["mask_share"]) == (None, None, 1 / 3)


def test_frames_that_are_named_must_be_able_to_report(
    with_empty_frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_empty_frames(with_empty_frames, ["seq05"], name="training.json")
    for named, said in ((path, "has no frame that may report"), (Path("nowhere.json"), "no such data file")):
        with pytest.raises(SystemExit) as end:
            main([*_data(with_empty_frames), "--segmenter", "mask", "--negatives", str(named)])
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_an_unknown_model_is_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*_data(root), "--detector", "crystal-ball", "--segmenter", "none"])
    assert exit_.value.code == 2
    assert "crystal-ball" in capsys.readouterr().err


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "examples:\n  python -m trainers.evaluate" in capsys.readouterr().out


def case_of(still: Still, boxes: list[list[float]], scores: list[float]) -> Case:
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))
    return Case(still, None, found, None, None)  # type: ignore[arg-type]


def test_misses_come_least_noticed_first(stills: list[Still]) -> None:
    true = [still.boxes[0].tolist() for still in stills[:3]]
    seen = case_of(stills[0], [true[0]], [0.8])
    weak = case_of(stills[1], [true[1]], [0.2])
    unseen = case_of(stills[2], [[0, 0, 9, 9]], [0.9])
    tiles = misses([seen, weak, unseen])
    assert [tile.case for tile in tiles] == [unseen, unseen, weak]
    assert tiles[0].caption == "missed: no box on it"
    assert tiles[2].caption == "missed: best box 0.20"


def test_false_alarms_come_highest_score_first(stills: list[Still]) -> None:
    right = case_of(stills[0], [stills[0].boxes[0].tolist()], [0.9])
    beside = case_of(stills[0], [stills[0].boxes[0].tolist(), [200, 10, 230, 40]], [0.9, 0.4])
    empty = case_of(stills[3], [[10, 10, 50, 50]], [0.7])
    silent = case_of(stills[3], [], [])
    tiles = false_alarms([right, beside, empty, silent])
    assert [tile.caption for tile in tiles] == ["false alarm: score 0.70", "false alarm: score 0.40"]
    assert tiles[1].marked is not None and tiles[1].marked.tolist() == [200, 10, 230, 40]


def test_sheets_rank_by_dice_and_best_needs_a_polyp(cases: list[Case]) -> None:
    worst, best, *_ = sheets_of(cases)
    assert [tile.case for tile in worst.tiles] == [tile.case for tile in reversed(best.tiles)]
    assert all(len(tile.case.still.boxes) for tile in best.tiles)
    assert len(sheets_of(cases, most=2)[1].tiles) == 2
