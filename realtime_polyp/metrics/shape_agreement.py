"""One polyp, one shape: whether the box and the outline that are shown for a polyp agree (METRICS 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.outputs.results_reader import ShownFrame


@dataclass(frozen=True)
class ShapeAgreement:
    """Counts and values over one or more videos. The properties are the figures, None if undefined.

    Attributes:
        boxes: number of shown boxes in frames with a mask.
        ious: IoU of each box that has an outline with the bounding box of that outline.
        longest_alone_s: longest time for which a track was shown without an outline, s.
    """

    boxes: int = 0
    ious: tuple[float, ...] = ()
    longest_alone_s: float = 0.0

    def __add__(self, other: "ShapeAgreement") -> "ShapeAgreement":
        longest_s = max(self.longest_alone_s, other.longest_alone_s)
        return ShapeAgreement(self.boxes + other.boxes, self.ious + other.ious, longest_s)

    @property
    def median_iou(self) -> float | None:
        return float(np.median(self.ious)) if self.ious else None

    @property
    def low_iou(self) -> float | None:
        """The 10th percentile."""
        return float(np.percentile(self.ious, 10)) if self.ious else None

    @property
    def alone(self) -> float | None:
        """Share of the shown boxes that have no outline."""
        return 1 - len(self.ious) / self.boxes if self.boxes else None


def shape_agreement(screen: Sequence[ShownFrame], period_s: float) -> ShapeAgreement:
    """Compare boxes and outlines. screen: what was shown, one per frame. period_s: time from frame to frame, s."""
    ious: list[float] = []
    boxes, longest = 0, 0
    alone: dict[int, int] = {}  # number of frames that a track has been without an outline
    for shown in screen:
        if shown.outline_boxes is None:
            alone = {}
            continue
        outlined = np.asarray(~np.isnan(shown.outline_boxes).any(axis=1))
        boxes += len(outlined)
        if outlined.any():
            ious += np.diagonal(iou_matrix(shown.boxes[outlined], shown.outline_boxes[outlined])).tolist()
        alone = {int(track): alone.get(int(track), 0) + 1 for track in shown.ids[~outlined]}
        longest = max(longest, *alone.values(), 0)
    return ShapeAgreement(boxes, tuple(ious), longest * period_s)
