"""Measures how sensitive a model is to each layer's quantisation, and chooses the layers that stay in float32.

The caller quantises the whole graph once. For each measurement, a copy of it gets the float inputs and weights of the
layers that are not to be quantised.
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
Outputs = list[NDArray[np.float32]]
Weights = dict[str, NDArray[np.float32]]
# Highest error of an INT8 model's outputs, by `ERRORS`. With these bounds the default models pass the gate on val; a
# lower bound keeps more layers in float32 and makes the model slower.
BOUNDS: dict[Task, float] = {"detector": 0.029, "segmenter": 0.013, "joint": 1.0}
_MIN_SCORE = 0.1  # of the float model's boxes whose displacement is measured


@dataclass(frozen=True)
class Layer:
    """A layer and its sensitivity to quantisation.

    Attributes:
        name: of the operation in the graph.
        module: path of the PyTorch module.
        kind: of the operation, such as "Convolution".
        error: of the model's outputs if only this layer is in INT8.
        moved: number of elements that the layer reads and writes.
    """

    name: str
    module: str
    kind: str
    error: float
    moved: int

    @property
    def error_per_element(self) -> float:
        """Squared error avoided per element moved in float32; squared errors of several layers roughly add up."""
        return self.error**2 / max(1, self.moved)


@dataclass(frozen=True)
class Choice:
    """The layers chosen to stay in float32.

    Attributes:
        layers: all layers, in descending order of `error_per_element`.
        kept: layers to leave in float32.
        errors: of the model's outputs with the first 0, 1, 2, ... of these left in float32.
    """

    layers: tuple[Layer, ...]
    kept: tuple[Layer, ...]
    errors: tuple[float, ...]


def choose_float_layers(
    int8: ov.Model, weights: Weights, frames: Frames, task: Task, bound: float, named: Sequence[str] = ()
) -> Choice:
    """Choose the layers to leave in float32 so that the outputs' error on `frames` is at most `bound`.

    Layers are added in descending order of `error_per_element`; if all are not enough, all of them are chosen. named:
    modules of the layers to choose, all of them and no others; only these are measured.
    weights: `float_weights` of the float graph. Errors are measured without bias correction, which reduces them.
    """
    error, reference = ERRORS[task], run_model(quantise_only(int8, weights, frozenset()), frames)

    def error_of(names: frozenset[str]) -> float:
        return error(reference, run_model(quantise_only(int8, weights, names), frames))

    every = find_quantised_layers(int8)
    layers = [
        Layer(node.get_friendly_name(), module_of(node), node.get_type_name(), error_of(frozenset({name})), moved)
        for node, name, moved in tqdm(every, desc="sensitivity", unit="layer")
        if not named or module_of(node) in named
    ]
    ranked = sorted(layers, key=lambda layer: -layer.error_per_element)
    quantised, kept = {name for _, name, _ in every}, []
    errors = [error_of(frozenset(quantised))]
    for layer in ranked:
        if errors[-1] <= bound and not named:
            break
        quantised.remove(layer.name)
        kept.append(layer)
        errors.append(error_of(frozenset(quantised)))
    return Choice(tuple(ranked), tuple(kept), tuple(errors))


def find_quantised_layers(int8: ov.Model) -> list[tuple[ov.Node, str, int]]:
    """Return every operation with a quantised input, its name and the number of elements that it moves."""
    nodes = [node for node in int8.get_ordered_ops() if node.get_type_name() not in ("FakeQuantize", "ShapeOf")]
    quantised = [node for node in nodes if any(_is_quantised(port) for port in node.inputs())]
    return [(node, node.get_friendly_name(), elements_moved(node)) for node in quantised]


def _is_quantised(port: ov.Input) -> bool:
    return bool(port.get_source_output().get_node().get_type_name() == "FakeQuantize")


def float_weights(graph: ov.Model) -> Weights:
    """Return {convolution: its weights} of a graph that is not quantised."""
    convolutions = [node for node in graph.get_ops() if node.get_type_name() in CONVOLUTIONS]
    return {node.get_friendly_name(): node.input_value(1).get_node().data.copy() for node in convolutions}


def quantise_only(int8: ov.Model, weights: Weights, names: frozenset[str]) -> ov.Model:
    """Return a copy in which only the named layers have quantised inputs and weights."""
    copy = int8.clone()
    for node in copy.get_ordered_ops():
        name = node.get_friendly_name()
        if name in names:
            continue
        for port in node.inputs():
            if _is_quantised(port):
                port.replace_source_output(port.get_source_output().get_node().input_value(0))
        if name in weights:
            node.input(1).replace_source_output(operations.constant(weights[name]).output(0))
    copy.validate_nodes_and_infer_types()
    return copy


def run_model(graph: ov.Model, frames: Frames) -> list[Outputs]:
    """Return the model's outputs for each frame (1, h, w, 3) uint8."""
    compiled = compile_for_cpu(graph)
    request, count = compiled.create_infer_request(), len(compiled.outputs)
    outputs = []
    for frame in frames:
        request.infer({0: frame})
        outputs.append([request.get_output_tensor(index).data.copy() for index in range(count)])
    return outputs


def box_error(reference: Sequence[Outputs], other: Sequence[Outputs]) -> float:
    """Return the root mean square of 1 - IoU with the reference boxes; a missing box counts as 1.

    Each box that NMS keeps is replaced by the score-weighted mean of the candidates that overlap it. This mean changes
    smoothly, whereas the best candidate may switch to a neighbour.
    """
    losses = [loss for a, b in zip(reference, other, strict=True) for loss in _box_losses(a, b)]
    return float(np.sqrt(np.mean(np.square(losses)))) if losses else 0.0


def _box_losses(reference: Outputs, other: Outputs) -> list[float]:
    boxes, scores = reference[0][0], reference[1][0]
    order = np.flatnonzero(scores >= _MIN_SCORE)
    order = order[np.argsort(-scores[order], kind="stable")]
    kept = boxes[order[nms(boxes[order], NMS_IOU)]]
    pairs = [
        (_weighted_mean_box(box, boxes, scores), _weighted_mean_box(box, other[0][0], other[1][0])) for box in kept
    ]
    return [
        1.0 if b is None else 1 - float(iou_matrix(a[None], b[None], dtype=np.float64)[0, 0])
        for a, b in pairs
        if a is not None
    ]


def _weighted_mean_box(
    box: NDArray[np.float32], boxes: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return the score-weighted mean of the candidates that overlap the box; None if there are none."""
    weights = scores * (iou_matrix(box[None], boxes, dtype=np.float64)[0] > SAME_BOX_IOU)
    total = weights.sum()
    return np.asarray((boxes * weights[:, None]).sum(axis=0) / total, np.float32) if total > 0 else None


def mask_error(reference: Sequence[Outputs], other: Sequence[Outputs]) -> float:
    """Return the root mean square difference of the polyp probability."""
    return float(np.sqrt(np.mean([np.mean(np.square(a[0] - b[0])) for a, b in zip(reference, other, strict=True)])))


def joint_error(reference: Sequence[Outputs], other: Sequence[Outputs]) -> float:
    """Return the larger error of the two halves, each as a share of its own bound."""
    boxes = box_error(reference, other) / BOUNDS["detector"]
    masks = mask_error([one[2:] for one in reference], [one[2:] for one in other]) / BOUNDS["segmenter"]
    return max(boxes, masks)


ERRORS: dict[Task, Callable[[Sequence[Outputs], Sequence[Outputs]], float]] = {
    "detector": box_error,
    "segmenter": mask_error,
    "joint": joint_error,
}
