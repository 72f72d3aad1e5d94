"""The straight line from frames to results."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from realtime_polyp.calibrated import Calibration
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field import Field
from realtime_polyp.inference import Answers, HostInference, Inference
from realtime_polyp.packets import NO_DETECTIONS, Detections, Frame, Mask, Result, Signal, Track
from realtime_polyp.picture import FieldFinder, PictureWatch
from realtime_polyp.postprocess import NMS_IOU, SCORE_THRESHOLD, detections_of, mask_of, nms
from realtime_polyp.prepare import clip_boxes
from realtime_polyp.smooth import SmoothConfig, Smoother
from realtime_polyp.trace import Trace


@dataclass(frozen=True)
class PipelineConfig:
    """smooth: None shows every detection at once and the raw mask. calibration: what the detector's scores become; a
    segmenter's is not asked, because it leaves every outline where it is."""

    score_threshold: float = SCORE_THRESHOLD
    nms_iou: float = NMS_IOU
    smooth: SmoothConfig | None = SmoothConfig()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


class Stopwatch:
    """Collects the duration of each stage of one batch, ms, and tells the trace where there is one."""

    def __init__(self, trace: Trace | None = None, track: str = "", **arguments: object) -> None:
        self.stages_ms: dict[str, float] = {}
        self._trace, self._track, self._arguments = trace, track, arguments
        self._since_s = time.perf_counter()

    def lap(self, stage: str, since_s: float | None = None) -> None:
        """A stage has ended, that began with the end of the one before or `since_s` by time.perf_counter()."""
        now_s = time.perf_counter()
        began_s = self._since_s if since_s is None else since_s
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + (now_s - began_s) * 1e3
        if self._trace:
            self._trace.add(self._track, stage, began_s, now_s, **self._arguments)
        self._since_s = now_s


class Pipeline:
    """Frames in, results out, in order; either engine may be absent. Owned by one thread at a time."""

    def __init__(
        self,
        detector: DetectorEngine | None,
        segmenter: SegmenterEngine | None,
        config: PipelineConfig = PipelineConfig(),
        *,
        inference: Inference | None = None,
        trace: Trace | None = None,
        name: str = "analyse",
    ) -> None:
        """inference: how the engines are run, where that is not plainly on the host. name: the row of the trace."""
        self.detector, self.segmenter, self.config = detector, segmenter, config
        self.inference: Inference = inference or HostInference(detector, segmenter)
        self.trace, self.name = trace, name
        self._engines = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget the past: another video begins, or the same one elsewhere."""
        self._shape: tuple[int, ...] = ()
        self._fields, self._watch = FieldFinder(), PictureWatch()
        self._smoother = Smoother(self.config.smooth) if self.config.smooth else None

    def warm_up(self) -> None:
        """Run a black frame through, so that the first real one does not pay for what is compiled on first use."""
        image = np.zeros((360, 480, 3), np.uint8)
        self.analyse([Frame(0, 0.0, time.monotonic(), image)])
        nms(np.zeros((1, 4), np.float32), self.config.nms_iou)
        self.reset()

    def set_score_threshold(self, score_threshold: float) -> None:
        """For the frames to come; safe to call from another thread."""
        self.config = replace(self.config, score_threshold=score_threshold)

    def analyse(self, frames: Sequence[Frame]) -> list[Result]:
        """Results of a batch; the same whatever way a video is cut into batches."""
        return self.begin(frames)() if frames else []

    def begin(self, frames: Sequence[Frame]) -> Callable[[], list[Result]]:
        """Start on a batch of at least one frame; the function returned waits for its results.

        A second batch may be begun before the first is finished, where the inference overlaps; they are finished in
        order, and each of them must be.
        """
        watch = Stopwatch(self.trace, self.name, first_frame=frames[0].index, frames=len(frames))
        with self._engines:
            looks = [self._look(frame) for frame in frames]
            watch.lap("field")
            planes = self.inference.takes_planes
            pictures = [frame.planes if planes and frame.planes else frame.image for frame in frames]
            collect = self.inference.begin(pictures, [field for field, _ in looks], watch.lap)
        return lambda: self._finish(frames, looks, collect, watch)

    def find_again(self, result: Result, score_threshold: float) -> Detections:
        """What a frame holds at another threshold, without memory; from any thread, between two batches."""
        with self._engines:
            answers = self.inference.begin([result.frame.image], [result.field], lambda stage, since_s: None)()
        return self._detections(answers, 1, score_threshold)[0]

    def _finish(
        self,
        frames: Sequence[Frame],
        looks: Sequence[tuple[Field, Signal]],
        collect: Callable[[], Answers],
        watch: Stopwatch,
    ) -> list[Result]:
        with self._engines:
            answers = collect()
        detections = self._detections(answers, len(frames), self.config.score_threshold)
        masks = self._masks(answers, len(frames))
        watch.lap("postprocess")
        fields = [field for field, _ in looks]
        smoothed = [self._smooth(*one) for one in zip(detections, masks, frames, fields, strict=True)]
        watch.lap("smooth")
        detecting = self.detector is not None
        shares_ms = {stage: duration_ms / len(frames) for stage, duration_ms in watch.stages_ms.items()}
        return [
            Result(frame, field, found, tracks, mask, detecting, signal, "clear", shares_ms, time.monotonic())
            for frame, (field, signal), found, (tracks, mask) in zip(frames, looks, detections, smoothed, strict=True)
        ]

    def _look(self, frame: Frame) -> tuple[Field, Signal]:
        """Where the picture is and whether it lives; a still that stands alone has no past."""
        if frame.alone:
            self._fields, self._watch = FieldFinder(), PictureWatch()
        field = self._fields.update(frame.image, frame.pts_s)
        return field, self._watch.update(field.crop(frame.image), frame.pts_s)

    def _detections(self, answers: Answers, count: int, score_threshold: float) -> list[Detections]:
        if answers.candidates is None:
            return [NO_DETECTIONS] * count
        boxes, scores = answers.candidates
        if self.config.calibration:
            scores = self.config.calibration.apply(scores)
        return [
            detections_of(one, score, placement, score_threshold=score_threshold, nms_iou=self.config.nms_iou)
            for one, score, placement in zip(boxes, scores, answers.detector_placements, strict=True)
        ]

    def _masks(self, answers: Answers, count: int) -> list[Mask | None]:
        if answers.probability is None or self.segmenter is None:
            return [None] * count
        pairs = zip(answers.probability, answers.segmenter_placements, strict=True)
        return [mask_of(probability, placement, self.segmenter.size) for probability, placement in pairs]

    def _smooth(
        self, detections: Detections, mask: Mask | None, frame: Frame, field: Field
    ) -> tuple[tuple[Track, ...], Mask | None]:
        if self._smoother is None or frame.alone:
            return as_tracks(detections), mask
        if frame.image.shape != self._shape:  # here, not in `_look`: frames of a batch are smoothed one by one
            self._shape = frame.image.shape
            self._smoother.forget()
        tracks, steadied = self._smoother.update(detections, mask, frame.pts_s)
        return inside(tracks, field), steadied


def inside(tracks: tuple[Track, ...], field: Field) -> tuple[Track, ...]:
    """The tracks cut to the field; without those that have left it."""
    cut = [replace(track, box=clip_boxes(track.box, field)) for track in tracks]
    return tuple(track for track in cut if track.box[2] > track.box[0] and track.box[3] > track.box[1])


def as_tracks(detections: Detections) -> tuple[Track, ...]:
    """Each detection as a track of its own, shown at once."""
    pairs = zip(detections.boxes, detections.scores, strict=True)
    return tuple(Track(i, box, float(score), "shown", 0.0, 0.0) for i, (box, score) in enumerate(pairs, 1))


def run_inline(frames: Iterable[Frame], pipeline: Pipeline) -> Iterator[Result]:
    """The whole line without threads: what tests, evaluation and `realtime_polyp.analyse` use."""
    for frame in frames:
        yield from pipeline.analyse([frame])
