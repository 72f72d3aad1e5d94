"""Exit codes and error messages of the benchmark commands, and measurements in a process of their own."""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, prepare_console
from realtime_polyp.json_files import parse_json

_PROJECT = Path(__file__).resolve().parents[2]
_THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@contextlib.contextmanager
def exit_on_error(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Turn exceptions into one sentence on standard error and an exit code.

    OSError and ValueError mean bad input (2), RuntimeError a failure inside (1), for example of a session. Printing is
    made safe first.
    """
    prepare_console()
    try:
        yield
    except (OSError, ValueError) as error:
        exit_with(parser, str(error), EXIT_BAD_INPUT)
    except RuntimeError as error:
        exit_with(parser, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        exit_with(parser, "interrupted", EXIT_INTERRUPTED)


def exit_with(parser: argparse.ArgumentParser, problem: str, code: int) -> NoReturn:
    """Print the problem to standard error and exit with this code."""
    print(f"{parser.prog}: {problem}", file=sys.stderr)
    raise SystemExit(code)


def module_command(module: str, *words: str) -> list[str]:
    """The command that runs a module of this project in a process of its own; pass it to `run_json_command`.

    -P: modules are not searched in the current folder, which may be untrusted.
    """
    return [sys.executable, "-P", "-m", module, *words]


def run_json_command(
    command: Sequence[str], *, environment: Mapping[str, str] = {}, quiet: bool = True
) -> dict[str, Any]:
    """Run a command without limits on its threads, and parse the last line of its output as JSON.

    environment: added to this process's. quiet: capture its standard error and show it only in the error message.
    Raises ValueError if the command fails, or prints nothing or no JSON at last.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _THREAD_LIMITS}
    if command[:2] == [sys.executable, "-P"]:  # a checkout may not be installed
        inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command,
        env=inherited | dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    name = " ".join([word for word in command[1:5] if word != "-P"][:3])  # without the interpreter, and short
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        errors = (done.stderr or "").strip().splitlines()
        raise ValueError(f"{name} ended with code {done.returncode}: {errors[-1] if errors else 'no reason'}")
    return cast(dict[str, Any], parse_json(lines[-1], object, f"the last line of {name}", "a result in JSON"))
