"""A joint model through the calibration commands: gate, score maps, INT8."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from green import BlindDetector, GreenDetector, GreenSegmenter, write_green_data
from numpy.typing import NDArray
from static_toys import SIZE, installed, pixels_of

from calibration import gate, int8, scores
from calibration.accuracy.figures import OVERALL, compare, failure_reasons
from calibration.accuracy.reference_cache import CachedEngine
from calibration.accuracy.table import table
from calibration.quantisation.layers import body, module_of
from calibration.quantisation.sensitivity import BOUNDS, box_error, joint_error, mask_error, run_model
from realtime_polyp.engines import gate as acceptance
from realtime_polyp.engines.base import BaseEngine
from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.halves import halves_of, roles_of
from realtime_polyp.engines.openvino import convert, open_int8
from realtime_polyp.engines.weights import Weights, find_weights
from realtime_polyp.postprocess.score_calibration import read_calibration
from trainers.data.stills import read_stills
from trainers.evaluation.predict import evaluate

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside OpenVINO's converter


class GreenBoth(BaseEngine):
    """A detector and a segmenter of what is green, in one."""

    model, task, device = "green-both", "joint", "cpu"

    def __init__(self, name: str = "eager", key: str = "k0", detector: type[GreenDetector] = GreenDetector) -> None:
        self.name, self.key = name, key
        self._halves: Any = detector(), GreenSegmenter()
        self.size = self._halves[0].size
        for half in self._halves:
            half.any_size = True
        self.asked = 0

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        self.asked += 1
        return (*self._halves[0](pixels), self._halves[1](pixels))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_green_data(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    with installed("toy-both", tmp_path_factory.mktemp("weights")) as found:
        yield found


def test_the_gate_compares_boxes_and_masks_in_one_record(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, reference = GreenBoth("openvino-int8", "k1"), GreenBoth()
    monkeypatch.setattr(gate, "open_pair", lambda model, name, device: (engine, reference))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = ["--model", "green", "--engine", "openvino-int8", "--data", str(root / "data.json"), "--root", str(root)]
    gate.main(words)
    record = acceptance.read_records(acceptance.cache_folder())["k1"]
    assert record.passed and {"AP50", "dice"} <= record.figures[OVERALL]["engine"].keys()
    assert engine.asked == reference.asked == 4  # once per still, for both halves
    printed = capsys.readouterr().out
    assert "AP50" in printed and "Dice" in printed and "boxes: of the reference" in printed and "worst loss" in printed
    assert all(acceptance.gate_problem(half) is None for half in halves_of(engine))
    gate.main(words)
    assert reference.asked == 4  # its outputs were cached


def test_a_loss_of_either_half_is_refused(root: Path) -> None:
    stills = read_stills(root / "data.json", root)
    cases = [evaluate(stills, *roles_of(engine)) for engine in (GreenBoth(), GreenBoth(detector=BlindDetector))]
    found = compare(*cases, "joint")
    assert any("AP50 fell by" in reason for reason in failure_reasons(found))
    assert found[OVERALL].agreement["lost"] == 4 and found[OVERALL].agreement["worst_loss"] == 0
    assert "AP50" in table(acceptance.GateRecord("k", "e", "m", ("r",), "d", {"x": 1}, {}, "2026"), found)


def test_a_cached_answer_is_the_whole_answer(tmp_path: Path) -> None:
    engine = GreenBoth()
    cached, pixels = CachedEngine(engine, tmp_path), pixels_of(1)
    first = cached(pixels)
    cached.save()
    again = CachedEngine(engine, tmp_path)(pixels)
    assert engine.asked == 1 and len(first) == len(again) == 3
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def test_both_halves_get_a_score_map_and_a_picture(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(of_many_patients(json.loads((root / "data.json").read_text()))))
    engine = GreenBoth()
    monkeypatch.setattr(scores, "open_engine", lambda model, task, name: engine)
    out, picture = tmp_path / "calibration.json", tmp_path / "fit.png"
    scores.main(["--model", "green-both", "--data", str(data), "--root", str(root), "--out", str(out),
                 "--picture", str(picture)])  # fmt: skip
    found, document = read_calibration(out), json.loads(out.read_text())
    assert found.detector and found.segmenter and found.detector.key == found.segmenter.key == "k0"
    assert document["detector"]["scores"]["boxes"] and document["segmenter"]["scores"]["cells"] == 12_000
    assert picture.is_file() and picture.with_stem("fit-mask").is_file()


def of_many_patients(content: dict[str, Any]) -> dict[str, Any]:
    """Each still three times, each of another patient; the third time its boxes are unknown, so that some are wrong."""
    images, boxes = [], []
    for copy in range(3):
        images += [{**one, "id": 100 * copy + one["id"], "group": f"{copy} {one['id']}"} for one in content["images"]]
        boxes += [{**one, "image_id": 100 * copy + one["image_id"]} for one in content["annotations"] if copy < 2]
    return {**content, "images": images, "annotations": [{**one, "id": place} for place, one in enumerate(boxes)]}


@pytest.fixture(scope="module")
def graph(weights: Weights) -> Any:
    return convert(load_module(weights), SIZE)


def test_its_error_is_the_worse_half_s_share_of_its_bound(graph: Any) -> None:
    frames = [pixels_of(1).transpose(0, 2, 3, 1)]
    reference = run_model(graph, frames)
    boxes, score, mask = reference[0]
    worse = [[boxes, score, np.clip(mask + 0.026, 0, 1)]]
    assert joint_error(reference, reference) == 0
    share = mask_error([[mask]], [[worse[0][2]]]) / BOUNDS["segmenter"]
    assert joint_error(reference, worse) == pytest.approx(share) and 1 < share <= 2.01
    moved = [[boxes + np.float32(3), score, mask]]
    assert joint_error(reference, moved) == pytest.approx(box_error(reference, moved) / BOUNDS["detector"])


def test_int8_is_one_graph_with_three_outputs(weights: Weights, graph: Any) -> None:
    parts = {module_of(node).removeprefix("detector.").partition(".")[0] for node in body(graph)}
    assert parts == {"backbone", "pyramid", "head", "mask"}
    assert not [node for node in body(graph) if "low_rank" in module_of(node) or "head.cls." in module_of(node)]
    frames = [np.ascontiguousarray(pixels_of(count).transpose(0, 2, 3, 1)[:1]) for count in (1, 2, 3)]
    int8.save(int8.quantize(graph, frames, [], correct_biases=False), weights)
    engine = open_int8(find_weights("toy-both", None, weights.folder), "cpu", "latency")
    boxes, score, mask = engine(pixels_of(2))
    assert engine.task == "joint" and boxes.shape == (2, score.shape[1], 4) and mask.shape == (2, 16, 24)
    with torch.inference_mode():
        wanted = load_module(weights)(torch.from_numpy(pixels_of(2)).float())[2].numpy()
    assert np.corrcoef(mask.ravel(), wanted.ravel())[0, 1] > 0.6  # a random network forgives less than a trained one
