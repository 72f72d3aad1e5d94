"""python -m realtime_polyp.bench (make bench, make memory): frames a second, delays, memory, and all beside others."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime_polyp.bench import table
from realtime_polyp.bench.cli_errors import ends_well
from realtime_polyp.bench.clips import DEMO, SIZES, images_of, make_clip
from realtime_polyp.bench.line import Setup
from realtime_polyp.bench.memory import memory
from realtime_polyp.bench.paced import paced
from realtime_polyp.bench.peers import PEERS, against, check_peers
from realtime_polyp.bench.steps import Scene, steps
from realtime_polyp.bench.throughput import throughput
from realtime_polyp.bench.variants import STEPS
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.outputs.paths import check_paths
from realtime_polyp.telemetry.machine import machine_facts
from realtime_polyp.telemetry.summary import write_json

_EPILOG = """examples:
  python -m realtime_polyp.bench                                      throughput from a 1080p file
  python -m realtime_polyp.bench --size 720p 1080p 4k --json bench.json
  python -m realtime_polyp.bench --source video.mp4 --engine openvino
  python -m realtime_polyp.bench --against naive ultralytics --peer-python peer/bin/python
  python -m realtime_polyp.bench --live --minutes 10                  the viewer before a camera: drops and delays
  python -m realtime_polyp.bench --steps                              what each choice of the line buys
  python -m realtime_polyp.bench --steps engines hints
  python -m realtime_polyp.bench --memory-minutes 20"""


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    with ends_well(parser):
        run(options, shlex.join(sys.argv[1:] if arguments is None else arguments))


def run(options: argparse.Namespace, command: str) -> None:
    """Measure, print, write. Raises ValueError for options that do not go together."""
    check(options)
    facts = machine_facts()  # before anything runs: its load average is that of others
    print(table.machine_line(facts))
    setup = Setup(options.engine, options.detector, options.segmenter)
    reports: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.source.name] if options.source else options.size:
            clip = options.source or make_clip(Path(folder), name, seconds=options.seconds)
            reports[name] = {}
            for what, (measure, write) in _measures(options).items():
                reports[name][what] = measure(setup, clip, options)
                print("\n" + write(name, reports[name][what]), flush=True)
    if options.json:
        write_json({"command": command, "machine": facts, "reports": reports}, options.json, "the figures")


Measure = Callable[[Setup, Path, argparse.Namespace], dict[str, Any]]
Write = Callable[[str, dict[str, Any]], str]


def _measures(options: argparse.Namespace) -> dict[str, tuple[Measure, Write]]:
    """What was asked for, in order, with how it is told."""
    if options.live:
        return {"live": (_live, table.live_table)}
    if options.steps is not None:
        return {"steps": (_steps, table.steps_table)}
    if options.memory_minutes:
        return {"memory": (_memory, table.memory_table)}
    asked: dict[str, tuple[Measure, Write]] = {"file": (_file, table.file_table)}
    return asked | ({"against": (_against, table.against_table)} if options.against else {})


def _file(setup: Setup, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return throughput(setup, clip, options.runs)


def _against(setup: Setup, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return against(options.against, setup, clip, options.runs, options.peer_python)


def _live(setup: Setup, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return paced(setup, clip, options.minutes, full_screen=options.full_screen)


def _steps(setup: Setup, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    builders = {name: STEPS[name] for name in options.steps or STEPS}
    return steps(builders, Scene(setup, clip, images_of(clip)), options.runs)


def _memory(setup: Setup, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return memory(setup, clip, options.memory_minutes)


def check(options: argparse.Namespace) -> None:
    """Raises ValueError or OutputError, one sentence, before anything long begins."""
    if options.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {options.runs}")
    for name in ("seconds", "minutes", "memory_minutes"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    modes = {"--live": options.live, "--steps": options.steps is not None, "--memory-minutes": options.memory_minutes}
    chosen = [name for name, asked in (modes | {"--against": bool(options.against)}).items() if asked]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} do not go together: choose one")
    check_paths(str(options.source or DEMO), [options.json])
    check_peers(options.against, options.peer_python)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.bench",
        description="How fast this machine runs the line, both models on every frame: throughput from a file, or with "
        "--live delays in the viewer, --steps what each choice buys, --memory-minutes memory over time.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("what is played").add_argument
    add("--source", type=Path, help="a video; default: the demo clip, scaled to --size at 30 fps H.264")
    add("--size", nargs="+", choices=list(SIZES), default=["1080p"], help="one or more (default: 1080p)")
    add("--seconds", type=float, default=20.0, help="of the demo clip (default: %(default)g)")
    add = parser.add_argument_group("what is measured").add_argument
    add("--against", action="extend", nargs="+", choices=list(PEERS), default=[], help="loops of others, in turn")
    add("--peer-python", default=sys.executable, metavar="PYTHON", help="an interpreter that has ultralytics")
    add("--live", action="store_true", help="at the clip's own rate, in the viewer")
    add("--minutes", type=float, default=1.0, help="of --live (default: %(default)g)")
    add("--full-screen", action="store_true", help="with --live: a window as large as the screen")
    add("--steps", nargs="*", choices=list(STEPS), metavar="STEP", help=f"all, or some of: {', '.join(STEPS)}")
    add("--memory-minutes", type=float, metavar="M", help="loop the clip for so long and watch memory")
    add("--runs", type=int, default=3, help="rounds, of which medians are told (default: %(default)s)")
    add = parser.add_argument_group("models and output").add_argument
    add("--engine", default="auto", help="default: %(default)s")
    add("--detector", default=DEFAULT_DETECTOR, help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, help="default: %(default)s")
    add("--json", type=Path, metavar="OUT.json", help="write every figure there, with the machine's facts")
    return parser


if __name__ == "__main__":
    main()
