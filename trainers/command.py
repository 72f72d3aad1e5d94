"""What both training commands share: their options, their data, and how they report bad input."""

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from trainers.data import Still, read_stills
from trainers.loop import LoopConfig

EXIT_BAD_INPUT = 2
_DEFAULTS = LoopConfig()


def training_parser(
    prog: str, *, description: str, examples: str, models: Iterable[str], default_model: str
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=list(models), default=default_model, help="default: %(default)s")
    add("--data", type=Path, default=Path("../shared/data"), help="folder of the stills (default: %(default)s)")
    add("--out", type=Path, required=True, help="folder of this run: checkpoints, curves, weights")
    add("--init", type=Path, help="ImageNet checkpoint of the trunk; default: the installed package's")
    add("--epochs", type=int, default=_DEFAULTS.epochs, help="default: %(default)s")
    add("--batch", type=int, default=_DEFAULTS.batch, help="images a step (default: %(default)s)")
    add("--learning-rate", type=float, default=_DEFAULTS.learning_rate, help="default: %(default)s")
    add("--workers", type=int, default=_DEFAULTS.workers, help="loading processes (default: %(default)s)")
    add("--seed", type=int, default=_DEFAULTS.seed, help="default: %(default)s")
    add("--limit", type=int, help="use only the first N images of each set, to try a recipe")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    return parser


def loop_config(options: argparse.Namespace) -> LoopConfig:
    """The defaults with what the command line changed. Raises ValueError for a count below 1."""
    for name in ("epochs", "batch"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}")
    return replace(
        _DEFAULTS,
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.learning_rate,
        workers=options.workers,
        seed=options.seed,
    )


def training_sets(options: argparse.Namespace) -> tuple[list[Still], list[Still]]:
    """The stills to learn from, frames without a polyp among them, and those to choose by."""
    learnt = read_stills(options.data / "train.json", options.data)[: options.limit]
    chosen = read_stills(options.data / "val.json", options.data)[: options.limit]
    if len(learnt) < options.batch:
        raise ValueError(f"{len(learnt)} training images are fewer than one batch of {options.batch}")
    return learnt, chosen


@contextlib.contextmanager
def report_bad_input(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What the user can mend becomes one sentence and exit code 2."""
    try:
        yield
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error
