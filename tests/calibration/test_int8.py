"""INT8: choice of calibration frames, sensitivity of layers, and the files written."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from stills import write_stills
from torch import nn
from toys import narrow

from calibration import int8
from calibration.quantisation import card
from calibration.quantisation.frames import Light, choose_stills, equal_shares, format_table, measure_light
from calibration.quantisation.layers import body, float_names, module_of
from calibration.quantisation.sensitivity import (
    Choice,
    Layer,
    box_error,
    choose_float_layers,
    find_quantised_layers,
    float_weights,
    mask_error,
    quantise_only,
    run_model,
)
from realtime_polyp.engines.openvino import convert, open_int8
from realtime_polyp.engines.vector_units import saturating_layers
from realtime_polyp.engines.weights import add_to_manifest, find_weights
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS
from trainers.data.stills import Still, read_stills

SIZE = (64, 96)


def still(number: int, centre: str) -> Still:
    return Still(number, Path(f"{number}.png"), Path(), 10, 10, centre, np.zeros((0, 4), np.float32))


def scattered(count: int, seed: int = 0) -> list[Light]:
    rng = np.random.default_rng(seed)
    return [Light(*rng.uniform([10, 5, 0.3], [240, 90, 0.6])) for _ in range(count)]


# --- frames


def test_choice_has_equal_shares_and_brightness_extremes_per_centre() -> None:
    stills = [still(i, "large" if i < 150 else "middle" if i < 190 else "small") for i in range(200)]
    lights = scattered(200)
    chosen = choose_stills(stills, lights, 60)
    assert len(set(chosen)) == len(chosen) == 60 and chosen == sorted(chosen)
    assert Counter(stills[i].centre for i in chosen) == {"large": 25, "middle": 25, "small": 10}
    for name in ("large", "middle", "small"):
        every = [lights[i].brightness for i in range(200) if stills[i].centre == name]
        few = [lights[i].brightness for i in chosen if stills[i].centre == name]
        assert (min(few), max(few)) == (min(every), max(every))


def test_choice_covers_brightness_and_contrast() -> None:
    stills, lights = [still(i, "one") for i in range(500)], scattered(500)
    fifths = np.quantile([light.brightness for light in lights], [0, 0.2, 0.4, 0.6, 0.8, 1])
    chosen = [lights[i] for i in choose_stills(stills, lights, 50)]
    counts, _ = np.histogram([light.brightness for light in chosen], fifths)
    assert counts.min() >= 9
    contrasts = np.quantile([light.contrast for light in lights], [0.05, 0.95])
    assert min(one.contrast for one in chosen) < contrasts[0] and max(one.contrast for one in chosen) > contrasts[1]


def test_choice_is_deterministic_and_complete_for_few_stills() -> None:
    stills, lights = [still(i, "one") for i in range(40)], scattered(40)
    assert choose_stills(stills, lights, 17) == choose_stills(stills, lights, 17)
    assert choose_stills(stills, lights, 100) == list(range(40))
    assert len(choose_stills(stills, lights, 1)) == 1


def test_choice_without_stills_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training stills"):
        choose_stills([], [], 10)
    with pytest.raises(ValueError, match="0 stills are too few to measure on"):
        choose_stills([still(0, "one")], scattered(1), 0)


def test_held_out_stills_are_others_than_the_chosen_ones() -> None:
    stills, lights = [still(i, "one") for i in range(10)], scattered(10)
    assert int8.choose_held_out(stills, lights, [0, 1, 2, 4, 5, 6, 8], 48) == [3, 7, 9]
    with pytest.raises(ValueError, match="no training stills are left to measure sensitivity on: lower --frames"):
        int8.choose_held_out(stills, lights, list(range(10)), 48)


def test_the_card_s_command_names_what_the_engine_depends_on() -> None:
    parsed = int8.command_line().parse_args
    assert int8.command_of(parsed(["--model", "toy"])) == "python -m calibration.int8 --model toy --frames 300"
    command = "python -m calibration.int8 --model toy --frames 9 --held-out 8 --keep stem"
    assert int8.command_of(parsed(["--model", "toy", "--frames", "9", "--held-out", "8", "--keep", "stem"])) == command


@pytest.mark.parametrize(
    ("sizes", "count", "shares"),
    [([100, 100], 10, [5, 5]), ([2, 100], 10, [2, 8]), ([3, 4], 99, [3, 4]), ([5], 0, [0])],
)
def test_equal_shares(sizes: list[int], count: int, shares: list[int]) -> None:
    assert equal_shares(sizes, count) == shares


def test_lighting_is_measured_inside_the_field_of_view(tmp_path: Path) -> None:
    root = write_stills(tmp_path)
    light = measure_light(read_stills(root / "train.json", root)[0])
    assert 80 < light.brightness < 160 and light.redness > 1 / 3


def test_table_has_a_row_per_centre() -> None:
    stills, lights = [still(i, "ab"[i % 2]) for i in range(8)], scattered(8)
    rows = format_table(stills, lights, choose_stills(stills, lights, 4)).splitlines()[2:]
    assert [row.split("|")[1:3] for row in rows] == [[" a ", " 2 of 4 "], [" b ", " 2 of 4 "]]


# --- layers and sensitivity


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    return [np.random.default_rng(i).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8) for i in range(4)]


def settled(module: nn.Module, frames: list[NDArray[np.uint8]]) -> nn.Module:
    """Batch norms know these frames, so that features are as large as a trained model's."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        module.train()(torch.from_numpy(np.concatenate(frames).transpose(0, 3, 1, 2)).float())
    return module.eval()


@pytest.fixture(scope="module")
def detector(frames: list[NDArray[np.uint8]]) -> nn.Module:
    torch.manual_seed(0)
    return settled(Detector(replace(narrow(DETECTORS["gflv2-lite0"]), size=SIZE)), frames)


@pytest.fixture(scope="module")
def segmenter(frames: list[NDArray[np.uint8]]) -> nn.Module:
    torch.manual_seed(0)
    return settled(Segmenter(replace(narrow(SEGMENTERS["lowrank-lite2"]), size=SIZE)), frames)


class Tiny(nn.Module):
    """A segmenter of four convolutions, named as the real ones are: pixels (N, 3, h, w) -> (N, h/4, w/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.fusion = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, 2, 1, groups=8), nn.ReLU6(), nn.Conv2d(8, 8, 1)
        )
        self.project = nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU6())
        self.head = nn.Conv2d(12, 1, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.project(self.fusion(pixels / 64 - 2)))[:, 0].sigmoid()


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    torch.manual_seed(0)
    module = Tiny().eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # answers that differ from place to place
            nn.init.zeros_(layer.bias)
    return module


@pytest.fixture(scope="module")
def graphs(tiny: nn.Module, frames: list[NDArray[np.uint8]]) -> tuple[ov.Model, ov.Model]:
    graph = convert(tiny, SIZE)
    return graph, int8.quantize(graph, frames, [], correct_biases=False)


def test_body_excludes_output_layers(detector: nn.Module, segmenter: nn.Module) -> None:
    boxes, masks = convert(detector, SIZE), convert(segmenter, SIZE)
    modules = {module_of(node) for node in body(boxes)}
    assert any(".backbone.stem" in name for name in modules) and any("reg_tower" in name for name in modules)
    assert not any(name.endswith((".head.cls", ".head.reg")) for name in modules)
    for graph in (boxes, masks):
        exact = set(float_names(graph))
        assert exact.isdisjoint(node.get_friendly_name() for node in body(graph))
        kinds = {node.get_type_name() for node in graph.get_ops() if node.get_friendly_name() in exact}
        assert {"Softmax", "ReduceSum"} <= kinds


def test_operations_after_the_body_are_not_quantised(detector: nn.Module, frames: list[NDArray[np.uint8]]) -> None:
    graph = convert(detector, SIZE)
    rounded = find_quantised_layers(int8.quantize(graph, frames, [], correct_biases=False))
    names = {name for _, name, _ in rounded}
    assert {node.get_friendly_name() for node in body(graph)} <= names
    assert names.isdisjoint(float_names(graph))


def test_quantising_no_layer_is_float_and_all_layers_is_int8(
    graphs: tuple[ov.Model, ov.Model], frames: list[NDArray[np.uint8]]
) -> None:
    graph, rounded = graphs
    weights = float_weights(graph)
    names = frozenset(name for _, name, _ in find_quantised_layers(rounded))
    output = {
        "float": mask_error(run_model(graph, frames), run_model(quantise_only(rounded, weights, frozenset()), frames)),
        "int8": mask_error(run_model(rounded, frames), run_model(quantise_only(rounded, weights, names), frames)),
        "apart": mask_error(run_model(graph, frames), run_model(rounded, frames)),
    }
    assert output["float"] < 1e-5 and output["int8"] < 1e-5 < 1e-4 < output["apart"], output


def test_fewest_float_layers_that_reach_the_bound(
    graphs: tuple[ov.Model, ov.Model], frames: list[NDArray[np.uint8]]
) -> None:
    graph, rounded = graphs
    loose = choose_float_layers(rounded, float_weights(graph), frames, "segmenter", 1.0)
    assert not loose.kept and len(loose.errors) == 1
    bound = loose.errors[0] / 2
    tight = choose_float_layers(rounded, float_weights(graph), frames, "segmenter", bound)
    assert tight.errors[-1] <= bound < tight.errors[-2] and tight.kept == tight.layers[: len(tight.kept)]
    assert [layer.error_per_element for layer in tight.layers] == sorted(
        (layer.error_per_element for layer in tight.layers), reverse=True
    )


def test_named_layers_are_kept_whatever_the_bound(
    graphs: tuple[ov.Model, ov.Model], frames: list[NDArray[np.uint8]]
) -> None:
    graph, _ = graphs
    first = module_of(body(graph)[0])
    named = int8.find_sensitive_layers(graph, frames, frames, "segmenter", 1.0, [first])
    assert [layer.module for layer in named.kept] == [first] == [layer.module for layer in named.layers]
    assert len(named.errors) == 2 and named.errors[1] < named.errors[0]
    with pytest.raises(ValueError, match="--keep stem is not a convolution of the model, such as "):
        int8.find_sensitive_layers(graph, frames, frames, "segmenter", 1.0, ["stem"])


def test_weights_have_seven_bits(graphs: tuple[ov.Model, ov.Model], tmp_path: Path) -> None:
    ov.save_model(graphs[1], tmp_path / "toy.xml")  # stores the weights as bytes
    saved = ov.Core().read_model(tmp_path / "toy.xml")
    stored = [
        node.data for node in saved.get_ops() if node.get_type_name() == "Constant" and node.data.dtype == np.int8
    ]
    assert stored and not list(saturating_layers(saved))
    assert max(np.abs(one.astype(int)).max() for one in stored) > 32  # the range is used


def test_kept_layer_is_not_quantised(graphs: tuple[ov.Model, ov.Model], frames: list[NDArray[np.uint8]]) -> None:
    graph, rounded = graphs
    first = body(graph)[0].get_friendly_name()
    kept = int8.quantize(graph, frames, [first])
    assert first not in {name for _, name, _ in find_quantised_layers(kept)}
    assert first in {name for _, name, _ in find_quantised_layers(rounded)}


def boxes_and_scores(*boxes: tuple[float, float, float, float]) -> list[NDArray[np.float32]]:
    return [np.float32([boxes]), np.full((1, len(boxes)), 0.9, np.float32)]


def test_box_error_is_one_minus_iou() -> None:
    one = boxes_and_scores((0, 0, 10, 10))
    assert box_error([one], [one]) == pytest.approx(0, abs=1e-6)
    assert box_error([one], [boxes_and_scores((0, 0, 10, 8))]) == pytest.approx(0.2)
    assert box_error([one], [boxes_and_scores((50, 50, 60, 60))]) == 1  # gone
    assert box_error([[one[0], one[1] * 0]], [one]) == 0  # nothing to follow


# --- the card and the command


def choice(*kept: str) -> Choice:
    layers = tuple(Layer(name, f"backbone.{name}", "Convolution", 0.01 * (i + 1), 1000) for i, name in enumerate("abc"))
    return Choice(layers, tuple(layer for layer in layers if layer.name in kept), (0.04, 0.02)[: 1 + len(kept)])


def test_section_lists_float_layers_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "toy.md"
    path.write_text("# toy\n\n## Training\nSome.\n\n## Figures\nMany.\n")
    card.write_section(path, card.section(choice(), 0.05, "| frames |", "first command"))
    card.write_section(path, card.section(choice("b"), 0.01, "| frames |", "second command"))
    text = path.read_text()
    assert "first command" not in text and text.count(card.TITLE) == 1
    assert "| backbone.b | Convolution | 0.0200 | 0.00 M | float32 |" in text and "bound 0.01, not reached" in text
    assert text.index("Some.") < text.index("second command") < text.index("## Figures\nMany.")
    card.write_section(tmp_path / "none.md", "## INT8\n")
    assert not (tmp_path / "none.md").exists()


@pytest.fixture
def folder(tmp_path: Path, tiny: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny weights, as installed ones lie."""
    monkeypatch.setattr(int8, "load_module", lambda weights: tiny)
    save_file(tiny.state_dict(), tmp_path / "toy.safetensors")
    add_to_manifest("toy", "segmenter", SIZE, {"safetensors": "toy.safetensors"}, tmp_path)
    (tmp_path / "toy.md").write_text("# toy\n")
    return tmp_path


def test_command_writes_engine_and_section(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tiny: nn.Module
) -> None:
    data = write_stills(tmp_path_factory.mktemp("data"))
    words = ["--model", "toy", "--data", str(data), "--frames", "4", "--held-out", "2", "--folder", str(folder)]
    int8.main([*words, "--bound", "0.0001"])
    engine = open_int8(find_weights("toy", "segmenter", folder), "cpu", "latency")
    still = read_stills(data / "val.json", data)[0]
    pixels = int8.pixels_of(still, SIZE).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        wanted = tiny(torch.from_numpy(pixels.copy()).float()).numpy()
    assert np.abs(engine(pixels) - wanted).mean() < 0.02
    text = (folder / "toy.md").read_text()
    assert "python -m calibration.int8 --model toy --frames 4 --bound 0.0001" in text and "| C0 | 2 of 4 |" in text
    assert not list(folder.glob(".*writing*"))


def test_unknown_model_is_a_usage_error(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        int8.main(["--model", "none", "--folder", str(folder)])
    assert end.value.code == 2 and "unknown model 'none': choose from toy" in capsys.readouterr().err


def test_unseen_centre_is_rejected(tmp_path: Path) -> None:
    data = write_stills(tmp_path)
    path = data / "train.json"
    path.write_text(path.read_text().replace('"C1"', f'"{int8.UNSEEN}"'))
    with pytest.raises(ValueError, match="unseen test centre"):
        int8.training_stills(data)
