"""Streams of work on a device. Tasks of one stream run in order, streams run concurrently, a task may wait for others.

On a GPU a stream is a CUDA stream and a task ends with an event. On a CPU the same calls do everything at once.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from realtime_polyp.engines.cuda_graphs import CudaGraph, warm_up

Run = Callable[[], tuple[Tensor, ...]]


class StreamTask(Protocol):
    """A piece of work: everything called inside `with task:` is queued on its stream.

    stream: the stream's name. name: what the task does.
    """

    stream: str
    name: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def wait(self) -> None:
        """Block the host until the task is done."""
        ...

    def times_s(self) -> tuple[float, float]:
        """Start and end on the device, time.perf_counter() seconds. Call after `wait`."""
        ...


class DeviceStreams(Protocol):
    """Named streams of one device.

    device: where the tasks run. pinned: host buffers must be pinned for copies to be asynchronous.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def pinned(self) -> bool: ...

    def task(self, stream: str, name: str, after: Sequence[StreamTask] = ()) -> StreamTask:
        """A task that starts after everything before it on its stream and after the tasks in `after`."""
        ...

    def capture(self, stream: str, run: Run) -> Run:
        """A cheaper `run` at fixed addresses, to be called in tasks of this stream; each call overwrites the outputs of
        the one before."""
        ...

    def synchronize(self) -> None:
        """Block the host until all streams are idle."""
        ...


class CpuTask:
    """A task that is done when it has been called."""

    def __init__(self, stream: str, name: str) -> None:
        self.stream, self.name = stream, name
        self.begin_s = self.end_s = 0.0

    def __enter__(self) -> Self:
        self.begin_s = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.end_s = time.perf_counter()

    def wait(self) -> None:
        """Nothing to wait for."""

    def times_s(self) -> tuple[float, float]:
        return self.begin_s, self.end_s


class CpuStreams:
    """The host itself: for tests, and where there is no GPU."""

    device = torch.device("cpu")
    pinned = False

    def task(self, stream: str, name: str, after: Sequence[StreamTask] = ()) -> CpuTask:
        """Raises RuntimeError for a task in `after` that is not queued yet: a GPU would silently not wait for it."""
        for other in after:
            if not other.times_s()[1]:
                raise RuntimeError(f"{name} waits for {other.name}, which has not been queued: queue that first")
        return CpuTask(stream, name)

    def capture(self, stream: str, run: Run) -> Run:
        return run

    def synchronize(self) -> None:
        """Nothing is ever pending."""


class CudaTask:
    """A task that ends with a CUDA event. anchor: an event of known time, where times are needed."""

    def __init__(
        self,
        cuda_stream: torch.cuda.Stream,
        stream: str,
        name: str,
        after: Sequence[StreamTask],
        anchor: "Anchor | None",
    ) -> None:
        self.stream, self.name = stream, name
        self._cuda_stream, self._after, self._anchor = cuda_stream, after, anchor
        # Blocking: a waiting host sleeps instead of spinning, because decoding needs the core.
        self._begin, self.end = (torch.cuda.Event(enable_timing=anchor is not None, blocking=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._current: AbstractContextManager[None] = torch.cuda.stream(cuda_stream)

    def __enter__(self) -> Self:
        for other in self._after:
            assert isinstance(other, CudaTask)
            self._cuda_stream.wait_event(other.end)
        self._current.__enter__()
        if self._anchor is not None:
            self._begin.record(self._cuda_stream)
        return self

    def __exit__(self, *error: object) -> None:
        self.end.record(self._cuda_stream)
        self._current.__exit__(None, None, None)

    def wait(self) -> None:
        self.end.synchronize()

    def times_s(self) -> tuple[float, float]:
        if self._anchor is None:
            raise RuntimeError(f"{self.name} was not timed: open CudaStreams(timed=True)")
        return self._anchor.at_s(self._begin), self._anchor.at_s(self.end)


class Anchor:
    """An event whose time on the host's clock is known; it converts GPU times to time.perf_counter() seconds."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        before_s = time.perf_counter()
        self._event.record(stream)
        self._event.synchronize()
        self.known_s = (before_s + time.perf_counter()) / 2

    def at_s(self, event: torch.cuda.Event) -> float:
        return self.known_s + float(self._event.elapsed_time(event)) / 1e3


class CudaStreams:
    """One CUDA stream per name, on one GPU; used by one thread at a time.

    graphs: capture tasks into CUDA graphs. timed: keep the times of all tasks, for a trace.
    """

    pinned = True

    def __init__(self, device: str = "cuda", *, graphs: bool = True, timed: bool = False) -> None:
        self.device = torch.device(device)
        self._graphs, self._timed = graphs, timed
        self._torch_streams: dict[str, torch.cuda.Stream] = {}
        self._pools: dict[str, Any] = {}
        self._anchor: Anchor | None = None

    def task(self, stream: str, name: str, after: Sequence[StreamTask] = ()) -> CudaTask:
        return CudaTask(self._torch_stream(stream), stream, name, after, self._fresh_anchor() if self._timed else None)

    def capture(self, stream: str, run: Run) -> Run:
        """A CUDA graph of `run`; `run` itself, with a warning, where something in it cannot be captured."""
        cuda_stream = self._torch_stream(stream)
        torch.cuda.synchronize(self.device)  # what `run` reads may have been written on any stream
        warm_up(run, cuda_stream)
        cuda_stream.synchronize()
        if not self._graphs:
            return run
        # One pool per stream: its graphs never run at the same time, so they may share memory.
        pool = self._pools.setdefault(stream, torch.cuda.graph_pool_handle())
        try:
            return CudaGraph(run, stream=cuda_stream, pool=pool)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the {stream} runs without a CUDA graph, call by call: {reason}", stacklevel=2)
            return run

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def _torch_stream(self, stream: str) -> torch.cuda.Stream:
        if stream not in self._torch_streams:
            self._torch_streams[stream] = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return self._torch_streams[stream]

    def _fresh_anchor(self) -> Anchor:
        """Renewed every 10 s: the GPU counts in float32 ms, which grow coarse, and the clocks drift."""
        if self._anchor is None or time.perf_counter() - self._anchor.known_s > _ANCHOR_S:
            self._anchor = Anchor(self._torch_stream("clock"))
        return self._anchor


_ANCHOR_S = 10.0


def idle_share(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time between first start and last end that no span (start_s, end_s) covers.

    Spans may overlap and come in any order. Returns 0 without spans.
    """
    ordered = sorted(spans)
    if not ordered:
        return 0.0
    first_s = covered_to_s = ordered[0][0]
    idle_s = 0.0
    for start_s, end_s in ordered:
        idle_s += max(0.0, start_s - covered_to_s)
        covered_to_s = max(covered_to_s, end_s)
    return idle_s / (covered_to_s - first_s) if covered_to_s > first_s else 0.0
