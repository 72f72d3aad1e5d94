"""Scripted sources and engines for the viewer's tests: a disc that wanders over tissue, found by two fake models."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Display, Session

RATE_HZ = 50
SIZE = (160, 128)


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Tissue (H, W, 3) with one bright polyp whose place depends on the index; no two alike."""
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
    """`count` frames from `start_s` on. live: at its own rate, else as fast as taken.

    fails_at, blocks_at: index of a frame that never comes. size_of: the size (W, H) px of a frame.
    """

    name, warning = "fake.mp4", None
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


class FakeDetector:
    """Finds the bright disc with score 0.9, and at its left a rival that scores 0.2."""

    name, model, task, device, size = "fake", "GFLv2 fake", "detector", "cpu", (128, 160)

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


class FakeSegmenter:
    """The bright disc's mask, at half the input's resolution."""

    name, model, task, device, size = "fake", "low-rank fake", "segmenter", "cpu", (128, 160)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return (pixels[:, 2, ::2, ::2] > 140).astype(np.float32)


class Sessions:
    """What run_live offers the viewer: a way to open sessions; all of them are kept, to see how they ended."""

    def __init__(
        self,
        make_source: Callable[[float], FakeSource],
        *,
        detector: FakeDetector | None = None,
        display: Display = "synced",
        config: PipelineConfig = PipelineConfig(),
    ) -> None:
        self._make_source, self._display = make_source, display
        self._pipeline = Pipeline(detector or FakeDetector(), FakeSegmenter(), config)
        self.opened: list[Session] = []

    def __call__(self, start_s: float, show: Callable[[Result], None]) -> Session:
        self._pipeline.reset()
        source = self._make_source(start_s)
        self.opened.append(Session(source, self._pipeline, show, display=self._display, paints=True))
        return self.opened[-1]

    def check_accounts(self) -> None:
        """Every picture of every session was shown or dropped, and none is under way."""
        for session in self.opened:
            tally = session.tally()
            assert tally.balanced and tally.pending == 0, tally
