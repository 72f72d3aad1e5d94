"""Each figure of a card, as a function: frames a second, the arithmetic limit, delay, streams, idle time, memory."""

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from realtime_polyp.bench.flops import matmul_flops_per_s, settle
from realtime_polyp.bench.gpu_paced import LATEST_MS, Cameras, cameras, most_streams, sustained, watch
from realtime_polyp.bench.gpu_runs import BASELINE, WAYS, Budget, Line, traced
from realtime_polyp.bench.rounds import Pace, alternate, pace_of, ratio
from realtime_polyp.engines.eager import PRECISIONS
from realtime_polyp.field_of_view import Image, whole
from realtime_polyp.inference.cuda import DEVICE_TRACK, CudaInference
from realtime_polyp.inference.cuda_streams import idle_share
from realtime_polyp.telemetry.trace import Trace, events_of

_DELAY_HZ, _STREAM_HZ = 60, 30
_MATRIX_SIDE = {"cuda": 8192, "cpu": 512}


def throughput(lines: dict[str, Line], images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    """Frames a second of every way, in turn; ratios within the rounds to eager half precision, where it is there."""
    variants = {
        name: partial(busy, line.inference, images, options.batch, options.round_s) for name, line in lines.items()
    }
    for line in lines.values():
        busy(line.inference, images, options.batch, 0.0)  # its buffers grow to the picture's size
    told = alternate(variants, options.rounds, "frames/s")
    fps = {name: [pace.fps for pace in paces] for name, paces in told.items()}
    medians = {name: statistics.median(values) for name, values in fps.items()}
    base = fps.get(BASELINE[options.device])
    return {
        "batch": options.batch,
        "baseline": BASELINE[options.device],
        "fastest": max(medians, key=lambda name: medians[name]),
        "fps": {name: round(value, 2) for name, value in medians.items()},
        "runs_fps": {name: [round(value, 2) for value in values] for name, values in fps.items()},
        "ratio": {name: round(ratio(values, base), 3) for name, values in fps.items()} if base else None,
        "batch_sizes": {name: sorted(line.buckets) for name, line in lines.items()},
    }


def busy(inference: CudaInference, images: list[Image], batch: int, least_s: float) -> Pace:
    """Batches of whole pictures, two under way at a time, for so long and three at least."""

    def work() -> int:
        since_s, begun, pending = time.perf_counter(), 0, []
        while begun < 3 or time.perf_counter() - since_s < least_s:
            some = [images[(begun * batch + number) % len(images)] for number in range(batch)]
            pending.append(inference.submit(some, [whole(image) for image in some]))
            begun += 1
            if len(pending) == 2:
                pending.pop(0).result()
        for collect in pending:
            collect.result()
        return begun * batch

    return pace_of(work)


def arithmetic(report: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What the fastest way makes of the rate at which this device multiplies matrices of its precision."""
    fastest = report["throughput"]["fastest"]
    dtype = PRECISIONS[WAYS[device.type][fastest].precision]
    rate = matmul_flops_per_s(device, dtype, side=_MATRIX_SIDE[device.type])
    limit_fps = rate / (sum(report["gflop_per_frame"].values()) * 1e9)
    return {
        "matmul_tflop_per_s": round(rate / 1e12, 5),
        "limit_fps": round(limit_fps, 2),
        "share": round(report["throughput"]["fps"][fastest] / limit_fps, 4),
    }


def delay(line: Line, images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    """Of one camera at 60 Hz, from when a frame is due to when its answers are ready."""
    source = cameras(images, _DELAY_HZ, options.delay_s)(1)
    found = watch(source, line.inference, options.delay_s, label=f"delay at {_DELAY_HZ} Hz")
    return {"rate_hz": _DELAY_HZ, **found.figures()}


def streams(line: Line, images: list[Image], options: argparse.Namespace, budget: Budget) -> dict[str, Any]:
    """Of cameras whose frames lie in memory: decoding is not in it."""
    return _streams(line, cameras(images, _STREAM_HZ, options.stream_s), options, budget, "streams")


def decoded_streams(line: Line, options: argparse.Namespace, budget: Budget) -> dict[str, Any] | None:
    """Of copies of the demo clip, each decoded for itself, on the GPU where PyAV can. None where nobody asked."""
    if not options.decode:
        return None
    with tempfile.TemporaryDirectory() as folder, clips(Path(folder), options) as several:
        return _streams(line, several, options, budget, "decoded streams")


def _streams(line: Line, several: Cameras, options: argparse.Namespace, budget: Budget, label: str) -> dict[str, Any]:
    trials = most_streams(
        several,
        line.inference,
        options.stream_s,
        most=options.most_streams,
        goes_on=lambda: budget.allows(2 * options.stream_s),
        label=label,
    )
    count = sustained(trials)
    return {
        "rate_hz": _STREAM_HZ,
        "latest_ms": LATEST_MS,
        "sustained": count,
        "tried_more": any(trial.streams > count for trial in trials),
        "trials": [trial.figures() for trial in trials],
    }


@contextmanager
def clips(folder: Path, options: argparse.Namespace) -> Iterator[Cameras]:
    """Sources of one 1080p30 clip that loops."""
    from realtime_polyp.bench.clips import Lasting, make_clip  # av, which only this needs
    from realtime_polyp.sources import FileSource, Paced

    clip = make_clip(folder, "1080p", seconds=options.stream_s)
    hardware = "cuda" if options.device == "cuda" else None
    with ExitStack() as opened:

        def several(count: int) -> list[Paced]:
            files = [FileSource(clip, loop=True, hardware=hardware) for _ in range(count)]
            for one in files:
                opened.callback(one.close)
            return [Paced(Lasting(one, options.stream_s)) for one in files]

        yield several


def idle(line: Line, images: list[Image], options: argparse.Namespace, report: dict[str, Any]) -> dict[str, Any]:
    """The share of time in which no lane of the device had work, by the trace: at full load, and with as many streams
    as it sustains. What lies between the kernels of one graph is not seen."""
    trace = Trace()
    inference = traced(line, options.device, trace)
    busy(inference, images, options.batch, 0.0)
    loaded = _idle_while(trace, lambda: busy(inference, images, options.batch, options.round_s))
    count = max(1, (report["streams"] or {"sustained": 1})["sustained"])
    several = cameras(images, _STREAM_HZ, options.stream_s)(count)
    with_streams = _idle_while(
        trace, lambda: watch(several, inference, options.stream_s, label=f"{count} streams, traced", trace=trace)
    )
    if options.trace:
        options.trace.write_text(json.dumps(events_of(trace.spans(), lost=trace.lost)) + "\n", encoding="utf-8")
    return {"at_full_load": loaded, "streams": count, "with_streams": with_streams}


def _idle_while(trace: Trace, work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    spans = [one for one in trace.spans() if one.track.startswith(DEVICE_TRACK) and one.start_s >= began_s]
    return round(idle_share((one.start_s, one.end_s) for one in spans), 4)


def memory(device: torch.device) -> dict[str, Any]:
    """The most that torch held since the other ways were closed, graphs' own included; of the process on a CPU."""
    if device.type == "cuda":
        return {"peak_mb": round(torch.cuda.max_memory_reserved(device) / 2**20, 1), "of": "the card"}
    return {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), "of": "the process"}


def free(device: torch.device) -> None:
    gc.collect()
    settle(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def card_facts(device: torch.device) -> dict[str, Any]:
    """The card, or the processor in its place, and versions of all that decides how fast it is."""
    facts: dict[str, Any] = {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    if device.type == "cuda":
        told = torch.cuda.get_device_properties(device)
        facts |= {
            "name": told.name,
            "memory_mb": told.total_memory // 2**20,
            "capability": f"{told.major}.{told.minor}",
            "multiprocessors": told.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,  # of float32 convolutions
        }
    return facts | {"versions": {"python": platform.python_version(), "torch": torch.__version__, **_versions()}}


def _versions() -> dict[str, str]:
    found = {}
    for package in ("triton", "torch-tensorrt", "tensorrt", "numpy", "av"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
