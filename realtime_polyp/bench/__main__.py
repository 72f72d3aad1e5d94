"""Benchmark of this machine (make bench, make memory): frames per second, delays, memory, comparison with others."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from realtime_polyp.bench import table
from realtime_polyp.bench.ablations import ABLATIONS, AblationInput
from realtime_polyp.bench.bad_day_runs import run_bad_days
from realtime_polyp.bench.clips import DEMO, SIZES, images_of, make_clip
from realtime_polyp.bench.commands import exit_on_error
from realtime_polyp.bench.comparisons import measure_ablation
from realtime_polyp.bench.memory import measure_memory
from realtime_polyp.bench.paced import run_live_viewer
from realtime_polyp.bench.peers import PEERS, check_peers, compare_with
from realtime_polyp.bench.record_faults import faults_table, measure_faults
from realtime_polyp.bench.recording import hours_text, measure_hours, measure_recording
from realtime_polyp.bench.review import measure_review, review_table
from realtime_polyp.bench.soak import SOAK_KEY_EVERY, measure_soak, soak_table
from realtime_polyp.bench.throughput import measure_throughput
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.outputs.paths import check_paths
from realtime_polyp.runtime import RuntimeConfig
from realtime_polyp.telemetry.machine import machine_facts
from realtime_polyp.telemetry.summary import write_json

_EPILOG = """examples:
  python -m realtime_polyp.bench                                      throughput of a 1080p file
  python -m realtime_polyp.bench --size 720p 1080p 4k --json bench.json
  python -m realtime_polyp.bench --source video.mp4 --engine openvino
  python -m realtime_polyp.bench --against naive ultralytics --peer-python peer/bin/python
  python -m realtime_polyp.bench --live --minutes 10                  the viewer at the clip's rate: drops and delays
  python -m realtime_polyp.bench --soak --hours 1 --rate 25 30 50 60  the program for hours: what grows, what is late
  python -m realtime_polyp.bench --steps                              what each design choice buys
  python -m realtime_polyp.bench --steps engines hints
  python -m realtime_polyp.bench --steps models --engine openvino-int8  the chosen models beside every other
  python -m realtime_polyp.bench --review                             open, seek and re-threshold an hour's session
  python -m realtime_polyp.bench --memory-minutes 20
  python -m realtime_polyp.bench --record --source video.mp4          what recording a session costs
  python -m realtime_polyp.bench --memory-minutes 20 --record         memory while a session is recorded
  python -m realtime_polyp.bench --record-hours 2                     memory while two hours are recorded
  python -m realtime_polyp.bench --bad-day 20                         a live source and models that fail in every way
  python -m realtime_polyp.bench --record-faults 50                   recordings killed, copied, on a full disk, ..."""


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    with exit_on_error(parser):
        run(options, shlex.join(sys.argv[1:] if arguments is None else arguments))


def run(options: argparse.Namespace, command: str) -> None:
    """Measure, print and write the figures. Raises ValueError for options that do not go together."""
    check(options)
    if options.record_faults:
        print(faults_table(measure_faults(options.record_faults)))
        return
    if options.bad_day is not None:
        run_bad_days(options.bad_day, options.seed, parallel=options.parallel)
        return
    if options.record_hours:
        print(hours_text(measure_hours(options.record_hours)))
        return
    facts = machine_facts()  # before anything runs: the load average is that of other processes
    print(table.describe_machine(facts))
    config = RuntimeConfig(
        options.detector,
        None if options.segmenter == NO_MODEL else options.segmenter,
        options.engine,
        options.device,
        allow_unverified=options.allow_unverified,
    )
    reports: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.source.name] if options.source else options.size:
            keys = SOAK_KEY_EVERY if options.soak else None
            clip = options.source or make_clip(Path(folder), name, seconds=options.seconds, key_every=keys)
            reports[name] = {}
            for what, (measure, write) in _measures(options).items():
                reports[name][what] = measure(config, clip, options)
                print("\n" + write(name, reports[name][what]), flush=True)
    if options.json:
        write_json({"command": command, "machine": facts, "reports": reports}, options.json, "the figures")
    if options.soak and any(one["verdicts"] for report in reports.values() for one in report["soak"].values()):
        raise RuntimeError("the soak has failed")


_OLD_NAMES = {"steadying": "temporal"}
Measure = Callable[[RuntimeConfig, Path, argparse.Namespace], dict[str, Any]]
Write = Callable[[str, dict[str, Any]], str]


def _measures(options: argparse.Namespace) -> dict[str, tuple[Measure, Write]]:
    """Return the requested measurements in order, each with the function that prints it."""
    if options.live:
        return {"live": (_live, table.live_table)}
    if options.soak:
        return {"soak": (_soak, soak_table)}
    if options.steps is not None:
        return {"steps": (_steps, table.steps_table)}
    if options.review:
        return {"review": (_review, review_table)}
    if options.record and not options.memory_minutes:
        return {"record": (_record, table.record_table)}
    if options.memory_minutes:
        return {"memory": (_memory, table.memory_table)}
    chosen: dict[str, tuple[Measure, Write]] = {"file": (_file, table.file_table)}
    return chosen | ({"against": (_against, table.against_table)} if options.against else {})


def _file(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return measure_throughput(config, clip, options.runs)


def _against(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return compare_with(options.against, config, clip, options.runs, options.peer_python)


def _live(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return run_live_viewer(config, clip, options.minutes, full_screen=options.full_screen)


def _soak(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return measure_soak(config, clip, options.hours, options.rate)


def _steps(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    given = AblationInput(config, clip, images_of(clip))
    names = options.steps or list(ABLATIONS)
    return {name: measure_ablation(ABLATIONS[name](given), options.runs, name) for name in names}


def _memory(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return measure_memory(config, clip, options.memory_minutes, records=options.record)


def _record(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    return measure_recording(config, clip, options.runs)


def _review(config: RuntimeConfig, clip: Path, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return measure_review(config, clip, options.review, Path(folder))


def check(options: argparse.Namespace) -> None:
    """Check the options before anything long begins. Raises ValueError or OutputError."""
    if options.runs < 1:
        raise ValueError(f"--runs must be at least 1, got {options.runs}")
    if options.record_faults is not None and options.record_faults < 1:
        raise ValueError(f"--record-faults must be at least 1, got {options.record_faults}")
    if options.bad_day is not None and options.bad_day < 0:
        raise ValueError(f"--bad-day must be 0 or more, got {options.bad_day}")
    if options.parallel < 1:
        raise ValueError(f"--parallel must be at least 1, got {options.parallel}")
    for name in ("seconds", "minutes", "hours", "memory_minutes", "record_hours", "review"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {value:g}")
    if not all(1 <= rate <= 240 for rate in options.rate):
        raise ValueError(f"--rate must be from 1 to 240 frames/s, got {', '.join(map(str, options.rate))}")
    modes = {
        "--live": options.live,
        "--soak": options.soak,
        "--steps": options.steps is not None,
        "--memory-minutes": options.memory_minutes,
    }
    modes["--review"] = options.review
    chosen = [name for name, given in (modes | {"--against": bool(options.against)}).items() if given]
    if len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} do not go together: choose one")
    if "naive" in options.against and options.segmenter == NO_MODEL:
        raise ValueError("--against naive needs a segmenter, not none: leave out --segmenter none")
    check_paths([str(options.source or DEMO)], [options.json], overwrite=True)
    check_peers(options.against, options.peer_python)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.bench",
        description="Measure how fast this machine runs both models on every frame: throughput of a file, or with "
        "--live delays in the viewer, with --steps what each design choice buys, with --memory-minutes memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("input").add_argument
    add("--source", type=Path, help="a video; default: the demo clip, scaled to --size at 30 fps H.264")
    add("--size", nargs="+", choices=list(SIZES), default=["1080p"], help="sizes of the demo clip (default: 1080p)")
    add("--seconds", type=float, default=20.0, help="length of the demo clip (default: %(default)g)")
    add = parser.add_argument_group("measurements").add_argument
    add(
        "--against",
        action="extend",
        nargs="+",
        choices=list(PEERS),
        default=[],
        help="other implementations, in turn",
    )
    add("--peer-python", default=sys.executable, metavar="PYTHON", help="interpreter that has ultralytics")
    add("--live", action="store_true", help="play the clip at its own rate in the viewer")
    add("--minutes", type=float, default=1.0, help="duration of --live (default: %(default)g)")
    add("--full-screen", action="store_true", help="with --live: full-screen window")
    add("--soak", action="store_true", help="a recorded live stream in the window: delay, memory, threads, deadlines")
    add("--hours", type=float, default=1.0, metavar="H", help="duration of --soak at each rate (default: %(default)g)")
    add("--rate", type=int, nargs="+", default=[30], metavar="R", help="frames/s of --soak (default: 30)")
    add(
        "--steps",
        nargs="*",
        choices=list(ABLATIONS),
        type=lambda name: _OLD_NAMES.get(name, name),
        metavar="STEP",
        help=f"all, or some of: {', '.join(ABLATIONS)}",
    )
    add(
        "--review",
        type=float,
        nargs="?",
        const=60.0,
        metavar="M",
        help="review of a session of M minutes: open, seek, step back, re-threshold (default: %(const)g)",
    )
    add("--memory-minutes", type=float, metavar="M", help="loop the clip and sample memory for M minutes")
    add("--record", action="store_true", help="throughput with and without recording the session, in turn")
    add("--record-hours", type=float, metavar="H", help="memory while H hours of video are recorded, without models")
    add("--record-faults", type=int, metavar="N", help="harm N recordings in each way, and tell what is left of them")
    add("--bad-day", type=int, metavar="N", help="N random sequences of faults of a live source and its models")
    add("--seed", type=int, default=1, help="of --bad-day (default: %(default)s)")
    add("--parallel", type=int, default=1, metavar="K", help="sequences of --bad-day at a time (default: %(default)s)")
    add("--runs", type=int, default=3, help="rounds; medians are reported (default: %(default)s)")
    add = parser.add_argument_group("models and output").add_argument
    add("--engine", default="auto", help="default: %(default)s")
    add("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    add("--allow-unverified", action="store_true", help="also run an engine that has not passed the accuracy gate")
    add("--detector", default=DEFAULT_DETECTOR, help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, help="or none (default: %(default)s)")
    add("--json", type=Path, metavar="OUT.json", help="write every figure and the machine's description")
    return parser


if __name__ == "__main__":
    main()
