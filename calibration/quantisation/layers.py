"""Finds the layers of a converted graph that may be in INT8, by the PyTorch module that they come from."""

import math
import re
from collections.abc import Iterator

import openvino as ov

CONVOLUTIONS = ("Convolution", "GroupConvolution")
_MODULE = "__module."
# Backbone, neck and towers of a detector; backbone, fusion and projection of a segmenter (`trunk` in older graphs). A
# joint model has both; its segmenter's part is called `mask`.
# The operations after them compute box distances, scores and mask probabilities: they take almost no time, and INT8
# costs points of AP there.
_BODY = re.compile(r"(?:detector\.)?(?:mask\.)?(?:backbone|trunk|pyramid|head\.(?:cls|reg)_tower|fusion|project)\b")


def module_of(node: ov.Node) -> str:
    """Return the path of the module, such as "backbone.stages.0.0.depthwise.1"; "" if the converter left none.

    A convolution with a folded batch norm has lost its name, so that the names of its consumers are used too.
    """
    readers = [target.get_node() for target in node.output(0).get_target_inputs()] if node.get_output_size() else []
    for one in (node, *readers):
        name = one.get_friendly_name()
        if name.startswith(_MODULE):
            return str(name.removeprefix(_MODULE).partition("/")[0])
    return ""


def body(graph: ov.Model) -> list[ov.Node]:
    """Return the convolutions that may be in INT8, in graph order."""
    every = [node for node in graph.get_ordered_ops() if node.get_type_name() in CONVOLUTIONS]
    return [node for node in every if _BODY.match(module_of(node))]


def float_names(graph: ov.Model) -> list[str]:
    """Return the names of the operations that stay in float32: all that no convolution of the body depends on."""
    before = {node.get_friendly_name() for node in _with_ancestors(body(graph))}
    kept = (node for node in graph.get_ops() if node.get_type_name() not in ("Constant", "Parameter", "Result"))
    return sorted({node.get_friendly_name() for node in kept} - before)


def _with_ancestors(nodes: list[ov.Node]) -> Iterator[ov.Node]:
    waiting, visited = list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() in visited:
            continue
        visited.add(node.get_friendly_name())
        yield node
        waiting += [one.get_source_output().get_node() for one in node.inputs()]


def elements_moved(node: ov.Node) -> int:
    """Return the number of elements that a layer reads and writes, without weights.

    In float32 each costs four bytes of memory traffic, which dominates the time of the early layers.
    """
    inputs = node.input_values()
    read = inputs[:1] if node.get_type_name() in CONVOLUTIONS else inputs
    return sum(math.prod(int(side) for side in value.get_shape()) for value in (*read, node.output(0)))
