"""The one place where the line is assembled: from a configuration to engines, fusion, calibration and inference."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import decoding_device, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, Engine, Hint, SegmenterEngine
from realtime_polyp.engines.fallback import engines_after
from realtime_polyp.engines.gate import check_gate, gate_problem
from realtime_polyp.engines.halves import engines_of, other_half
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.inference.base import Inference
from realtime_polyp.inference.guarded import GuardedInference, Ladder, unguarded
from realtime_polyp.inference.host import HostInference
from realtime_polyp.messages import each_once
from realtime_polyp.notebook import with_progress, without_pictures
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.postprocess.fusion import FUSION_FILE, Fusion, fusion_for
from realtime_polyp.postprocess.nms import NMS_IOU, SCORE_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration, CalibrationError, read_calibration
from realtime_polyp.session import Display, Session
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.frame_quality import read_frame_quality

if TYPE_CHECKING:  # its package imports PyAV, which frames from elsewhere do not need
    from realtime_polyp.sources import Source


@dataclass(frozen=True)
class RuntimeConfig:
    """What is asked of the line. None means: the calibration's value, else the default.

    Attributes:
        detector, segmenter: names of models, or None for none.
        engine: a name of `engines.ENGINE_NAMES`. device: "auto", "cpu" or "cuda".
        live: compile for short delays instead of high throughput.
        calibration: a file of `calibration.scores` or `calibration.operating_point`.
        score_threshold: lowest score of a box that is shown, 0..1.
        nms_iou: highest IoU of two boxes that are both kept, 0..1.
        temporal: follow polyps over time. fusion: combine boxes and mask.
        hflip: show the models every second frame flipped left to right.
        confirm_s, hold_s, release_s: see `TemporalConfig`, s.
        allow_unverified: accept an engine that has not passed the accuracy gate.
        field: rectangle that holds the endoscope's picture, source px; None: it is found.
    """

    detector: str | None = DEFAULT_DETECTOR
    segmenter: str | None = DEFAULT_SEGMENTER
    engine: str = "auto"
    device: str = "auto"
    live: bool = False
    calibration: Path | None = None
    score_threshold: float | None = None
    nms_iou: float = NMS_IOU
    temporal: bool = True
    fusion: bool = True
    hflip: bool = True
    confirm_s: float | None = None
    hold_s: float | None = None
    release_s: float | None = None
    allow_unverified: bool = False
    field: FieldOfView | None = None


@dataclass(frozen=True)
class Runtime:
    """A line that is ready to run.

    Attributes:
        config: what was asked for.
        detector, segmenter: the engines.
        inference: how they run.
        pipeline_config: everything that decides what becomes of their outputs.
        unverified: one sentence for each engine that runs without having passed the accuracy gate.
        cautions: warnings, one sentence each: doubts about the calibration, and models without a fitted fusion.
        trace: takes the times of all stages, where there is one.
        usual_score: the score threshold without --score-threshold.
    """

    config: RuntimeConfig
    detector: DetectorEngine | None
    segmenter: SegmenterEngine | None
    inference: Inference
    pipeline_config: PipelineConfig
    unverified: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    trace: Trace | None = None
    usual_score: float = SCORE_THRESHOLD

    def pipeline(
        self,
        config: PipelineConfig | None = None,
        *,
        inference: Inference | None = None,
        name: str = "analyse",
        warm: bool = True,
    ) -> Pipeline:
        """A new pipeline on these engines.

        config, inference: in place of the runtime's own. name: the trace's row. warm: run a frame through first.
        """
        pipeline = Pipeline(
            self.detector,
            self.segmenter,
            config or self.pipeline_config,
            inference=inference or self.inference,
            trace=self.trace,
            name=name,
        )
        if warm:
            pipeline.warm_up()
        return pipeline

    def session(
        self,
        source: "Source",
        show: Callable[[Result], None],
        *,
        display: Display = "synced",
        paints: bool = False,
    ) -> Session:
        """A session that has not been started, on a new pipeline; see `Session`."""
        return Session(source, self.pipeline(), show, display=display, paints=paints)

    def results(
        self,
        source: "Source | str | Path",
        *,
        config: PipelineConfig | None = None,
        keep_pictures: bool = True,
        progress: bool = False,
        **span: Any,
    ) -> Iterator[Result]:
        """One result per frame, in order, from decoding and analysis on threads. May be left at any moment.

        source: opened, or what `open_source` takes. config: in place of the runtime's own. keep_pictures: False: the
        results hold no pixels, so that a list of them fits into memory. progress: show a progress bar. span: `start_s`,
        `end_s`.
        Raises SourceError at once for a source that cannot be opened, SessionError when a stage fails, and warns with
        a RuntimeWarning at the end of a damaged recording.
        """
        pipeline = self.pipeline(config)  # before the source is opened, which nobody would close if this failed
        if isinstance(source, str | Path):
            from realtime_polyp.sources import open_source

            source = open_source(str(source), hardware=decoding_device(self.config.device), **span)
        results = _iterate(Session(source, pipeline, _ignore))
        if not keep_pictures:
            results = without_pictures(results)
        return with_progress(results, source.frames_total, source.name) if progress else results

    def describe(self) -> dict[str, Any]:
        """The whole resolved configuration, to compare and to report."""
        return {
            "detector": _describe_engine(self.detector),
            "segmenter": _describe_engine(self.segmenter),
            "inference": type(unguarded(self.inference)).__name__,
            "pipeline": self.pipeline_config,
        }


def open_runtime(config: RuntimeConfig = RuntimeConfig(), *, trace: Trace | None = None) -> Runtime:
    """Open the engines and resolve the configuration.

    trace: takes the times of all stages. Raises EngineError, CalibrationError, FusionError or QualityError, each one
    sentence with the cure, among them for an engine that has not passed the accuracy gate.
    """
    detector, segmenter = _open_engines(config)
    return _assemble(config, detector, segmenter, None, trace)


def reconfigure(runtime: Runtime, config: RuntimeConfig) -> Runtime:
    """Return a runtime on the same engines with other thresholds, times or another calibration.

    config: names the same models, engine, device and `live` as the runtime's. Raises as `open_runtime`.
    """
    if runtime.config == config:
        return runtime
    return _assemble(config, runtime.detector, runtime.segmenter, runtime.inference, runtime.trace)


def _assemble(
    config: RuntimeConfig,
    detector: DetectorEngine | None,
    segmenter: SegmenterEngine | None,
    inference: Inference | None,
    trace: Trace | None,
) -> Runtime:
    """inference: that of the engines; None opens it."""
    engines: list[Engine] = engines_of(detector, segmenter)
    if not config.allow_unverified:
        for engine in engines:
            check_gate(engine)
    unverified = [problem for engine in engines if config.allow_unverified and (problem := gate_problem(engine))]
    calibration = read_calibration(config.calibration) if config.calibration else Calibration("none")
    roles = (engine for engine in (detector, segmenter) if engine is not None)
    cautions = [caution for engine in roles if (caution := calibration.check(engine))]
    fusion = _resolve_fusion(config, calibration, detector, segmenter)
    if detector and segmenter and config.fusion and calibration.fuses and fusion is None:
        cautions += unfused_cautions(detector.model, segmenter.model)
    usual_score = calibration.score_threshold(SCORE_THRESHOLD)
    pipeline_config = PipelineConfig(
        score_threshold=usual_score if config.score_threshold is None else config.score_threshold,
        nms_iou=config.nms_iou,
        temporal=_resolve_times(config, calibration.temporal_config(TemporalConfig())) if config.temporal else None,
        calibration=calibration if config.calibration else None,
        fusion=fusion,
        frame_quality=read_frame_quality() if config.temporal else None,
        hflip=config.temporal and config.hflip,
        field=config.field,
    )
    inference = inference or _guarded(config, _open_inference(detector, segmenter, trace), trace)
    doubts = (tuple(unverified), tuple(cautions))
    return Runtime(config, detector, segmenter, inference, pipeline_config, *doubts, trace, usual_score)


def analyse(
    source: str | Path,
    *,
    detector: str | None = DEFAULT_DETECTOR,
    segmenter: str | None = DEFAULT_SEGMENTER,
    engine: str = "auto",
    device: str = "auto",
    calibration: str | Path | None = None,
    score_threshold: float | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_unverified: bool = False,
    keep_pictures: bool = True,
    progress: bool = False,
) -> Iterator[Result]:
    """Yield one result per frame of a recording, in order; boxes and masks in source px.

    Runs the same line as `run_live`, on threads and in batches. The iterator may be left at any moment. For every
    other setting: `open_runtime(RuntimeConfig(...)).results(source)`. keep_pictures: False: the results hold no pixels,
    so that a list of them fits into memory. progress: show a progress bar.

    Raises SourceError or EngineError, both ValueErrors of one sentence, at once for a source or a model that cannot be
    opened, and for an engine that has not passed the accuracy gate unless `allow_unverified`; CalibrationError for a
    calibration that does not fit. A damaged recording yields what can be read, then warns with a RuntimeWarning. An
    engine that has not passed the gate, a calibration of another engine and models without a fusion warn at once.
    """
    from realtime_polyp.sources import open_source  # PyAV, which part of the package can do without

    opened = open_source(str(source), start_s=start_s, end_s=end_s)
    config = RuntimeConfig(
        detector=detector,
        segmenter=segmenter,
        engine=engine,
        device=device,
        live=opened.live,
        calibration=Path(calibration) if calibration is not None else None,
        score_threshold=score_threshold,
        allow_unverified=allow_unverified,
    )
    try:
        runtime = open_runtime(config)
        for sentence in (*runtime.unverified, *runtime.cautions):
            warnings.warn(sentence, RuntimeWarning, stacklevel=2)
        return runtime.results(opened, keep_pictures=keep_pictures, progress=progress)
    except BaseException:
        opened.close()  # a notebook keeps the traceback, and with it a camera that nobody else could open
        raise


def _open_engines(config: RuntimeConfig) -> tuple[DetectorEngine | None, SegmenterEngine | None]:
    # One name for both is a joint model: it runs alone, and the segmenter is its other half.
    two = config.detector and config.segmenter and config.detector != config.segmenter
    low_delay: Hint = "shared latency" if two else "latency"
    hint = low_delay if config.live else "throughput"
    chosen, unverified = (config.engine, config.device), config.allow_unverified
    detector: Any = None
    segmenter: Any = None
    if config.detector:
        detector = open_detector(config.detector, *chosen, hint=hint, allow_unverified=unverified)
    if config.segmenter:
        segmenter = other_half(detector, config.segmenter)
        segmenter = segmenter or open_segmenter(config.segmenter, *chosen, hint=hint, allow_unverified=unverified)
    return detector, segmenter


def _open_inference(
    detector: DetectorEngine | None, segmenter: SegmenterEngine | None, trace: Trace | None
) -> Inference:
    """On CUDA streams where both models are on a GPU, else on the host."""
    devices = {engine.device for engine in (detector, segmenter) if engine is not None}
    if devices != {"cuda"}:
        return HostInference(detector, segmenter)
    from realtime_polyp.inference.cuda import CudaInference  # torch takes seconds to import, and a CPU does not need it

    return CudaInference(detector, segmenter, trace=trace)


def _guarded(config: RuntimeConfig, inference: Inference, trace: Trace | None) -> Inference:
    """For live pictures, which go on while the models are started again. Others end with the first failure."""
    first = inference.detector or inference.segmenter
    if not config.live or first is None:
        return inference
    names = [(config.engine, config.device), *engines_after(first.name, first.device)]

    def open_level(level: int) -> Inference:
        engine, device = names[level]
        chosen = replace(config, engine=engine, device=device)
        detector, segmenter = _open_engines(chosen)
        for one in (detector, segmenter):
            if one is not None and not config.allow_unverified:
                check_gate(one)
        return _open_inference(detector, segmenter, trace)

    return GuardedInference(inference, Ladder(open_level, [first.device, *(device for _, device in names[1:])]))


def _resolve_fusion(
    config: RuntimeConfig, calibration: Calibration, detector: Engine | None, segmenter: Engine | None
) -> Fusion | None:
    """Raises CalibrationError where an operating point of fused scores meets a line without fusion."""
    fusion = fusion_for(detector, segmenter) if config.fusion and calibration.fuses else None
    point = calibration.operating_point if config.score_threshold is None else None
    if point and point.fused and fusion is None:
        raise CalibrationError(
            f"{calibration.name} was made with detector-segmenter fusion: run it without --no-fusion and with both "
            "models that calibration.operating_point used"
        )
    return fusion


def unfused_cautions(detector: str, segmenter: str) -> list[str]:
    """Return the warning that two models run without the fusion that was requested, in a list."""
    why = f"is for other models ({FUSION_FILE})" if FUSION_FILE.is_file() else f"is missing ({FUSION_FILE.parent})"
    models = each_once((detector, segmenter), " and ")
    return [f"scores of {models} are not fused: {FUSION_FILE.name} {why}; fit it with calibration.fusion"]


def _resolve_times(config: RuntimeConfig, default: TemporalConfig) -> TemporalConfig:
    """Raises CalibrationError where a polyp would be forgotten while it is shown."""
    given = {"confirm_s": config.confirm_s, "hold_s": config.hold_s, "release_s": config.release_s}
    chosen = replace(default, **{name: time_s for name, time_s in given.items() if time_s is not None})
    if chosen.release_s < chosen.hold_s:
        raise CalibrationError(
            f"--release-s {chosen.release_s:g} must be at least --hold-s {chosen.hold_s:g}, or a polyp would be "
            "forgotten while it is shown: give both"
        )
    return chosen


def _describe_engine(engine: Engine | None) -> dict[str, str] | None:
    if engine is None:
        return None
    return {"model": engine.model, "engine": engine.name, "device": engine.device, "key": engine.key}


def _iterate(session: Session) -> Iterator[Result]:
    yield from session.iterate()
    if session.source.warning:
        warnings.warn(session.source.warning, RuntimeWarning, stacklevel=2)


def _ignore(result: Result) -> None:
    """The iterator delivers the results."""
