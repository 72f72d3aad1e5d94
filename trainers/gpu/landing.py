"""Training that lands: the shipped models, the joint model and HRNet, each by the clock and measured in time."""

import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from realtime_polyp.engines.weights import find_weights
from realtime_polyp.json_files import read_json
from realtime_polyp.models.state_file import read_state
from trainers.gpu.processes import Command, Ended, run_all
from trainers.training.checkpoint_file import load_checkpoint
from trainers.training.run_folder import BEST, CHECKPOINT, HISTORY

_MOST_EPOCHS = 600
_START_S = 40.0  # until the first step: Python, torch, the images
_VALIDATION_S = 30.0  # after the last step, with other commands beside it
_EVALUATION_S = 35.0
_SPLITS = ("val", "unseen_C6")


@dataclass(frozen=True)
class Landing:
    """A model that is trained.

    Attributes:
        command: module of the trainers.
        batch: images per step.
        goes_on: from the shipped weights; else from ImageNet's, or random ones where there are none.
        negatives: train on frames without a polyp, too.
    """

    command: str
    batch: int = 32
    goes_on: bool = False
    negatives: bool = False


MODELS = {
    "polyp-lite2": Landing("trainers.train_joint", negatives=True),
    "polyp-lite0": Landing("trainers.train_joint", negatives=True),
    "lowrank-hrnet-w18s": Landing("trainers.train_segmenter"),
    "gflv2-lite0": Landing("trainers.train_detector", batch=64, goes_on=True),
    "lowrank-lite2": Landing("trainers.train_segmenter", batch=64),
}


def train_models(
    models: Sequence[str], data: Path, runs: Path, logs: Path, limit_s: float, *, device: str, toy: bool
) -> dict[str, dict[str, Any]]:
    """Train models at the same time, evaluate them, and return {model: figures}.

    A card that runs one of them waits for the processor most of the time. Their schedules follow the clock, so every
    run comes to its end however much the others slow it down.
    """
    end_s = time.monotonic() + limit_s
    shutil.rmtree(runs, ignore_errors=True)  # of an earlier call, whose weights have come back
    evaluation_s = min(_EVALUATION_S, 0.2 * limit_s)
    other_s = min(_START_S + _VALIDATION_S, 0.5 * limit_s)
    minutes = max(1.0, limit_s - evaluation_s - other_s) / 60
    commands = [_training(model, data, runs / model, device, toy, minutes=minutes) for model in models]
    found: dict[str, dict[str, Any]] = {model: {"minutes": minutes} for model in models}
    for ended in run_all(commands, limit_s - evaluation_s, logs):
        found[ended.name.removeprefix("train-")]["training"] = ended.sentence
    for model, figures in found.items():
        figures["epochs_done"] = _epochs_done(runs / model / HISTORY)
    for ended in evaluate_models(list(found), data, runs, logs, end_s - time.monotonic(), toy=toy):
        model, split = ended.name.removeprefix("evaluate-").rsplit("-on-", 1)
        found[model][split] = read_figures(runs / model / f"{split}.json") or ended.sentence
    return found


def _training(model: str, data: Path, out: Path, device: str, toy: bool, *, minutes: float) -> Command:
    """Return the command that trains a model."""
    landing = MODELS[model]
    words = [landing.command, "--data", str(data), "--config", model, "--out", str(out)]
    words += ["--init", str(find_weights(model).path("safetensors"))] if landing.goes_on else []
    words += ["--negatives", str(data / "negative.json")] if landing.negatives and not toy else []
    words += ["--epochs", str(_MOST_EPOCHS), "--minutes", f"{minutes:.3f}", "--device", device]
    words += ["--augment-on", "device", "--workers", "0", "--checkpoint-minutes", "60"]
    words += ["--cache", str(out.parent / "items")]
    words += ["--validate-every", str(_MOST_EPOCHS), "--precision", "float32" if toy else "bfloat16"]
    words += ["--size", "64", "96", "--batch", "4", "--limit", "8"] if toy else ["--batch", str(landing.batch)]
    return Command(f"train-{model}", words, _threads(toy))


def _threads(toy: bool) -> dict[str, str]:
    """Return the environment: several commands share the processors."""
    return {"OMP_NUM_THREADS": "1" if toy else "2"}


def evaluate_models(models: list[str], data: Path, runs: Path, logs: Path, limit_s: float, *, toy: bool) -> list[Ended]:
    """Evaluate the best weights of every run on all sets, at the same time."""
    more = ["--bootstrap", "20", "--limit", "8"] if toy else ["--bootstrap", "500"]
    commands = []
    for model, split in itertools.product(models, _SPLITS[:1] if toy else _SPLITS):
        run, name = runs / model, f"evaluate-{model}-on-{split}"
        words = ["trainers.evaluate", "--data", str(data / f"{split}.json"), "--root", str(data), "--run", str(run)]
        words += ["--json", str(run / f"{split}.json"), *more]
        if (run / BEST).exists():
            commands.append(Command(name, words, _threads(toy)))
    return run_all(commands, max(0.0, limit_s), logs)


def averaged_weights(run: Path) -> dict[str, Tensor]:
    """Return the best weights of a run; those of its last epoch if it was stopped before it was validated.

    Raises OSError or ValueError if there are neither.
    """
    if (run / BEST).exists():
        return read_state(run / BEST)
    averaged: dict[str, Tensor] = load_checkpoint(run / CHECKPOINT)["averaged"]
    return {name: value.contiguous() for name, value in averaged.items()}


def read_figures(path: Path) -> dict[str, Any]:
    """Return the main figures of an evaluation with their intervals; {} without a file."""
    if not path.exists():
        return {}
    report = read_json(path, dict[str, Any], what="the figures of trainers.evaluate")
    figures: dict[str, Any] = {}
    for part, names in {"detection": ("AP", "AP50"), "segmentation": ("dice", "miou")}.items():
        measured = report.get(part) or {}
        for name in (name for name in names if name in measured):
            figures[name] = measured[name]
            figures[f"{name}_interval"] = measured.get("intervals", {}).get(name)
    return figures


def _epochs_done(history: Path) -> int:
    return len(read_json(history, list[Any], what="the history of a run")) if history.exists() else 0
