"""One video, from source to screen, on three threads: decode, analyse, deliver."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from realtime_polyp.channel import Channel, Stopped
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import Ledger, Tally
from realtime_polyp.telemetry.priority import lower_thread_priority

if TYPE_CHECKING:  # its package imports PyAV, which frames from elsewhere do not need
    from realtime_polyp.sources.base import Source

Display = Literal["synced", "immediate"]
State = Literal["ready", "running", "ended", "stopped", "failed"]

_LARGEST_BATCH = 4  # of a file: two models on two cores share eight inferences evenly
_QUEUED_FILE = 8
_QUEUED_LIVE = 1  # at most one batch in flight and one frame waiting: anything more is delay
_STAGES = {"decode": "decoder", "analyse": "model", "deliver": "output"}


_Begun = tuple[list[Frame], Callable[[], list[Result]]]


class SessionError(RuntimeError):
    """What ended a session: the stage, the frame it was at, and the cause (`__cause__`)."""

    def __init__(self, stage: str, frame_index: int | None, cause: BaseException) -> None:
        where = "before the first frame" if frame_index is None else f"at frame {frame_index}"
        super().__init__(f"the {stage} failed {where}: {cause}")
        self.stage, self.frame_index = stage, frame_index
        self.__cause__ = cause


class Session:
    """Runs `source -> pipeline -> show`; the first failure ends all of it.

    show(result): called with each result in order, on the deliver thread; it may block, which slows a file down and
        makes a live source drop. Whoever paints calls `shown(frame)`; with `paints=False` that is done here, after
        `show` returns.
    display: "synced" shows each frame with its own overlay. "immediate" also offers every frame at once in `screen`,
        from where the viewer takes the newest; then the ledger follows the picture, not the analysis.
    A live source drops the oldest waiting frame; a file waits.
    """

    def __init__(
        self,
        source: "Source",
        pipeline: Pipeline,
        show: Callable[[Result], None],
        *,
        display: Display = "synced",
        paints: bool = False,
    ) -> None:
        if display == "immediate" and not paints:
            raise ValueError("an immediate display needs a viewer that paints: pass paints=True")
        self.source, self.pipeline, self.display = source, pipeline, display
        self.pictures, self.analyses = Ledger(), Ledger()
        self.error: SessionError | None = None
        self.video_delay_ms, self.annotation_delay_ms = Histogram(), Histogram()
        self.stages_ms: dict[str, Histogram] = {}
        self.state: State = "ready"
        self.first_captured_s = self.last_analysed_s = 0.0
        self.screen: Channel[Frame] | None = None
        if display == "immediate":
            self.screen = Channel(1, live=True, on_drop=lambda frame, why: self._drop_picture(frame, "screen", why))
        live = source.live or display == "immediate"
        self.frames: Channel[Frame] = Channel(
            _QUEUED_LIVE if live else _QUEUED_FILE,
            live=live,
            on_drop=lambda frame, why: self._skip(frame, "queue", why),
        )
        self.results: Channel[Result] = Channel(
            _QUEUED_LIVE if live else _QUEUED_FILE, live=live, on_drop=self._drop_result
        )
        self._show, self._paints = show, paints
        self._at: dict[str, int] = {}
        works = {"decode": self._decode_all, "analyse": self._analyse_all, "deliver": self._deliver_all}
        self._threads = [  # daemons: a device read that nothing can wake must not keep the process alive
            threading.Thread(target=self._guard, args=(name, work), name=name, daemon=True)
            for name, work in works.items()
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

    def shown(self, frame: Frame) -> None:
        """The picture of this frame is on the screen, or delivered where there is no screen."""
        self.pictures.shown(frame.index)
        self.video_delay_ms.add((time.monotonic() - frame.captured_s) * 1e3)

    def annotated(self, result: Result) -> None:
        """The overlay computed from this result's own frame is on the screen, or delivered."""
        self.annotation_delay_ms.add((time.monotonic() - result.frame.captured_s) * 1e3)

    def finish_pictures(self) -> None:
        """Whatever the viewer still holds will not be shown any more."""
        self.pictures.drop_pending("screen", "stopped")

    def tally(self) -> Tally:
        return self.pictures.tally()

    def _decode_all(self) -> None:
        if getattr(self.source, "reads_ahead", False):
            lower_thread_priority()
        read_since = time.perf_counter()
        for frame in self.source.frames():
            self._time("decode", (time.perf_counter() - read_since) * 1e3)
            self._trace("decode", read_since, frame.index)
            self._at["decode"] = frame.index + 1  # the one that is read next
            self.first_captured_s = self.first_captured_s or frame.captured_s
            self.pictures.captured(frame.index)
            self.analyses.captured(frame.index)
            if self.screen:
                self.screen.put(frame)
            self.frames.put(frame)
            read_since = time.perf_counter()
        self.frames.close()
        if self.screen:
            self.screen.close()

    def _analyse_all(self) -> None:
        """One batch after the other; of a file, the next is begun before one is finished, so that no model waits."""
        if self.frames.live:
            lower_thread_priority()
        ahead = self.pipeline.inference.overlaps and not self.frames.live
        under_way: list[_Begun] = []
        try:
            for frames in self.frames.batches(_LARGEST_BATCH):
                self._at["analyse"] = frames[0].index
                under_way.append((frames, self.pipeline.begin(frames)))
                if len(under_way) > ahead:
                    self._finish(*under_way.pop(0))
            while under_way:
                self._finish(*under_way.pop(0))
        finally:
            for _, finish in under_way:  # stopped or failed: nothing of the engines may stay under way
                finish()
        self.results.close()

    def _finish(self, frames: list[Frame], finish: Callable[[], list[Result]]) -> None:
        self._at["analyse"] = frames[0].index
        for result in finish():
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
                self._show(result)
                self._trace("deliver", since, result.frame.index)
                if not self._paints:
                    self.annotated(result)
                    self.shown(result.frame)

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - the one broad except: no thread dies unheard
            if name == "decode" and self.state == "stopped":
                return  # closing the source under its reader is how it was stopped
            self.error = self.error or SessionError(_STAGES[name], self._at.get(name), error)
            self.state = "failed"
            self._stop_channels()

    def _stop_channels(self) -> None:
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
        """A frame that will not be analysed; where the screen shows results only, it will not be shown either."""
        self.analyses.dropped(frame.index, stage, reason)
        if not self.screen:
            self._drop_picture(frame, stage, reason)

    def _drop_result(self, result: Result, reason: str) -> None:
        if not self.screen:
            self._drop_picture(result.frame, "output", reason)
