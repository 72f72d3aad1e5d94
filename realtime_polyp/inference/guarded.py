"""Both models under a watchdog: what fails or hangs is started again, then replaced by the next engine of the ladder.

For live pictures, which go on meanwhile. The models run on a thread of their own, because nothing can end a call that
hangs: that thread is then abandoned.
"""

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from realtime_polyp.engines.base import DetectorEngine, EngineError, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import Inference, ModelOutputs, Pending
from realtime_polyp.messages import describe_error, each_once
from realtime_polyp.watchdog import Trouble

T = TypeVar("T")

RESTARTS = 5
"""So many times per minute an engine is started again; then the next one of the ladder takes its place."""

PER_S = 60.0
"""That minute, s. Time in which no answer is good does not count, or an engine that starts slowly would be kept."""

FIRST_WAIT_S = 0.25
"""Before the second start within a minute; twice as long before each further one."""

ANSWER_S = 3.0
"""An answer that takes longer than this, and ten times as long as usual, never comes."""

FIRST_ANSWER_S = 120.0
"""The same of a start, and of the first answer after it: engines compile what they need then. What takes longer is not
tried again while there is another engine."""

_TIMES_USUAL = 10.0
_USUAL_SHARE = 0.1
_POLL_S = 0.05
# What CUDA says when the device or its context is lost: every later call on it fails too.
_DEVICE_LOST = (
    "cuda error",
    "cudaerror",
    "device-side assert",
    "illegal memory access",
    "no cuda-capable device",
    "unspecified launch failure",
    "cuda driver",
)


class EngineFailure(RuntimeError):
    """A model failed or hangs, and its answer is lost. The message is the reason.

    cause: what the model raised; None where it hangs.
    """

    def __init__(self, message: str, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class Ladder:
    """The engines to use, the one that was chosen first.

    open_level: opens both models on the engine of this level anew; may take minutes and raise anything.
    devices: of each level, "cuda" or "cpu".
    """

    def __init__(self, open_level: Callable[[int], Inference], devices: Sequence[str]) -> None:
        self.open_level, self.devices = open_level, devices

    def after(self, level: int, *, device_lost: bool) -> int:
        """The next level; the same one where it is the last. device_lost: no other engine runs on that device."""
        later = range(level + 1, len(self.devices))
        return next((one for one in later if not device_lost or self.devices[one] != self.devices[level]), level)


class GuardedInference:
    """An Inference that can be started again: after `submit` or a check of its outputs failed, call `recover`.

    inference: the one that was opened first. say: takes sentences for the log.

    Attributes:
        trouble: what is wrong; None while answers come.
        has_answered: an answer was good since the start.
    """

    overlaps = False

    def __init__(
        self,
        inference: Inference,
        ladder: Ladder,
        *,
        answer_s: float = ANSWER_S,
        first_answer_s: float = FIRST_ANSWER_S,
        say: Callable[[str], None] = lambda text: print(f"realtime-polyp: {text}", file=sys.stderr),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble: Trouble | None = None
        self.has_answered = False
        self.level = 0
        self._inner, self._ladder, self._say, self._clock = inference, ladder, say, clock
        self._answer_s, self._first_answer_s = answer_s, first_answer_s
        self._usual_s: float | None = None
        self._is_down = False
        self._starts: deque[float] = deque()  # when this level's engine was started again
        self._worker = _Worker()

    @property
    def detector(self) -> DetectorEngine | None:
        return self._inner.detector

    @property
    def segmenter(self) -> SegmenterEngine | None:
        return self._inner.segmenter

    @property
    def takes_planes(self) -> bool:
        return self._inner.takes_planes

    @property
    def inner(self) -> Inference:
        """The inference that runs now."""
        return self._inner

    def submit(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        """Run a batch. Raises EngineFailure where the models fail, hang, or have not been started again yet."""
        if self._is_down:
            raise EngineFailure(self.trouble.reason if self.trouble else "it was not started again")
        inner, began_s = self._inner, self._clock()
        try:
            outputs = self._worker.run(lambda: inner.submit(images, fields, hflip=hflip).result(), self._limit_s())
        except _Abandoned as error:
            self._worker = _Worker()  # the other one hangs
            if self._starts and self._usual_s is None:
                self._give_up()
            raise EngineFailure(f"no answer for {self._clock() - began_s:.1f} s") from error
        except BaseException as error:  # noqa: BLE001 - a model may raise anything, on a thread of its own
            raise EngineFailure(describe_error(error), error) from error
        self._learn(self._clock() - began_s)
        return Pending(lambda: outputs)

    def note_answer(self) -> None:
        """The answer was good."""
        self.has_answered = True
        if self.trouble:
            now_s = self._clock()
            down_s = self.trouble.age_s(now_s)
            self._say(f"the model answers again after {down_s:.1f} s")
            self._starts = deque(min(start_s + down_s, now_s) for start_s in self._starts)
            self.trouble = None

    def recover(self, error: Exception, stops: Callable[[], bool] = lambda: False) -> bool:
        """Start the models again after an error, or the next engine; False: not now, call it again at the next frame.

        stops: returns whether to give up waiting. Frames that come meanwhile are lost to the analysis.
        """
        self._is_down = True
        reason, now_s = str(error), self._clock()
        if self.trouble is None:
            self._say(f"the model failed: {reason}; starting it again")
            self._forget_starts()
        before = self.trouble or Trouble("model", reason, now_s)
        level = self._choose_level(reason)
        if level is None or now_s < self._next_s(level):
            next_s = self._starts[0] + PER_S if level is None else self._next_s(level)
            self.trouble = Trouble("model", before.reason, before.since_s, before.attempts, next_s)
            return False
        self.trouble = Trouble("model", reason, before.since_s, before.attempts + 1)
        if level != self.level:
            self.level = level
            self._starts.clear()
        self._starts.append(now_s)
        is_started = self._start(stops)
        self._starts[-1] = self._clock()  # its end: the moment to wait follows it
        return is_started

    @property
    def may_start_again(self) -> bool:
        """Whether an engine was not started too often yet."""
        is_last = self._ladder.after(self.level, device_lost=False) == self.level
        return not is_last or len(self._starts) < RESTARTS

    def close(self) -> None:
        """End the thread of the models."""
        self._worker.end()

    def _choose_level(self, reason: str) -> int | None:
        """The engine to start: the same one, or the next; None: the last one was started too often."""
        # Under an engine of the CPU the reason may still be that of the GPU before it.
        on_gpu = self._ladder.devices[self.level] != "cpu"
        lost = on_gpu and any(word in reason.lower() for word in _DEVICE_LOST)
        following = self._ladder.after(self.level, device_lost=lost)
        if following == self.level:
            self._forget_starts()
            return self.level if len(self._starts) < RESTARTS else None
        return following if lost or len(self._starts) >= RESTARTS else self.level

    def _forget_starts(self) -> None:
        """Forget the starts of more than a minute ago: after good answers, or where no other engine is left."""
        while self._starts and self._clock() - self._starts[0] >= PER_S:
            self._starts.popleft()

    def _give_up(self) -> None:
        """Count an engine that cannot be used here, however often it is tried, as one that was started too often."""
        self._starts = deque([self._clock()] * RESTARTS)

    def _next_s(self, level: int) -> float:
        """When an engine may be started: what failed for a moment gets a moment. Another engine may at once."""
        count = len(self._starts)
        return self._starts[-1] + FIRST_WAIT_S * 2 ** (count - 1) if count and level == self.level else 0.0

    def _start(self, stops: Callable[[], bool]) -> bool:
        level, ladder = self.level, self._ladder

        def open_it() -> Inference:
            if ladder.devices[level] != "cpu":
                _free_device_memory()  # here, because a lost device may hang
            return ladder.open_level(level)

        try:
            inner = self._worker.run(open_it, self._first_answer_s, stops)
        except _Abandoned:
            self._worker = _Worker()
            if not stops():
                self._say(f"the model could not be started: it took more than {self._first_answer_s:g} s")
                self._give_up()
            return False
        except EngineError as error:
            self._say(f"the model could not be started: {error}")
            self._give_up()
            return False
        except BaseException as error:  # noqa: BLE001 - whatever an engine raises, the picture goes on
            reason = describe_error(error)
            self._say(f"the model could not be started: {reason}")
            self.trouble = self.trouble and replace(self.trouble, reason=reason)  # it may say that the device is lost
            return False
        changed = _names(inner) != _names(self._inner)
        self._inner, self._is_down, self._usual_s = inner, False, None
        if changed:
            _add_note(inner, f"another engine failed ({self.trouble.reason if self.trouble else 'no reason'})")
            self._say(f"the model runs on another engine now: {_names(inner)}")
        return True

    def _limit_s(self) -> float:
        if self._usual_s is None:
            return self._first_answer_s
        return max(self._answer_s, _TIMES_USUAL * self._usual_s)

    def _learn(self, took_s: float) -> None:
        usual_s = min(took_s, self._answer_s) if self._usual_s is None else self._usual_s
        self._usual_s = usual_s + _USUAL_SHARE * (took_s - usual_s)


def unguarded(inference: Inference) -> Inference:
    """The inference itself, where it is under a watchdog."""
    return inference.inner if isinstance(inference, GuardedInference) else inference


class _Abandoned(Exception):
    """A call is not waited for any longer. A TimeoutError may be what the call itself raises."""


class _Call(Generic[T]):
    """One call on the worker's thread."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._found: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._found = self._work()
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self._error = error
        self.done.set()

    def result(self) -> T:
        if self._error:
            raise self._error
        return self._found  # type: ignore[return-value]


class _Worker:
    """A thread that makes one call after the other, as CUDA graphs require. After a call that hangs, it is abandoned:
    it ends when that call returns. It starts with the first call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], T], limit_s: float, stops: Callable[[], bool] = lambda: False) -> T:
        """Make a call and return its result. Raises what it raises, or _Abandoned after `limit_s` or once `stops`."""
        if self._thread is None:
            self._thread = threading.Thread(target=_serve, args=(self._calls,), name="models", daemon=True)
            self._thread.start()
        call, left_s = _Call(work), limit_s
        self._calls.put(call)
        while not call.done.wait(min(_POLL_S, left_s)):
            left_s -= _POLL_S  # not by the clock: a machine that was suspended is no model that hangs
            if left_s <= 0 or stops():
                self.end()
                raise _Abandoned
        return call.result()

    def end(self) -> None:
        """Let the thread end after its present call."""
        if self._thread:
            self._calls.put(None)
            self._thread = None

    def __del__(self) -> None:
        self.end()


def _serve(calls: "queue.SimpleQueue[_Call[Any] | None]") -> None:
    while (call := calls.get()) is not None:
        call.run()
        del call  # it holds pictures


def _names(inference: Inference) -> str:
    engines = [engine for engine in (inference.detector, inference.segmenter) if engine is not None]
    return each_once(f"{engine.name} ({engine.device})" for engine in engines)


def _add_note(inference: Inference, note: str) -> None:
    """Have the engines say why they run."""
    for engine in (inference.detector, inference.segmenter):
        if engine is not None:
            engine.notes = (*engine.notes, note)


def _free_device_memory() -> None:
    """Give back what torch keeps of the GPU's memory; what failed may have held most of it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        try:
            torch.cuda.empty_cache()
        except Exception:  # noqa: BLE001 - the device is lost
            return
