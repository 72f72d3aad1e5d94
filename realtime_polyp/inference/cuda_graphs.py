"""One engine on its own stream: a graph for each batch size, with input and outputs at fixed addresses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.inference.base import ModelOutputs
from realtime_polyp.inference.checked import ModelOutputError, check_shapes
from realtime_polyp.inference.cuda_streams import DeviceStreams, Run
from realtime_polyp.inference.staging import Shape


class DeviceModel:
    """An engine captured for several batch sizes.

    buckets: the batch sizes. most_candidates: predictions per image that leave the device, of a detector.
    """

    def __init__(self, engine: Engine, streams: DeviceStreams, buckets: Sequence[int], *, most_candidates: int) -> None:
        self.engine, self.stream = engine, engine.task
        self._most_candidates = most_candidates
        self.shapes: dict[int, list[Shape]] = {}
        self._runs: dict[int, tuple[Tensor, Run]] = {}
        for bucket in sorted(buckets, reverse=True):  # the largest first: smaller ones then fit into its memory
            self._runs[bucket] = self._capture(bucket, streams)

    def run(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run on pixels (bucket, 3, h, w), inside a task of this stream; the next call replaces the outputs."""
        fixed, run = self._runs[len(pixels)]
        fixed.copy_(pixels)
        outputs = run()
        shapes = [tuple(output.shape) for output in outputs]
        if shapes != self.shapes[len(pixels)]:  # possible only without a graph
            raise ModelOutputError(
                f"its answer's shapes changed ({self.engine.model}, {self.engine.name}: {shapes} after "
                f"{self.shapes[len(pixels)]})"
            )
        return outputs

    def _capture(self, bucket: int, streams: DeviceStreams) -> tuple[Tensor, Run]:
        height, width = self.engine.size
        fixed = torch.zeros((bucket, height, width, 3), dtype=torch.uint8, device=streams.device).permute(0, 3, 1, 2)
        run = streams.capture(self.stream, lambda: self._outputs(fixed))
        with streams.task(self.stream, "first run"):
            self.shapes[bucket] = [tuple(output.shape) for output in run()]
        return fixed, run

    def _outputs(self, pixels: Tensor) -> tuple[Tensor, ...]:
        outputs = self.engine.on_device(pixels)
        _check_shapes(outputs, self.engine, len(pixels))
        if self.engine.task == "segmenter":
            return outputs
        boxes, scores, *probability = outputs
        return (*keep_best(boxes, scores, self._most_candidates), *probability)


def keep_best(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Keep the `count` best of boxes (N, P, 4) and scores (N, P), best first; all of them if there are no more.

    NaN counts as best, then infinity, so a score that is not finite is always kept, and `check_outputs` finds it.
    """
    if scores.shape[1] <= count:
        return boxes, scores
    best, indices = scores.topk(count, dim=1)
    return boxes.gather(1, indices[..., None].expand(-1, -1, 4)), best


def _check_shapes(outputs: Any, engine: Any, count: int) -> None:
    """Check outputs on the device with `check_shapes`, by broadcast arrays of the same shapes that need no memory."""
    if isinstance(outputs, tuple) and all(isinstance(output, Tensor) for output in outputs):
        outputs = tuple(np.broadcast_to(np.float32(0), tuple(output.shape)) for output in outputs)
    if engine.task == "detector":
        check_shapes(ModelOutputs(outputs, None), engine, None, count)
    elif engine.task == "joint":
        three = isinstance(outputs, tuple) and len(outputs) == 3
        check_shapes(ModelOutputs(*((outputs[:2], outputs[2]) if three else (outputs, None))), engine, engine, count)
    else:
        one = isinstance(outputs, tuple) and len(outputs) == 1
        check_shapes(ModelOutputs(None, outputs[0] if one else outputs), None, engine, count)


def require_on_device(engine: Engine, device: torch.device) -> None:
    """Raise EngineError unless the engine can leave its outputs on this device."""
    if not engine.device_resident or torch.device(engine.device).type != device.type:
        raise EngineError(
            f"engine {engine.name} of {engine.model} runs on {engine.device} and cannot leave its outputs on "
            f"{device.type}: open it with --engine eager --device {device.type}"
        )
