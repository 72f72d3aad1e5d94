"""How a run's learning rate, picture size and precision go: its frozen configuration and what follows from it."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoopConfig:
    """learning_rate: at `batch`. backbone_factor: learning rate of the pretrained backbone relative to the rest.

    schedule: "step" divides by 10 at each of `milestones` (shares of the run), "cosine" goes to one hundredth, "poly"
    to nothing. clip_norm, average_decay (of the moving average of weights): None leaves it out. scales: relative sizes
    of the picture, one drawn a step (multi-scale training). small_share: share of the epochs that train first at
    `small_scale` of the size (progressive resizing). checkpoint_s: seconds between checkpoints.
    """

    epochs: int = 18
    batch: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.02
    backbone_factor: float = 0.3
    schedule: Literal["cosine", "step", "poly"] = "cosine"
    milestones: tuple[float, ...] = (16 / 24, 22 / 24)
    warmup_steps: int = 200
    clip_norm: float | None = 10.0
    average_decay: float | None = 0.998
    precision: Precision = "float32"
    scales: tuple[float, ...] = (1.0,)
    small_share: float = 0.0
    small_scale: float = 0.8
    validate_every: int = 3
    checkpoint_s: float = 180.0
    workers: int = 1
    seed: int = 0


def scaled_down(config: LoopConfig, *, epochs: int | None = None, batch: int | None = None) -> LoopConfig:
    """Another length and batch, honestly: SGD's learning rate follows the batch in proportion (Goyal et al., 2017),
    AdamW's with its root; milestones are shares and follow by themselves."""
    batch = batch or config.batch
    ratio = batch / config.batch
    rate = config.learning_rate * (ratio if config.optimizer == "sgd" else math.sqrt(ratio))
    return replace(config, epochs=epochs or config.epochs, batch=batch, learning_rate=rate)


def learning_rate(config: LoopConfig, step: int, total_steps: int) -> float:
    """Of the step that comes next: a linear warm-up, then the schedule."""
    warmup_steps = min(config.warmup_steps, total_steps // 10)  # a run of a few steps must come to its rate, too
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    return config.learning_rate * warmup * _SCHEDULES[config.schedule](config, step / max(1, total_steps))


def _step(config: LoopConfig, share: float) -> float:
    return 0.1 ** sum(share >= milestone - 1e-9 for milestone in config.milestones)


def _cosine(config: LoopConfig, share: float) -> float:
    return 0.505 + 0.495 * math.cos(math.pi * share)


def _poly(config: LoopConfig, share: float) -> float:
    return float((1 - share) ** 0.9)


_SCHEDULES = {"step": _step, "cosine": _cosine, "poly": _poly}


def image_scale(config: LoopConfig, step: int, epoch: int) -> float:
    """Of this step's pictures, relative to the model's size; the same in every process and after every resume."""
    if epoch < config.small_share * config.epochs:
        return config.small_scale
    return float(np.random.default_rng([config.seed, step]).choice(config.scales))
