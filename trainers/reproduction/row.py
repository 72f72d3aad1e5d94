"""Train and measure one row in a process of its own, for `trainers.reproduce`: python -m trainers.reproduction.row

What is done already is not done again: a run with all its epochs is not trained, a set with predictions not measured.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.json_files import parse_json, read_json
from trainers import train_detector, train_segmenter
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still, read_stills
from trainers.evaluation.multi_scale import SCALES
from trainers.evaluation.predict import evaluate
from trainers.recipes import RECIPES
from trainers.reproduction.budget import Budget, Job, recipe_of_budget, ways_to_measure
from trainers.reproduction.predictions import load_predictions, save_predictions
from trainers.training.run import engine_of_run
from trainers.training.run_folder import BEST, CHECKPOINT, HISTORY

if sys.platform != "win32":
    import fcntl

SETS = ("val", "unseen_C6")
_TRAIN = {"detector": train_detector.main, "segmenter": train_segmenter.main}
_LOCK = "lock"
ITEMS = "items"  # the images at model size, which all rows of a queue share
_ORPHAN_CHECK_S = 0.5


class RowOptions(msgspec.Struct, kw_only=True):
    """What a row's process is told, as JSON.

    Attributes:
        config, seed: of the job.
        budget: of the queue.
        data: folder of train.json and the sets.
        root: folder that image paths start from.
        folder: of this run.
        device: "auto", "cpu" or "cuda".
        workers: loading processes; None: the recipe's.
        checkpoint_minutes: between checkpoints.
        queue: process id of the queue, with which the row ends.
    """

    config: str
    seed: int
    budget: Budget
    data: str
    root: str
    folder: str
    device: str = "auto"
    workers: int | None = None
    checkpoint_minutes: float
    queue: int


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser("trainers.reproduction.row", description="Train and measure one row (trainers.reproduce).")
    parser.add_argument("options", help="JSON that trainers.reproduce writes")
    given = parser.parse_args(arguments)
    with report_bad_input(parser):
        options = parse_json(given.options, RowOptions, "the options of a row", "the options of a row")
        threading.Thread(target=_end_with_queue, args=(options.queue,), daemon=True).start()
        with only_process_in(Path(options.folder)):
            train(options)
            measure(options)


def _end_with_queue(queue: int) -> None:
    """End this process once the queue, its parent, is gone: a killed queue leaves nothing that writes."""
    while os.getppid() == queue:
        time.sleep(_ORPHAN_CHECK_S)
    os._exit(1)


@contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder, and keep others out. Creates the folder.

    Windows has no such lock: there, start the queue again only when its rows have ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def train(options: RowOptions) -> None:
    """Train the run to its last epoch, from its checkpoint if there is one."""
    folder = Path(options.folder)
    if epochs_done(folder) < epochs_of(options.config, options.budget):
        _TRAIN[RECIPES[options.config].task](training_command(options))


def epochs_of(config: str, budget: Budget) -> int:
    return budget.epochs or recipe_of_budget(config, budget).loop.epochs


def epochs_done(folder: Path) -> int:
    """Return the number of finished epochs of a run whose weights are there; 0 without a run."""
    path = folder / HISTORY
    if not (path.is_file() and (folder / CHECKPOINT).is_file()):
        return 0
    return len(read_json(path, list[dict[str, float]], what="the history of a training run"))


def training_command(options: RowOptions) -> list[str]:
    """Return the arguments of `trainers.train_detector` or `train_segmenter` for this row."""
    budget, folder = options.budget, Path(options.folder)
    size = recipe_of_budget(options.config, budget).config.size
    words = ["--config", options.config, "--backbone", budget.backbone, "--size", *map(str, size)]
    words += ["--epochs", str(epochs_of(options.config, budget)), "--seed", str(options.seed)]
    words += ["--checkpoint-minutes", str(options.checkpoint_minutes), "--device", options.device]
    words += ["--data", options.data, "--root", options.root, "--out", str(folder), "--augment-on", budget.augment_on]
    words += ["--cache", str(folder.parent / ITEMS)]
    for name, value in (
        ("batch", budget.batch),
        ("limit", budget.limit),
        ("precision", budget.precision),
        ("workers", options.workers),
    ):
        words += [] if value is None else [f"--{name}", str(value)]
    return [*words, *(["--resume"] if (folder / CHECKPOINT).exists() else [])]


def measure(options: RowOptions) -> None:
    """Measure the run's best weights on every set, and at several scales where a table asks for it."""
    engine: EagerEngine | None = None
    for name in sets_of(Path(options.data)):
        for at_scales in ways_to_measure(options.config):
            path = predictions_path(Path(options.folder), name, at_scales=at_scales)
            if not is_measured(path):
                engine = engine or engine_of_run(Path(options.folder), device=options.device)
                stills = read_stills(Path(options.data) / f"{name}.json", Path(options.root))[: options.budget.limit]
                _measure_set(engine, stills, path, at_scales=at_scales)


def _measure_set(engine: EagerEngine, stills: list[Still], path: Path, *, at_scales: bool) -> None:
    roles = (engine, None) if engine.task == "detector" else (None, engine)
    cases = evaluate(stills, *roles, scales=SCALES if at_scales else (), progress=True)
    save_predictions(path, cases)


def sets_of(data: Path) -> list[str]:
    """Return the sets that a folder of data has, of val and the hospital never trained on."""
    return [name for name in SETS if (data / f"{name}.json").is_file()]


def checksums_of(data: Path) -> dict[str, str]:
    """Return the checksums of the files of a folder of data that a queue reads: train.json and those of its sets."""
    names = [f"{name}.json" for name in ("train", *sets_of(data))]
    return {name: sha256_of(data / name)[:12] for name in names}


def predictions_path(folder: Path, name: str, *, at_scales: bool = False) -> Path:
    return folder / f"predictions.{name}{'.multi_scale' if at_scales else ''}.npz"


def is_measured(path: Path) -> bool:
    """Whether a file of predictions is there and whole."""
    try:
        load_predictions(path)
    except (OSError, ValueError):
        return False
    return True


def is_finished(job: Job, budget: Budget, out: Path, data: Path) -> bool:
    """Whether a job has trained all its epochs and measured all its sets."""
    folder = job.folder(out)
    if epochs_done(folder) < epochs_of(job.config, budget) or not (folder / BEST).is_file():
        return False
    scales = ways_to_measure(job.config)
    return all(is_measured(predictions_path(folder, name, at_scales=one)) for name in sets_of(data) for one in scales)


def encode(options: RowOptions) -> str:
    return json.dumps(msgspec.to_builtins(options))


if __name__ == "__main__":
    main()
