"""Measurements in a process of their own: a window, or the loops of others, whose thread pools must not meet ours."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

_LIMITS_ON_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def told_by(command: Sequence[str], *, environment: Mapping[str, str] = {}, quiet: bool = True) -> dict[str, Any]:
    """Run a command, every core its own; what its last line of output says in JSON.

    quiet: its standard error is kept for when it fails. Raises ValueError, one sentence, when it does.
    """
    own = {name: value for name, value in os.environ.items() if name not in _LIMITS_ON_THREADS}
    done = subprocess.run(
        command,
        env=own | dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = (done.stderr or "").strip().splitlines()
        raise ValueError(f"{_short(command)} ended with code {done.returncode}: {said[-1] if said else 'no reason'}")
    return json.loads(lines[-1])  # type: ignore[no-any-return]


def _short(command: Sequence[str]) -> str:
    """The command without the interpreter, and cut where it gets long."""
    return " ".join(command[1:4])
