"""One engine in its own lane: for each batch size a graph, with its input and its answers at fixed addresses."""

from collections.abc import Sequence

import torch
from torch import Tensor

from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.inference.cuda_streams import DeviceStreams, Run
from realtime_polyp.inference.staging import Shape


class DeviceModel:
    """buckets: the batch sizes it is captured for. most_candidates: of a detector, that leave the device."""

    def __init__(self, engine: Engine, lanes: DeviceStreams, buckets: Sequence[int], *, most_candidates: int) -> None:
        self.engine, self.lane = engine, engine.task
        self._most_candidates = most_candidates
        self.shapes: dict[int, list[Shape]] = {}
        self._runs: dict[int, tuple[Tensor, Run]] = {}
        for bucket in sorted(buckets, reverse=True):  # the largest first: smaller ones then fit into its memory
            self._runs[bucket] = self._prepared(bucket, lanes)

    def run(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Run on pixels (bucket, 3, h, w) on the device, in a task of this lane; the next call replaces the outputs."""
        fixed, run = self._runs[len(pixels)]
        fixed.copy_(pixels)
        return run()

    def _prepared(self, bucket: int, lanes: DeviceStreams) -> tuple[Tensor, Run]:
        height, width = self.engine.size
        fixed = torch.zeros((bucket, height, width, 3), dtype=torch.uint8, device=lanes.device).permute(0, 3, 1, 2)
        run = lanes.capture(self.lane, lambda: self._answers(fixed))
        with lanes.work(self.lane, "first run"):
            self.shapes[bucket] = [tuple(answer.shape) for answer in run()]
        return fixed, run

    def _answers(self, pixels: Tensor) -> tuple[Tensor, ...]:
        answers = self.engine.on_device(pixels)
        if self.engine.task == "segmenter":
            return answers
        boxes, scores = answers
        return best_of(boxes, scores, self._most_candidates)


def best_of(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` best candidates of each image, best first, of boxes (N, P, 4), scores (N, P); all of no more."""
    if scores.shape[1] <= count:
        return boxes, scores
    best, places = scores.topk(count, dim=1)
    return boxes.gather(1, places[..., None].expand(-1, -1, 4)), best


def require_on_device(engine: Engine, device: torch.device) -> None:
    """Raise EngineError unless the engine can leave its outputs on this device."""
    if not engine.device_resident or torch.device(engine.device).type != device.type:
        raise EngineError(
            f"engine {engine.name} of {engine.model} runs on {engine.device} and cannot leave its answers on "
            f"{device.type}: open it with --engine eager --device {device.type}"
        )
