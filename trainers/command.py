"""The options that both training commands share, and how they report bad input."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trainers.loop import LoopConfig

EXIT_BAD_INPUT = 2


def add_arguments(parser: argparse.ArgumentParser, defaults: LoopConfig) -> None:
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the stills (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run: checkpoints, curves, weights")
    parser.add_argument("--init", type=Path, help="ImageNet checkpoint of the trunk; default: the installed package's")
    parser.add_argument("--epochs", type=int, default=defaults.epochs, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=defaults.batch, help="images a step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=defaults.workers, help="loaders (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="default: %(default)s")
    parser.add_argument("--limit", type=int, help="use only the first N images of each set, to try a recipe")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")


def loop_config(options: argparse.Namespace, defaults: LoopConfig) -> LoopConfig:
    """The defaults with what the command line changed."""
    return replace(
        defaults,
        epochs=options.epochs,
        batch=options.batch,
        learning_rate=options.learning_rate,
        workers=options.workers,
        seed=options.seed,
    )


@contextlib.contextmanager
def report_bad_input(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What the user can mend becomes one sentence and exit code 2."""
    try:
        yield
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error
