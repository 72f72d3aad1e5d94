"""Capture of CUDA graphs, for engines and for the inference on a GPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_WARM_UP_RUNS = 3  # before a capture: libraries choose kernels and allocate memory in the first runs

Outputs = tuple[Tensor, ...]


def warm_up(run: Callable[[], object], stream: torch.cuda.Stream) -> None:
    """Run a few times on `stream`, so that no kernel is chosen and no workspace allocated during a capture."""
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP_RUNS):
            run()


class CudaGraph:
    """A function without arguments, captured once: one call launches the same kernels at the same addresses.

    Warm it up first. Raises RuntimeError where something in it cannot be captured.

    Args:
        run: reads its inputs from tensors that stay where they are.
        stream: the stream to capture on; None: one of torch's own.
        pool: memory shared with other graphs, of which only one runs at a time; None: memory of its own.
    """

    def __init__(
        self, run: Callable[[], Outputs], *, stream: torch.cuda.Stream | None = None, pool: Any = None
    ) -> None:
        self.graph = torch.cuda.CUDAGraph()
        # thread_local: other threads, such as a viewer's or a decoder's, may go on using the GPU during the capture.
        with torch.cuda.graph(self.graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._outputs = run()

    def __call__(self) -> Outputs:
        """Replay on the current stream. The next call overwrites the tensors returned."""
        self.graph.replay()
        return self._outputs


class CudaGraphOfBatch:
    """A function of one batch, captured once, with inputs and outputs copied in and out.

    Args:
        run: the function.
        example: a batch of the shape, type and strides that every call has.
        pool: as in `CudaGraph`.
    """

    def __init__(self, run: Callable[[Tensor], Outputs], example: Tensor, *, pool: Any = None) -> None:
        self._input = example.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        warm_up(lambda: run(self._input), stream)
        torch.cuda.current_stream().wait_stream(stream)
        self._replay = CudaGraph(lambda: run(self._input), pool=pool)

    def __call__(self, pixels: Tensor) -> Outputs:
        """Outputs that the next call does not overwrite."""
        self._input.copy_(pixels)
        return tuple(output.clone() for output in self._replay())
