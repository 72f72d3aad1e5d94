"""INT8 computes the same on every CPU: 8-bit weights are refused where their sums saturate, and 7 bits never do."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as operations

from realtime_polyp import engines
from realtime_polyp.engines import open_engine, vector_units
from realtime_polyp.engines.openvino import compile_for_cpu
from realtime_polyp.engines.vector_units import SaturationError, check_sums, saturating_layers
from realtime_polyp.engines.weights import find_weights, read_manifest

CHANNELS = 8


def layer(largest: int, *, depthwise: bool = False) -> ov.Model:
    """A 3x3 convolution with all weights `largest`, quantised as NNCF does it: bytes with steps of 1."""
    shape = (CHANNELS, 1, 1, 3, 3) if depthwise else (CHANNELS, CHANNELS, 3, 3)
    stored = operations.convert(operations.constant(np.full(shape, largest, np.int8)), ov.Type.f32)
    weights = operations.multiply(
        stored, operations.constant(np.ones((CHANNELS,) + (1,) * (len(shape) - 1), np.float32))
    )
    pixels = operations.parameter([1, CHANNELS, 8, 8], np.float32)
    low, high = (operations.constant(np.float32(value).reshape(1, 1, 1, 1)) for value in (0, 255))
    rounded = operations.fake_quantize(operations.relu(pixels), low, high, low, high, 256)
    convolution = operations.group_convolution if depthwise else operations.convolution
    return ov.Model([convolution(rounded, weights, [1, 1], [0, 0], [0, 0], [1, 1]).output(0)], [pixels])


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the vector units that the CPU reports."""
    return lambda *flags: monkeypatch.setattr(vector_units, "cpu_flags", lambda: list(flags))


@pytest.mark.parametrize(("largest", "depthwise"), [(64, False), (127, True)])
def test_what_is_allowed_is_exact_on_this_cpu(largest: int, depthwise: bool) -> None:
    graph = layer(largest, depthwise=depthwise)
    assert not list(saturating_layers(graph))
    found = compile_for_cpu(graph)({0: np.full((1, CHANNELS, 8, 8), 255, np.float32)})[0]
    assert (found == 255 * largest * 9 * (1 if depthwise else CHANNELS)).all()


def test_eight_bits_are_refused_without_vnni_only(cpu: Callable[..., None]) -> None:
    cpu("avx2", "avx512f", "avx512_vnni")
    check_sums(layer(127), "m")
    cpu("avx2", "avx512f")
    check_sums(layer(64), "m")
    with pytest.raises(SaturationError, match="INT8 weights of m have 8 bits.*use --engine openvino") as error:
        check_sums(layer(127), "m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", read_manifest())
def test_shipped_int8_has_seven_bits(model: str) -> None:
    assert not list(saturating_layers(ov.Core().read_model(find_weights(model).path("int8-xml"))))


def test_auto_continues_in_float32_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cpu: Callable[..., None]
) -> None:
    cpu("avx2")

    def saturates(weights: object, device: str, hint: str) -> None:
        raise SaturationError("its sums saturate")

    monkeypatch.setitem(engines.ENGINES, "openvino-int8", saturates)
    monkeypatch.setitem(engines.ENGINES, "openvino", lambda *words: SimpleNamespace(name="openvino"))
    found = open_engine("gflv2-lite0", "detector", "auto", "cpu")
    assert found.name == "openvino" and found.notes == ("its sums saturate; continuing without openvino-int8",)
    assert capsys.readouterr().err == f"gflv2-lite0: {found.notes[0]}\n"
    with pytest.raises(SaturationError):
        open_engine("gflv2-lite0", "detector", "openvino-int8")
