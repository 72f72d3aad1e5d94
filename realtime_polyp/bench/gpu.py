"""What one GPU makes of both models on every 1080p frame: python -m realtime_polyp.bench.gpu. It asserts nothing.

Needs torch with CUDA, numpy, numba, OpenCV, safetensors and tqdm; torch-tensorrt is measured where it is installed, and
--decode needs av. Weights of the paper's pair are drawn at random, from a fixed seed: they find nothing, which costs
what finding costs, but for NMS and tracks. Every figure is written to --json as soon as it is known.
"""

import argparse
import importlib.util
import json
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from realtime_polyp.bench.cli_errors import EXIT_FAILED, ends_well, leave
from realtime_polyp.bench.flops import flops_of
from realtime_polyp.bench.gpu_figures import (
    arithmetic,
    card_facts,
    decoded_streams,
    delay,
    free,
    idle,
    memory,
    streams,
    throughput,
)
from realtime_polyp.bench.gpu_paced import scenes
from realtime_polyp.bench.gpu_runs import PAIRS, WAYS, Budget, Opening, open_lines, usual_ways
from realtime_polyp.bench.gpu_table import card_table
from realtime_polyp.engines.buckets import BUCKETS
from realtime_polyp.engines.static import first_line

_IMAGES = 16  # 100 MB at 1080p, more than any processor's cache holds
_EPILOG = """examples:
  python -m realtime_polyp.bench.gpu --json card.json --trace card-trace.json
  python -m realtime_polyp.bench.gpu --pair default
  python -m realtime_polyp.bench.gpu --ways compiled-fp16 eager-fp16 --minutes 5
  python -m realtime_polyp.bench.gpu --cudnn-benchmark        cuDNN tries its kernels first, for every way
  python -m realtime_polyp.bench.gpu --decode                 streams decoded from a file, too
  python -m realtime_polyp.bench.gpu --device cpu --pair toy --frame 192x144     the same code, without a GPU

exit codes: 0 measured, whether or not the goals are met, 2 bad input or no GPU, 1 a failure inside, 130 interrupted"""


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    with ends_well(parser):
        check(options)
        report = measure(options, shlex.join(sys.argv[1:] if arguments is None else arguments))
        print("\n" + card_table(report))
        if report["failures"]:
            leave(parser, "; ".join(report["failures"]), EXIT_FAILED)


def check(options: argparse.Namespace) -> None:
    """ValueError, one sentence, before anything long begins."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here: run it where there is one, or with --device cpu --pair toy")
    for name in ("minutes", "round_s", "delay_s", "stream_s", "rounds", "most_streams"):
        if not 0 < getattr(options, name) < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {getattr(options, name):g}")
    if unknown := [name for name in options.ways or () if name not in WAYS[options.device]]:
        raise ValueError(
            f"unknown way {unknown[0]!r} on {options.device}: choose from {', '.join(WAYS[options.device])}"
        )
    if options.decode and importlib.util.find_spec("av") is None:
        raise ValueError("--decode needs PyAV, which is not installed here: pip install av")
    for path in (options.json, options.trace):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"cannot write to {path}: there is no folder {path.parent}")


def measure(options: argparse.Namespace, command: str) -> dict[str, Any]:
    """Every figure, in the order of what a short budget should rather have; None for one there was no time for."""
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    budget, device = Budget(options.minutes * 60), torch.device(options.device)
    notes: list[str] = []
    report: dict[str, Any] = {"command": command, "card": card_facts(device), "pair": options.pair}
    report |= {"frame": options.frame, "notes": notes, "failures": list[str]()}
    images = scenes(options.frame, _IMAGES)
    opening = Opening(PAIRS[options.pair](), options.device, wanted_buckets(options.batch), budget)
    report["models"] = [one.name for one in opening.pair]
    report["gflop_per_frame"] = {one.task: round(flops_of(one.module, one.size) / 1e9, 4) for one in opening.pair}
    lines = open_lines(options.ways or usual_ways(options.device), opening, notes)
    report["opened_s"] = round(budget.spent_s, 1)
    report["throughput"] = throughput(lines, images, options)
    write(report, options.json)
    report["arithmetic"] = arithmetic(report, device)
    best = lines[report["throughput"]["fastest"]]
    lines.clear()
    free(device)
    after: dict[str, Any] = {
        "delay": partial(delay, best, images, options),
        "streams": partial(streams, best, images, options, budget),
        "memory": partial(memory, device),  # before the traced line, which captures its graphs a second time
        "idle": partial(idle, best, images, options, report),
        "decoded_streams": partial(decoded_streams, best, options, budget),
    }
    for name, figure in after.items():
        try:
            report[name] = figure() if budget.allows(_least_s(name, options)) else None
        except RuntimeError as error:  # a session or the card failed: what is known already is worth keeping
            report[name] = None
            report["failures"].append(f"{name} failed: {first_line(error)}")
        write(report, options.json)
    report["took_s"] = round(budget.spent_s, 1)
    write(report, options.json)
    return report


def _least_s(name: str, options: argparse.Namespace) -> float:
    """How long a measurement takes at least, so that none begins which cannot end in time."""
    least_s: dict[str, float] = {
        "delay": options.delay_s,
        "streams": 2 * options.stream_s,
        "idle": options.round_s + options.stream_s,
    }
    return least_s.get(name, 0.0)


def wanted_buckets(batch: int) -> tuple[int, ...]:
    """The most wanted first: whole batches, single frames as they come live, then what lies between."""
    return tuple(dict.fromkeys(one for one in (batch, 1, 4, 2) if one <= batch))


def write(report: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def size_of(text: str) -> tuple[int, int]:
    """A text such as 1920x1080 -> (1920, 1080). ArgumentTypeError for anything else."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 64 <= min(int(width), int(height)) <= 8192):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 1920x1080, of 64 px at least")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.bench.gpu",
        description="What one GPU makes of both models on every 1080p frame: frames/s beside eager torch, the share of "
        "the arithmetic limit, delay at 60 Hz, streams, idle time, memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("what is measured").add_argument
    add("--pair", choices=list(PAIRS), default="paper", help="of models (default: %(default)s)")
    add("--device", choices=list(WAYS), default="cuda", help="default: %(default)s")
    add("--ways", nargs="+", metavar="WAY", help="some of: " + ", ".join(WAYS["cuda"]))
    add("--frame", type=size_of, default=(1920, 1080), metavar="WxH", help="px (default: 1920x1080)")
    add("--batch", type=int, choices=BUCKETS, default=max(BUCKETS), help="frames at once (default: %(default)s)")
    add("--cudnn-benchmark", action="store_true", help="let cuDNN try its kernels and keep the fastest")
    add("--decode", action="store_true", help="streams of a file that is decoded, too")
    add = parser.add_argument_group("how long").add_argument
    add("--minutes", type=float, default=8.0, help="for all of it; what does not fit is left out (default: 8)")
    add("--rounds", type=int, default=3, help="in which the ways take turns (default: %(default)s)")
    add("--round-s", type=float, default=2.0, metavar="S", help="of a way in a round (default: %(default)g)")
    add("--delay-s", type=float, default=10.0, metavar="S", help="of the delay's camera (default: %(default)g)")
    add("--stream-s", type=float, default=5.0, metavar="S", help="of each number of streams (default: %(default)g)")
    add("--most-streams", type=int, default=64, metavar="K", help="tried (default: %(default)s)")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="OUT.json", help="every figure, written as soon as it is known")
    add("--trace", type=Path, metavar="OUT.json", help="what ran when, for ui.perfetto.dev")
    return parser


if __name__ == "__main__":
    main()
