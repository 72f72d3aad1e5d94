"""Argument parsing and error reporting shared by the commands of `trainers` and `calibration`."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_FAILED, prepare_console
from realtime_polyp.inference.checked import ModelOutputError
from realtime_polyp.messages import one_line

Found = TypeVar("Found")
PICTURES = (".png", ".pdf", ".svg", ".jpg")
"""Formats of plots."""


@contextlib.contextmanager
def report_bad_input(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Report errors of the user's input as one sentence on stderr and exit with code 2; of a model with code 1."""
    try:
        yield
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{parser.prog}: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error
    except ModelOutputError as error:
        print(f"{parser.prog}: the model failed: {one_line(str(error))}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error


def command_parser(module: str, *, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Return a parser for `python -m MODULE`, and make printing safe. The line breaks of the epilog are kept."""
    prepare_console()
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def check_outputs(*paths: Path | None, picture: Path | None = None) -> None:
    """Check before long work that files can be written at its end; missing folders are made then.

    picture: a plot, whose suffix names its format. Raises ValueError for the first path that cannot be a file.
    """
    for path in filter(None, (*paths, picture)):
        folder = next(one for one in path.absolute().parents if one.exists())
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name a file")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(f"{path} cannot be written: {folder} is no folder that this account may write to")
    if picture and picture.suffix.lower() not in PICTURES:
        raise ValueError(f"{picture} is no name of a plot: end it with {' or '.join(PICTURES)}")


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Found], arguments: list[str] | None
) -> Found:
    """Parse the arguments and call `run`, which raises OSError or ValueError, one sentence each, for bad input."""
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        return run(options)
    raise AssertionError("report_bad_input suppresses no exception")
