"""Figures of single frames without a polyp: each is evaluated as a still, with no memory of the frames before it.

A box counts from the threshold at which it is shown, a pixel of the segmenter's own mask from MASK_THRESHOLD.
"""

from collections.abc import Sequence
from typing import Any

from realtime_polyp.metrics.negative_video import (
    DRAWN_SHARE,
    NegativeFigures,
    NegativeFrame,
    negative_figures,
    table,
    to_dict,
)
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.data.negatives import sequence_of
from trainers.evaluation.figures import MASK_THRESHOLD
from trainers.evaluation.predict import Case

ALL = "all"
Rows = dict[str, NegativeFigures]
"""ALL, or the name of a sequence -> its figures."""


def figures_by_sequence(cases: Sequence[Case]) -> Rows:
    """Return the figures of all frames as ALL, and those of each sequence. cases: frames without a polyp, in order."""
    sequences: dict[str, list[NegativeFrame]] = {}
    for case in cases:
        sequences.setdefault(sequence_of(case.still), []).append(_frame_of(case))
    rows = {name: negative_figures([frames]) for name, frames in sequences.items()}
    return {ALL: negative_figures(list(sequences.values())), **rows}


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
    return {
        "data": data,
        "thresholds": {"score": SCORE_THRESHOLD, "mask": MASK_THRESHOLD, "area": DRAWN_SHARE},
        ALL: to_dict(rows[ALL]),
        "sequences": {name: to_dict(one) for name, one in rows.items() if name != ALL},
    }


def format_rows(rows: Rows, data: str) -> str:
    """Format the rows as a title and a table. data: name of the frames' file."""
    thresholds = f"boxes from {SCORE_THRESHOLD:g}, masks from {MASK_THRESHOLD:g}"
    return f"Frames without a polyp of {data}, each alone, in % of frames; {thresholds}\n{table(rows)}"
