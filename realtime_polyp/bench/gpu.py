"""Benchmark of both models on one GPU, on every 1080p frame: python -m realtime_polyp.bench.gpu.

Needs torch with CUDA, numpy, numba, OpenCV, safetensors and tqdm. torch-tensorrt is measured if it is installed, and
--decode needs av. The paper's pair of models has random weights from a fixed seed. They detect nothing, so NMS and
tracking cost less than with trained weights; everything else costs the same. Every figure is written to --json as soon
as it is known.
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

from realtime_polyp.bench.commands import exit_on_error, exit_with
from realtime_polyp.bench.gpu_figures import (
    arithmetic,
    card_facts,
    decoded_streams,
    delay,
    flops_of,
    free,
    idle,
    memory,
    streams,
    throughput,
)
from realtime_polyp.bench.gpu_paced import make_images
from realtime_polyp.bench.gpu_runs import PAIRS, VARIANTS, Budget, Opening, default_variants, open_variants
from realtime_polyp.bench.gpu_table import card_table
from realtime_polyp.console import EXIT_FAILED
from realtime_polyp.engines.static import BUCKETS, first_line

_IMAGES = 16  # 100 MB at 1080p: larger than most CPU caches
_EPILOG = """examples:
  python -m realtime_polyp.bench.gpu --json card.json --trace card-trace.json
  python -m realtime_polyp.bench.gpu --pair default
  python -m realtime_polyp.bench.gpu --variants compiled-fp16 eager-fp16 --minutes 5
  python -m realtime_polyp.bench.gpu --cudnn-benchmark        cuDNN benchmarks its kernels first
  python -m realtime_polyp.bench.gpu --decode                 also streams decoded from a file
  python -m realtime_polyp.bench.gpu --device cpu --pair toy --frame 192x144     the same code without a GPU

exit codes: 0 measured (whether or not the goals are met), 1 internal failure, 2 bad input or no GPU, 130 interrupted"""


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    with exit_on_error(parser):
        check(options)
        report = measure(options, shlex.join(sys.argv[1:] if arguments is None else arguments))
        print("\n" + card_table(report))
        if report["failures"]:
            exit_with(parser, "; ".join(report["failures"]), EXIT_FAILED)


def check(options: argparse.Namespace) -> None:
    """Check the options before any measurement starts. Raises ValueError."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU here: use a machine with a GPU, or --device cpu --pair toy")
    for name in ("minutes", "round_s", "delay_s", "stream_s", "rounds", "most_streams"):
        if not 0 < getattr(options, name) < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {getattr(options, name):g}")
    if unknown := [name for name in options.variants or () if name not in VARIANTS[options.device]]:
        raise ValueError(
            f"unknown variant {unknown[0]!r} on {options.device}: choose from {', '.join(VARIANTS[options.device])}"
        )
    if options.decode and importlib.util.find_spec("av") is None:
        raise ValueError("--decode needs PyAV, which is not installed: pip install av")
    for path in (options.json, options.trace):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"cannot write to {path}: there is no folder {path.parent}")


def measure(options: argparse.Namespace, command: str) -> dict[str, Any]:
    """Measure every figure, the most important first, and return the report.

    A figure that does not fit into the time budget is None.
    """
    torch.backends.cudnn.benchmark = options.cudnn_benchmark
    budget, device = Budget(options.minutes * 60), torch.device(options.device)
    notes: list[str] = []
    report: dict[str, Any] = {"command": command, "card": card_facts(device), "pair": options.pair}
    report |= {"frame": options.frame, "notes": notes, "failures": list[str]()}
    images = make_images(options.frame, _IMAGES)
    opening = Opening(PAIRS[options.pair](), options.device, wanted_buckets(options.batch), budget)
    report["models"] = [model.name for model in opening.pair]
    report["gflop_per_frame"] = {
        model.task: round(flops_of(model.module, model.size) / 1e9, 4) for model in opening.pair
    }
    opened = open_variants(options.variants or default_variants(options.device), opening, notes)
    report["opened_s"] = round(budget.spent_s, 1)
    report["throughput"] = throughput(opened, images, options)
    write(report, options.json)
    report["arithmetic"] = arithmetic(report, device)
    best = opened[report["throughput"]["fastest"]]
    opened.clear()
    free(device)
    measurements: dict[str, Any] = {
        "delay": partial(delay, best, images, options),
        "streams": partial(streams, best, images, options, budget),
        "memory": partial(memory, device),  # before tracing, which captures the graphs a second time
        "idle": partial(idle, best, images, options, report),
        "decoded_streams": partial(decoded_streams, best, options, budget),
    }
    for name, measurement in measurements.items():
        try:
            report[name] = measurement() if budget.allows(_min_duration_s(name, options)) else None
        except RuntimeError as error:  # this measurement or the GPU failed: keep the other figures
            report[name] = None
            report["failures"].append(f"{name} failed: {first_line(error)}")
        write(report, options.json)
    report["took_s"] = round(budget.spent_s, 1)
    write(report, options.json)
    return report


def _min_duration_s(name: str, options: argparse.Namespace) -> float:
    """Return how long a measurement takes at least, s. One that cannot end within the budget is not started."""
    durations_s: dict[str, float] = {
        "delay": options.delay_s,
        "streams": 2 * options.stream_s,
        "idle": options.round_s + options.stream_s,
    }
    return durations_s.get(name, 0.0)


def wanted_buckets(batch: int) -> tuple[int, ...]:
    """Return the batch sizes to open, the most important first: full batches, single frames, then those between."""
    return tuple(dict.fromkeys(size for size in (batch, 1, 4, 2) if size <= batch))


def write(report: dict[str, Any], path: Path | None) -> None:
    """Write the report as JSON; with path None, do nothing."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def parse_size(text: str) -> tuple[int, int]:
    """Return (1920, 1080) for "1920x1080". Raises ArgumentTypeError for other formats and sizes out of range."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 64 <= min(int(width), int(height)) <= 8192):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1920x1080, from 64 to 8192 px")
    return int(width), int(height)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.bench.gpu",
        description="Measure both models on one GPU, on every 1080p frame: frames/s compared with eager torch, "
        "share of the arithmetic limit, delay at 60 Hz, number of streams, idle time, memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("measurements").add_argument
    add("--pair", choices=list(PAIRS), default="paper", help="pair of detector and segmenter (default: %(default)s)")
    add("--device", choices=list(VARIANTS), default="cuda", help="default: %(default)s")
    add("--variants", "--ways", nargs="+", metavar="VARIANT", help="some of: " + ", ".join(VARIANTS["cuda"]))
    add("--frame", type=parse_size, default=(1920, 1080), metavar="WxH", help="frame size, px (default: 1920x1080)")
    add("--batch", type=int, choices=BUCKETS, default=max(BUCKETS), help="frames per batch (default: %(default)s)")
    add("--cudnn-benchmark", action="store_true", help="let cuDNN benchmark its kernels and keep the fastest")
    add("--decode", action="store_true", help="also measure streams decoded from a file")
    add = parser.add_argument_group("duration").add_argument
    add("--minutes", type=float, default=8.0, help="time budget; measurements that do not fit are skipped (default: 8)")
    add("--rounds", type=int, default=3, help="rounds in which the variants take turns (default: %(default)s)")
    add(
        "--round-s",
        type=float,
        default=2.0,
        metavar="S",
        help="duration of a variant in a round, s (default: %(default)g)",
    )
    add(
        "--delay-s",
        type=float,
        default=10.0,
        metavar="S",
        help="duration of the delay measurement, s (default: %(default)g)",
    )
    add(
        "--stream-s",
        type=float,
        default=5.0,
        metavar="S",
        help="duration of each trial with streams, s (default: %(default)g)",
    )
    add(
        "--most-streams",
        type=int,
        default=64,
        metavar="K",
        help="largest number of streams tried (default: %(default)s)",
    )
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="OUT.json", help="write every figure there as soon as it is known")
    add("--trace", type=Path, metavar="OUT.json", help="write a timeline for ui.perfetto.dev there")
    return parser


if __name__ == "__main__":
    main()
