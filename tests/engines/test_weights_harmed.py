"""Weights that pass their checksum and not their loader: one sentence, whatever the loader says."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from safetensors.torch import save_file

from realtime_polyp.engines import eager
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.openvino import open_int8
from realtime_polyp.engines.quantized import RANGES, read_ranges
from realtime_polyp.engines.weights import Weights, add_to_manifest, find_weights
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.segmenter import Segmenter, SegmenterConfig
from realtime_polyp.models.variants import SEGMENTERS

SIZE = (64, 96)
TOY = SegmenterConfig(backbone=LiteConfig(width=0.25, depth=0.3), size=SIZE, width=12, bases=3)


@pytest.fixture(scope="module")
def good() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Segmenter(TOY).state_dict()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: dict[str, torch.Tensor]) -> Path:
    monkeypatch.setitem(SEGMENTERS, "toy", TOY)
    save_file(good, tmp_path / "toy.safetensors")
    return tmp_path


def listed(folder: Path, **files: str) -> Weights:
    """The weights with the checksums of what the files hold now."""
    add_to_manifest("toy", "segmenter", SIZE, {kind.replace("_", "-"): name for kind, name in files.items()}, folder)
    return find_weights("toy", folder=folder)


def assert_one_sentence(error: pytest.ExceptionInfo[EngineError], name: str) -> None:
    assert name in str(error.value) and len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 600


Harm = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def _first(state: dict[str, torch.Tensor]) -> str:
    return next(name for name, values in state.items() if values.ndim == 4)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda state: {name: values for name, values in state.items() if name != _first(state)}, "Error"),
        (lambda state: {**state, _first(state): torch.zeros(1, 2, 3, 4)}, "Error"),
        (lambda state: {**state, "stranger": torch.zeros(1)}, "Error"),
        (
            lambda state: {**state, _first(state): state[_first(state)] * float("nan")},
            "holds values that are not finite",
        ),
        (
            lambda state: {**state, _first(state): state[_first(state)] + float("inf")},
            "holds values that are not finite",
        ),
        (lambda state: {}, "Error"),
    ],
)
def test_tensors_of_another_model_or_not_finite(
    folder: Path, good: dict[str, torch.Tensor], harm: Harm, said: str
) -> None:
    save_file(harm(good), folder / "toy.safetensors")
    with pytest.raises(EngineError, match=f"toy.safetensors is not of the segmenter toy .*{said}.*restore it") as error:
        eager.load_module(listed(folder, safetensors="toy.safetensors"))
    assert_one_sentence(error, "toy.safetensors")


def test_a_file_that_is_good_is_loaded(folder: Path, good: dict[str, torch.Tensor]) -> None:
    loaded = eager.load_module(listed(folder, safetensors="toy.safetensors")).state_dict()
    assert all(torch.equal(loaded[name], values) for name, values in good.items())


def test_bytes_that_no_loader_reads(folder: Path) -> None:
    whole = (folder / "toy.safetensors").read_bytes()
    chance = random.Random(0)
    cuts = [whole[: chance.randrange(len(whole))] for _ in range(10)] + [b"", whole[:8], b"\xff" * 64, whole + b"x"]
    cuts += [(1 << 62).to_bytes(8, "little") + whole[8:], (5).to_bytes(8, "little") + b"[[[[["]
    for data in cuts:
        (folder / "toy.safetensors").write_bytes(data)
        with pytest.raises(EngineError) as error:
            eager.load_module(listed(folder, safetensors="toy.safetensors"))
        assert_one_sentence(error, "toy.safetensors")


def test_weights_of_a_name_that_the_program_does_not_know(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = listed(folder, safetensors="toy.safetensors")
    monkeypatch.delitem(SEGMENTERS, "toy")
    with pytest.raises(EngineError, match="this program knows no segmenter of that name"):
        eager.load_module(weights)


def write_graph(folder: Path, *, side: int = SIZE[1], outputs: int = 1, weight: float = 0.5) -> Weights:
    """A graph that stands for the INT8 model: the mean of the colours times a weight."""
    pixels = opset13.parameter([1, SIZE[0], side, 3], ov.Type.u8)
    factors = np.full((1, SIZE[0], 1, 3), weight, np.float32)
    product = opset13.multiply(opset13.convert(pixels, "f32"), opset13.constant(factors))
    mean = opset13.reduce_mean(product, opset13.constant(np.array([3], np.int64)))
    ov.save_model(ov.Model([mean] * outputs, [pixels]), folder / "toy.int8.xml", compress_to_fp16=False)
    return listed_graph(folder)


def listed_graph(folder: Path) -> Weights:
    return listed(folder, safetensors="toy.safetensors", int8_xml="toy.int8.xml", int8_bin="toy.int8.bin")


def test_a_graph_is_of_the_model_and_finite(folder: Path) -> None:
    engine = open_int8(write_graph(folder), "cpu", "latency")
    assert np.allclose(engine(np.full((1, 3, *SIZE), 100, np.uint8)), 50)
    for changes, said in (
        ({"side": 32}, "its input is not 1 x 64 x 96 x 3 in 8 bits"),
        ({"outputs": 2}, "it has 2 outputs, not 1"),
        ({"weight": float("nan")}, "are not finite"),
        ({"weight": float("inf")}, "are not finite"),
    ):
        with pytest.raises(EngineError, match=f"toy.int8.xml is not of the segmenter toy .*{said}") as error:
            open_int8(write_graph(folder, **changes), "cpu", "latency")
        assert_one_sentence(error, "toy.int8.xml")


@pytest.mark.parametrize("name", ["toy.int8.xml", "toy.int8.bin"])
def test_a_graph_that_is_cut_short(folder: Path, name: str) -> None:
    write_graph(folder)
    whole = (folder / name).read_bytes()
    for length in (0, 1, len(whole) // 3, len(whole) - len(whole) // 8):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(EngineError) as error:
            open_int8(listed_graph(folder), "cpu", "latency")
        assert_one_sentence(error, "toy.int8.xml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "is not a file of activation ranges of format 1; its format is 2"),
        ({"largest": {"a": 0.0}}, "expected `float` >= 1e-06"),
        ({"largest": {"a": "1"}}, "expected `float`, got `str`"),
        ({"largest": {"a": 1e300}}, "expected `float` <= 65504.0"),
        ({"largest": [1.0]}, "at `largest`: expected `object`, got `array`"),
        ({"weights": None}, "at `weights`: expected `str`, got `null`"),
        ({"weights": "of another"}, "were measured on other weights"),
    ],
)
def test_ranges_that_cannot_be(folder: Path, changes: dict[str, object], said: str) -> None:
    sums = listed(folder, safetensors="toy.safetensors").checksums
    content = {"format": 1, "weights": sums["toy.safetensors"], "frames": 3, "largest": {"a": 1.0}}
    (folder / "toy.ranges.json").write_text(json.dumps(content))
    assert read_ranges(listed(folder, **{RANGES: "toy.ranges.json"})) == {"a": 1.0}
    (folder / "toy.ranges.json").write_text(json.dumps({**content, **changes}))
    with pytest.raises(EngineError, match=said):
        read_ranges(listed(folder, **{RANGES: "toy.ranges.json"}))
