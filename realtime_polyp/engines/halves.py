"""A joint model as a detector and a segmenter: two engines that share each run of the one behind them.

The line asks its detector and its segmenter for the same batch, one after the other. The half that is asked first
starts the batch; the other one takes its part of the outcome. So a joint model runs wherever two models do.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from realtime_polyp.engines.base import BaseEngine, Pixels, Task

if TYPE_CHECKING:
    from torch import Tensor  # torch takes seconds to import


class _Run:
    """One run of a batch, whose outputs several may collect. first: the task of the half that started it."""

    def __init__(self, engine: Any, pixels: Pixels, first: Task) -> None:
        self.pixels, self.first = pixels, first
        self._collect: Callable[[], Any] = engine.start(pixels)
        self._outputs: Future[Any] = Future()

    def outputs(self) -> Any:
        """Wait for the outputs, in the thread that started the run. A failure is raised to each that asks."""
        if not self._outputs.done():
            try:
                self._outputs.set_result(self._collect())
            except BaseException as error:  # noqa: BLE001 - as in an executor: whoever collects gets it
                self._outputs.set_exception(error)
        return self._outputs.result()


class _LastRun(threading.local):
    """The run that waits for its other half; each thread has its own, so threads never take each other's."""

    run: _Run | None = None


class JointHalf(BaseEngine):
    """A joint engine as a detector or as a segmenter; `halves_of` makes both.

    An outcome is shared only if the other half asked last, in the same thread, for the same array (`is`). In every
    other case the batch is run, so an outcome is never that of other pixels. The array must not be changed in between.
    """

    def __init__(self, engine: Any, task: Task, last: _LastRun) -> None:
        """engine: with task "joint". task: "detector" or "segmenter". last: the same for both halves."""
        self.engine, self.task, self._last = engine, task, last
        self.name, self.model, self.size = engine.name, engine.model, engine.size
        self.device, self.key, self.notes = engine.device, engine.key, engine.notes
        self.overlaps, self.device_resident = engine.overlaps, engine.device_resident

    def __call__(self, pixels: Pixels) -> Any:
        return self.start(pixels)()

    def start(self, pixels: Pixels) -> Callable[[], Any]:
        run = self._last.run
        if run is not None and run.pixels is pixels and run.first != self.task:
            self._last.run = None
        else:
            run = self._last.run = _Run(self.engine, pixels, self.task)
        return lambda: self._part_of(run.outputs())

    def on_device(self, pixels: "Tensor") -> "tuple[Tensor, ...]":
        """As `Engine.on_device`. This runs the whole model: an inference on a device runs `engine` itself instead."""
        boxes, scores, probability = self.engine.on_device(pixels)
        return (boxes, scores) if self.task == "detector" else (probability,)

    def other(self) -> "JointHalf":
        """Return the other half."""
        return JointHalf(self.engine, "segmenter" if self.task == "detector" else "detector", self._last)

    def _part_of(self, outputs: Any) -> Any:
        if not isinstance(outputs, tuple) or len(outputs) != 3:
            return outputs  # whoever asked checks it, and says what it is
        return outputs[:2] if self.task == "detector" else outputs[2]


def halves_of(engine: Any) -> tuple[JointHalf, JointHalf]:
    """Return a joint engine as a detector and as a segmenter."""
    detector = JointHalf(engine, "detector", _LastRun())
    return detector, detector.other()


def roles_of(engine: Any) -> tuple[Any, Any]:
    """Return what an engine of any task is in the line: (detector, segmenter), None for what it is not."""
    if engine.task == "joint":
        return halves_of(engine)
    return (engine, None) if engine.task == "detector" else (None, engine)


def other_half(detector: Any, segmenter: str) -> JointHalf | None:
    """Return the segmenter that is the other half of an opened detector; None where it is another model.

    segmenter: name of the wanted weights.
    """
    return detector.other() if isinstance(detector, JointHalf) and detector.model == segmenter else None


def engines_of(detector: Any, segmenter: Any) -> list[Any]:
    """Return the engines to run for a detector and a segmenter, either of which may be None: a joint one once."""
    halves = isinstance(detector, JointHalf) and isinstance(segmenter, JointHalf)
    if halves and detector.engine is segmenter.engine:
        return [detector.engine]
    return [engine for engine in (detector, segmenter) if engine is not None]
