"""Check the outputs of the models before they are used: a bad output would look like a picture without a polyp.

Shapes are checked first, before a batch is split or copied, because an output may have any size. Values are checked
per video, so that only the video with the bad frame fails. The check of a good output costs two passes over each array:
its minimum and maximum are NaN if any value is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import DetectorEngine, Engine, RawPredictions, SegmenterEngine
from realtime_polyp.inference.base import ModelOutputs

_ROUNDING = 1e-5  # tolerance at both limits; the values of all shipped engines lie within it
_FARTHEST = 100  # times the input's longer side: the limit of a box's coordinates
_LIKELY = 0.05  # the order of corners is checked from this score on; the pipeline keeps hardly any box below it
_MAP_CELLS_PX = (1, 2, 4)  # model pixels per cell of a probability map
_BAD_BOXES = "its boxes are not valid"


class ModelOutputError(RuntimeError):
    """A model's output is not valid. The message is a clause, such as "its scores are not numbers in 0..1 (...)".

    Attributes:
        row: index of the first bad image in the batch.
        frame_index: index of that image's frame; None while it is not known.
    """

    def __init__(self, message: str, row: int = 0, *, frame_index: int | None = None) -> None:
        super().__init__(message)
        self.row, self.frame_index = row, frame_index


def check_outputs(
    outputs: ModelOutputs,
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    count: int,
    *,
    candidates: int | None = None,
) -> None:
    """Check types, shapes and values of the outputs for `count` images.

    Args:
        candidates: the number of boxes that the detector returns for each image; None: any number.

    Raises:
        ModelOutputError: for the first bad image of the batch.
    """
    check_shapes(outputs, detector, segmenter, count, candidates=candidates)
    errors: list[ModelOutputError] = []
    if detector is not None and outputs.predictions is not None:
        errors += _bad_predictions(*outputs.predictions, detector)
    if segmenter is not None and outputs.probability is not None:
        errors += _bad_values("its mask values are not numbers in 0..1", outputs.probability, segmenter, 0, 1)
    if errors:
        raise min(errors, key=lambda error: error.row)


def check_shapes(
    outputs: ModelOutputs,
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    count: int,
    *,
    candidates: int | None = None,
) -> None:
    """Check types and shapes as `check_outputs` does, without reading a value. Raises ModelOutputError."""
    if detector is not None:
        _check_prediction_shapes(outputs.predictions, detector, count, candidates)
    if segmenter is not None:
        _check_probability_shape(outputs.probability, segmenter, count)


def checked_predictions(predictions: RawPredictions, engine: DetectorEngine, count: int) -> RawPredictions:
    """Return the boxes and scores of `count` images unchanged. Raises ModelOutputError if they are not valid."""
    check_outputs(ModelOutputs(predictions, None), engine, None, count)
    return predictions


def checked_probability(probability: NDArray[np.float32], engine: SegmenterEngine, count: int) -> NDArray[np.float32]:
    """Return the probability maps of `count` images unchanged. Raises ModelOutputError if they are not valid."""
    check_outputs(ModelOutputs(None, probability), None, engine, count)
    return probability


def _check_prediction_shapes(predictions: Any, engine: DetectorEngine, count: int, candidates: int | None) -> None:
    if not isinstance(predictions, tuple | list) or len(predictions) != 2:
        raise _wrong("its output is not a pair of boxes and scores", engine, _describe(predictions))
    boxes, scores = predictions
    _check_type("its boxes are not an array of float32", boxes, engine)
    _check_type("its scores are not an array of float32", scores, engine)
    least, most = candidates or 1, candidates or engine.size[0] * engine.size[1]  # at most one for each pixel
    if scores.ndim != 2 or len(scores) != count or not least <= scores.shape[1] <= most:
        expected = f"{count} x {candidates or f'1..{most}'}"
        raise _wrong("its scores have a wrong shape", engine, f"{_shape(scores)} instead of {expected}")
    if boxes.shape != (*scores.shape, 4):
        raise _wrong("its boxes have a wrong shape", engine, f"{_shape(boxes)} instead of {_shape(scores)} x 4")


def _check_probability_shape(probability: Any, engine: SegmenterEngine, count: int) -> None:
    _check_type("its mask is not an array of float32", probability, engine)
    height, width = engine.size
    allowed = [(count, height // cell, width // cell) for cell in _MAP_CELLS_PX]
    if probability.shape not in allowed:
        sizes = " or ".join(" x ".join(map(str, shape)) for shape in allowed)
        raise _wrong("its mask has a wrong shape", engine, f"{_shape(probability)} instead of {sizes}")


def _check_type(message: str, values: Any, engine: Engine) -> None:
    """Raise ModelOutputError unless it is a float32 array, not of a subclass: a masked array would hide values."""
    if type(values) is not np.ndarray or values.dtype != np.float32:
        raise _wrong(message, engine, _describe(values))


def _bad_predictions(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], engine: DetectorEngine
) -> Iterator[ModelOutputError]:
    yield from _bad_values("its scores are not numbers in 0..1", scores, engine, 0, 1)
    farthest = _FARTHEST * max(engine.size)
    yield from _bad_values(_BAD_BOXES, boxes, engine, -farthest, farthest)
    likely = np.flatnonzero(scores >= _LIKELY)
    corners = boxes.reshape(-1, 4)[likely]
    swapped = likely[(corners[:, 2:] < corners[:, :2]).any(1)]
    if len(swapped):
        row = int(swapped[0]) // scores.shape[1]
        yield _wrong(_BAD_BOXES, engine, "a box has x2 < x1 or y2 < y1", row)


def _bad_values(
    message: str, values: NDArray[np.float32], engine: Engine, low: float, high: float
) -> Iterator[ModelOutputError]:
    """Yield at most one error, for the first image with a value that is NaN or outside low..high."""
    lowest, highest = low - _ROUNDING, high + _ROUNDING
    if not values.size or (values.min() >= lowest and values.max() <= highest):  # False if any value is NaN
        return
    bad = ~((values >= lowest) & (values <= highest))
    row = int(bad.reshape(len(values), -1).any(1).argmax())
    wrong = values[row][bad[row]]
    infinite = np.isinf(wrong)
    kinds = {
        "NaN": np.isnan(wrong),
        "infinite": infinite,
        f"below {low:g}": (wrong < low) & ~infinite,
        f"above {high:g}": (wrong > high) & ~infinite,
    }
    counts = ", ".join(f"{found.sum()} {kind}" for kind, found in kinds.items() if found.any())
    yield _wrong(message, engine, counts, row)


def _wrong(message: str, engine: Engine, found: str, row: int = 0) -> ModelOutputError:
    return ModelOutputError(f"{message} ({engine.model}, {engine.name}: {found})", row)


def _shape(values: NDArray[np.float32]) -> str:
    return " x ".join(map(str, values.shape)) or "one number"


def _describe(value: Any) -> str:
    """Return the type of a value for a message; its text may be of any length."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"{kind} of {value.dtype}"
    if value is None:
        return "None"
    return f"{kind} of {len(value)}" if isinstance(value, tuple | list) else kind
