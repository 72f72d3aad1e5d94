"""Which engines this CPU's instructions allow: INT8 sums that do not saturate, and products of bfloat16.

Without VNNI, OpenVINO multiplies bytes by `vpmaddubsw`, which adds two products of an unsigned and a signed byte and
clips the sum to 16 bits: 2 x 255 x 127 is too much, 2 x 255 x 64 is not. NNCF's overflow fix quantises weights to 7
bits, so that every CPU computes the same integers. Depthwise convolutions multiply in 32 bits and do not saturate.
"""

from collections.abc import Iterator

import openvino as ov

from realtime_polyp.engines.base import EngineError
from realtime_polyp.telemetry.machine import cpu_flags

VNNI = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})  # instructions that add products of bytes in 32 bits
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})  # instructions that multiply bfloat16 and add in float32
_LARGEST = 64  # magnitude of a weight that never saturates


class SaturationError(EngineError):
    """The INT8 model would compute wrongly on this CPU."""


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for products of bfloat16."""
    return not BFLOAT16.isdisjoint(cpu_flags())


def check_bfloat16(engine: str) -> None:
    """Raise EngineError if this CPU has no instructions for bfloat16. engine: name of the engine that needs them."""
    if not has_bfloat16():
        raise EngineError(
            f"engine {engine} needs a CPU with AVX512_BF16 or AMX_BF16, and this one reports neither: use --engine "
            "openvino-int8"
        )


def check_sums(graph: ov.Model, model: str) -> None:
    """Raise SaturationError if this CPU has no VNNI and the graph's weights need it. model: name of the weights."""
    if VNNI.isdisjoint(cpu_flags()) and next(saturating_layers(graph), None):
        raise SaturationError(
            f"the INT8 weights of {model} have 8 bits, whose sums saturate on a CPU without VNNI: use --engine "
            f"openvino, or quantise again with python -m calibration.int8 --model {model}"
        )


def saturating_layers(graph: ov.Model) -> Iterator[str]:
    """Yield the names of the layers whose weights have 8 bits; depthwise convolutions are none of them."""
    for node in graph.get_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            weights = _constant_behind(node.input_value(1).get_node())
            if weights is not None and weights.get_element_type() == ov.Type.i8 and not _is_depthwise(node):
                if max(-int(weights.data.min()), int(weights.data.max())) > _LARGEST:
                    yield str(node.get_friendly_name())


def _constant_behind(node: ov.Node) -> ov.Node | None:
    """Follow conversions and scales back to the constant; None if the values are computed."""
    while node.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape"):
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None


def _is_depthwise(node: ov.Node) -> bool:
    """Whether each group has one input channel; weights are (groups, out, in, h, w)."""
    return bool(node.get_type_name() == "GroupConvolution" and node.input_value(1).get_shape()[2] == 1)
