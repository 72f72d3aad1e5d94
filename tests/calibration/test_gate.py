"""The accuracy gate: figures and limits, records, the reference cache, and which data it rejects."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from green import (
    AlarmDetector,
    AlarmSegmenter,
    BlindDetector,
    GreenDetector,
    GreenSegmenter,
    write_empty_frames,
    write_green_data,
)
from numpy.typing import NDArray

from calibration import gate
from calibration.accuracy import records as gate_records
from calibration.accuracy.figures import (
    NEGATIVES,
    OVERALL,
    Comparison,
    Limits,
    compare,
    failure_reasons,
    tolerated_losses,
)
from calibration.accuracy.reference_cache import CachedEngine
from realtime_polyp.engines import gate as acceptance
from trainers.data.stills import Still, read_stills
from trainers.evaluation.predict import evaluate


class Keyed:
    """A fake engine with the name and key that a record needs."""

    def __init__(self, engine: Any, name: str, key: str) -> None:
        self._engine, self.name, self.key, self.asked = engine, name, key, 0
        self.model, self.task, self.size, self.device = engine.model, engine.task, engine.size, "cpu"

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        self.asked += 1
        return self._engine(pixels)


class ShiftedDetector(GreenDetector):
    """Every box some model px to the right."""

    def __init__(self, shift_px: float) -> None:
        super().__init__()
        self.shift_px = shift_px

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = super().__call__(pixels)
        return boxes + np.float32([self.shift_px, 0, self.shift_px, 0]) * (scores > 0)[..., None], scores


class EmptySegmenter(GreenSegmenter):
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros_like(super().__call__(pixels))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_green_data(tmp_path_factory.mktemp("stills"))


@pytest.fixture
def stills(root: Path) -> list[Still]:
    return read_stills(root / "data.json", root)


def compared(stills: list[Still], reference: Any, engine: Any) -> dict[str, Comparison]:
    roles = [(one, None) if one.task == "detector" else (None, one) for one in (reference, engine)]
    return compare(*(evaluate(stills, *pair) for pair in roles), reference.task)


def test_identical_engine_is_accepted(stills: list[Still]) -> None:
    for engine in (GreenDetector, GreenSegmenter):
        found = compared(stills, engine(), engine())
        assert list(found) == [OVERALL, "north", "south"] and found[OVERALL].images == len(stills)
        assert failure_reasons(found) == ()
        assert all(one.reference == one.engine for one in found.values())


def test_blind_engine_fails_overall_and_per_centre(stills: list[Still]) -> None:
    found = compared(stills, GreenDetector(), BlindDetector())
    message = failure_reasons(found)
    assert {sentence.split(":")[0] for sentence in message} == {OVERALL, "north"}
    assert all("AP50 fell by" in sentence for sentence in message) and "0.005" in message[0]
    # In the south there is one polyp, and no figure of a centre is finer than that: tolerated.
    assert found["south"].polyps["AP50"] == 1
    assert tolerated_losses(found) == ("south: AP50 fell by 1.0000, above 0.005 but worth at most one of its 1 polyps",)
    assert found[OVERALL].agreement["lost"] == found[OVERALL].agreement["boxes"] == 4


def test_box_displacement_is_in_stored_px(stills: list[Still]) -> None:
    agreement = compared(stills, GreenDetector(), ShiftedDetector(2.0))[OVERALL].agreement
    # The green fields are 208 px wide and shown 160 px wide at most, so a model px is 1.3 stored px.
    assert agreement["shift_mean_px"] == pytest.approx(2.6, abs=0.1)
    assert agreement["shift_max_px"] == pytest.approx(2.6, abs=0.1)
    assert agreement["lost"] == agreement["new"] == 0


def test_displacement_above_limit_fails(stills: list[Still]) -> None:
    found = compared(stills, GreenDetector(), ShiftedDetector(2.0))
    assert any("moved by more than 2." in sentence for sentence in failure_reasons(found, Limits(ap50=1, shift_px=2.0)))
    assert not failure_reasons(found, Limits(ap50=1, ap_small=1, shift_px=3.0))


def test_lost_mask_fails_on_a_single_still(stills: list[Still]) -> None:
    found = compared(stills, GreenSegmenter(), EmptySegmenter())[OVERALL]
    assert found.engine["worst_dice"] == 0 and found.reference["worst_dice"] > 0.8  # type: ignore[operator]
    assert found.agreement["worst_loss"] > 0.8  # type: ignore[operator]
    assert any("Dice of one still fell by" in sentence for sentence in failure_reasons({OVERALL: found}))
    assert found.agreement["false_alarms"] == 0


def test_missing_figure_is_no_failure() -> None:
    nothing = Comparison(3, {"AP50": 0.9, "AP_s": None}, {"AP50": 0.9, "AP_s": None}, {"shift_p95_px": None})
    assert failure_reasons({OVERALL: nothing}) == ()


@pytest.mark.parametrize(("lost", "refused"), [(0.0049, False), (0.0051, True)])
def test_dice_limit_applies_per_centre(lost: float, refused: bool) -> None:
    same = Comparison(9, {"dice": 0.8}, {"dice": 0.8}, {"worst_loss": 0.0})
    worse = Comparison(9, {"dice": 0.8}, {"dice": 0.8 - lost}, {"worst_loss": 0.0})
    assert bool(failure_reasons({OVERALL: same, "south": worse})) is refused


def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Any, reference: Any) -> tuple[Keyed, Keyed]:
    """The command line's engines, and a cache of its own."""
    pair = Keyed(engine, "openvino-int8", "k1"), Keyed(reference, "eager", "k0")
    monkeypatch.setattr(gate, "open_pair", lambda model, name, device: pair)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pair


def command(root: Path, *more: str) -> list[str]:
    words = ["--model", "green", "--engine", "openvino-int8", "--data", str(root / "data.json"), "--root", str(root)]
    return [*words, *more]


def test_command_accepts_and_records(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, _ = opened(monkeypatch, tmp_path, GreenDetector(), GreenDetector())
    gate.main(command(root, "--json", str(tmp_path / "out.json")))
    record = acceptance.read_records(acceptance.cache_folder())["k1"]
    assert record.passed and record.data == "data.json, 4 images" and record.machine["device"] == "cpu"
    assert record.figures[OVERALL]["engine"]["AP50"] == 1.0 and record.figures["limits"]["ap50"] == 0.005
    assert acceptance.gate_problem(engine) is None  # type: ignore[arg-type]
    assert json.loads((tmp_path / "out.json").read_text())["key"] == "k1"
    assert capsys.readouterr().out.splitlines()[-2] == "accepted"


def test_command_refuses_with_exit_code_1_and_records_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, _ = opened(monkeypatch, tmp_path, BlindDetector(), GreenDetector())
    with pytest.raises(SystemExit) as end:
        gate.main(command(root))
    assert end.value.code == 1 and "refused: overall: AP50 fell by 1.0000" in capsys.readouterr().out
    assert "failed its gate" in str(acceptance.gate_problem(engine))  # type: ignore[arg-type]


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """Data beside which frames without a polyp lie: one of the four that report is blue."""
    groups = ["seq04", "seq04", "seq06", "seq08", "seq05"]
    write_empty_frames(write_green_data(tmp_path), groups, blue=(1, 4))
    return tmp_path


@pytest.mark.parametrize(
    ("engine", "reference", "said"),
    [
        (AlarmDetector, GreenDetector, "frames with a box rose from 0.0 to 25.0 %"),
        (AlarmSegmenter, GreenSegmenter, "frames with more than 0.1 % of the picture drawn rose from 0.0 to 25.0 %"),
    ],
)
def test_more_false_alarms_than_the_reference_are_refused(
    beside: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    engine: Any,
    reference: Any,
    said: str,
) -> None:
    """On the stills the two are equal."""
    opened(monkeypatch, beside, engine(), reference())
    with pytest.raises(SystemExit) as end:
        gate.main(command(beside))
    record = acceptance.read_records(acceptance.cache_folder())["k1"]
    assert end.value.code == 1 and len(record.reasons) == 1
    assert record.reasons[0] == f"negatives: {said}, a rise by 1 % of the frames is allowed"
    assert record.data == "data.json, 4 images; negative.json, 4 frames"
    assert f"refused: negatives: {said}" in capsys.readouterr().out


def test_as_many_false_alarms_as_the_reference_are_accepted_and_recorded(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for engine in (AlarmDetector, GreenDetector):  # the same, and fewer
        opened(monkeypatch, beside, engine(), AlarmDetector())
        gate.main(command(beside))
        figures = acceptance.read_records(acceptance.cache_folder())["k1"].figures
        assert figures["limits"]["negatives"] == 0.01 and figures["negatives"]["images"] == 4
        assert figures["negatives"]["reference"] == {"box_share": 0.25}
    printed = capsys.readouterr().out
    assert (
        "frames without a polyp, each alone" in printed and "25.0 -25.00" in printed and "not compared" not in printed
    )


def test_frames_without_a_polyp_can_be_left_out(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(monkeypatch, beside, AlarmDetector(), GreenDetector())
    gate.main(command(beside, "--negatives", "none"))
    record = acceptance.read_records(acceptance.cache_folder())["k1"]
    assert record.passed and record.data == "data.json, 4 images" and "negatives" not in record.figures
    assert "frames without a polyp were not compared" in capsys.readouterr().out


def test_a_speck_of_mask_is_recorded_but_refuses_nothing(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, beside, AlarmSegmenter(cells=1), GreenSegmenter())
    gate.main(command(beside))
    shares = acceptance.read_records(acceptance.cache_folder())["k1"].figures["negatives"]["engine"]
    assert shares == {"mask_share": 0.25, "area_share": 0.0}


@pytest.mark.parametrize(("more", "refused"), [(0.01, False), (0.0101, True), (-0.5, False)])
def test_the_allowance_of_false_alarms_is_one_percentage_point(more: float, refused: bool) -> None:
    for name in ("box_share", "area_share"):
        found = {NEGATIVES: Comparison(200, {name: 0.5}, {name: 0.5 + more}, {})}
        assert bool(failure_reasons(found)) is refused
    assert not failure_reasons({NEGATIVES: Comparison(200, {"mask_share": 0.0}, {"mask_share": 1.0}, {})})


def test_shipped_records_without_these_figures_are_still_valid() -> None:
    records = acceptance.read_records(acceptance.WEIGHTS_FOLDER)
    refused = {(one.model, one.engine) for one in records.values() if not one.passed}
    assert records and refused == {("gflv2-lite0", "openvino-int8-bf16")}  # kept, so that the reason is shown


def test_limit_writes_no_record(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, tmp_path, GreenSegmenter(), GreenSegmenter())
    gate.main(command(root, "--limit", "1"))
    assert acceptance.read_records(acceptance.cache_folder()) == {}


def test_ship_records_beside_the_weights(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(monkeypatch, tmp_path, GreenDetector(), GreenDetector())
    monkeypatch.setattr(gate, "WEIGHTS_FOLDER", tmp_path / "weights")
    gate.main(command(root, "--ship"))
    assert set(acceptance.read_records(tmp_path / "weights")) == {"k1"}


def test_rebuilt_engine_replaces_its_record(tmp_path: Path, stills: list[Still]) -> None:
    found = compared(stills, GreenDetector(), GreenDetector())
    for name, key in (("openvino", "a"), ("openvino-int8", "b"), ("openvino-int8", "c")):
        engine = Keyed(GreenDetector(), name, key)
        gate_records.write_record(gate_records.record_of(engine, found, "data"), tmp_path)  # type: ignore[arg-type]
    assert set(acceptance.read_records(tmp_path)) == {"a", "c"}


@pytest.mark.parametrize("has_format", [True, False])
def test_records_are_read_with_and_without_format_number(tmp_path: Path, stills: list[Still], has_format: bool) -> None:
    figures = compared(stills, GreenDetector(), GreenDetector())
    record = gate_records.record_of(Keyed(GreenDetector(), "openvino", "a"), figures, "data")  # type: ignore[arg-type]
    path = gate_records.write_record(record, tmp_path)
    content = json.loads(path.read_text())
    assert content["format"] == acceptance.FORMAT
    if not has_format:  # the first files were the records alone
        path.write_text(json.dumps(content["records"]))
    assert set(acceptance.read_records(tmp_path)) == {"a"}


def test_records_of_another_format_are_an_error(tmp_path: Path) -> None:
    (tmp_path / acceptance.RECORDS).write_text(json.dumps({"format": 99, "records": {}}))
    with pytest.raises(acceptance.EngineError, match="format is 99"):
        acceptance.read_records(tmp_path)


def test_reference_runs_once_per_image(root: Path, tmp_path: Path, stills: list[Still]) -> None:
    for task_engine in (GreenDetector(), GreenSegmenter()):
        first = Keyed(task_engine, "eager", "k0")
        remembered = CachedEngine(first, tmp_path)  # type: ignore[arg-type]
        before = compared(stills, remembered, task_engine)
        remembered.save()
        again = Keyed(task_engine, "eager", "k0")
        after = compared(stills, CachedEngine(again, tmp_path), task_engine)  # type: ignore[arg-type]
        assert (first.asked, again.asked) == (len(stills), 0) and before == after


def test_damaged_cache_file_is_ignored(tmp_path: Path) -> None:
    engine = Keyed(GreenSegmenter(), "eager", "k0")
    remembered = CachedEngine(engine, tmp_path)  # type: ignore[arg-type]
    remembered.path.write_bytes(b"PK not a file of arrays")
    again = CachedEngine(engine, tmp_path)  # type: ignore[arg-type]
    assert again(np.zeros((1, 3, 160, 192), np.uint8)).shape == (1, 40, 48) and engine.asked == 1


def refused(root: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        gate.main([*command(root), "--data", str(path)])
    assert end.value.code == 2
    return capsys.readouterr().err


def changed(root: Path, to: Path, **of_images: object) -> Path:
    content = json.loads((root / "data.json").read_text())
    content["images"] = [image | of_images for image in content["images"]]
    to.write_text(json.dumps(content))
    return to


def test_unseen_centre_is_rejected(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_name = changed(root, tmp_path / "unseen_C9.json")
    by_centre = changed(root, tmp_path / "other.json", centre=gate.UNSEEN)
    for path in (by_name, by_centre):
        assert "unseen test centre" in refused(root, path, capsys)


def test_training_images_are_rejected(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(root, tmp_path / "train.json")
    assert "shares 4 images" in refused(root, changed(root, tmp_path / "val.json"), capsys)


def test_empty_data_set_is_rejected(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.json").write_text(json.dumps({"images": [], "annotations": []}))
    assert "has no images" in refused(root, tmp_path / "none.json", capsys)


def test_unknown_model_and_reference_engine_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown model 'nothing': choose from .*gflv2-lite0"):
        gate.open_pair("nothing", "openvino", "cpu")
    with pytest.raises(ValueError, match="eager is the reference itself"):
        gate.open_pair("gflv2-lite0", "eager", "cpu")
