"""Scripted bad luck: sources that fail, engines that are slow, and comparisons that forgive nothing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import wraps
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import BaseEngine
from realtime_polyp.field_of_view import whole
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result, Track
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.postprocess.fusion import BoxFusion, FusedModel, Fusion, MaskFusion
from realtime_polyp.runtime import Runtime, RuntimeConfig
from realtime_polyp.session import Session, SessionError
from realtime_polyp.telemetry.board import Stream
from realtime_polyp.telemetry.trace import Trace

SIZE = (96, 72)  # (width, height) px
RATE_HZ = 25
_FUSED = FusedModel("fake", "fake", "fake")
FUSION = Fusion("fusion.json", _FUSED, _FUSED, BoxFusion(1.0, 1.0, 2.0), MaskFusion(-1.0, 8.0))
POLYP_LEVEL = 200  # blue; nothing else of the picture is so bright


def picture(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Tissue (H, W, 3) RGB with one bright disc that wanders, away during every fourth ten of frames."""
    width, height = size
    columns = np.arange(width) / width
    red = (140 + 40 * np.sin(3 * columns + index / 9))[None].repeat(height, 0)
    image = np.stack([red, red * 0.6, red * 0.5], -1).astype(np.uint8)
    if index // 10 % 4 != 3:
        centre = (round(width * (0.5 + 0.2 * np.sin(index / 15))), round(height * (0.5 + 0.15 * np.cos(index / 20))))
        cv2.circle(image, centre, height // 6, (255, 220, POLYP_LEVEL + 30), -1)
    return image


def textured_disc(*, left: bool) -> NDArray[np.uint8]:
    """Tissue (H, W, 3) RGB with the bright disc in one half."""
    image = picture(39)
    cv2.circle(image, (SIZE[0] // 4 if left else 3 * SIZE[0] // 4, SIZE[1] // 2), SIZE[1] // 6, (255, 220, 230), -1)
    return image


def frames_of(count: int, size: tuple[int, int] = SIZE) -> list[Frame]:
    return [Frame(index, index / RATE_HZ, time.monotonic(), picture(index, size)) for index in range(count)]


class ScriptedSource:
    """`count` frames, as fast as taken, or at `rate_hz` when live.

    fails_at: index of a frame that raises `failure`; blocks_at: of one that never comes until `close`.
    """

    name, size, warning = "scripted.mp4", SIZE, None
    duration_s, decoder, reads_ahead = None, None, False

    def __init__(
        self,
        count: int,
        *,
        live: bool = False,
        rate_hz: int = RATE_HZ,
        fails_at: int | None = None,
        failure: Exception = OSError("the cable is out"),
        blocks_at: int | None = None,
    ) -> None:
        self.live, self.frames_total, self.rate_hz = live, count, Fraction(rate_hz)
        self._fails_at, self._failure, self._blocks_at = fails_at, failure, blocks_at
        self.closed = threading.Event()

    def frames(self) -> Iterator[Frame]:
        begin_s = time.monotonic()
        for index in range(self.frames_total):
            if index == self._fails_at:
                raise self._failure
            if index == self._blocks_at:
                self.closed.wait()
            if self.live:
                due_s = begin_s + index / float(self.rate_hz) - time.monotonic()
                if self.closed.wait(max(0.0, due_s)):
                    return
            yield Frame(index, index / RATE_HZ, time.monotonic(), picture(index))

    def close(self) -> None:
        self.closed.set()


class FakeDetector(BaseEngine):
    """Finds the bright disc with score 0.9, and at the left a rival that scores 0.2.

    delay_s: of every call. fails_at: fails on the frame of this index, counting the frames it was given.
    """

    name, model, task, device, key, size = "fake", "fake", "detector", "cpu", "fake", (64, 96)

    def __init__(self, *, delay_s: float = 0.0, fails_at: int | None = None) -> None:
        self._delay_s, self._fails_at, self.seen, self.largest = delay_s, fails_at, 0, 0

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (3, *self.size)
        first, self.seen, self.largest = self.seen, self.seen + len(pixels), max(self.largest, len(pixels))
        if self._fails_at is not None and first <= self._fails_at < self.seen:
            raise RuntimeError("out of memory")
        time.sleep(self._delay_s)
        boxes = np.stack([np.stack([_box(one), [2, 6, 14, 20]]) for one in pixels])
        scores = np.stack([[0.9 if box[0].any() else 0.0, 0.2] for box in boxes])
        return boxes.astype(np.float32), scores.astype(np.float32)


def _box(pixels: NDArray[np.uint8]) -> list[int]:
    rows, columns = np.nonzero(pixels[2] > POLYP_LEVEL)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else [0, 0, 0, 0]


class FakeSegmenter(BaseEngine):
    """The bright disc's mask, at half the input's resolution."""

    name, model, task, device, key, size = "fake", "fake", "segmenter", "cpu", "fake", (64, 96)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (pixels[:, 2, ::2, ::2].astype(np.float32) / 255) ** 2


class StartedDetector(FakeDetector):
    """ModelOutputs when collected, as an engine compiled for throughput; counts the batches under way."""

    overlaps = True
    under_way = most_under_way = 0

    def start(self, pixels: NDArray[np.uint8]) -> Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)

        def collect() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            self.under_way -= 1
            return self(pixels)

        return collect


class StartedSegmenter(FakeSegmenter):
    overlaps = True

    def start(self, pixels: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        return lambda: self(pixels)


class ConstantDetector(BaseEngine):
    """The same candidates for every image, whatever it shows."""

    name, model, task, device, key = "fake", "fake", "detector", "cpu", "fake"

    def __init__(self, boxes: object, scores: object, size: tuple[int, int] = (72, 96)) -> None:
        self.size = size
        self._boxes, self._scores = np.float32(boxes), np.float32(scores)  # type: ignore[arg-type]

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.stack([self._boxes] * len(pixels)), np.stack([self._scores] * len(pixels))


def pipeline_of(detector: object | None = None, config: PipelineConfig = PipelineConfig()) -> Pipeline:
    """A line of fakes, with another detector where one is given."""
    return Pipeline(detector or FakeDetector(), FakeSegmenter(), config)  # type: ignore[arg-type]


def ran_on_board(
    stream: Stream, source: ScriptedSource, keep: Callable[[Result], None] | None = None, frames: Any = None
) -> Session:
    """A session of a line of fakes that has ended, which a stream of the board followed."""
    session = Session(
        source, pipeline_of(), stream.results_to(keep or (lambda result: None)), on_frame=stream.frames_to(frames)
    )
    stream.attach(session)
    session.start()
    with suppress(SessionError):
        session.wait()
    return session


def assert_same_results(found: Sequence[Result], expected: Sequence[Result]) -> None:
    """Equal to the bit in everything but the times they took."""
    assert [result.frame.index for result in found] == [result.frame.index for result in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.field_of_view == other.field_of_view and one.signal == other.signal
        assert np.array_equal(one.detections.boxes, other.detections.boxes)
        assert np.array_equal(one.detections.scores, other.detections.scores)
        assert [_plain(track) for track in one.tracks] == [_plain(track) for track in other.tracks]
        assert (one.mask is None) == (other.mask is None)
        if one.mask is not None and other.mask is not None:
            assert np.array_equal(one.mask.probability, other.mask.probability)


def _plain(track: object) -> dict[str, object]:
    return {name: value.tolist() if name == "box" else value for name, value in vars(track).items()}


class Auditor:
    """Appearance at a session's books from another thread, again and again; `check` at the end."""

    def __init__(self, session: Session) -> None:
        self._session, self._over = session, threading.Event()
        self.looks, self.faults = 0, list[str]()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Auditor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)

    def _watch(self) -> None:
        before = (0, 0, 0)
        while not self._over.is_set():
            tally = self._session.tally()
            now = (tally.captured, tally.shown, tally.dropped_total)
            if not tally.balanced or any(a < b for a, b in zip(now, before, strict=True)):
                self.faults.append(f"{before} -> {tally}")
            if not self._session.analyses.tally().balanced:
                self.faults.append(f"analyses {self._session.analyses.tally()}")
            before, self.looks = now, self.looks + 1
            self._over.wait(0.001)

    def check(self) -> None:
        assert self.looks > 0 and not self.faults, self.faults[:3]
        for ledger in (self._session.pictures, self._session.analyses):
            tally = ledger.tally()
            assert tally.balanced and tally.pending == 0, tally


def tried_again(test: Callable[..., None]) -> Callable[..., None]:
    """A test of what is promised in real time: on a busy machine it is made again, up to four times."""

    @wraps(test)
    def again(*arguments: Any, **named: Any) -> None:
        for _ in range(4):
            try:
                return test(*arguments, **named)
            except AssertionError:
                time.sleep(0.5)
        return test(*arguments, **named)

    return again


class Ages:
    """How old frames were when they came here, and the longest time between two: a machine's own slowness."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []
        self._came_s: list[float] = []

    def add(self, frame: Frame) -> None:
        self._came_s.append(time.monotonic())
        self.ages_s.append(self._came_s[-1] - frame.captured_s)

    def limit_s(self, limit_s: float) -> float:
        """The limit, longer where hardly any frame came through: a busy machine is no queue."""
        return max([limit_s, *(4 * (late - early) for early, late in pairwise(self._came_s))])


def wait_until(so: Callable[[], bool], *, limit_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not so():
        assert time.monotonic() < deadline_s, f"not so after {limit_s} s"
        time.sleep(0.002)


def results_of(shown: list[dict[int, float]]) -> list[Result]:
    """One a frame, of {id: score} of the tracks that it shows."""
    box = np.array([10, 10, 40, 40], np.float32)
    made, first_s = [], dict[int, float]()
    for frame, scores in zip(frames_of(len(shown)), shown, strict=True):
        first_s = {key: frame.pts_s for key in scores} | first_s
        tracks = tuple(
            Track(key, box, score, "shown", frame.pts_s - first_s[key], 0.0) for key, score in scores.items()
        )
        made.append(Result(frame, whole(frame.image), NO_DETECTIONS, tracks, None))
    return made


def runtime_of(
    detector: object | None = None, config: PipelineConfig = PipelineConfig(), trace: Trace | None = None
) -> Runtime:
    """A runtime of fakes, with another detector where one is given."""
    engines = detector or FakeDetector(), FakeSegmenter()
    return Runtime(RuntimeConfig(), *engines, HostInference(*engines), config, trace=trace)  # type: ignore[arg-type]
