"""The entry point of `run_live.py` and of the console command `realtime-polyp`.

It sets up signals and standard streams before it imports the libraries of the models. Those take a second or more to
import, and Ctrl-C in that time must not print a traceback.
"""

import os
import sys
from typing import NoReturn

from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_INTERRUPTED, PrintError, leave, leave_unprinted, prepare_console
from realtime_polyp.interrupts import on_interrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command line in this process; returns the exit code."""
    prepare_console()
    try:
        from realtime_polyp.cli.main import main as run
    except ModuleNotFoundError as error:
        print(f"realtime-polyp: {_missing(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return run(arguments)


def _missing(error: ModuleNotFoundError) -> str:
    """One sentence for a Python without the packages that the program needs, with the cure."""
    if error.name is None or error.name.split(".")[0] == "realtime_polyp":
        raise error
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    where = f"{error.name} is not installed for this Python ({version}, {sys.executable})"
    newer = "; the pinned packages need Python 3.11 or 3.12" if sys.version_info >= (3, 13) else ""
    activate = ".venv\\Scripts\\python" if os.name == "nt" else ".venv/bin/python"
    return f"{where}{newer}: in a checkout run make demo, then {activate} run_live.py; else see docs/install.md"


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
