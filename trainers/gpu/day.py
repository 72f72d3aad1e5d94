"""Use a GPU machine for some minutes, the most valuable first: bash trainers/gpu/day.sh calls it.

Everything that it leaves is in --out: at most eight files of at most 16 MiB.
"""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from realtime_polyp.bench.gpu_figures import card_facts
from trainers.command import command_parser, run_command
from trainers.gpu.landing import MODELS
from trainers.gpu.pack import KIT, STILLS
from trainers.gpu.planner import Outcome, run_steps
from trainers.gpu.steps import STEP_NAMES, Day, steps_of
from trainers.gpu.stills import unpack_folder
from trainers.gpu.summary import bring_folder, pack_files, write_summary
from trainers.gpu.trips import join_file

_PACKING_S = 8.0  # at the end, for the logs and the summary
_LOGS, _RUNS = "logs.tar.gz", "runs.tar.gz"
_LEAST_MINUTES, _MOST_MINUTES = 0.5, 60.0


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser("trainers.gpu.day", description=__doc__ or "")
    add = parser.add_argument
    add("--minutes", type=float, default=9.5, help="the whole day, with what day.sh installs (default: %(default)s)")
    add("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal at toy size (default: %(default)s)")
    add("--steps", nargs="+", choices=STEP_NAMES, default=list(STEP_NAMES), metavar="NAME",
        help=f"of {', '.join(STEP_NAMES)} (default: all)")  # fmt: skip
    add("--models", nargs="+", choices=list(MODELS), default=list(MODELS), metavar="NAME",
        help=f"to train, of {', '.join(MODELS)} (default: all)")  # fmt: skip
    add("--parallel", type=int, default=8, help="rows of the tables at the same time (default: %(default)s)")
    add("--kit", type=Path, default=KIT, help="folder of the trips (default: %(default)s)")
    add("--out", type=Path, required=True, help="folder of the files that come back")
    add("--began", type=float, metavar="S", help="when the day began, s since 1970 (default: now)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the day. Raises OSError or ValueError, one sentence each, for bad input."""
    if not _LEAST_MINUTES <= options.minutes <= _MOST_MINUTES:
        raise ValueError(
            f"--minutes {options.minutes:g}: {_LEAST_MINUTES:g} to {_MOST_MINUTES:g} are allowed, 9.5 for one call"
        )
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here: use a machine with a GPU, or --device cpu --minutes 2")
    offset_s = time.monotonic() - (max(0.0, time.time() - options.began) if options.began else 0.0)
    options.out.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    data, work = unpack(options.kit, notes), options.kit / "work"
    day = Day(options.device, data, work, work / "out", tuple(options.models), options.parallel)
    shutil.rmtree(day.out, ignore_errors=True)  # of an earlier call, which has brought it
    day.out.mkdir(parents=True)
    head = describe(options, time.monotonic() - offset_s)
    steps = steps_of(day, options.steps)

    def report(outcomes: Sequence[Outcome]) -> None:
        print(f"{outcomes[-1].state}: {outcomes[-1].sentence}", flush=True)
        bring_folder(day.logs, day.out / _LOGS, (".txt",))
        bring_folder(day.work / "train", day.out / _RUNS, (".json",))
        write_summary(options.out, head, outcomes, notes + pack_files(day.out, options.out))

    outcomes = run_steps(steps, 60 * options.minutes - _PACKING_S, lambda: time.monotonic() - offset_s, report=report)
    print(f"{sum(one.state == 'done' for one in outcomes)} of {len(outcomes)} steps done; files: {options.out}")
    print((options.out / "summary.md").read_text())


def unpack(kit: Path, notes: list[str]) -> Path | None:
    """Unpack the stills if they are not unpacked yet; None, with a note, if they did not come."""
    data, archive = kit / "data", kit / STILLS
    complete = data / ".complete"
    if complete.exists():
        return data
    try:
        join_file(STILLS, kit, archive)
        unpack_folder(archive, data)
    except (OSError, ValueError) as error:
        notes.append(f"no stills: {error}")
        print(notes[-1], file=sys.stderr)
        return None
    archive.unlink()
    complete.touch()
    return data


def describe(options: argparse.Namespace, ready_s: float) -> dict[str, Any]:
    """Describe the machine and the day. ready_s: when the first step could begin."""
    command = ["bash", "trainers/gpu/day.sh", "--minutes", f"{options.minutes:g}", "--device", options.device]
    return {
        "command": shlex.join([*command, "--steps", *options.steps]),
        "card": card_facts(torch.device(options.device)),
        "ready_s": round(ready_s, 1),
    }


if __name__ == "__main__":
    main()
