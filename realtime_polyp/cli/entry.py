"""Where `run_live.py` and the console command `realtime-polyp` begin: signals and streams first, then what takes time.

Importing the models' libraries takes a second or more, in which Ctrl-C must not end in a traceback.
"""

import os
import sys
from typing import NoReturn

from realtime_polyp.console import leave, prepare_console
from realtime_polyp.interrupts import EXIT_INTERRUPTED, on_interrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command line in this process; returns the exit code."""
    prepare_console()
    from realtime_polyp.cli.main import main as run

    return run(arguments)


def run_process() -> NoReturn:
    """Run the command line as this process, to its end.

    Until the first session runs, Ctrl-C, SIGTERM and SIGHUP end it at once, with one line and exit code 130.
    """
    prepare_console()
    with on_interrupt(_leave_at_start):
        code = main()
    leave(code)


def _leave_at_start() -> None:
    """No output has been begun yet. The main thread may be inside a library that is being loaded."""
    print("realtime-polyp: interrupted before any frame was analysed", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)
