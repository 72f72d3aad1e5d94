"""Scripted sources, engines and feeds for the viewer's tests: a disc moves over tissue, and two fake models find it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import BaseEngine
from realtime_polyp.packets import Frame, Result, Track
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Display, SessionError
from realtime_polyp.telemetry.ledger import Ledger, Tally
from realtime_polyp.viewer.feed import SessionFeed

RATE_HZ = 50
SIZE = (160, 128)


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Tissue (H, W, 3) with one bright polyp whose position depends on the index; no two frames are equal."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    red = 120 + 60 * np.sin(columns / width * 3 + index / 9) + 20 * np.cos(rows / height * 5)
    image = np.stack([red, red * 0.55, red * 0.45], -1).astype(np.uint8)
    cv2.circle(image, centre(index, size), height // 6, (255, 190, 170), -1, cv2.LINE_AA)
    image[:4, :4] = index % 200 + 40
    return image


def centre(index: int, size: tuple[int, int] = SIZE) -> tuple[int, int]:
    width, height = size
    return round(width * (0.5 + 0.2 * np.sin(index / 15))), round(height * (0.5 + 0.15 * np.cos(index / 20)))


class FakeSource:
    """`count` frames from `start_s` on. live: at its own rate, else as fast as they are taken.

    fails_at, blocks_at: index of a frame that never comes. size_of: the size (W, H) px of a frame.
    """

    name, warning = "fake.mp4", None
    duration_s, decoder, reads_ahead = None, None, False
    size, rate_hz = SIZE, Fraction(RATE_HZ)

    def __init__(
        self,
        count: int,
        start_s: float = 0.0,
        *,
        live: bool = False,
        fails_at: int | None = None,
        failure: Exception = OSError("the cable is out"),
        blocks_at: int | None = None,
        image_of: Callable[[int], np.ndarray] = picture,
    ) -> None:
        self.live, self.frames_total = live, count
        self._first, self._image_of = round(start_s * RATE_HZ), image_of
        self._fails_at, self._failure, self._blocks_at = fails_at, failure, blocks_at
        self.closed = threading.Event()
        self.unblock = threading.Event()

    def frames(self) -> Iterator[Frame]:
        for index in range(self._first, self.frames_total):
            if index == self._fails_at:
                raise self._failure
            if index == self._blocks_at:
                self.unblock.wait()
            if self.live and self.closed.wait(1 / RATE_HZ):
                return
            yield Frame(index, index / RATE_HZ, time.monotonic(), self._image_of(index))

    def close(self) -> None:
        self.closed.set()


class FakeDetector(BaseEngine):
    """Finds the bright disc with score 0.9, and at its left a rival that scores 0.2."""

    name, model, task, device, key, size = "fake", "GFLv2 fake", "detector", "cpu", "fake", (128, 160)
    overlaps, notes = False, ()

    def __init__(self, *, delay_s: float = 0.0, fails_at_call: int | None = None) -> None:
        self._delay_s, self._fails_at_call, self.calls = delay_s, fails_at_call, 0

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        if self.calls == self._fails_at_call:
            raise RuntimeError("out of memory")
        time.sleep(self._delay_s)
        boxes = np.stack([np.stack([self._box(one), [2, 2, 20, 20]]) for one in pixels])
        return boxes.astype(np.float32), np.tile(np.float32([0.9, 0.2]), (len(pixels), 1))

    @staticmethod
    def _box(pixels: np.ndarray) -> list[int]:
        rows, columns = np.nonzero(pixels[2] > 140)
        return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]


class FakeSegmenter(BaseEngine):
    """The bright disc's mask, at half the input's resolution."""

    name, model, task, device, key, size = "fake", "low-rank fake", "segmenter", "cpu", "fake", (128, 160)
    overlaps, notes = False, ()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels[:, 2, ::2, ::2] > 140).astype(np.float32)


class Feeds:
    """Opens a live session for the viewer at each call; keeps all of them, to see how they ended."""

    def __init__(
        self,
        make_source: Callable[[float], FakeSource],
        *,
        detector: FakeDetector | None = None,
        display: Display = "synced",
        config: PipelineConfig = PipelineConfig(),
    ) -> None:
        self._make_source, self._display = make_source, display
        self.pipeline = Pipeline(detector or FakeDetector(), FakeSegmenter(), config)
        self.opened: list[SessionFeed] = []
        self.sources: list[FakeSource] = []

    def __call__(self, start_s: float) -> SessionFeed:
        self.pipeline.reset()
        self.sources.append(self._make_source(start_s))
        self.opened.append(SessionFeed(self.sources[-1], self.pipeline, display=self._display))
        return self.opened[-1]

    def check_accounts(self) -> None:
        """Every picture of every session was shown or dropped, and none is under way."""
        for feed in self.opened:
            tally = feed.tally()
            assert tally.balanced and tally.pending == 0, tally


class ScriptedFeed:
    """A feed without threads and models: all results wait from the beginning.

    counted: what the player accounted for, such as ("shown", 3) or ("paused", 4).
    """

    display: Display = "synced"
    tracks_polyps, filters_again, engines_text, warning, every = True, False, "scripted", None, 1
    troubles = ()

    def __init__(self, results: Sequence[Result], *, error: SessionError | None = None) -> None:
        self.score_threshold, self.shown_from_s = 0.3, 0.0
        self.started = self.stopped = False
        self.counted: list[tuple[str, int]] = []
        self._results, self._error, self._ledger = deque(results), error, Ledger()
        for result in results:
            self._ledger.captured(result.frame.index)

    def stalled(self, limit_s: float) -> None:
        return None

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        self.stopped = True

    def is_over(self) -> bool:
        if self._error and not self._results:
            raise self._error
        return self.stopped or not self._results

    def set_step(self, step_s: float) -> None:
        pass

    def set_position(self, pts_s: float, speed: float) -> None:
        pass

    def next_picture(self) -> Frame | None:
        return None

    def next_result(self) -> Result | None:
        return self._results.popleft() if self._results and not self.stopped else None

    def count_shown(self, frame: Frame) -> None:
        self._ledger.shown(frame.index)
        self.counted.append(("shown", frame.index))

    def count_annotated(self, result: Result) -> None:
        self.counted.append(("annotated", result.frame.index))

    def count_dropped(self, frame: Frame, reason: str) -> None:
        self._ledger.dropped(frame.index, "screen", reason)
        self.counted.append((reason, frame.index))

    def drop_pending(self) -> None:
        self._ledger.drop_pending("screen", "stopped")

    def tally(self) -> Tally:
        return self._ledger.tally()

    def reanalyse(self, result: Result, score_threshold: float) -> Result:
        """A further box at every lower threshold."""
        box = np.float32([0, 0, 9, 9])
        return replace(result, tracks=(*result.tracks, Track(99, box, score_threshold, "shown", 0.0, 0.0)))
