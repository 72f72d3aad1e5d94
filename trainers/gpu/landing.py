"""Training that lands: the shipped models, for as many epochs as end within a time, measured before it is over."""

import itertools
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, find_weights
from realtime_polyp.json_files import read_json
from trainers.gpu.processes import Command, Ended, run_all
from trainers.training.run_folder import BEST, HISTORY

MODELS = {DEFAULT_DETECTOR: "trainers.train_detector", DEFAULT_SEGMENTER: "trainers.train_segmenter"}
MOST_EPOCHS = 600
VALIDATIONS = 8
_PROBE_EPOCHS = 3  # the first warms up, the second is timed, the third also validates
_PROBE_IMAGES = 640
_SAFE_SHARE = 0.85  # of the time: epochs at full size take longer than those of the probe's first half
_EVALUATION_S = 45.0
_PROBE_SHARE = {True: 0.6, False: 0.35}  # toy or not: two processors take long to import torch
_SPLITS = ("val", "unseen_C6")


@dataclass
class Pace:
    """How long a training takes, read off its history file while it runs.

    Attributes:
        history: the file, rewritten after every epoch.
        began_s: when it was started.
        written_s: when each epoch was seen to end.
    """

    history: Path
    began_s: float = field(default_factory=time.monotonic)
    written_s: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Note the time if another epoch has ended."""
        epochs = _epochs_done(self.history)
        if epochs > len(self.written_s):
            self.written_s += [time.monotonic()] * (epochs - len(self.written_s))

    def costs(self) -> tuple[float, float, float]:
        """Return the seconds of the start, an epoch and a validation. Raises RuntimeError without three epochs."""
        if len(self.written_s) < _PROBE_EPOCHS:
            raise RuntimeError(f"the probe of {self.history.parent.name} did not end; its log says why")
        first_s, second_s, third_s = self.written_s[:3]
        epoch_s = second_s - first_s
        return max(0.0, first_s - self.began_s - epoch_s), epoch_s, max(0.0, third_s - second_s - epoch_s)


def epochs_within(limit_s: float, start_s: float, epoch_s: float, validation_s: float) -> int:
    """Return how many epochs, with `VALIDATIONS` validations, end safely within `limit_s`; at least 1."""
    useful_s = _SAFE_SHARE * limit_s - start_s - VALIDATIONS * validation_s
    return max(1, min(MOST_EPOCHS, int(useful_s / max(epoch_s, 1e-3))))


def train_models(
    data: Path, runs: Path, logs: Path, limit_s: float, *, device: str, toy: bool
) -> dict[str, dict[str, Any]]:
    """Train both shipped models at the same time, evaluate them, and return {model: figures}.

    A card that runs one of them waits for the processor most of the time. A run that is stopped keeps the weights of
    its best validation. A model whose probe does not end is left out, and its figures say so.
    """
    end_s = time.monotonic() + limit_s
    shutil.rmtree(runs, ignore_errors=True)  # of an earlier call, whose weights have come back
    paces = _probe(data, runs / "probe", logs, _PROBE_SHARE[toy] * limit_s, device, toy)
    training_s = end_s - time.monotonic() - min(_EVALUATION_S, 0.25 * limit_s)
    share = 1.0 if toy else count_images(data) / min(_PROBE_IMAGES, count_images(data))
    found: dict[str, dict[str, Any]] = {model: {} for model in MODELS}
    commands = []
    for model, pace in paces.items():
        try:
            start_s, epoch_s, validation_s = pace.costs()
        except RuntimeError as error:
            found[model]["training"] = str(error)
            continue
        epochs = min(epochs_within(training_s, start_s, epoch_s * share, validation_s), 6 if toy else MOST_EPOCHS)
        found[model] |= {"epochs_planned": epochs, "epoch_s": epoch_s * share, "validation_s": validation_s}
        commands.append(_training(model, data, runs / model, device, toy, epochs=epochs))
    for ended in run_all(commands, max(0.0, training_s), logs):
        found[ended.name.removeprefix("train-")]["training"] = ended.sentence
    for model, figures in found.items():
        figures["epochs_done"] = _epochs_done(runs / model / HISTORY)
    for ended in evaluate_models(list(found), data, runs, logs, end_s - time.monotonic(), toy=toy):
        model, split = ended.name.removeprefix("evaluate-").rsplit("-on-", 1)
        found[model][split] = read_figures(runs / model / f"{split}.json") or ended.sentence
    return found


def _probe(data: Path, runs: Path, logs: Path, limit_s: float, device: str, toy: bool) -> dict[str, Pace]:
    """Train both models for three epochs at the same time, and return {model: pace}."""
    probes = [_training(m, data, runs / m, device, toy, epochs=_PROBE_EPOCHS, probe=True) for m in MODELS]
    paces = {model: Pace(runs / model / HISTORY) for model in MODELS}

    def look() -> None:
        for pace in paces.values():
            pace.look()

    run_all(probes, limit_s, logs, watch=look)
    return paces


def _training(
    model: str, data: Path, out: Path, device: str, toy: bool, *, epochs: int, probe: bool = False
) -> Command:
    """Return the command that trains a model on from its shipped weights."""
    init = find_weights(model).path("safetensors")
    words = [MODELS[model], "--data", str(data), "--config", model, "--init", str(init), "--out", str(out)]
    words += ["--epochs", str(epochs), "--device", device, "--augment-on", "device", "--workers", "0"]
    words += ["--validate-every", str(_PROBE_EPOCHS if probe else math.ceil(epochs / VALIDATIONS))]
    words += ["--checkpoint-minutes", "1", "--precision", "float32" if toy else "bfloat16"]
    if toy:
        words += ["--size", "64", "96", "--batch", "4", "--limit", "8"]
    else:
        words += ["--batch", "64", *(["--limit", str(_PROBE_IMAGES)] if probe else [])]
    return Command(f"{'probe' if probe else 'train'}-{model}", words, _threads(toy))


def _threads(toy: bool) -> dict[str, str]:
    """Return the environment: several commands share the processors."""
    return {"OMP_NUM_THREADS": "1" if toy else "4"}


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


def count_images(data: Path) -> int:
    """Return the number of training stills."""
    return len(read_json(data / "train.json", dict[str, Any], what="a COCO file", limit=256 << 20)["images"])


def _epochs_done(history: Path) -> int:
    return len(read_json(history, list[Any], what="the history of a run")) if history.exists() else 0
