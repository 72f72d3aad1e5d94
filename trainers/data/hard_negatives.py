"""Find easy negatives, the stills without a polyp in which a detector finds none. They teach it little."""

from collections.abc import Sequence

from realtime_polyp.engines.base import DetectorEngine
from trainers.data.stills import Still
from trainers.evaluation.predict import evaluate


def find_easy(stills: Sequence[Still], detector: DetectorEngine, *, least_score: float) -> list[Still]:
    """Return the stills without a polyp in which every box of the detector scores less than `least_score`.

    Scores are the detector's own, 0..1. A progress bar is shown.

    Raises:
        FileNotFoundError, ValueError: an image is missing or cannot be read.
    """
    without_polyp = [still for still in stills if not len(still.boxes)]
    cases = evaluate(without_polyp, detector, None, progress=True)
    return [
        case.still
        for case in cases
        if case.detections is not None and not (case.detections.scores >= least_score).any()
    ]
