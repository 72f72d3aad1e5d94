"""What the player plays: the `Feed` protocol, and its implementation over a live session."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from realtime_polyp.channel import Channel
from realtime_polyp.engines.base import Engine
from realtime_polyp.messages import each_once
from realtime_polyp.packets import Detections, Frame, Result, Track
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Display, Session
from realtime_polyp.sources.base import Source
from realtime_polyp.telemetry.ledger import Tally
from realtime_polyp.temporal.association import match
from realtime_polyp.temporal.filter import detections_at
from realtime_polyp.viewer.thinned import Thinned
from realtime_polyp.watchdog import Stall, Trouble

_WAITING: dict[Display, tuple[int, bool]] = {"synced": (2, False), "immediate": (1, True), "paced": (16, True)}
_ROUNDING_S = 1e-3
_SAME_POLYP_IOU = 0.2


class Feed(Protocol):
    """One run of a source, from a start position to its end. A new feed has not been started.

    All members are used from the viewer's thread and never block.
    """

    score_threshold: float
    """Lowest score of a box that is shown, 0..1. Assigning applies to the frames to come."""

    shown_from_s: float
    """Frames before this time only prepare the tracker: they are neither shown nor recorded. Set before `start`."""

    @property
    def filters_again(self) -> bool:
        """Whether `reanalyse` follows polyps over time at any threshold, higher ones too."""
        ...

    @property
    def display(self) -> Display:
        """synced: each picture is shown with its own result. immediate: pictures do not wait for results. paced: each
        picture is shown when it is due, with the newest result that may be drawn over it."""
        ...

    @property
    def tracks_polyps(self) -> bool:
        """Whether polyps are followed over time. Otherwise every frame would be a new alarm."""
        ...

    @property
    def every(self) -> int:
        """Every n-th frame is analysed: more than 1 where the models cannot keep up with a live source."""
        ...

    @property
    def engines_text(self) -> str:
        """The engines and models, for the status line."""
        ...

    @property
    def warning(self) -> str | None:
        """Why the source ended early, in one sentence; None where it did not."""
        ...

    def stalled(self, limit_s: float) -> Stall | None:
        """Return the stage that has worked on one frame for `limit_s` or longer; None if none has."""
        ...

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What failed and is started again by itself."""
        ...

    def start(self) -> None:
        """Start reading and analysing."""
        ...

    def stop(self) -> None:
        """End at once; `is_over` tells when it has ended."""
        ...

    def is_over(self) -> bool:
        """Whether everything has been delivered and all threads have ended. Raises SessionError if a stage failed."""
        ...

    def set_step(self, step_s: float) -> None:
        """Leave out pictures that are closer than this to the one before, s of the video; 0: none. For the frames to
        come."""
        ...

    def set_position(self, pts_s: float, speed: float) -> None:
        """Tell a paced feed what is on the screen and how fast it plays (0: it stands still)."""
        ...

    def next_picture(self) -> Frame | None:
        """The newest picture that waits, where the display is immediate (older ones count as dropped), or the next one,
        where it is paced; else None."""
        ...

    def next_result(self) -> Result | None:
        """The next result in order, or the newest one where the display is immediate; None where none waits."""
        ...

    def count_shown(self, frame: Frame) -> None:
        """Account for a picture that is on the screen now."""
        ...

    def count_annotated(self, result: Result) -> None:
        """Account for an overlay that is on the screen now."""
        ...

    def count_dropped(self, frame: Frame, reason: str) -> None:
        """Account for a picture that will not be shown."""
        ...

    def drop_pending(self) -> None:
        """Account for all pictures that were not shown, once the feed is over."""
        ...

    def tally(self) -> Tally:
        """Count the pictures that were captured, shown and dropped."""
        ...

    def reanalyse(self, result: Result, score_threshold: float) -> Result:
        """The same result with every box down to `score_threshold`, at once. Without temporal filtering unless the feed
        filters again."""
        ...


OpenFeed = Callable[[float], Feed]
"""Opens a feed that starts at the given time of the video, s, or before. Raises SourceError, EngineError or OSError."""


class SessionFeed:
    """A feed over a live session: a source that is decoded and analysed while it plays.

    on_start: called when it starts. on_result: called with each result on the session's deliver thread, before the
        viewer gets it. on_frame: called with each captured frame on the decode thread; it must not block.
    may_thin: pictures may be left out while playing fast; not where the results are written to files.
    """

    filters_again = False

    def __init__(
        self,
        source: Source,
        pipeline: Pipeline,
        *,
        display: Display = "synced",
        on_start: Callable[["SessionFeed"], None] = lambda feed: None,
        on_result: Callable[[Result], None] | None = None,
        on_frame: Callable[[Frame], None] | None = None,
        may_thin: bool = True,
    ) -> None:
        self._thinned = Thinned(source) if may_thin and display == "synced" and not source.live else None
        self.shown_from_s = 0.0
        self.last_shown_s: float | None = None
        """Time of the picture that was shown last; None before the first."""
        self._on_start, self._on_result, self._on_frame = on_start, on_result, on_frame
        self.session = Session(
            self._thinned or source,
            pipeline,
            self._deliver,
            display=display,
            paints=True,
            on_frame=self._offer if on_frame else None,
        )
        # An analysis must not wait for a screen that does not wait for it.
        waiting, newest_only = _WAITING[display]
        self._results: Channel[Result] = Channel(waiting, live=newest_only)

    @property
    def score_threshold(self) -> float:
        return self.session.pipeline.config.score_threshold

    @score_threshold.setter
    def score_threshold(self, score_threshold: float) -> None:
        self.session.pipeline.set_score_threshold(score_threshold)

    @property
    def display(self) -> Display:
        return self.session.display

    @property
    def tracks_polyps(self) -> bool:
        return self.session.pipeline.config.temporal is not None

    @property
    def every(self) -> int:
        return self.session.every

    @property
    def engines_text(self) -> str:
        engines = engines_text(self.session.pipeline.detector, self.session.pipeline.segmenter)
        return "    ".join((*self.session.conversions, engines))

    @property
    def warning(self) -> str | None:
        return self.session.source.warning

    def stalled(self, limit_s: float) -> Stall | None:
        return self.session.stalled(limit_s)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return self.session.troubles

    def start(self) -> None:
        self._on_start(self)
        self.session.start()

    def stop(self) -> None:
        self.session.stop()
        self._results.stop()

    def is_over(self) -> bool:
        return self.session.wait(0)

    def set_step(self, step_s: float) -> None:
        if self._thinned:
            self._thinned.step_s = step_s

    def set_position(self, pts_s: float, speed: float) -> None:
        self.session.set_position(pts_s, speed)

    def next_picture(self) -> Frame | None:
        screen = self.session.screen
        if screen is None:
            return None
        return screen.latest() if self.display == "immediate" else screen.take_nowait()

    def next_result(self) -> Result | None:
        return self._results.take_nowait()

    def count_shown(self, frame: Frame) -> None:
        self.last_shown_s = frame.pts_s
        self.session.shown(frame)

    def count_annotated(self, result: Result) -> None:
        self.session.annotated(result)

    def count_dropped(self, frame: Frame, reason: str) -> None:
        self.session.pictures.dropped(frame.index, "screen", reason)

    def drop_pending(self) -> None:
        self.session.finish_pictures()

    def tally(self) -> Tally:
        return self.session.tally()

    def reanalyse(self, result: Result, score_threshold: float) -> Result:
        if result.raw is None:
            return result
        return add_detections(result, detections_at(result.raw, self.session.pipeline.config, score_threshold))

    def _deliver(self, result: Result) -> None:
        if self._on_result and self._is_shown(result.frame):
            self._on_result(result)
        self._results.put(result)

    def _offer(self, frame: Frame) -> None:
        if self._on_frame and self._is_shown(frame):
            self._on_frame(frame)

    def _is_shown(self, frame: Frame) -> bool:
        return frame.pts_s >= self.shown_from_s - _ROUNDING_S


def add_detections(result: Result, detections: Detections) -> Result:
    """Replace a result's detections, and show each one that matches no visible track as a further track.

    A further track has a negative id, because a number means a polyp that was followed.
    """
    visible = tuple(track for track in result.tracks if track.visible)
    matched = set(match([track.box for track in visible], detections.boxes, _SAME_POLYP_IOU).values())
    last_id = min((track.id for track in result.tracks if track.id < 0), default=0)
    unmatched = [index for index in range(len(detections)) if index not in matched]
    further = tuple(
        Track(last_id - 1 - i, detections.boxes[index], float(detections.scores[index]), "shown", 0.0, 0.0)
        for i, index in enumerate(unmatched)
    )
    return replace(result, detections=detections, tracks=visible + further)


def engines_text(*engines: Engine | None) -> str:
    """Name the engines and models on one line, such as "openvino-int8    polyp-lite2"."""
    present = [engine for engine in engines if engine is not None]
    if not present:
        return "no model: the picture only"
    return f"{each_once(engine.name for engine in present)}    {each_once(engine.model for engine in present)}"
