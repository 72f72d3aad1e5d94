"""Configuration of the training loop, and the schedules of learning rate and image size that follow from it."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: dict[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


_LONGEST_WARMUP = 0.1  # of the run


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the training loop.

    Attributes:
        epochs: length of the run.
        batch: images per step, over all processes.
        optimizer: "adamw" or "sgd".
        learning_rate: peak learning rate at this batch size.
        momentum: of SGD.
        weight_decay: of both optimisers.
        backbone_factor: learning rate of the backbone relative to the other layers.
        schedule: "step" divides by 10 at each milestone, "cosine" falls to one hundredth, "poly" to zero.
        milestones: of "step", as fractions of the run.
        warmup_steps: length of the linear warm-up.
        clip_norm: largest norm of the gradient; None: no clipping.
        average_decay: decay of the moving average of the weights; None: no average.
        precision: of forward and backward.
        scales: relative image sizes, one drawn per step (multi-scale training).
        small_share: fraction of the epochs, at the start, that train at `small_scale` (progressive resizing).
        small_scale: relative image size of these epochs.
        validate_every: epochs between validations.
        checkpoint_s: seconds between checkpoints.
        workers: loading processes.
        seed: of all random numbers.
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
    """Return the configuration for other numbers of epochs and images per step.

    The learning rate scales with the batch for SGD (Goyal et al., 2017), with its square root for AdamW.
    """
    batch = batch or config.batch
    ratio = batch / config.batch
    rate = config.learning_rate * (ratio if config.optimizer == "sgd" else math.sqrt(ratio))
    return replace(config, epochs=epochs or config.epochs, batch=batch, learning_rate=rate)


def learning_rate(config: LoopConfig, step: int, total_steps: int, share: float | None = None) -> float:
    """Return the learning rate of a step: a linear warm-up, then the schedule.

    share: of the run that is over, 0..1; None: that of the steps.
    """
    done = step / max(1, total_steps) if share is None else share
    warmup_steps = min(config.warmup_steps, int(_LONGEST_WARMUP * total_steps))
    # A short run must reach its learning rate too. With a clock, its number of steps is not known.
    warmup = min(1.0, max((step + 1) / max(1, warmup_steps), 0.0 if share is None else share / _LONGEST_WARMUP))
    return config.learning_rate * warmup * _SCHEDULES[config.schedule](config, done)


def _step(config: LoopConfig, share: float) -> float:
    return 0.1 ** sum(share >= milestone - 1e-9 for milestone in config.milestones)


def _cosine(config: LoopConfig, share: float) -> float:
    return 0.505 + 0.495 * math.cos(math.pi * share)


def _poly(config: LoopConfig, share: float) -> float:
    return float((1 - share) ** 0.9)


_SCHEDULES = {"step": _step, "cosine": _cosine, "poly": _poly}


def image_scale(config: LoopConfig, step: int, epoch: int, share: float | None = None) -> float:
    """Return the relative image size of a step; it depends only on seed, step and epoch, in every process.

    share: of the run that is over, 0..1; None: that of the epochs.
    """
    if (epoch / config.epochs if share is None else share) < config.small_share:
        return config.small_scale
    return float(np.random.default_rng([config.seed, step]).choice(config.scales))
