"""How every command of the trainers and of the calibration reports what the user can mend."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

EXIT_BAD_INPUT = 2
Found = TypeVar("Found")


@contextlib.contextmanager
def report_bad_input(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What the user can mend becomes one sentence and exit code 2."""
    try:
        yield
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error


def command_parser(module: str, *, description: str, epilog: str) -> argparse.ArgumentParser:
    """Of `python -m MODULE`; the epilog's lines, examples mostly, stay as they are."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Found], arguments: list[str] | None
) -> Found:
    """`run` with what was typed. It raises OSError or ValueError, a sentence each, for what the user can mend."""
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        return run(options)
    raise AssertionError("report_bad_input lets nothing pass in silence")
