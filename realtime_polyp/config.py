"""How the line is configured, as one frozen value."""

from dataclasses import dataclass
from functools import cached_property

from realtime_polyp.engines.base import Engine
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Frame
from realtime_polyp.postprocess.fusion import LEAST_SCORE, Fusion, fusion_for
from realtime_polyp.postprocess.nms import NMS_IOU, SCORE_THRESHOLD, WEAK_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence, TemporalConfig
from realtime_polyp.temporal.frame_quality import FrameQualityClassifier, read_frame_quality


@dataclass(frozen=True)
class PipelineConfig:
    """Everything that decides what becomes of the models' outputs.

    Attributes:
        score_threshold: lowest score of a box that is shown, 0..1.
        weak_threshold: lowest score of a box that continues an existing track, 0..1.
        nms_iou: highest IoU of two boxes that are both kept, 0..1.
        temporal: the temporal filter; None shows every detection at once and the unfiltered mask.
        calibration: maps detector scores to probabilities. Ignored where `fusion` is set: fused scores are
            probabilities already. The segmenter's map is not applied: it moves no outline.
        fusion: combines boxes and mask; None leaves both models' outputs as they are.
        frame_quality: tells clear frames from unclear ones, in which detections count less; None: every frame is clear.
        hflip: every second frame of a video is shown to the models flipped left to right, so that a polyp found in only
            one orientation needs a higher score to be shown.
        field: rectangle that holds the endoscope's picture, source px; None: it is found (`preprocess.field_finder`).
    """

    score_threshold: float = SCORE_THRESHOLD
    weak_threshold: float = WEAK_THRESHOLD
    nms_iou: float = NMS_IOU
    temporal: TemporalConfig | None = TemporalConfig()
    calibration: Calibration | None = None
    fusion: Fusion | None = None
    frame_quality: FrameQualityClassifier | None = None
    hflip: bool = False
    field: FieldOfView | None = None

    def __post_init__(self) -> None:
        for name in ("score_threshold", "weak_threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def floor(self) -> float:
        """The lowest final score (fused or calibrated) that any later stage uses."""
        return min(self.score_threshold, self.weak_threshold) if self.temporal else self.score_threshold

    @property
    def model_floor(self) -> float:
        """The lowest score, calibrated where there is no fusion, that enters fusion or the tracker."""
        return LEAST_SCORE if self.fusion else self.floor

    @cached_property
    def raw_floor(self) -> float:
        """The lowest of the detector's own scores that `RawResult` keeps."""
        if self.fusion or not self.calibration:
            return min(LEAST_SCORE, self.model_floor)
        return min(LEAST_SCORE, self.calibration.detector_score(self.model_floor))

    @property
    def evidence(self) -> Evidence:
        """How much evidence a score is worth to the tracker: fused and calibrated scores are probabilities."""
        fitted = self.calibration.detector if self.calibration else None
        return PROBABILITIES if self.fusion or (fitted and fitted.map) else DETECTOR_SCORES

    def flips(self, frame: Frame) -> bool:
        """Whether the models see this frame flipped. Depends on the frame alone: batching does not change it."""
        flipped = frame.index % 2 == 1 if frame.flipped is None else frame.flipped
        return self.hflip and not frame.is_still and flipped


def default_config(detector: Engine | None, segmenter: Engine | None) -> PipelineConfig:
    """The configuration that these two models run with by default."""
    return PipelineConfig(fusion=fusion_for(detector, segmenter), frame_quality=read_frame_quality(), hflip=True)
