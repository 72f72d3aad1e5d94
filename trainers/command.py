"""Argument parsing and error reporting shared by the commands of `trainers` and `calibration`."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_FAILED, prepare_console
from realtime_polyp.inference.checked import ModelOutputError
from realtime_polyp.messages import one_line

Found = TypeVar("Found")


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


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Found], arguments: list[str] | None
) -> Found:
    """Parse the arguments and call `run`, which raises OSError or ValueError, one sentence each, for bad input."""
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        return run(options)
    raise AssertionError("report_bad_input suppresses no exception")
