"""The training loop that both models share: schedule, average of weights, checkpoints, curves.

A run lives in one folder: `checkpoint.pt` (all that resuming needs), `best.safetensors` (averaged weights of the best
validation), `history.json`, `curves.png`, and TensorBoard's event files.
"""

import copy
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from trainers.curves import draw_curves
from trainers.data import TrainingStills, collate, epoch_order

Losses = dict[str, Tensor]
BatchLoss = Callable[[nn.Module, Tensor, list[Tensor], Tensor], Losses]
Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class LoopConfig:
    """trunk_factor: learning rate of the pretrained trunk relative to the rest. small_share: share of the epochs that
    train at `small_scale` of the input size (progressive resizing). average_decay: of the moving average of weights."""

    epochs: int = 18
    batch: int = 8
    learning_rate: float = 1e-3
    trunk_factor: float = 0.3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    clip_norm: float = 10.0
    average_decay: float = 0.998
    small_share: float = 0.5
    small_scale: float = 0.8
    validate_every: int = 3
    checkpoint_s: float = 180.0
    workers: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """What is learnt. `score` names the validation figure that chooses the best weights."""

    model: nn.Module
    trunk: nn.Module
    loss: BatchLoss
    validate: Validate
    score: str
    prepare_training: Callable[[nn.Module], None]


class Run:
    """The state of one training run: everything that a checkpoint holds."""

    def __init__(self, task: Task, config: LoopConfig, steps_per_epoch: int) -> None:
        self.task, self.config = task, config
        self.model, self.averaged = task.model, copy.deepcopy(task.model)
        self.optimizer = torch.optim.AdamW(_parameter_groups(task, config), weight_decay=config.weight_decay)
        self.total_steps = config.epochs * steps_per_epoch
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.best = -1.0

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "best": self.best,
            "config": asdict(self.config),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises ValueError when the checkpoint was made with another configuration."""
        found, wanted = state["config"], asdict(self.config)
        different = [key for key in wanted if found.get(key) != wanted[key]]
        if different:
            raise ValueError(f"the checkpoint has other values of {', '.join(different)}: start a new --out")
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.history, self.best = state["step"], state["history"], state["best"]


def fit(task: Task, stills: TrainingStills, config: LoopConfig, folder: Path, *, resume: bool = False) -> Run:
    """Train to the last epoch, from the folder's checkpoint when resuming.

    Raises FloatingPointError on a non-finite loss, FileNotFoundError when there is nothing to resume from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed)
    run = Run(task, config, max(1, len(stills) // config.batch))
    checkpoint = folder / "checkpoint.pt"
    if resume:
        if not checkpoint.is_file():
            raise FileNotFoundError(f"nothing to resume: {checkpoint} is not there; leave out --resume")
        run.restore(torch.load(checkpoint, weights_only=True))
    with SummaryWriter(str(folder)) as board:
        for epoch in range(run.step // run.steps_per_epoch, config.epochs):
            losses = train_epoch(run, stills, epoch, checkpoint)
            figures = {"epoch": epoch + 1.0, **losses}
            if (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.epochs:
                figures |= task.validate(run.averaged)
                keep_if_best(run, figures, folder)
            record(run, figures, board, folder)
            save_checkpoint(run, checkpoint)
    return run


def train_epoch(run: Run, stills: TrainingStills, epoch: int, checkpoint: Path) -> dict[str, float]:
    """One epoch from wherever the run stands in it; mean of each loss over the steps taken."""
    run.task.prepare_training(run.model)
    stills.epoch = epoch
    done = run.step % run.steps_per_epoch
    order = list(epoch_order(len(stills), run.config.batch, seed=run.config.seed, epoch=epoch))[done:]
    loader = DataLoader(stills, batch_sampler=order, collate_fn=collate, num_workers=run.config.workers)
    sums: dict[str, float] = {}
    saved_s = time.monotonic()
    bar = tqdm(loader, initial=done, total=run.steps_per_epoch, desc=f"epoch {epoch + 1}/{run.config.epochs}")
    for pixels, boxes, masks in bar:
        losses = train_step(run, *at_scale(pixels, boxes, masks, scale_of(epoch, run.config)))
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value
        bar.set_postfix(loss=f"{sum(losses.values()):.3f}")
        if time.monotonic() - saved_s > run.config.checkpoint_s:
            save_checkpoint(run, checkpoint)
            saved_s = time.monotonic()
    return {name: value / max(1, len(order)) for name, value in sums.items()}


def train_step(run: Run, pixels: Tensor, boxes: list[Tensor], masks: Tensor) -> dict[str, float]:
    """Forward, backward, one step of the optimiser and of the moving average."""
    set_learning_rate(run)
    losses = run.task.loss(run.model, pixels, boxes, masks)
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        raise FloatingPointError(f"loss is {total.item()} at step {run.step}: {losses}")
    run.optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
    run.optimizer.step()
    run.step += 1
    update_average(run)
    return {name: value.item() for name, value in losses.items()}


def scale_of(epoch: int, config: LoopConfig) -> float:
    return config.small_scale if epoch < config.small_share * config.epochs else 1.0


def at_scale(pixels: Tensor, boxes: list[Tensor], masks: Tensor, scale: float) -> tuple[Tensor, list[Tensor], Tensor]:
    """The batch as float32, shrunk by `scale` to a size that the trunk's stride 32 divides."""
    size = [round(length * scale / 32) * 32 for length in pixels.shape[-2:]]
    factor = torch.tensor([size[1] / pixels.shape[-1], size[0] / pixels.shape[-2]] * 2)
    if size != list(pixels.shape[-2:]):
        pixels = nn.functional.interpolate(pixels.float(), size=size, mode="bilinear", antialias=True)
        masks = nn.functional.interpolate(masks[:, None].float(), size=size, mode="nearest")[:, 0]
    pixels = pixels.float().contiguous(memory_format=torch.channels_last)
    return pixels, [box * factor for box in boxes], masks.float()


def set_learning_rate(run: Run) -> None:
    """Linear warm-up, then a cosine to one hundredth."""
    warmup = min(1.0, (run.step + 1) / max(1, run.config.warmup_steps))
    cosine = 0.505 + 0.495 * math.cos(math.pi * run.step / max(1, run.total_steps))
    for group in run.optimizer.param_groups:
        group["lr"] = run.config.learning_rate * group["factor"] * warmup * cosine


def update_average(run: Run) -> None:
    """Exponential moving average of weights and batch-norm statistics; quicker while the run is young."""
    decay = min(run.config.average_decay, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        for average, value in zip(run.averaged.state_dict().values(), run.model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


def _parameter_groups(task: Task, config: LoopConfig) -> list[dict[str, Any]]:
    trunk = {id(parameter) for parameter in task.trunk.parameters()}
    task.prepare_training(task.model)  # freezes what stays frozen, so that the optimiser never holds it
    learnt = [p for p in task.model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learnt if id(p) in trunk], "factor": config.trunk_factor},
        {"params": [p for p in learnt if id(p) not in trunk], "factor": 1.0},
    ]


def keep_if_best(run: Run, figures: dict[str, float], folder: Path) -> None:
    if figures[run.task.score] > run.best:
        run.best = figures[run.task.score]
        temporary = folder / "best.safetensors.part"
        save_file({name: value.contiguous() for name, value in run.averaged.state_dict().items()}, temporary)
        os.replace(temporary, folder / "best.safetensors")


def save_checkpoint(run: Run, path: Path) -> None:
    """Written beside and moved into place, so that a kill never leaves half a file."""
    temporary = path.with_suffix(".part")
    torch.save(run.state(), temporary)
    os.replace(temporary, path)


def record(run: Run, figures: dict[str, float], board: SummaryWriter, folder: Path) -> None:
    run.history.append(figures)
    for name, value in figures.items():
        board.add_scalar(name, value, int(figures["epoch"]))
    (folder / "history.json").write_text(json.dumps(run.history, indent=1))
    draw_curves(run.history, folder / "curves.png")
    tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
