"""A still picture's polyps at a lowered threshold, beside the tracks it already has."""
from dataclasses import replace

import numpy as np

from realtime_polyp.packets import Detections, Result, Track
from realtime_polyp.smooth import match

_SAME_IOU = 0.2


def with_found(result: Result, found: Detections) -> Result:
    """The result with each detection that no visible track accounts for as a further track, shown at once."""
    visible = tuple(track for track in result.tracks if track.visible)
    accounted = set(match([track.box for track in visible], found.boxes, _SAME_IOU).values())
    next_id = 1 + max((track.id for track in result.tracks), default=0)
    fresh = [index for index in range(len(found)) if index not in accounted]
    further = tuple(
        Track(next_id + i, np.asarray(found.boxes[index]), float(found.scores[index]), "shown", 0.0, 0.0)
        for i, index in enumerate(fresh)
    )
    return replace(result, detections=found, tracks=visible + further)
