"""The graph that OpenVINO compiles: pixels are normalised before they are transposed, and no answer changes."""

import numpy as np
import openvino as ov
import pytest
from torch import Tensor, nn

from realtime_polyp.engines.openvino import compile_for_cpu, convert, transpose_after_normalisation
from realtime_polyp.engines.weights import find_weights
from realtime_polyp.models.resnet import IMAGENET_MEAN, IMAGENET_STD, Normalise

SIZE = (64, 96)


class Grey(nn.Module):
    """One number for all channels, as the shipped models have."""

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels - 127) / 128


class Small(nn.Module):
    """A convolution of normalised pixels."""

    def __init__(self, normalise: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.conv(self.normalise(pixels)).relu()  # type: ignore[no-any-return]


class RawPixelsToo(Small):
    """Reads the pixels in two places, before and after they are normalised."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels) + pixels[:, :1, ::2, ::2]


class NumberFirst(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return 1 - pixels / 255


def operations(graph: ov.Model) -> list[str]:
    return [
        node.get_type_name() for node in graph.get_ordered_ops() if node.get_type_name() not in ("Constant", "Result")
    ]


def test_pixels_are_normalised_before_they_are_transposed() -> None:
    graph = convert(Small(Grey()).eval(), SIZE)
    before, answers = operations(graph), answers_of(graph)
    assert before[:3] == ["Parameter", "Convert", "Transpose"]
    changed = operations(transpose_after_normalisation(graph))
    assert sorted(changed) == sorted(before)
    assert changed[:5] == ["Parameter", "Convert", *before[3:5], "Transpose"]
    assert changed[5] == "Convolution"
    assert np.array_equal(answers_of(graph), answers)


@pytest.mark.parametrize(
    "module",
    [
        Small(Normalise(IMAGENET_MEAN, IMAGENET_STD)),  # one number per channel: rounding could differ
        Small(nn.Identity()),
        Small(NumberFirst()),
        RawPixelsToo(Grey()),
    ],
)
def test_other_graphs_keep_their_answers(module: nn.Module) -> None:
    graph = convert(module.eval(), SIZE)
    answers = answers_of(graph)
    assert answers_of(transpose_after_normalisation(graph)) == pytest.approx(answers, abs=1e-5)


@pytest.mark.parametrize("name", ["polyp-lite2", "gflv2-lite0"])
def test_the_shipped_int8_models_give_the_same_to_the_bit(name: str) -> None:
    graph = ov.Core().read_model(find_weights(name).path("int8-xml"))
    answers = every_answer(graph)
    changed = every_answer(transpose_after_normalisation(graph))
    names = operations(graph)
    assert names.index("Transpose") > min(names.index(one) for one in ("Add", "Subtract", "Multiply") if one in names)
    for one, other in zip(answers, changed, strict=True):
        assert np.array_equal(one, other)


def every_answer(graph: ov.Model) -> list[np.ndarray]:
    height, width = (int(side) for side in graph.input(0).shape[1:3])
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return [answer.copy() for answer in compile_for_cpu(graph).create_infer_request().infer({0: pixels}).values()]


def answers_of(graph: ov.Model) -> np.ndarray:
    (answer,) = every_answer(graph)
    return answer
