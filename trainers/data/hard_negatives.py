"""Hard negatives: the stills without a polyp on which a detector finds one. The easy ones teach it little more."""

from collections.abc import Sequence

from realtime_polyp.engines.base import DetectorEngine
from trainers.data.stills import Still
from trainers.evaluation.predict import evaluate


def find_easy(stills: Sequence[Still], detector: DetectorEngine, *, least_score: float) -> list[Still]:
    """Return the stills without a polyp on which every box of the detector scores less than `least_score`.

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
