"""The straight line from frames to results, in two halves: `Analyzer` runs the models, `TemporalFilter` remembers."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.inference.base import Inference, ModelOutputs, Pending
from realtime_polyp.inference.checked import ModelOutputError, check_outputs
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import NO_DETECTIONS, Detections, Frame, Mask, RawResult, Result, Signal
from realtime_polyp.postprocess.fusion import box_support
from realtime_polyp.postprocess.nms import detections_of, mask_of, nms
from realtime_polyp.preprocess.field_finder import FieldFinder
from realtime_polyp.preprocess.signal import SignalMonitor
from realtime_polyp.telemetry.stage_times import StageTimer
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.filter import TemporalFilter
from realtime_polyp.temporal.tracker import warm_up as warm_up_tracker


class Analyzer:
    """Frames to raw results. Stateless but for the field of view and the signal; owned by one thread at a time.

    config: what decides how the models see a frame and which raw detections are kept.
    trace: takes the times of all stages. name: the trace's row.
    """

    def __init__(
        self, inference: Inference, config: PipelineConfig, *, trace: Trace | None = None, name: str = "analyse"
    ) -> None:
        self.inference, self.config = inference, config
        self._trace, self._name = trace, name
        self._candidates: int | None = None  # boxes per image in the first output of the detector
        self.field_doubt: tuple[FieldOfView, FieldOfView] | None = None  # the field, and what may be it as well
        self.reset()

    def reset(self) -> None:
        """Forget the field of view: another video begins, or the same one at another place."""
        self._fields, self._signal = FieldFinder(self.config.field), SignalMonitor()

    @property
    def field_rival(self) -> FieldOfView | None:
        """Another picture in the newest frames that may be the endoscope's; `field_doubt` remembers the last one."""
        return self._fields.rival

    def forget_engine(self) -> None:
        """Another engine may give another number of boxes per image."""
        self._candidates = None

    def submit(self, frames: Sequence[Frame]) -> Pending[list[RawResult]]:
        """Start on a batch of at least one frame.

        Where the inference overlaps, a second batch may be submitted before the first is collected. Batches are
        collected in order, and each of them must be. Collecting raises ModelOutputError, with the frame, where the
        models' answer cannot be a result.
        """
        timer = StageTimer(self._trace, self._name, first_frame=frames[0].index, frames=len(frames))
        looks = [self._find_field(frame) for frame in frames]
        timer.lap("field of view")
        planes = self.inference.takes_planes
        images = [frame.planes if planes and frame.planes else frame.image for frame in frames]
        hflip = [self.config.flips(frame) for frame in frames]
        with _naming_frames(frames):
            pending = self.inference.submit(images, [field for field, _ in looks], hflip=hflip)
        return Pending(lambda: self._collect(frames, looks, pending, timer))

    def _collect(
        self,
        frames: Sequence[Frame],
        looks: Sequence[tuple[FieldOfView, Signal]],
        pending: Pending[ModelOutputs],
        timer: StageTimer,
    ) -> list[RawResult]:
        outputs = self._checked(frames, pending)
        for stage_time in outputs.stage_times:
            timer.add(stage_time)
        detections, masks = self._detections(outputs, len(frames)), self._masks(outputs, len(frames))
        timer.lap("postprocess")
        shares_ms = timer.shares_ms(len(frames))
        return [
            RawResult(frame, field, signal, found, mask, self.inference.detector is not None, shares_ms)
            for frame, (field, signal), found, mask in zip(frames, looks, detections, masks, strict=True)
        ]

    def _checked(self, frames: Sequence[Frame], pending: Pending[ModelOutputs]) -> ModelOutputs:
        detector, segmenter = self.inference.detector, self.inference.segmenter
        with _naming_frames(frames):
            outputs = pending.result()
            check_outputs(outputs, detector, segmenter, len(frames), candidates=self._candidates)
        if outputs.predictions is not None:
            self._candidates = outputs.predictions[1].shape[1]
        return outputs

    def _find_field(self, frame: Frame) -> tuple[FieldOfView, Signal]:
        """The field of view and whether the picture is alive; a still has no past."""
        if frame.is_still or self._fields.named != self.config.field:
            self.reset()
        field = self._fields.update(frame.image, frame.pts_s)
        if self._fields.rival:
            self.field_doubt = field, self._fields.rival
        return field, self._signal.update(field.crop(frame.image), frame.pts_s)

    def _detections(self, outputs: ModelOutputs, count: int) -> list[Detections]:
        if outputs.predictions is None:
            return [NO_DETECTIONS] * count
        floor, nms_iou = self.config.raw_floor, self.config.nms_iou
        return [
            detections_of(boxes, scores, placement, score_threshold=floor, nms_iou=nms_iou)
            for boxes, scores, placement in zip(*outputs.predictions, outputs.detector_placements, strict=True)
        ]

    def _masks(self, outputs: ModelOutputs, count: int) -> list[Mask | None]:
        segmenter = self.inference.segmenter
        if outputs.probability is None or segmenter is None:
            return [None] * count
        pairs = zip(outputs.probability, outputs.segmenter_placements, strict=True)
        return [mask_of(probability, placement, segmenter.size) for probability, placement in pairs]


@contextmanager
def _naming_frames(frames: Sequence[Frame]) -> Iterator[None]:
    """Add the frame index to a ModelOutputError. Raises a copy: several videos may share the batch that failed."""
    try:
        yield
    except ModelOutputError as error:
        raise ModelOutputError(str(error), error.row, frame_index=frames[error.row].index) from error


class Pipeline:
    """Frames in, results out, in order: an `Analyzer` and a `TemporalFilter`. Owned by one thread at a time."""

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
        """Either engine may be absent. inference: how the engines run; by default on the host. name: the trace's
        row."""
        self.inference: Inference = inference or HostInference(detector, segmenter)
        self.trace, self.name = trace, name
        self.analyzer = Analyzer(self.inference, config, trace=trace, name=name)
        self.filter = TemporalFilter(config, trace=trace, track=name)

    @property
    def config(self) -> PipelineConfig:
        return self.filter.config

    @property
    def detector(self) -> DetectorEngine | None:
        return self.inference.detector

    @property
    def segmenter(self) -> SegmenterEngine | None:
        return self.inference.segmenter

    def engine_changed(self) -> None:
        """Another engine runs the models: it may give another number of candidates."""
        self.analyzer.forget_engine()

    def reset(self) -> None:
        """Forget the past: another video begins."""
        self.analyzer.reset()
        self.filter.reset()

    def seek(self) -> None:
        """Forget the past but the track numbers: the same video goes on at another place."""
        self.analyzer.reset()
        self.filter.seek()

    def set_score_threshold(self, score_threshold: float) -> None:
        """For the frames to come; may be called from another thread."""
        self.filter.set_score_threshold(score_threshold)
        self.analyzer.config = self.filter.config

    def set_times(self, confirm_s: float | None, hold_s: float | None) -> None:
        """For the frames to come; may be called from another thread. None: the default."""
        self.filter.set_times(confirm_s, hold_s)
        self.analyzer.config = self.filter.config

    def set_field(self, field: FieldOfView | None) -> None:
        """For the frames to come; may be called from another thread. None: the field is found."""
        self.filter.config = replace(self.filter.config, field=field)
        self.analyzer.config, self.analyzer.field_doubt = self.filter.config, None

    def warm_up(self) -> None:
        """Run a black frame through, so that the first real one does not wait for just-in-time compilation.

        An error of a model is ignored here: it occurs again on the first real frame and is reported with its index.
        """
        image = np.zeros((360, 480, 3), np.uint8)
        with suppress(Exception):
            self.analyse([Frame(0, 0.0, time.monotonic(), image)])
        nms(np.zeros((1, 4), np.float32), self.config.nms_iou)
        warm_up_tracker(image, whole(image))
        box_support(Mask(np.zeros((8, 8), np.float32), whole(image)), np.zeros((1, 4), np.float32))
        self.reset()

    def submit(self, frames: Sequence[Frame]) -> Pending[list[Result]]:
        """Start on a batch of at least one frame; see `Analyzer.submit`."""
        pending = self.analyzer.submit(frames)
        return Pending(lambda: [self.filter.update(raw) for raw in pending.result()])

    def analyse(self, frames: Sequence[Frame]) -> list[Result]:
        """Results of a batch; the same however a video is cut into batches."""
        return self.submit(frames).result() if frames else []


def run_inline(frames: Iterable[Frame], pipeline: Pipeline) -> Iterator[Result]:
    """Run the whole line without threads, frame by frame: what tests and evaluation use."""
    for frame in frames:
        yield from pipeline.analyse([frame])
