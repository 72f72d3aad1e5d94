"""How every command of the trainers and of the calibration reports what the user can mend."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

EXIT_BAD_INPUT = 2


@contextlib.contextmanager
def report_bad_input(parser: argparse.ArgumentParser) -> Iterator[None]:
    """What the user can mend becomes one sentence and exit code 2."""
    try:
        yield
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from error
