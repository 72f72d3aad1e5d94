"""The entry point of `run_live.py` and of the console command `realtime-polyp`.

It sets up signals and standard streams before it imports the libraries of the models. Those take a second or more to
import, and Ctrl-C in that time must not print a traceback.
"""

import os
import sys
from typing import NoReturn

from realtime_polyp.console import EXIT_INTERRUPTED, PrintError, leave, leave_unprinted, prepare_console
from realtime_polyp.interrupts import on_interrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command line in this process; returns the exit code."""
    prepare_console()
    from realtime_polyp.cli.main import main as run

    return run(arguments)


def run_process() -> NoReturn:
    """Run the command line, then end the process with its exit code.

    Until the first session runs, Ctrl-C, SIGTERM and SIGHUP end it at once, with one line and exit code 130.
    """
    prepare_console()
    with on_interrupt(_leave_at_start):
        try:
            code = main()
        except PrintError as error:  # from `print` itself where there is no buffer, as with python -u
            leave_unprinted(error)
    leave(code)


def _leave_at_start() -> None:
    """End the process: no output has been opened yet, and the main thread may be busy importing a library."""
    print("realtime-polyp: interrupted before any frame was analysed", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERRUPTED)
