"""Tunes the weights of a joint model so that, rounded to INT8, it answers as it does in float.

The float model is the teacher, and no truth is needed: the rounded copy learns its scores, its distributions of box
edges and its masks on training stills (quantization-aware distillation). What is rounded, and how, is in
`rounding.py`; the ranges of activations are measured beforehand and do not change.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import trange

from calibration.quantisation.rounding import Rounded, activation_range, rounded_weights, step_of
from realtime_polyp.engines.quantized import quantizable
from realtime_polyp.models.detector import DetectorMaps
from realtime_polyp.models.joint import JointModel
from trainers.training.depthwise import use_fast_depthwise

_BATCH = 8
_WARMUP_STEPS = 20
_CLIP_NORM = 1.0
_MASK_WEIGHT = 30.0  # its loss is a mean over pixels, most of which are no polyp
_CERTAIN, _LIKELY = 0.1, 0.03  # scores of the teacher: the number of places is counted, and boxes are compared, above
_BRIGHTNESS = (0.8, 1.15)

Images = Sequence[NDArray[np.uint8]]  # each (1, h, w, 3)
Outputs = tuple[DetectorMaps, tuple[Tensor, Tensor]]  # of `JointModel.train_outputs`


@dataclass(frozen=True)
class TuningConfig:
    """Settings of the tuning.

    Attributes:
        steps: number of steps, of 8 images each.
        learning_rate: peak, of AdamW; it rises for 20 steps and falls to 0 along a cosine.
        seed: of all random numbers.
    """

    steps: int = 400
    learning_rate: float = 3e-5
    seed: int = 0


def tune(model: JointModel, images: Images, calibration: Images, config: TuningConfig) -> JointModel:
    """Return a tuned copy in float; rounded, it answers much as `model` does.

    images: to learn on, mirrored and made brighter or darker at random. calibration: to measure ranges on.
    """
    teacher = copy.deepcopy(model).eval()
    tuned = copy.deepcopy(teacher)  # batch norms keep their statistics
    round_to_ranges(tuned, calibration)
    use_fast_depthwise(tuned)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_peak(step, config.steps))
    generator = np.random.default_rng(config.seed)
    for _ in trange(config.steps, desc="tuning", unit="step"):
        pixels = _draw(images, generator)
        with torch.no_grad():
            wanted = teacher.train_outputs(pixels)
        with rounded_weights(tuned):
            loss = distillation_loss(tuned.train_outputs(pixels), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        nn.utils.clip_grad_norm_(tuned.parameters(), _CLIP_NORM)
        optimizer.step()
        schedule.step()
    found = copy.deepcopy(teacher)  # without hooks
    found.load_state_dict(tuned.state_dict())
    return found


def _share_of_peak(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARMUP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def _draw(images: Images, generator: np.random.Generator) -> Tensor:
    """Return a batch (N, 3, h, w) in 0..255."""
    chosen = np.concatenate([images[place] for place in generator.integers(0, len(images), _BATCH)])
    for axis in (1, 2):
        chosen = np.flip(chosen, axis) if generator.random() < 0.5 else chosen
    return (_as_pixels(chosen) * generator.uniform(*_BRIGHTNESS)).clamp(0, 255).round()


def _as_pixels(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()


def distillation_loss(found: Outputs, wanted: Outputs) -> Tensor:
    """Return how far the outputs are from the teacher's, scalar; 0 if they are equal."""
    (maps, logits), (true_maps, true_logits) = found, wanted
    score = true_maps.scores
    scores = (maps.scores - score).square().sum() / (score > _CERTAIN).sum().clamp(min=1)
    divergence = F.kl_div(
        maps.distributions.log_softmax(-1), true_maps.distributions.log_softmax(-1), log_target=True, reduction="none"
    )  # fmt: skip
    weight = score * (score > _LIKELY)
    boxes = (weight * divergence.sum(-1).mean(-1)).sum() / weight.sum().clamp(min=1)
    masks = sum(_excess_entropy(one, other) for one, other in zip(logits, true_logits, strict=True))
    return scores + boxes + _MASK_WEIGHT * masks


def _excess_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    probability = wanted.sigmoid()
    entropy = F.binary_cross_entropy_with_logits
    return entropy(logits, probability) - entropy(wanted, probability)


@torch.no_grad()
def round_to_ranges(model: JointModel, calibration: Images) -> None:
    """Make the convolutions read activations that are rounded to the ranges of the calibration images.

    The levels of a pyramid share convolutions; each input size has a range of its own.
    """
    ranges: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}

    def measure(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = activation_range(conv, inputs[0])
            before = ranges.get((name, inputs[0].shape[-2:]), (low, high))
            ranges[name, inputs[0].shape[-2:]] = torch.minimum(low, before[0]), torch.maximum(high, before[1])

        return hook

    def rounding(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        def hook(conv: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            return (Rounded.apply(inputs[0], step_of(*ranges[name, inputs[0].shape[-2:]])),)

        return hook

    measuring = [conv.register_forward_pre_hook(measure(name)) for name, conv in quantizable(model).items()]
    for pixels in _batches(calibration):
        model.train_outputs(pixels)
    for one in measuring:
        one.remove()
    for name, conv in quantizable(model).items():
        conv.register_forward_pre_hook(rounding(name))


def _batches(images: Images) -> Iterator[Tensor]:
    for start in range(0, len(images), _BATCH):
        yield _as_pixels(np.concatenate(images[start : start + _BATCH]))
