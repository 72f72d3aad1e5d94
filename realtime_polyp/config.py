"""How the line is set, as one frozen value."""

from dataclasses import dataclass

from realtime_polyp.engines.base import Engine
from realtime_polyp.packets import Frame
from realtime_polyp.postprocess.fusion import LEAST_SCORE, Fusion, fusion_for
from realtime_polyp.postprocess.nms import NMS_IOU, SCORE_THRESHOLD, WEAK_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration
from realtime_polyp.temporal.config import DETECTOR_SCORES, PROBABILITIES, Evidence, TemporalConfig
from realtime_polyp.temporal.frame_quality import FrameQualityClassifier, read_frame_quality


@dataclass(frozen=True)
class PipelineConfig:
    """weak_threshold: from what score on a box keeps a track alive that others began. smooth: None shows every
    detection at once and the raw mask. calibration: what the detector's scores become; a segmenter's is not asked,
    because it leaves every outline where it is. fusion: how far box and mask believe each other; its scores are
    probabilities, so that the calibration's map is not asked where there is one. views: tells a clear view from one on
    which what is found counts less; None: every view is taken for clear. mirror: every other frame of a video is shown
    to the models with left and right exchanged: what they only see, or only fancy, one way round is told apart by the
    memory that the smoothing has."""

    score_threshold: float = SCORE_THRESHOLD
    weak_threshold: float = WEAK_THRESHOLD
    nms_iou: float = NMS_IOU
    temporal: TemporalConfig | None = TemporalConfig()
    calibration: Calibration | None = None
    fusion: Fusion | None = None
    views: FrameQualityClassifier | None = None
    hflip: bool = False

    def __post_init__(self) -> None:
        for name in ("score_threshold", "weak_threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")

    @property
    def floor(self) -> float:
        """The least score that matters to anyone."""
        return min(self.score_threshold, self.weak_threshold) if self.temporal else self.score_threshold

    def flips(self, frame: Frame) -> bool:
        """By the frame's own number, so that it is the same however the video is cut into batches, and seen again. A
        live line that is so late that it takes exactly every second frame sees all of them one way round."""
        return self.hflip and not frame.is_still and frame.index % 2 == 1

    @property
    def model_floor(self) -> float:
        """The least score of the detector's own that matters: fusion may lift a weak box."""
        return LEAST_SCORE if self.fusion else self.floor

    @property
    def evidence(self) -> Evidence:
        """What the scores are worth that the tracker is told: fused or mapped, they are probabilities."""
        fitted = self.calibration.detector if self.calibration else None
        return PROBABILITIES if self.fusion or (fitted and fitted.map) else DETECTOR_SCORES


def usual_config(detector: Engine | None, segmenter: Engine | None) -> PipelineConfig:
    """What these two models run with when nobody says otherwise."""
    return PipelineConfig(fusion=fusion_for(detector, segmenter), views=read_frame_quality(), hflip=True)
