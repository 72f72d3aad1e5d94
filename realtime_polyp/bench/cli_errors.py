"""How a benchmark ends when it cannot go on: one sentence on standard error and a code that tells why."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import NoReturn

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


@contextlib.contextmanager
def ends_well(parser: argparse.ArgumentParser) -> Iterator[None]:
    """OSError and ValueError: what the user can mend. RuntimeError, a session's among them: a failure inside."""
    try:
        yield
    except (OSError, ValueError) as error:
        leave(parser, str(error), EXIT_BAD_INPUT)
    except RuntimeError as error:
        leave(parser, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        leave(parser, "interrupted", EXIT_INTERRUPTED)


def leave(parser: argparse.ArgumentParser, problem: str, code: int) -> NoReturn:
    print(f"{parser.prog}: {problem}", file=sys.stderr)
    raise SystemExit(code)
