"""The straight line from frames to results."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.inference.host import HostInference, Inference, ModelOutputs
from realtime_polyp.packets import NO_DETECTIONS, Detections, Frame, Mask, Result, Signal
from realtime_polyp.picture import FieldFinder, SignalMonitor
from realtime_polyp.postprocess.fusion import box_support
from realtime_polyp.postprocess.nms import detections_of, mask_of, nms
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.filter import TemporalFilter, fuse_box_and_mask
from realtime_polyp.temporal.tracker import warm_up as warm_smoothing


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
        self._fields, self._watch = FieldFinder(), SignalMonitor()
        self._steadier = TemporalFilter(self.config)

    def warm_up(self) -> None:
        """Run a black frame through, so that the first real one does not pay for what is compiled on first use."""
        image = np.zeros((360, 480, 3), np.uint8)
        self.analyse([Frame(0, 0.0, time.monotonic(), image)])
        nms(np.zeros((1, 4), np.float32), self.config.nms_iou)
        warm_smoothing(image, whole(image))
        box_support(Mask(np.zeros((8, 8), np.float32), whole(image)), np.zeros((1, 4), np.float32))
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
            hflip = [self.config.flips(frame) for frame in frames]
            collect = self.inference.begin(pictures, [field for field, _ in looks], watch.lap, hflip=hflip)
        return lambda: self._finish(frames, looks, collect, watch)

    def find_again(self, result: Result, score_threshold: float) -> Detections:
        """What a frame holds at another threshold, without memory; from any thread, between two batches."""
        with self._engines:
            answers = self.inference.begin(
                [result.frame.image],
                [result.field_of_view],
                lambda stage, since_s: None,
                hflip=[self.config.flips(result.frame)],
            )()
        config = replace(self.config, score_threshold=score_threshold, temporal=None)
        found, masks = self._detections(answers, 1, config.model_floor), self._masks(answers, 1)
        return fuse_box_and_mask(found[0], masks[0], config)[0]

    def _finish(
        self,
        frames: Sequence[Frame],
        looks: Sequence[tuple[FieldOfView, Signal]],
        collect: Callable[[], ModelOutputs],
        watch: Stopwatch,
    ) -> list[Result]:
        with self._engines:
            answers = collect()
        config = self.config
        detections = self._detections(answers, len(frames), config.model_floor)
        masks = self._masks(answers, len(frames))
        watch.lap("postprocess")
        moments = [
            self._steadier.update(frame, field, found, mask, config, watch.lap)
            for frame, (field, _), found, mask in zip(frames, looks, detections, masks, strict=True)
        ]
        shares_ms = {stage: duration_ms / len(frames) for stage, duration_ms in watch.stages_ms.items()}
        return [
            Result(
                frame=frame,
                field_of_view=field,
                detections=moment.detections,
                tracks=moment.tracks,
                mask=moment.mask,
                has_detector=self.detector is not None,
                signal=signal,
                frame_quality=moment.view,
                stages_ms=shares_ms,
                analysed_s=time.monotonic(),
            )
            for frame, (field, signal), moment in zip(frames, looks, moments, strict=True)
        ]

    def _look(self, frame: Frame) -> tuple[FieldOfView, Signal]:
        """Where the picture is and whether it lives; a still that stands alone has no past."""
        if frame.is_still:
            self._fields, self._watch = FieldFinder(), SignalMonitor()
        field = self._fields.update(frame.image, frame.pts_s)
        return field, self._watch.update(field.crop(frame.image), frame.pts_s)

    def _detections(self, answers: ModelOutputs, count: int, score_threshold: float) -> list[Detections]:
        if answers.candidates is None:
            return [NO_DETECTIONS] * count
        boxes, scores = answers.candidates
        if self.config.calibration and not self.config.fusion:
            scores = self.config.calibration.apply(scores)
        return [
            detections_of(one, score, placement, score_threshold=score_threshold, nms_iou=self.config.nms_iou)
            for one, score, placement in zip(boxes, scores, answers.detector_placements, strict=True)
        ]

    def _masks(self, answers: ModelOutputs, count: int) -> list[Mask | None]:
        if answers.probability is None or self.segmenter is None:
            return [None] * count
        pairs = zip(answers.probability, answers.segmenter_placements, strict=True)
        return [mask_of(probability, placement, self.segmenter.size) for probability, placement in pairs]


def run_inline(frames: Iterable[Frame], pipeline: Pipeline) -> Iterator[Result]:
    """The whole line without threads: what tests, evaluation and `realtime_polyp.analyse` use."""
    for frame in frames:
        yield from pipeline.analyse([frame])
