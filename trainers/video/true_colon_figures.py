"""The figures of the TRUE-Colon protocol for videos and their results, computed by its authors' package `true-colon`.

TRUE-Colon (Doerrich et al., 2026) defines figures of frames and of lesions, without a threshold of overlap: any overlap
counts. What was shown is the prediction. Frames that are not labelled, and those with difficult polyps alone, are left
out. Its figures of false alarms are of frames; METRICS 4 counts runs of them, which it does not define.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from true_colon import (
    EvaluationConfig,
    FrameMetrics,
    LesionConfig,
    LesionRecord,
    PredictionIdSource,
    Tier,
    create_evaluator,
)

from realtime_polyp.metrics.events import SeenFrame
from realtime_polyp.metrics.truth import VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame, on_screen, seen_frames

ANY_OVERLAP = 0.0
_SHOWN, _LEAST_SHOWN = 1.0, 0.5  # the score of a box that was shown, and the threshold: results have no others
_WINDOWS_S = (1, 3, 5)


@dataclass(frozen=True)
class TrueColon:
    """Figures of one or more videos.

    Attributes:
        frames: counts and rates of frames, one per video.
        lesions: one record per polyp that must be found. Latencies are in frames and s.
    """

    frames: tuple[FrameMetrics, ...]
    lesions: tuple[LesionRecord, ...]

    def __add__(self, other: "TrueColon") -> "TrueColon":
        return TrueColon(self.frames + other.frames, self.lesions + other.lesions)


def true_colon(truth: VideoTruth, shown: Sequence[ShownFrame]) -> TrueColon:
    """Evaluate one video. Raises ValueError if the results are not of this video."""
    frames = seen_frames(truth, [frame.boxes for frame in on_screen(truth, shown).frames])
    return evaluate_frames(frames, rate_hz=float(truth.rate_hz))


def evaluate_frames(frames: Sequence[SeenFrame], *, rate_hz: float, iou: float = ANY_OVERLAP) -> TrueColon:
    """Evaluate the frames of one video. iou: a box is on a polyp that it overlaps by more than this."""
    numbers = [round(frame.pts_s * rate_hz) for frame in frames]
    kept = [
        (number, frame) for number, frame in zip(numbers, frames, strict=True) if frame.polyps or not frame.difficult
    ]
    if not kept:
        return TrueColon((), ())
    has_lesions = any(frame.polyps for _, frame in kept)
    evaluator = create_evaluator(
        config=EvaluationConfig(
            iou_thr=iou,
            conf=_LEAST_SHOWN,
            tiers=frozenset({Tier.FRAME, Tier.LESION} if has_lesions else {Tier.FRAME}),
            max_det_per_image=None,
            lesion=LesionConfig(fps=rate_hz),
        ),
        canonicalizer="stem_int_suffix",
        id_source=PredictionIdSource.GT_INTEGER,
    )
    document = {
        "images": [{"id": number, "file_name": f"video_{number}.png"} for number, _ in kept],
        "annotations": list(_annotations(kept)),
        "categories": [{"id": 1, "name": "polyp"}],
    }
    result = evaluator.evaluate(document, list(_predictions(kept)))
    assert result.frame is not None
    return TrueColon((result.frame,), tuple(result.lesion.records) if result.lesion else ())


def _annotations(frames: Sequence[tuple[int, SeenFrame]]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, frame in frames:
        for identity, box in frame.polyps.items():
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "bbox": _to_xywh(box),
                "unique_id": f"video_{identity}",
            }


def _predictions(frames: Sequence[tuple[int, SeenFrame]]) -> Iterator[dict[str, Any]]:
    for image, frame in frames:
        for box in frame.shown:
            yield {"image_id": image, "category_id": 1, "bbox": _to_xywh(box), "score": _SHOWN}


def _to_xywh(box: Any) -> list[float]:
    x1, y1, x2, y2 = (float(side) for side in box)
    return [x1, y1, x2 - x1, y2 - y1]


def to_dict(found: TrueColon) -> dict[str, Any]:
    """Return the figures of all videos together, for a JSON file. Shares are in 0..1; undefined ones are None."""
    positive = sum(one.tp + one.fn for one in found.frames)
    negative = sum(one.fp + one.tn for one in found.frames)
    count = len(found.lesions)
    latencies_s = [one.latency_seconds for one in found.lesions if one.latency_seconds is not None]
    return {
        "frame_tpr": sum(one.tp for one in found.frames) / positive if positive else None,
        "frame_fpr": sum(one.fp for one in found.frames) / negative if negative else None,
        "lesions": count,
        "detected_any": sum(one.detected_any for one in found.lesions),
        "detected_25pct": sum(one.detected_25pct for one in found.lesions),
        "detected_50pct": sum(one.detected_50pct for one in found.lesions),
        **{
            f"detected_within_{window_s}s": sum(
                bool(getattr(one, f"detected_within_{window_s}s")) for one in found.lesions
            )
            for window_s in _WINDOWS_S
        },
        "mean_detection_fraction": sum(one.det_fraction for one in found.lesions) / count if count else None,
        "mean_latency_s": sum(latencies_s) / len(latencies_s) if latencies_s else None,
    }


def to_text(found: TrueColon) -> str:
    """Return the figures in two lines."""
    values = to_dict(found)
    rates = ", ".join(
        f"{name} {'-' if values[key] is None else f'{values[key]:.3f}'}"
        for name, key in (("frame TPR", "frame_tpr"), ("FPR", "frame_fpr"))
    )
    latency = "-" if values["mean_latency_s"] is None else f"{values['mean_latency_s']:.2f} s"
    within = " / ".join(str(values[f"detected_within_{window_s}s"]) for window_s in _WINDOWS_S)
    return (
        f"TRUE-Colon (any overlap): {rates}; of {values['lesions']} polyps {values['detected_any']} detected, "
        f"{values['detected_25pct']} in 25 %, {values['detected_50pct']} in 50 % of their frames,\n"
        f"in 15 frames within 1 / 3 / 5 s {within}; mean latency {latency}"
    )
