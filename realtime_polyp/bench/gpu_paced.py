"""Runs simulated cameras on one GPU: the delay of each frame's result, and how many cameras are sustained.

Sessions, pipelines and shared batches are those of `run_live.py --streams`.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.config import default_config
from realtime_polyp.field_of_view import Image
from realtime_polyp.inference.base import Inference
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
from realtime_polyp.telemetry.trace import Trace

if TYPE_CHECKING:  # its package imports PyAV, which a bare GPU machine lacks
    from realtime_polyp.sources.base import Source

LATEST_MS = 100.0  # p99 of the delay up to which a stream counts as sustained
_LEAD_IN_S, _LEAD_IN_SHARE = 1.0, 0.2  # not measured: sessions start one after the other
_POLL_S = 0.1
_ROUNDING_S = 1e-6
_CELL_PX = 60
_STEP_PX = 8


def make_images(size: tuple[int, int], count: int, *, seed: int = 4) -> list[Image]:
    """Draw `count` images (H, W, 3) of size (width, height) px: a moving texture, about as detailed as tissue."""
    width, height = size
    generator = np.random.default_rng(seed)
    cells = generator.integers(60, 200, (height // _CELL_PX + 2, width // _CELL_PX + 2, 3), np.uint8)
    smooth = cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)
    first = np.asarray(smooth + generator.integers(0, 12, (height, width, 3), np.uint8), np.uint8)
    return [np.roll(first, _STEP_PX * number, axis=1) for number in range(count)]


class MemoryCamera:
    """A live source of images in memory, for `length_s`.

    `captured_s` is the time when a frame was due, so a late hand-over counts as delay. phase_s: time of the first
    frame, since cameras are not synchronised.
    """

    name, live, warning, frames_total = "memory", True, None, None
    duration_s, decoder, reads_ahead = None, None, False

    def __init__(self, images: Sequence[Image], rate_hz: int, length_s: float, *, phase_s: float = 0.0) -> None:
        self._images, self._count, self._phase_s = images, math.ceil(rate_hz * length_s), phase_s
        self.rate_hz: Fraction | None = Fraction(rate_hz)
        self._period_s = 1 / rate_hz
        height, width = images[0].shape[:2]
        self.size = (width, height)
        self._stop = threading.Event()

    def frames(self) -> Iterator[Frame]:
        began_s = time.monotonic() + self._phase_s
        for index in range(self._count):
            pts_s = index * self._period_s
            if self._stop.wait(max(0.0, began_s + pts_s - time.monotonic())):
                return
            yield Frame(index, pts_s, began_s + pts_s, self._images[index % len(self._images)])

    def close(self) -> None:
        self._stop.set()


@dataclass(frozen=True)
class Trial:
    """A run of several cameras, without its lead-in.

    Attributes:
        streams: number of cameras.
        captured, analysed: numbers of frames.
        delays_ms: for each analysed frame, from when it was due to when its result was ready.
        mean_batch: mean number of frames per batch.
    """

    streams: int
    captured: int
    analysed: int
    delays_ms: NDArray[np.float64]
    mean_batch: float

    @property
    def dropped(self) -> int:
        return self.captured - self.analysed

    @property
    def kept_up(self) -> bool:
        return self.captured > 0 and not self.dropped and self.percentile_ms(99) <= LATEST_MS

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the delay, ms; infinite if nothing was analysed."""
        return float(np.percentile(self.delays_ms, percent)) if len(self.delays_ms) else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types; None in place of infinity."""
        known = len(self.delays_ms) > 0
        return {
            "streams": self.streams,
            "captured": self.captured,
            "dropped": self.dropped,
            "mean_batch": round(self.mean_batch, 2),
            **{f"p{percent}_ms": round(self.percentile_ms(percent), 2) if known else None for percent in (50, 95, 99)},
            "max_ms": round(self.percentile_ms(100), 2) if known else None,
            "kept_up": self.kept_up,
        }


class _DelayRecorder:
    """Records the delay of each frame of a session, relative to a clock that starts with the first frame."""

    def __init__(self, lead_in_s: float) -> None:
        self.delays_ms: list[float] = []
        self._lead_in_s, self._zero_s = lead_in_s, math.inf

    def add(self, result: Result) -> None:
        """Add a result. The clock also exposes the delay of a source that hands frames over late."""
        frame = result.frame
        self._zero_s = min(self._zero_s, frame.captured_s - frame.pts_s)
        if frame.pts_s >= self._lead_in_s - _ROUNDING_S:
            self.delays_ms.append((result.analysed_s - self._zero_s - frame.pts_s) * 1e3)


def run_cameras(
    sources: "Sequence[Source]", inference: Inference, length_s: float, *, label: str, trace: Trace | None = None
) -> Trial:
    """Analyse all sources at their own pace to their ends. Raises SessionError if one fails."""
    lead_in_s = min(_LEAD_IN_S, _LEAD_IN_SHARE * length_s)
    recorders = [_DelayRecorder(lead_in_s) for _ in sources]
    config = default_config(inference.detector, inference.segmenter)
    Pipeline(inference.detector, inference.segmenter, config, inference=inference).warm_up()
    with SharedInference(inference) as shared:
        sessions = []
        for number, (source, recorder) in enumerate(zip(sources, recorders, strict=True), 1):
            pipeline = Pipeline(
                shared.detector, shared.segmenter, config, inference=shared, trace=trace, name=f"{number}"
            )
            sessions.append(Session(source, pipeline, recorder.add))
        _run(sessions, length_s, label)
        sizes = shared.batch_sizes
    captured = sum(_captured_after(lead_in_s, session) for session in sessions)
    delays_ms = np.array([delay for recorder in recorders for delay in recorder.delays_ms])
    images = sum(size * count for size, count in sizes.items())
    return Trial(len(sources), captured, len(delays_ms), delays_ms, images / max(1, sum(sizes.values())))


def _captured_after(lead_in_s: float, session: Session) -> int:
    """Count the frames captured after the lead-in, for a source of even rate."""
    rate_hz = session.source.rate_hz
    before = math.ceil((lead_in_s - _ROUNDING_S) * rate_hz) if rate_hz else 0
    return max(0, session.tally().captured - before)


def _run(sessions: Sequence[Session], length_s: float, label: str) -> None:
    """Run all sessions to their ends; a failure or Ctrl-C stops them all."""
    try:
        for session in sessions:
            session.start()
        since_s = time.monotonic()
        with tqdm(total=round(length_s, 1), desc=label, unit="s", disable=None, leave=False) as bar:
            running = list(sessions)
            while running:
                time.sleep(_POLL_S)
                running = [session for session in running if not session.wait(0)]
                bar.update(min(round(time.monotonic() - since_s, 1), bar.total) - bar.n)
    finally:
        for session in sessions:
            session.stop()


Cameras = Callable[[int], "Sequence[Source]"]  # opens this many cameras


def cameras(images: Sequence[Image], rate_hz: int, length_s: float) -> Cameras:
    """Return a function that makes cameras with the same images, evenly out of phase."""

    def several(count: int) -> "list[Source]":
        steps = [number / (count * rate_hz) for number in range(count)]
        return [MemoryCamera(images, rate_hz, length_s, phase_s=phase_s) for phase_s in steps]

    return several


def find_most_streams(
    sources: Cameras, inference: Inference, length_s: float, *, most: int, may_continue: Callable[[], bool], label: str
) -> list[Trial]:
    """Search for the largest number of sustained streams, by doubling and bisection, and return all trials.

    A number fails after two trials: another process may have disturbed the first.
    """
    trials: list[Trial] = []
    while (count := next_count(trials, most)) is not None and may_continue():
        for _ in range(2):
            trials.append(run_cameras(sources(count), inference, length_s, label=f"{label}: {count}"))
            if trials[-1].kept_up:
                break
    return trials


def sustained(trials: Sequence[Trial]) -> int:
    """Return the largest number of streams that was sustained, or 0."""
    return max((trial.streams for trial in trials if trial.kept_up), default=0)


def next_count(trials: Sequence[Trial], most: int) -> int | None:
    """Return the number of streams to try next; None if the search is finished."""
    passed = sustained(trials)
    failed = min((one.streams for one in trials if not one.kept_up and one.streams > passed), default=None)
    if failed is None:
        return min(max(1, 2 * passed), most) if passed < most else None
    return (passed + failed) // 2 if failed - passed > 1 else None
