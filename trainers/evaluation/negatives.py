"""Figures of single frames without a polyp: each is evaluated as a still, with no memory of the frames before it.

A box counts from the threshold at which it is shown, a pixel of the segmenter's own mask from MASK_THRESHOLD.
"""

from collections.abc import Sequence
from typing import Any

from realtime_polyp.metrics.negative_video import DRAWN_SHARE, NegativeFrame, Rows, figures_by_sequence, table, to_dict
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.data.negatives import sequence_of
from trainers.evaluation.figures import MASK_THRESHOLD
from trainers.evaluation.predict import Case


def negative_rows(cases: Sequence[Case]) -> Rows:
    """Return the figures of each sequence and of all frames. cases: frames without a polyp, in order."""
    sequences: dict[str, list[NegativeFrame]] = {}
    for case in cases:
        sequences.setdefault(sequence_of(case.still), []).append(_frame_of(case))
    return figures_by_sequence(sequences)


def _frame_of(case: Case) -> NegativeFrame:
    """Return what one frame shows. Without a polyp, every pixel of its mask is a false one."""
    has_box = None if case.detections is None else bool((case.detections.scores >= SCORE_THRESHOLD).any())
    if case.segmentation is None:
        return NegativeFrame(has_box, None)
    counts = case.segmentation.counts
    drawn = counts.tp + counts.fp
    return NegativeFrame(has_box, drawn / (drawn + counts.fn + counts.tn))


def rows_to_dict(rows: Rows, data: str) -> dict[str, Any]:
    """Return the rows and the thresholds as JSON types. data: name of the frames' file."""
    thresholds = {"score": SCORE_THRESHOLD, "mask": MASK_THRESHOLD, "area": DRAWN_SHARE}
    return {"data": data, "thresholds": thresholds, **to_dict(rows)}


def format_rows(rows: Rows, data: str) -> str:
    """Format the rows as a title and a table. data: name of the frames' file."""
    thresholds = f"boxes from {SCORE_THRESHOLD:g}, masks from {MASK_THRESHOLD:g}"
    return f"Frames without a polyp of {data}, each alone, in % of frames; {thresholds}\n{table(rows)}"
