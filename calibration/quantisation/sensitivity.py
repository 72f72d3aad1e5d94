"""How much each layer's INT8 moves a model's answers, measured on frames, and which layers are worth their float32.

One graph with every layer quantised is made once; layers are given their float inputs and weights back in copies of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as operations
from tqdm import tqdm

from calibration.accuracy.figures import SAME_BOX_IOU
from calibration.quantisation.layers import CONVOLUTIONS, elements_moved, module_of
from realtime_polyp.engines.base import Task
from realtime_polyp.engines.openvino import compile_for_cpu
from realtime_polyp.geometry import iou_matrix
from realtime_polyp.postprocess.nms import NMS_IOU, nms

Frames = Sequence[NDArray[np.uint8]]
Answer = list[NDArray[np.float32]]
Weights = dict[str, NDArray[np.float32]]
_LEAST_SCORE = 0.1  # of the boxes that are followed


@dataclass(frozen=True)
class Layer:
    """name: the operation's in the graph. error: of the answers when this layer alone is in INT8. moved: elements that
    it reads and writes."""

    name: str
    module: str
    kind: str
    error: float
    moved: int

    @property
    def worth(self) -> float:
        """Squared error (errors of layers add so, nearly) that an element moved in float32 buys."""
        return self.error**2 / max(1, self.moved)


@dataclass(frozen=True)
class Choice:
    """kept: layers to leave in float32. errors: of the answers with the first 0, 1, 2, ... of them kept."""

    layers: tuple[Layer, ...]
    kept: tuple[Layer, ...]
    errors: tuple[float, ...]


def choose_kept(int8: ov.Model, weights: Weights, frames: Frames, task: Task, bound: float) -> Choice:
    """The fewest layers, worthiest first, that bring the answers' error on `frames` to `bound`.

    weights: `float_weights` of the float graph. Errors are taken before biases are corrected, which lowers them.
    """
    error, exact = ERRORS[task], answers(quantised_only(int8, weights, frozenset()), frames)

    def error_of(names: frozenset[str]) -> float:
        return error(exact, answers(quantised_only(int8, weights, names), frames))

    readers = quantised_layers(int8)
    layers = [
        Layer(node.get_friendly_name(), module_of(node), node.get_type_name(), error_of(frozenset({name})), moved)
        for node, name, moved in tqdm(readers, desc="sensitivity", unit="layer")
    ]
    ranked = sorted(layers, key=lambda layer: -layer.worth)
    left, kept = {layer.name for layer in layers}, []
    errors = [error_of(frozenset(left))]
    for layer in ranked:
        if errors[-1] <= bound:
            break
        left.remove(layer.name)
        kept.append(layer)
        errors.append(error_of(frozenset(left)))
    return Choice(tuple(ranked), tuple(kept), tuple(errors))


def quantised_layers(int8: ov.Model) -> list[tuple[ov.Node, str, int]]:
    """Every operation that reads rounded values, with its name and the elements it moves."""
    nodes = [node for node in int8.get_ordered_ops() if node.get_type_name() not in ("FakeQuantize", "ShapeOf")]
    reading = [node for node in nodes if any(_is_rounded(one) for one in node.inputs())]
    return [(node, node.get_friendly_name(), elements_moved(node)) for node in reading]


def _is_rounded(one: ov.Input) -> bool:
    return bool(one.get_source_output().get_node().get_type_name() == "FakeQuantize")


def float_weights(graph: ov.Model) -> Weights:
    """{convolution: its filters} of a graph that is not quantised."""
    found = [node for node in graph.get_ops() if node.get_type_name() in CONVOLUTIONS]
    return {node.get_friendly_name(): node.input_value(1).get_node().data.copy() for node in found}


def quantised_only(int8: ov.Model, weights: Weights, names: frozenset[str]) -> ov.Model:
    """A copy in which only the layers named read rounded values and have rounded weights."""
    copy = int8.clone()
    for node in copy.get_ordered_ops():
        name = node.get_friendly_name()
        if name in names:
            continue
        for one in node.inputs():
            if _is_rounded(one):
                one.replace_source_output(one.get_source_output().get_node().input_value(0))
        if name in weights:
            node.input(1).replace_source_output(operations.constant(weights[name]).output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def answers(graph: ov.Model, frames: Frames) -> list[Answer]:
    """The outputs for each frame (1, h, w, 3) uint8."""
    compiled = compile_for_cpu(graph)
    request, count = compiled.create_infer_request(), len(compiled.outputs)
    found = []
    for frame in frames:
        request.infer({0: frame})
        found.append([request.get_output_tensor(index).data.copy() for index in range(count)])
    return found


def box_error(exact: Sequence[Answer], other: Sequence[Answer]) -> float:
    """How far boxes lie from the exact ones: 1 - IoU, root mean square; 1 for a box that is gone.

    A box here is the mean, by score, of all candidates around one that suppression keeps: it moves smoothly, where
    the best candidate may jump to its neighbour.
    """
    losses = [loss for a, b in zip(exact, other, strict=True) for loss in _box_losses(a, b)]
    return float(np.sqrt(np.mean(np.square(losses)))) if losses else 0.0


def _box_losses(exact: Answer, other: Answer) -> list[float]:
    boxes, scores = exact[0][0], exact[1][0]
    order = np.flatnonzero(scores >= _LEAST_SCORE)
    order = order[np.argsort(-scores[order], kind="stable")]
    kept = boxes[order[nms(boxes[order], NMS_IOU)]]
    pairs = [(_around(box, boxes, scores), _around(box, other[0][0], other[1][0])) for box in kept]
    return [
        1.0 if b is None else 1 - float(iou_matrix(a[None], b[None], dtype=np.float64)[0, 0])
        for a, b in pairs
        if a is not None
    ]


def _around(
    box: NDArray[np.float32], boxes: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    share = scores * (iou_matrix(box[None], boxes, dtype=np.float64)[0] > SAME_BOX_IOU)
    return np.asarray((boxes * share[:, None]).sum(axis=0) / share.sum(), np.float32) if share.sum() > 0 else None


def mask_error(exact: Sequence[Answer], other: Sequence[Answer]) -> float:
    """Root mean square difference of the polyp probability."""
    return float(np.sqrt(np.mean([np.mean(np.square(a[0] - b[0])) for a, b in zip(exact, other, strict=True)])))


ERRORS: dict[Task, Callable[[Sequence[Answer], Sequence[Answer]], float]] = {
    "detector": box_error,
    "segmenter": mask_error,
}
