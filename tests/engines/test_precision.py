"""Half precision and eight bits: what they round, and what they must not."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from static_toys import SIZE, TOYS, installed, pixels_of
from torch import nn
from toys import narrow

from calibration.ranges import save
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.deployable import at_precision, emulate_precision
from realtime_polyp.engines.eager import PRECISIONS, load_module
from realtime_polyp.engines.quantized import (
    RANGES,
    QuantizedConv2d,
    fake_quantize_int8,
    measure_ranges,
    quantizable,
    quantize,
    read_ranges,
)
from realtime_polyp.engines.weights import Weights, find_weights, sha256_of
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.variants import DETECTORS


@pytest.fixture(scope="module", params=TOYS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    with installed(request.param, tmp_path_factory.mktemp("weights")) as found:
        yield found


@pytest.mark.parametrize(("precision", "box_px", "probability"), [("float16", 0.5, 0.005), ("bfloat16", 4.0, 0.06)])
def test_half_precision_moves_answers_a_little(
    weights: Weights, precision: str, box_px: float, probability: float
) -> None:
    """Place by place, since rounding may change which candidates are the best."""
    dtype, pixels = PRECISIONS[precision], torch.from_numpy(pixels_of(2))
    exact = load_module(weights)
    cast = at_precision(load_module(weights), dtype)
    rounded = cast if weights.task == "segmenter" else cast.module.detector
    with torch.inference_mode():
        found, expected = _listed(rounded(pixels.to(dtype))), _listed(exact(pixels.float()))
    if weights.task != "segmenter":
        boxes, expected_boxes = found.pop(0), expected.pop(0)
        assert 0 < (boxes - expected_boxes).abs().mean() < box_px and expected_boxes.std() > 10
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32 and 0 < (one - other).abs().mean() < probability < other.std()


def _listed(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def test_probabilities_and_places_are_computed_in_float32(weights: Weights) -> None:
    """In the graph that is compiled: every softmax, and everything behind it."""
    cast = at_precision(load_module(weights), torch.bfloat16)
    program = torch.export.export(cast, (torch.zeros(1, 3, *SIZE, dtype=torch.bfloat16),))
    softmaxes = [node for node in program.graph.nodes if "softmax" in str(node.target)]
    assert softmaxes and all(node.meta["val"].dtype == torch.float32 for node in softmaxes)
    convolutions = [node for node in program.graph.nodes if "conv2d" in str(node.target)]
    assert sum(node.meta["val"].dtype == torch.bfloat16 for node in convolutions) > 0.9 * len(convolutions)


def test_eight_bits_move_answers_a_little_and_leave_the_heads_alone(weights: Weights) -> None:
    module, pixels = load_module(weights), torch.from_numpy(pixels_of(4)).float()
    with torch.inference_mode():
        exact = module(pixels)
        found = quantize(module, measure_ranges(module, [pixels]), fake_quantize_int8, per_filter=True)(pixels)
    # A random network forgives less than a trained one: what must hold is that it sees the same.
    for one, other in list(zip(_listed(found), _listed(exact), strict=True))[weights.task != "segmenter" :]:
        alike = torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]
        assert 0.6 < alike < 0.99999
    rounded = [name for name, layer in module.named_modules() if isinstance(layer, QuantizedConv2d)]
    assert len(rounded) > 20 and not [name for name in rounded if "low_rank" in name or name.endswith((".cls", ".reg"))]


def test_where_a_deformed_convolution_looks_is_not_rounded() -> None:
    names = quantizable(Detector(narrow(DETECTORS["gflv2-x101-dcn"])))
    assert names and not [name for name in names if "conv_offset" in name]


def test_a_cpu_s_half_precision_rounds_weights_and_every_layer(weights: Weights) -> None:
    exact, pixels = load_module(weights), torch.from_numpy(pixels_of(2)).float()
    half = emulate_precision(load_module(weights), torch.float16)
    assert all(torch.equal(p, p.half().float()) for p in half.parameters())
    seen: list[torch.Tensor] = []
    conv = next(layer for layer in half.modules() if isinstance(layer, nn.Conv2d))
    conv.register_forward_hook(lambda layer, inputs, output: seen.append(output))
    with torch.inference_mode():
        found, expected = half(pixels), exact(pixels)
    assert torch.equal(seen[0], seen[0].half().float())
    for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (found, expected)), strict=True):
        assert not torch.equal(one, other)
        assert (one - other).abs().max() < 0.03 * other.abs().max()


def test_int8_rounds_to_the_nearest_of_255_steps() -> None:
    values = torch.tensor([[[[0.004, -2.0, 0.013]]]])
    assert torch.allclose(fake_quantize_int8(values, torch.tensor(1.27)), torch.tensor([0.0, -1.28, 0.01]))
    two = torch.tensor([0.126, 1.26]).reshape(2, 1, 1, 1)
    assert torch.allclose(fake_quantize_int8(two, torch.tensor([0.127, 1.27]).reshape(2, 1, 1, 1)), two)


def test_the_range_is_the_mean_of_each_batch_s_largest() -> None:
    conv = nn.Sequential(nn.Conv2d(1, 1, 1))
    batches = [torch.full((1, 1, 2, 2), value) for value in (1.0, -3.0)]
    assert measure_ranges(conv, batches) == {"0": 2.0}
    with pytest.raises(ValueError, match="no frames"):
        measure_ranges(conv, [])


def test_measured_ranges_are_read_back_by_the_engine(weights: Weights, tmp_path: Path) -> None:
    for name in (*weights.files.values(), "manifest.json"):
        shutil.copy(weights.folder / name, tmp_path)
    save({"backbone.conv": 1.23456789}, replace(weights, folder=tmp_path), frames=7)
    assert read_ranges(find_weights(weights.model, weights.task, tmp_path)) == {"backbone.conv": 1.23457}


def test_ranges_that_are_missing_or_of_other_weights_are_refused(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no activation ranges.*python -m calibration.ranges"):
        read_ranges(weights)
    with pytest.raises(EngineError, match="lack .* measure them again"):
        quantize(load_module(weights), {}, fake_quantize_int8, per_filter=True)
    file = tmp_path / "toy.ranges.json"
    file.write_text('{"weights": "of another", "largest": {}}')
    sums = {file.name: sha256_of(file), **weights.checksums}
    other = replace(weights, folder=tmp_path, files={RANGES: file.name, **weights.files}, checksums=sums)
    with pytest.raises(EngineError, match="were measured on other weights"):
        read_ranges(other)
