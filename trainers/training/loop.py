"""The training loop of all models: steps, moving average of the weights, checkpoints, validation.

The folder of a run holds `checkpoint.pt` (the state to resume from), `best.safetensors` (average weights of the best
validation), `recipe.json`, `history.json`, `curves.png`, and TensorBoard's event files.
"""

import copy
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from realtime_polyp.atomic_write import replacing
from realtime_polyp.json_files import Count, check_json
from realtime_polyp.models.state_names import upgrade_state
from trainers.data.device.stills import DeviceStills
from trainers.data.stills import TrainingStills, epoch_order
from trainers.training.checkpoint_file import load_checkpoint, reason
from trainers.training.contract import Losses, ModelWithLoss, Targets
from trainers.training.depthwise import use_fast_depthwise
from trainers.training.distributed import ProcessGroup, any_process, barrier, wrap_model
from trainers.training.run_folder import (
    BAD_BATCH,
    BEST,
    CHECKPOINT,
    CURVES,
    FORMAT,
    HISTORY,
    check_format,
    draw_curves,
    upgrade_loop,
)
from trainers.training.schedule import PRECISIONS, LoopConfig, image_scale, learning_rate

Validate = Callable[[nn.Module], dict[str, float]]
_GRID_PX = 32  # every backbone's coarsest stride


@dataclass(frozen=True)
class TrainingTask:
    """What the loop trains, and how it validates.

    Attributes:
        model: the net with its loss.
        backbone: the part of the net with its own learning rate.
        validate: takes the net with the average weights and returns named validation figures.
        score: name of the validation figure that selects the best weights.
        set_mode: sets the net to training mode and freezes its fixed layers; called at the start of each epoch.
    """

    model: ModelWithLoss
    backbone: nn.Module
    validate: Validate
    score: str
    set_mode: Callable[[nn.Module], None]


class CheckpointState(Struct):
    """What a checkpoint must hold: the state of model, moving average, optimiser and scaler, and the run's record."""

    model: dict[str, Any]
    averaged: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    step: Count
    sums: dict[str, float]
    history: list[dict[str, float]]
    best: float
    config: dict[str, Any]


@dataclass(frozen=True)
class AveragedTensors:
    """The tensors of the average beside those of the net, in the same order. They share memory with both.

    Lists, because a card takes them in one call: one call per tensor takes longer than a step of a small net.

    Attributes:
        means, values: floating-point tensors of the average and of the net.
        counts, current: their integer tensors, such as the number of batches that a batch norm has seen.
    """

    means: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    counts: list[Tensor] = field(default_factory=list)
    current: list[Tensor] = field(default_factory=list)


def _pairs_of(average: nn.Module, net: nn.Module) -> AveragedTensors:
    pairs = list(zip(average.state_dict().values(), net.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    others = [pair for pair in pairs if not pair[0].is_floating_point()]
    return AveragedTensors(*_columns(floats), *_columns(others))


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [mean for mean, _ in pairs], [value for _, value in pairs]


@dataclass(frozen=True)
class Clock:
    """The time that a run has: its schedules then follow the clock, and it ends when the time is over.

    Attributes:
        began_s: monotonic time.
        length_s: of the run.
    """

    began_s: float
    length_s: float

    def share(self) -> float:
        """Return the share of the time that is over, 0..1."""
        return min(1.0, (time.monotonic() - self.began_s) / self.length_s)


@dataclass
class Run:
    """The state of one training run: everything that a checkpoint stores, and the time it has, if that ends it."""

    task: TrainingTask
    config: LoopConfig
    group: ProcessGroup
    steps_per_epoch: int
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = -1.0
    clock: "Clock | None" = None

    def __post_init__(self) -> None:
        net = self.task.model.net
        self.average = copy.deepcopy(net) if self.config.average_decay is not None else net
        self.task.model.to(self.group.device)
        self.average.to(self.group.device)
        self.optimizer = _optimizer(self.task, self.config)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.config.precision == "float16")
        self.list_averaged()
        if self.group.device == "cpu":
            use_fast_depthwise(net)
        self.model = wrap_model(self.task.model, self.group)

    def list_averaged(self) -> None:
        """List the tensors again: a validation may have moved the average to other memory."""
        self.averaged = _pairs_of(self.average, self.net) if self.average is not self.net else AveragedTensors()

    @property
    def net(self) -> nn.Module:
        return self.task.model.net

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    def share(self) -> float | None:
        """Return the share of the run that is over, by its time or its steps; None for a run whose epochs end it."""
        return max(self.clock.share(), self.step / self.total_steps) if self.clock else None

    @property
    def is_over(self) -> bool:
        """Whether no step is left: the last epoch or the time has ended."""
        return self.step >= self.total_steps or (self.clock is not None and self.clock.share() >= 1.0)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.net.state_dict(),
            "averaged": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
            "best": self.best,
            "config": asdict(self.config),
            "format": FORMAT,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Load the state of a checkpoint. Raises ValueError if it was written with another configuration."""
        found, wanted = upgrade_loop(state["config"]), asdict(self.config)
        different = [key for key in wanted if found.get(key) != wanted[key] and key not in ("workers", "checkpoint_s")]
        if different:
            raise ValueError(f"the checkpoint has other values of {', '.join(different)}: start a new --out")
        self.net.load_state_dict(upgrade_state(state["model"]))
        self.average.load_state_dict(upgrade_state(state["averaged"]))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
        self.sums = state["sums"]


def fit(
    task: TrainingTask,
    stills: TrainingStills | DeviceStills,
    config: LoopConfig,
    folder: Path,
    *,
    resume: bool = False,
    group: ProcessGroup = ProcessGroup(),
    minutes: float | None = None,
) -> Run:
    """Train to the last epoch; with `resume`, continue from the checkpoint in the folder.

    minutes: the run also ends after this time, before its last validation; its schedules follow the clock.

    Raises:
        FloatingPointError: the loss is not finite.
        FileNotFoundError: there is no checkpoint to resume from.
        ValueError: the processes cannot share the batch evenly, or the checkpoint is of another configuration, or a run
            that ends by the clock is to be resumed or has several processes, whose clocks would differ.
    """
    if config.batch % group.size:
        raise ValueError(f"a batch of {config.batch} cannot be shared by {group.size} processes: choose a multiple")
    if minutes is not None and (resume or group.size > 1):
        raise ValueError("--minutes ends a run of one process by the clock: it cannot be resumed or shared")
    folder.mkdir(parents=True, exist_ok=True)
    seed_everything(config.seed)
    run = Run(task, config, group, max(1, len(stills) // config.batch))
    if minutes is not None:
        run.clock = Clock(time.monotonic(), 60 * minutes)
    if resume:
        restore_from(folder / CHECKPOINT, run)
    with SummaryWriter(str(folder)) if group.is_main else _NullWriter() as board:
        for epoch in range(len(run.history), config.epochs):
            train_epoch(run, stills, epoch, folder)
            is_last = run.is_over  # asked once: the clock goes on while the last epoch is validated
            finish_epoch(run, epoch, board, folder, is_last=is_last)
            if is_last:
                break
    return run


def restore_from(path: Path, run: Run) -> None:
    """Load a checkpoint into a run. Raises FileNotFoundError or ValueError naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: {path} is not there; leave out --resume")
    try:
        state = load_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): start a new --out") from error
    if isinstance(state, dict):
        check_format(state.get("format", FORMAT), path)
    check_json(state, CheckpointState, str(path), "the state of a training run", cure="start a new --out")
    try:
        run.restore(state)
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged and cannot be read ({reason(error)}): start a new --out") from error


def train_epoch(run: Run, stills: TrainingStills | DeviceStills, epoch: int, folder: Path) -> None:
    """Train the rest of an epoch, from the current step of the run."""
    run.task.set_mode(run.net)
    run.list_averaged()
    stills.epoch = epoch
    done = run.step - epoch * run.steps_per_epoch
    if done == 0:
        run.sums = {}
    order = list(epoch_order(len(stills), run.config.batch, seed=run.config.seed, epoch=epoch))[done:]
    mine = [batch[run.group.rank :: run.group.size] for batch in order]
    loader = stills.batches(mine, run.config.workers)
    saved_s = time.monotonic()
    title = f"epoch {epoch + 1}/{run.config.epochs}"
    bar = tqdm(loader, initial=done, total=run.steps_per_epoch, desc=title, disable=not run.group.is_main)
    for pixels, boxes, masks in bar:
        scale = image_scale(run.config, run.step, epoch, run.share())
        losses = train_step(run, *resize_batch(pixels, boxes, masks, scale, run.group.device), folder)
        for name, value in losses.items():
            run.sums[name] = run.sums.get(name, 0.0) + value
        bar.set_postfix(loss=f"{losses['loss']:.3f}")
        if time.monotonic() - saved_s > run.config.checkpoint_s:
            save_checkpoint(run, folder / CHECKPOINT)
            saved_s = time.monotonic()
        if run.is_over:
            break


def train_step(run: Run, images: Tensor, targets: Targets, folder: Path) -> dict[str, float]:
    """Run forward and backward, and one step of the optimiser and the moving average; return the losses."""
    # Random numbers within a step (region sampling, dropout) depend on the step only, also after a resume.
    torch.manual_seed(_combine_seeds(run.config.seed, run.step, run.group.rank))
    for group in run.optimizer.param_groups:
        group["lr"] = group["factor"] * learning_rate(run.config, run.step, run.total_steps, run.share())
    device = run.group.device.split(":")[0]
    precision = PRECISIONS.get(run.config.precision)
    with torch.autocast(device, dtype=precision, enabled=precision is not None):
        losses = run.model(images, targets)
    check_finite(run, losses, images, targets, folder)
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(losses["loss"]).backward()
    if run.config.clip_norm is not None:
        run.scaler.unscale_(run.optimizer)
        nn.utils.clip_grad_norm_(run.model.parameters(), run.config.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    update_average(run)
    return {name: value.item() for name, value in losses.items()}


def check_finite(run: Run, losses: Losses, images: Tensor, targets: Targets, folder: Path) -> None:
    """Save the batch and raise FloatingPointError in every process if the loss is not finite in any of them."""
    bad = not bool(torch.isfinite(losses["loss"]))
    if any_process(bad, run.group):
        kept = folder / (BAD_BATCH if run.group.is_main else f"{run.group.rank}.{BAD_BATCH}")
        with replacing(kept) as path:
            torch.save({"images": images, "boxes": targets.boxes, "masks": targets.masks, "step": run.step}, path)
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
        raise FloatingPointError(
            f"the loss is no number at step {run.step} ({values}); the batch is kept in {kept}, "
            f"the weights before it in {folder / CHECKPOINT} if one was due: try a lower --learning-rate"
        )


def resize_batch(
    pixels: Tensor, boxes: list[Tensor], masks: Tensor, scale: float, device: str = "cpu"
) -> tuple[Tensor, Targets]:
    """Move a batch to the device in float32, resized to a multiple of the coarsest stride near `scale`."""
    pixels, masks = pixels.to(device, non_blocking=True).float(), masks.to(device, non_blocking=True).float()
    size = [round(length * scale / _GRID_PX) * _GRID_PX for length in pixels.shape[-2:]]
    factor = torch.tensor([size[1] / pixels.shape[-1], size[0] / pixels.shape[-2]] * 2, device=boxes[0].device)
    if size != list(pixels.shape[-2:]):
        pixels = nn.functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        masks = nn.functional.interpolate(masks[:, None], size=size, mode="nearest")[:, 0]
    moved = [(box * factor).to(device) for box in boxes]
    return pixels.contiguous(memory_format=torch.channels_last), Targets(moved, masks)


def update_average(run: Run) -> None:
    """Update the moving average of weights and batch norm statistics; its decay is smaller in the first steps."""
    if run.config.average_decay is None:
        return
    decay = min(run.config.average_decay, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        torch._foreach_lerp_(run.averaged.means, run.averaged.values, 1 - decay)
        if run.averaged.counts:
            torch._foreach_copy_(run.averaged.counts, run.averaged.current)


def _optimizer(task: TrainingTask, config: LoopConfig) -> torch.optim.Optimizer:
    backbone = {id(parameter) for parameter in task.backbone.parameters()}
    task.set_mode(task.model.net)  # freezes the fixed layers first: the optimiser must not hold them
    trainable = [p for p in task.model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if id(p) in backbone], "factor": config.backbone_factor},
        {"params": [p for p in trainable if id(p) not in backbone], "factor": 1.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def finish_epoch(run: Run, epoch: int, board: Any, folder: Path, *, is_last: bool) -> None:
    """Validate if due or after the last epoch, and record the epoch; the other processes wait."""
    if run.group.is_main:
        steps = max(1, run.step - epoch * run.steps_per_epoch)  # the clock may end an epoch early
        figures = {"epoch": epoch + 1.0, **{name: value / steps for name, value in run.sums.items()}}
        if (epoch + 1) % run.config.validate_every == 0 or is_last:
            figures |= run.task.validate(run.average)
            save_if_best(run, figures, folder)
        record_epoch(run, figures, board, folder)
        save_checkpoint(run, folder / CHECKPOINT)
    barrier(run.group)


def save_if_best(run: Run, figures: dict[str, float], folder: Path) -> None:
    if figures[run.task.score] > run.best:
        run.best = figures[run.task.score]
        state = {name: value.contiguous().cpu() for name, value in run.average.state_dict().items()}
        with replacing(folder / BEST) as path:
            save_file(state, path)


def save_checkpoint(run: Run, path: Path) -> None:
    """Write a checkpoint atomically: an interrupted write leaves the previous one intact."""
    if run.group.is_main:
        with replacing(path) as temporary:
            torch.save(run.state(), temporary)


def record_epoch(run: Run, figures: dict[str, float], board: SummaryWriter, folder: Path) -> None:
    run.history.append(figures)
    for name, value in figures.items():
        board.add_scalar(name, value, int(figures["epoch"]))
    with replacing(folder / HISTORY) as path:
        path.write_text(json.dumps(run.history, indent=1))
    with replacing(folder / CURVES) as path:
        draw_curves(run.history, path)
    tqdm.write("  ".join(f"{name} {value:.4g}" for name, value in figures.items()))


class _NullWriter:
    """Stands in for the TensorBoard writer in all processes but the main one."""

    def __enter__(self) -> "_NullWriter":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _combine_seeds(*numbers: int) -> int:
    """Derive one seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_everything(seed: int) -> None:
    """Seed all random generators and make cuDNN deterministic; some GPU sums remain unordered (docs/training.md)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
