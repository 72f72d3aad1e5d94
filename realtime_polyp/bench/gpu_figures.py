"""The figures of a GPU, one function each: frames/s, arithmetic limit, delay, streams, idle time, memory."""

import argparse
import copy
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
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from realtime_polyp.bench.comparisons import Timing, alternate, ratio, time_frames
from realtime_polyp.bench.gpu_paced import LATEST_MS, Cameras, cameras, find_most_streams, run_cameras, sustained
from realtime_polyp.bench.gpu_runs import BASELINE, VARIANTS, Budget, OpenVariant, open_traced
from realtime_polyp.engines.deployable import to_deployable
from realtime_polyp.engines.eager import PRECISIONS
from realtime_polyp.field_of_view import Image, whole
from realtime_polyp.inference.cuda import DEVICE_TRACK, CudaInference
from realtime_polyp.inference.cuda_streams import idle_share
from realtime_polyp.telemetry.trace import Trace, events_of

_DELAY_HZ, _STREAM_HZ = 60, 30
_PRODUCTS = 10  # between two readings of the clock, so that synchronization costs nothing
_MATRIX_SIDE = {"cuda": 8192, "cpu": 512}


def flops_of(module: nn.Module, size: tuple[int, int]) -> int:
    """Count the floating-point operations for one image of (h, w) px, in the model's deployable form.

    Two per multiplication of a convolution or matrix product, nothing else.
    """
    counted = to_deployable(copy.deepcopy(module)).eval().to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(torch.zeros((1, 3, *size), device="meta"))
    return int(counter.get_total_flops())


def matmul_flops_per_s(device: torch.device, dtype: torch.dtype, *, side: int, rounds: int = 7) -> float:
    """Measure the rate of matrix products (side, side) on the device: the median of several rounds, FLOP/s.

    The matrices are random: zeros need less power, and a power-limited card multiplies them faster.
    """
    left, right = (torch.randn((side, side), device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    rates = []
    for _ in range(rounds + 1):  # the first round, in which libraries choose a kernel, does not count
        since_s = time.perf_counter()
        for _ in range(_PRODUCTS):
            torch.matmul(left, right, out=product)
        synchronize(device)
        rates.append(_PRODUCTS * 2 * side**3 / (time.perf_counter() - since_s))
    return statistics.median(rates[1:])


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def throughput(opened: dict[str, OpenVariant], images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    """Measure frames/s of every variant, in turn, and ratios to eager half precision within the rounds."""
    variants = {
        name: partial(run_batches, one.inference, images, options.batch, options.round_s)
        for name, one in opened.items()
    }
    for one in opened.values():
        run_batches(one.inference, images, options.batch, 0.0)  # lets its buffers grow to the frame size
    timings = alternate(variants, options.rounds, "frames/s")
    fps = {name: [timing.fps for timing in rounds] for name, rounds in timings.items()}
    medians = {name: statistics.median(values) for name, values in fps.items()}
    base = fps.get(BASELINE[options.device])
    return {
        "batch": options.batch,
        "baseline": BASELINE[options.device],
        "fastest": max(medians, key=lambda name: medians[name]),
        "fps": {name: round(value, 2) for name, value in medians.items()},
        "runs_fps": {name: [round(value, 2) for value in values] for name, values in fps.items()},
        "ratio": {name: round(ratio(values, base), 3) for name, values in fps.items()} if base else None,
        "batch_sizes": {name: sorted(one.buckets) for name, one in opened.items()},
    }


def run_batches(inference: CudaInference, images: list[Image], batch: int, least_s: float) -> Timing:
    """Run batches of whole images for at least `least_s`, at least three, two in flight at a time."""

    def work() -> int:
        since_s, begun, pending = time.perf_counter(), 0, []
        while begun < 3 or time.perf_counter() - since_s < least_s:
            some = [images[(begun * batch + number) % len(images)] for number in range(batch)]
            pending.append(inference.submit(some, [whole(image) for image in some]))
            begun += 1
            if len(pending) == 2:
                pending.pop(0).result()
        for one in pending:
            one.result()
        return begun * batch

    return time_frames(work)


def arithmetic(report: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Compare the fastest variant with the device's rate of matrix products at the same precision."""
    fastest = report["throughput"]["fastest"]
    dtype = PRECISIONS[VARIANTS[device.type][fastest].precision]
    rate = matmul_flops_per_s(device, dtype, side=_MATRIX_SIDE[device.type])
    limit_fps = rate / (sum(report["gflop_per_frame"].values()) * 1e9)
    return {
        "matmul_tflop_per_s": round(rate / 1e12, 5),
        "limit_fps": round(limit_fps, 2),
        "share": round(report["throughput"]["fps"][fastest] / limit_fps, 4),
    }


def delay(opened: OpenVariant, images: list[Image], options: argparse.Namespace) -> dict[str, Any]:
    """Measure the delay with one camera at 60 Hz, from when a frame is due to when its result is ready."""
    source = cameras(images, _DELAY_HZ, options.delay_s)(1)
    found = run_cameras(source, opened.inference, options.delay_s, label=f"delay at {_DELAY_HZ} Hz")
    return {"rate_hz": _DELAY_HZ, **found.to_dict()}


def streams(opened: OpenVariant, images: list[Image], options: argparse.Namespace, budget: Budget) -> dict[str, Any]:
    """Find the number of cameras that the device sustains. Frames come from memory, without decoding."""
    return _streams(opened, cameras(images, _STREAM_HZ, options.stream_s), options, budget, "streams")


def decoded_streams(opened: OpenVariant, options: argparse.Namespace, budget: Budget) -> dict[str, Any] | None:
    """The same with copies of the demo clip, each decoded separately, if possible on the GPU. None without --decode."""
    if not options.decode:
        return None
    with tempfile.TemporaryDirectory() as folder, clips(Path(folder), options) as several:
        return _streams(opened, several, options, budget, "decoded streams")


def _streams(
    opened: OpenVariant, several: Cameras, options: argparse.Namespace, budget: Budget, label: str
) -> dict[str, Any]:
    trials = find_most_streams(
        several,
        opened.inference,
        options.stream_s,
        most=options.most_streams,
        may_continue=lambda: budget.allows(2 * options.stream_s),
        label=label,
    )
    count = sustained(trials)
    return {
        "rate_hz": _STREAM_HZ,
        "latest_ms": LATEST_MS,
        "sustained": count,
        "tried_more": any(trial.streams > count for trial in trials),
        "trials": [trial.to_dict() for trial in trials],
    }


@contextmanager
def clips(folder: Path, options: argparse.Namespace) -> Iterator[Cameras]:
    """Yield a function that opens looping sources of a 1080p30 clip."""
    from realtime_polyp.bench.clips import TimeLimited, make_clip  # needs av
    from realtime_polyp.sources import FileSource, Paced

    clip = make_clip(folder, "1080p", seconds=options.stream_s)
    hardware = "cuda" if options.device == "cuda" else None
    with ExitStack() as opened:

        def several(count: int) -> list[Paced]:
            files = [FileSource(clip, loop=True, hardware=hardware) for _ in range(count)]
            for one in files:
                opened.callback(one.close)
            return [Paced(TimeLimited(one, options.stream_s)) for one in files]

        yield several


def idle(
    opened: OpenVariant, images: list[Image], options: argparse.Namespace, report: dict[str, Any]
) -> dict[str, Any]:
    """Measure the share of time in which no CUDA stream had work, at full load and with the sustained streams.

    Gaps between the kernels of one graph are not visible in the trace.
    """
    trace = Trace()
    inference = open_traced(opened, options.device, trace)
    run_batches(inference, images, options.batch, 0.0)
    loaded = _idle_while(trace, lambda: run_batches(inference, images, options.batch, options.round_s))
    count = max(1, (report["streams"] or {"sustained": 1})["sustained"])
    several = cameras(images, _STREAM_HZ, options.stream_s)(count)
    with_streams = _idle_while(
        trace, lambda: run_cameras(several, inference, options.stream_s, label=f"{count} streams, traced", trace=trace)
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
    """Return torch's peak memory since the other variants were closed, with CUDA graphs; on a CPU the process's."""
    if device.type == "cuda":
        return {"peak_mb": round(torch.cuda.max_memory_reserved(device) / 2**20, 1), "of": "the card"}
    return {"peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1), "of": "the process"}


def free(device: torch.device) -> None:
    """Free cached device memory and reset the peak."""
    gc.collect()
    synchronize(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def card_facts(device: torch.device) -> dict[str, Any]:
    """Describe the GPU, or the processor without one, and the versions that decide its speed."""
    facts: dict[str, Any] = {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "name": properties.name,
            "memory_mb": properties.total_memory // 2**20,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
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
