"""A converted graph's layers by the module that they come from: which may be in INT8, and which stay exact."""

import math
import re
from collections.abc import Iterator

import openvino as ov

CONVOLUTIONS = ("Convolution", "GroupConvolution")
_MODULE = "__module."
# Backbone, neck and towers of a detector; backbone, fusion and projection of a segmenter (`trunk` in older graphs).
# What follows them turns features into distances, scores and shares of pixels: it costs next to nothing, and in INT8
# it took points of AP with it.
_BODY = re.compile(r"(?:detector\.)?(?:backbone|trunk|pyramid|head\.(?:cls|reg)_tower|fusion|project)\b")


def module_of(node: ov.Node) -> str:
    """The module's path, such as "backbone.stages.0.0.depthwise.1"; "" for what the converter left without one.

    A convolution that its batch norm was folded into has lost its name: what reads it still has its own.
    """
    readers = [target.get_node() for target in node.output(0).get_target_inputs()] if node.get_output_size() else []
    for one in (node, *readers):
        name = one.get_friendly_name()
        if name.startswith(_MODULE):
            return str(name.removeprefix(_MODULE).partition("/")[0])
    return ""


def body(graph: ov.Model) -> list[ov.Node]:
    """The convolutions that may be in INT8, in order."""
    every = [node for node in graph.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
    return [node for node in every if _BODY.match(module_of(node))]


def exact_names(graph: ov.Model) -> list[str]:
    """Names of all operations that no convolution of the body comes after: they stay in float32."""
    before = {node.get_friendly_name() for node in _with_ancestors(body(graph))}
    kept = (node for node in graph.get_ops() if node.get_type_name() not in ("Constant", "Parameter", "Result"))
    return sorted({node.get_friendly_name() for node in kept} - before)


def _with_ancestors(nodes: list[ov.Node]) -> Iterator[ov.Node]:
    waiting, met = list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in met:
            continue
        met.add(node.get_friendly_name())
        yield node
        waiting += [one.get_source_output().get_node() for one in node.inputs()]


def elements_moved(node: ov.Node) -> int:
    """Numbers that a layer reads and writes, weights apart: in float32 each costs four bytes of memory traffic, which
    is most of the time that the early layers take."""
    inputs = node.input_values()
    read = inputs[:1] if node.get_type_name() in CONVOLUTIONS else inputs
    return sum(math.prod(int(side) for side in value.get_shape()) for value in (*read, node.output(0)))
