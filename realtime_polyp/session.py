"""One video, from source to screen, on three threads: decode, analyse, deliver."""

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from realtime_polyp.analysis_rate import AnalysisRate
from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.inference.base import Pending
from realtime_polyp.inference.checked import ModelOutputError
from realtime_polyp.inference.guarded import EngineFailure, GuardedInference
from realtime_polyp.messages import describe_error
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import Ledger, Tally
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.watchdog import Progress, Stall, Trouble, troubles_of

if TYPE_CHECKING:  # its package imports PyAV, which frames from elsewhere do not need
    from realtime_polyp.sources.base import Source

Display = Literal["synced", "immediate", "paced"]
State = Literal["ready", "running", "ended", "stopped", "failed"]

_LARGEST_BATCH = 4  # two models on two cores share eight inferences evenly
_QUEUED_FILE = 8
_QUEUED_LIVE = 1  # at most one batch in flight and one frame waiting: anything more is delay
_SCREEN_PACED = 12  # pictures decoded ahead of a paced display, so that most results are there when they are due
_QUEUED_PACED = 16  # more than those ahead: while the display stands still, all of them are analysed
_PACED_BATCH = 1  # evenly spaced results are worth more than many
_STAGES = {"decode": "decoder", "analyse": "model", "deliver": "output"}
_EXIT_S = 5.0  # how long a program that ends waits for a frame in a model
_WORKING = {"decode": "source", "analyse": "model", "deliver": "output"}  # as `Stall` names them


_Submitted = tuple[list[Frame], Pending[list[Result]]]


class SessionError(RuntimeError):
    """A session failed: the stage, the frame it was working on, and the cause (`__cause__`)."""

    def __init__(self, stage: str, frame_index: int | None, cause: BaseException) -> None:
        if isinstance(cause, ModelOutputError) and cause.frame_index is not None:
            frame_index = cause.frame_index  # not the first frame of its batch
        where = "before the first frame" if frame_index is None else f"at frame {frame_index}"
        super().__init__(f"the {stage} failed {where}: {describe_error(cause)}")
        self.stage, self.frame_index = stage, frame_index
        self.__cause__ = cause


class Session:
    """Runs source -> pipeline -> show on three threads; the first failure ends all of them.

    show(result): called with each result in order, on the deliver thread. It may block: a file then slows down, and a
        live source drops frames.
    display: "synced" shows each frame with its own overlay. "immediate" also offers every frame at once in `screen`,
        from which the viewer takes the newest; the ledger then counts pictures, not analyses. "paced", for recordings,
        offers every frame in `screen` too, where it waits until it is due; what cannot be analysed in time is skipped.
    paints: whoever paints calls `shown(frame)` and `annotated(result)`; otherwise that happens when `show` returns.
    on_frame: called with each captured frame on the decode thread; it must not block.

    A live source drops the oldest waiting frame; a file waits. Where the models cannot keep up with a live source,
    every n-th frame is analysed (`every`). Raises ValueError for another display than synced without a viewer that
    paints.
    """

    def __init__(
        self,
        source: "Source",
        pipeline: Pipeline,
        show: Callable[[Result], None],
        *,
        display: Display = "synced",
        paints: bool = False,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> None:
        if display != "synced" and not paints:
            raise ValueError(f"the display {display} needs a viewer that paints: pass paints=True")
        self.source, self.pipeline, self.display = source, pipeline, display
        self.pictures, self.analyses = Ledger(), Ledger()
        self.error: SessionError | None = None
        self.video_delay_ms, self.annotation_delay_ms = Histogram(), Histogram()
        self.stages_ms: dict[str, Histogram] = {}
        self.state: State = "ready"
        self.first_captured_s = self.last_analysed_s = 0.0
        self.conversions: tuple[str, ...] = ()  # of any picture so far
        self.screen = self._open_screen(display)
        live = source.live or display != "synced"
        capacity = _QUEUED_PACED if display == "paced" else _QUEUED_LIVE if live else _QUEUED_FILE
        self.frames: Channel[Frame] = Channel(
            capacity, live=live, on_drop=lambda frame, why: self._skip(frame, "queue", why)
        )
        self.results: Channel[Result] = Channel(capacity, live=live, on_drop=self._drop_result)
        self._show, self._paints, self._on_frame = show, paints, on_frame
        self._at: dict[str, int] = {}
        self._next_index: int | None = None
        self._breaks: deque[int] = deque()  # frames that continue nothing and are not analysed yet
        self._progress, self._stopped_s = Progress(), 0.0
        self._rate = AnalysisRate() if live and display != "paced" else None
        self._position, self._analysis_s = (-float("inf"), 0.0), 0.0
        stages = {"decode": self._decode_all, "analyse": self._analyse_all, "deliver": self._deliver_all}
        self._threads = [  # daemons: a device read that nothing can wake must not keep the process alive
            threading.Thread(target=self._guard, args=(name, stage), name=name, daemon=True)
            for name, stage in stages.items()
        ]

    def start(self) -> None:
        self.state = "running"
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End at once, from any thread; frames under way are dropped and counted."""
        if self.state == "running":
            self.state = "stopped"
        self._stop_channels()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Join the threads; False if they still run after `timeout_s`. Raises SessionError if the session failed."""
        for thread in self._threads:
            thread.join(timeout_s)
        if any(thread.is_alive() for thread in self._threads):
            return False
        if self.state == "running":
            self.state = "ended"
        self.analyses.drop_pending("analysis", "stopped")
        if not self._paints:
            self.finish_pictures()
        if self.error:
            raise self.error
        return True

    def stalled(self, limit_s: float) -> Stall | None:
        """Return the stage that has worked longest on one frame, if that is `limit_s` or longer; else None.

        A live source is not checked, because it reports by itself that no pictures arrive.
        """
        idle = {"source"} if self.source.live else set()
        return next((one for one in self._progress.stalled(limit_s) if one.stage not in idle), None)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What failed and is started again by itself: the source, then the models."""
        return troubles_of(self.source, self.pipeline.inference)

    def left_behind(self, after_s: float = 0.0) -> Stall | None:
        """Return a stage that still runs `after_s` after the session stopped or failed; None if all have ended."""
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        since_s = time.monotonic() - self._stopped_s
        if not alive or not self._stopped_s or since_s < after_s:
            return None
        working = [one for one in self._progress.stalled(0) if one.stage in {_WORKING[name] for name in alive}]
        return working[0] if working else Stall(_WORKING[alive[0]], self._at.get(alive[0], 0), since_s)

    def iterate(self) -> Iterator[Result]:
        """Start, and yield each result in order on the calling thread, in place of the deliver thread and `show`.

        Leaving the iterator stops the session. Raises SessionError when it failed.
        """
        self._threads = [thread for thread in self._threads if thread.name != "deliver"]
        self.start()
        atexit.register(self._end_with_program)
        try:
            for results in self.results.batches(1):
                self._at["deliver"] = results[0].frame.index
                yield results[0]
                self.annotated(results[0])
                self.shown(results[0].frame)
        except Stopped:
            pass  # it failed; `wait` raises the reason
        finally:
            atexit.unregister(self._end_with_program)
            if not self.results.exhausted:
                self.stop()
            self.wait()

    def _end_with_program(self) -> None:
        """The program ends with the iterator half used: a thread that was killed inside a model would abort it."""
        self.stop()
        for thread in self._threads:
            thread.join(_EXIT_S)

    def set_position(self, pts_s: float, speed: float) -> None:
        """Tell a paced session what is on the screen and how fast it plays (0: it stands still), from any thread.

        Frames whose results would come too late are not analysed.
        """
        self._position = pts_s, speed

    def shown(self, frame: Frame) -> None:
        """Count this frame's picture: it is on the screen, or delivered where there is no screen."""
        self.pictures.shown(frame.index)
        self.video_delay_ms.add((time.monotonic() - frame.captured_s) * 1e3)

    def annotated(self, result: Result) -> None:
        """Time this result's overlay: it is on the screen, or delivered where there is no screen."""
        self.annotation_delay_ms.add((time.monotonic() - result.frame.captured_s) * 1e3)

    def finish_pictures(self) -> None:
        """Count the pictures that the viewer still holds as dropped: they will not be shown any more."""
        self.pictures.drop_pending("screen", "stopped")

    @property
    def last_delivered(self) -> int:
        """Index of the newest frame whose result was delivered; 0 before the first."""
        return self._at.get("deliver", 0)

    @property
    def every(self) -> int:
        """Every n-th frame is analysed: more than 1 where the models cannot keep up with a live source."""
        return self._rate.every if self._rate else 1

    def tally(self) -> Tally:
        return self.pictures.tally()

    def _open_screen(self, display: Display) -> Channel[Frame] | None:
        """The pictures that do not wait for their results: the newest only, or all of them in order."""
        if display == "synced":
            return None
        capacity, newest_only = (1, True) if display == "immediate" else (_SCREEN_PACED, False)
        return Channel(capacity, live=newest_only, on_drop=lambda frame, why: self._drop_picture(frame, "screen", why))

    def _decode_all(self) -> None:
        if self.source.reads_ahead:
            lower_thread_priority()
        read_since = time.perf_counter()
        for frame in self._watch(self.source.frames()):
            self._time("decode", (time.perf_counter() - read_since) * 1e3)
            self._trace("decode", read_since, frame.index)
            self._at["decode"] = frame.index + 1  # the one that is read next
            self.first_captured_s = self.first_captured_s or frame.captured_s
            if frame.conversions:
                self.conversions = tuple(dict.fromkeys(self.conversions + frame.conversions))
            self._count_late(frame.index)
            self.pictures.captured(frame.index)
            self.analyses.captured(frame.index)
            self._next_index = frame.index + 1
            if not frame.continues:
                self._breaks.append(frame.index)
            frame, is_analysed = self._rate.choose(frame) if self._rate else (frame, True)
            if self._on_frame:
                self._on_frame(frame)
            if self.screen:
                self.screen.put(frame)
            if is_analysed:
                self.frames.put(frame)
            else:
                self._skip(frame, "analysis", "even rate")
            read_since = time.perf_counter()
        self.frames.close()
        if self.screen:
            self.screen.close()

    def _count_late(self, index: int) -> None:
        """Count the pictures that a live source skipped before this one, as the gap in the indices shows."""
        if self.source.live and self._next_index is not None:
            for late in range(self._next_index, index):
                for ledger in (self.pictures, self.analyses):
                    ledger.captured(late)
                    ledger.dropped(late, "decode", "late")

    def _watch(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the same frames, and record the reading of each as work of the source."""
        while True:
            with self._progress.working("source", self._at.get("decode", 0)):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _analyse_all(self) -> None:
        """One batch after the other. Of a file, the next batch is submitted before the last is collected, so that no
        model waits."""
        if self.frames.live:
            lower_thread_priority()
        ahead = self.pipeline.inference.overlaps and not self.frames.live
        under_way: list[_Submitted] = []
        try:
            for frames in map(self._mark_breaks, self._batches()):
                since_s = time.monotonic()
                self._at["analyse"] = frames[0].index
                pending = self._submit(frames)
                if pending is None:
                    continue
                under_way.append((frames, pending))
                if len(under_way) > ahead:
                    self._collect(*under_way.pop(0))
                if self._rate:
                    self._rate.add_duration(time.monotonic() - since_s)
            while under_way:
                self._collect(*under_way.pop(0))
        finally:
            for frames, pending in under_way:  # after a stop or failure: wait, so that no engine is still busy
                with self._progress.working("model", frames[0].index), suppress(BaseException):
                    pending.result()
        self.results.close()

    def _submit(self, frames: list[Frame]) -> Pending[list[Result]] | None:
        """Start on a batch; None where the models failed and are started again."""
        try:
            with self._progress.working("model", frames[0].index):
                return self.pipeline.submit(frames)
        except EngineFailure as error:
            if not self._recover(frames, error):
                raise error.cause or error from None
            return None

    def _recover(self, frames: list[Frame], error: Exception) -> bool:
        """Start the models again after a failure; the picture of a live source goes on. False: nothing can."""
        guard = self.pipeline.inference
        is_live = self.source.live and not self.source.reads_ahead  # else it is a recording
        if not (isinstance(guard, GuardedInference) and is_live):
            return False
        for frame in frames:
            self._skip(frame, "analysis", "model failed")
        self._breaks.extendleft(frame.index for frame in frames if not frame.continues)
        is_started = guard.recover(error, stops=lambda: self.state != "running")
        if is_started:
            self.pipeline.engine_changed()
        return is_started or guard.has_answered or guard.may_start_again

    def _batches(self) -> Iterator[list[Frame]]:
        """The frames to analyse. Of a paced display, those that can be analysed before they are due."""
        if self.display != "paced":
            yield from self.frames.batches(_LARGEST_BATCH)
            return
        for frames in self.frames.batches(_PACED_BATCH, is_late=self._is_late):
            since_s = time.monotonic()
            yield frames
            self._analysis_s = time.monotonic() - since_s

    def _mark_breaks(self, frames: list[Frame]) -> list[Frame]:
        """Mark frames that follow a break, also where the frame that the source marked was left out."""
        return [self._mark_break(frame) for frame in frames]

    def _mark_break(self, frame: Frame) -> Frame:
        continues = frame.continues
        while self._breaks and self._breaks[0] <= frame.index:
            self._breaks.popleft()
            continues = False
        return frame if frame.continues == continues else replace(frame, continues=continues)

    def _is_late(self, frame: Frame) -> bool:
        pts_s, speed = self._position
        return frame.pts_s < pts_s + speed * self._analysis_s

    def _collect(self, frames: list[Frame], pending: Pending[list[Result]]) -> None:
        self._at["analyse"] = frames[0].index
        try:
            with self._progress.working("model", frames[0].index):
                results = pending.result()
        except ModelOutputError as error:
            if not self._recover(frames, error):
                raise
            return
        if isinstance(self.pipeline.inference, GuardedInference):
            self.pipeline.inference.note_answer()
        for result in results:
            for stage, duration_ms in result.stages_ms.items():
                self._time(stage, duration_ms)
            self.analyses.shown(result.frame.index)
            self.last_analysed_s = result.analysed_s
            self.results.put(result)

    def _deliver_all(self) -> None:
        for results in self.results.batches(1):
            for result in results:
                self._at["deliver"] = result.frame.index
                since = time.perf_counter()
                with nullcontext() if self._paints else self._progress.working("output", result.frame.index):
                    self._show(result)  # a viewer takes results when they are due: waiting for it is not work
                self._trace("deliver", since, result.frame.index)
                if not self._paints:
                    self.annotated(result)
                    self.shown(result.frame)

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - no thread dies unheard
            if name == "decode" and self.state == "stopped":
                return  # closing the source under its reader is how it was stopped
            self.error = self.error or SessionError(_STAGES[name], self._at.get(name), error)
            self.state = "failed"
            self._stop_channels()

    def _stop_channels(self) -> None:
        self._stopped_s = self._stopped_s or time.monotonic()
        self.frames.stop()
        self.results.stop()
        if self.screen:
            self.screen.stop()
        self.source.close()

    def _trace(self, stage: str, since_s: float, frame_index: int) -> None:
        if trace := self.pipeline.trace:
            track = stage if self.pipeline.name == "analyse" else f"{self.pipeline.name} {stage}"
            trace.add(track, stage, since_s, time.perf_counter(), frame=frame_index)

    def _time(self, stage: str, duration_ms: float) -> None:
        self.stages_ms.setdefault(stage, Histogram()).add(duration_ms)

    def _drop_picture(self, frame: Frame, stage: str, reason: str) -> None:
        self.pictures.dropped(frame.index, stage, reason)

    def _skip(self, frame: Frame, stage: str, reason: str) -> None:
        """Count a frame that is not analysed; where the screen shows results only, it is not shown either."""
        self.analyses.dropped(frame.index, stage, reason)
        if not self.screen:
            self._drop_picture(frame, stage, reason)

    def _drop_result(self, result: Result, reason: str) -> None:
        if not self.screen:
            self._drop_picture(result.frame, "output", reason)
