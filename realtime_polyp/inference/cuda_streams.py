"""Streams of work on a device. Tasks of one stream run in order, streams run concurrently, a task may wait for others.

On a GPU a lane is a CUDA stream and work ends in an event; on a CPU everything is done at once, by the same calls.
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
    """A piece of work: what is called inside `with work:` is queued in its lane. name: what it does."""

    lane: str
    name: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def wait(self) -> None:
        """Hold the host until the work is done."""
        ...

    def times_s(self) -> tuple[float, float]:
        """When it began and ended on the device, by time.perf_counter(); after it is done."""
        ...


class DeviceStreams(Protocol):
    """device: where the work is done. pinned: host buffers must be pinned for copies to run beside the host."""

    @property
    def device(self) -> torch.device: ...

    @property
    def pinned(self) -> bool: ...

    def work(self, lane: str, name: str, after: Sequence[StreamTask] = ()) -> StreamTask:
        """StreamTask that begins after everything before it in its lane and after the other work named."""
        ...

    def capture(self, lane: str, run: Run) -> Run:
        """The same work with less to queue for each call, at fixed addresses; what it returns is overwritten by the
        next call. To be called in work of this lane."""
        ...

    def settle(self) -> None:
        """Hold the host until all lanes are idle."""
        ...


class CpuTask:
    def __init__(self, lane: str, name: str) -> None:
        self.lane, self.name = lane, name
        self.begin_s = self.end_s = 0.0

    def __enter__(self) -> Self:
        self.begin_s = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.end_s = time.perf_counter()

    def wait(self) -> None:
        """It was done when it was called."""

    def times_s(self) -> tuple[float, float]:
        return self.begin_s, self.end_s


class CpuStreams:
    """The host itself: for tests of the line, and where there is no GPU."""

    device = torch.device("cpu")
    pinned = False

    def work(self, lane: str, name: str, after: Sequence[StreamTask] = ()) -> CpuTask:
        """RuntimeError for work that was not queued yet: a GPU would not wait for it, and nobody would notice."""
        for other in after:
            if not other.times_s()[1]:
                raise RuntimeError(f"{name} waits for {other.name}, which has not been queued: queue that first")
        return CpuTask(lane, name)

    def capture(self, lane: str, run: Run) -> Run:
        return run

    def settle(self) -> None:
        """Nothing is ever under way."""


class CudaTask:
    """anchor: an event of known time, where times are wanted."""

    def __init__(
        self, stream: torch.cuda.Stream, lane: str, name: str, after: Sequence[StreamTask], anchor: "Anchor | None"
    ) -> None:
        self.lane, self.name = lane, name
        self._stream, self._after, self._anchor = stream, after, anchor
        # Blocking: a waiting host sleeps instead of spinning, since decoding wants the core.
        self._begin, self.end = (torch.cuda.Event(enable_timing=anchor is not None, blocking=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._current: AbstractContextManager[None] = torch.cuda.stream(stream)

    def __enter__(self) -> Self:
        for other in self._after:
            assert isinstance(other, CudaTask)
            self._stream.wait_event(other.end)
        self._current.__enter__()
        if self._anchor is not None:
            self._begin.record(self._stream)
        return self

    def __exit__(self, *error: object) -> None:
        self.end.record(self._stream)
        self._current.__exit__(None, None, None)

    def wait(self) -> None:
        self.end.synchronize()

    def times_s(self) -> tuple[float, float]:
        if self._anchor is None:
            raise RuntimeError(f"{self.name} was not timed: open CudaStreams(timed=True)")
        return self._anchor.at_s(self._begin), self._anchor.at_s(self.end)


class Anchor:
    """An event whose time on the host's clock is known: it leads from the GPU's clock to time.perf_counter()."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        before_s = time.perf_counter()
        self._event.record(stream)
        self._event.synchronize()
        self.known_s = (before_s + time.perf_counter()) / 2

    def at_s(self, event: torch.cuda.Event) -> float:
        return self.known_s + float(self._event.elapsed_time(event)) / 1e3


class CudaStreams:
    """A CUDA stream for each lane of one GPU; used by one thread at a time.

    graphs: capture work into CUDA graphs. timed: keep the times of all work, for a trace.
    """

    pinned = True

    def __init__(self, device: str = "cuda", *, graphs: bool = True, timed: bool = False) -> None:
        self.device = torch.device(device)
        self._graphs, self._timed = graphs, timed
        self._streams: dict[str, torch.cuda.Stream] = {}
        self._pools: dict[str, Any] = {}
        self._anchor: Anchor | None = None

    def work(self, lane: str, name: str, after: Sequence[StreamTask] = ()) -> CudaTask:
        return CudaTask(self._stream(lane), lane, name, after, self._fresh_anchor() if self._timed else None)

    def capture(self, lane: str, run: Run) -> Run:
        """A CUDA graph of `run`; `run` itself, with a warning, where something in it cannot be captured."""
        stream = self._stream(lane)
        torch.cuda.synchronize(self.device)  # what `run` reads may have been written on any stream
        warm_up(run, stream)
        stream.synchronize()
        if not self._graphs:
            return run
        # One pool per lane: its graphs never run at the same time, so they may share memory.
        pool = self._pools.setdefault(lane, torch.cuda.graph_pool_handle())
        try:
            return CudaGraph(run, stream=stream, pool=pool)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(f"the {lane} runs without a CUDA graph, call by call: {reason}", stacklevel=2)
            return run

    def settle(self) -> None:
        torch.cuda.synchronize(self.device)

    def _stream(self, lane: str) -> torch.cuda.Stream:
        if lane not in self._streams:
            self._streams[lane] = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return self._streams[lane]

    def _fresh_anchor(self) -> Anchor:
        """Renewed now and then: the GPU counts in float32 ms, which grow coarse, and clocks drift apart."""
        if self._anchor is None or time.perf_counter() - self._anchor.known_s > _ANCHOR_S:
            self._anchor = Anchor(self._stream("clock"))
        return self._anchor


_ANCHOR_S = 10.0


def idle_share(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end that no span (start_s, end_s) covers; 0 of no time.

    Spans may overlap and come in any order: what two lanes did at once counts once.
    """
    ordered = sorted(spans)
    if not ordered:
        return 0.0
    began_s = covered_to_s = ordered[0][0]
    idle_s = 0.0
    for start_s, end_s in ordered:
        idle_s += max(0.0, start_s - covered_to_s)
        covered_to_s = max(covered_to_s, end_s)
    return idle_s / (covered_to_s - began_s) if covered_to_s > began_s else 0.0
