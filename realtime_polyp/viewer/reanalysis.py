"""A still picture looked at again when the threshold falls: what the tracker never kept is found, and shown."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from realtime_polyp.packets import Detections, Result, Track
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.temporal.association import match
from realtime_polyp.temporal.filter import detections_at

_SAME_IOU = 0.2


@dataclass(frozen=True)
class Look:
    """One look under way: at whose frame, and from which score on."""

    result: Result
    score_threshold: float
    found: Future[Detections]


class Reanalysis:
    """One look at a time, on a thread of its own: the screen does not wait for a model."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="look again")
        self._look: Look | None = None

    def begin(self, pipeline: Pipeline, result: Result, score_threshold: float) -> None:
        """Nothing where a look is under way: what it misses is asked for again when it is taken."""
        if self._look is None and result.raw is not None:
            found = self._worker.submit(detections_at, result.raw, pipeline.config, score_threshold)
            self._look = Look(result, score_threshold, found)

    def take(self) -> Look | None:
        """A look that is done, once."""
        if self._look is None or not self._look.found.done():
            return None
        look, self._look = self._look, None
        return look

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)


def with_found(result: Result, found: Detections) -> Result:
    """The result with each detection that no visible track accounts for as a further track, shown at once."""
    visible = tuple(track for track in result.tracks if track.visible)
    accounted = set(match([track.box for track in visible], found.boxes, _SAME_IOU).values())
    next_id = 1 + max((track.id for track in result.tracks), default=0)
    fresh = [index for index in range(len(found)) if index not in accounted]
    further = tuple(
        Track(next_id + i, found.boxes[index], float(found.scores[index]), "shown", 0.0, 0.0)
        for i, index in enumerate(fresh)
    )
    return replace(result, detections=found, tracks=visible + further)
