"""From what was asked for to a line that is ready: engines that may be trusted, calibration, and how they are run."""

import sys
from dataclasses import dataclass, replace

from realtime_polyp.cli.options import Options
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, Engine, Hint, SegmenterEngine
from realtime_polyp.engines.gate import check_gate, gate_problem
from realtime_polyp.inference.host import HostInference, Inference
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.postprocess.fusion import Fusion, fusion_for
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration, CalibrationError, read_calibration
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.frame_quality import read_frame_quality


@dataclass(frozen=True)
class Line:
    """Engines, how they are run and with which configuration. cautions: what a person must be told, a sentence each."""

    detector: DetectorEngine | None
    segmenter: SegmenterEngine | None
    inference: Inference
    config: PipelineConfig
    unverified: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    def pipeline(self, trace: Trace | None = None) -> Pipeline:
        """Warm: the first real frame does not pay for what is compiled on first use."""
        pipeline = Pipeline(self.detector, self.segmenter, self.config, inference=self.inference, trace=trace)
        pipeline.warm_up()
        return pipeline


def open_line(options: Options, *, live: bool, trace: Trace | None = None) -> Line:
    """A live source wants each result soon, a file all of them soon. Raises EngineError or CalibrationError."""
    soon: Hint = "shared latency" if options.detector and options.segmenter else "latency"
    hint = soon if live or options.display == "immediate" else "throughput"
    boxes, masks, chosen = options.detector, options.segmenter, (options.engine, options.device)
    brave = options.allow_unverified
    detector = open_detector(boxes, *chosen, hint=hint, allow_unverified=brave) if boxes else None
    segmenter = open_segmenter(masks, *chosen, hint=hint, allow_unverified=brave) if masks else None
    engines: list[Engine] = [engine for engine in (detector, segmenter) if engine is not None]
    if not brave:
        for engine in engines:
            check_gate(engine)
    unverified = [problem for engine in engines if brave and (problem := gate_problem(engine))]
    calibration = read_calibration(options.calibration) if options.calibration else Calibration("none")
    cautions = [caution for engine in engines if (caution := calibration.check(engine))]
    inference = _inference(detector, segmenter, trace)
    fusion = _fusion(options, calibration, detector, segmenter)
    config = replace(
        _config(options, calibration), fusion=fusion, views=read_frame_quality() if options.smooth else None
    )
    return Line(detector, segmenter, inference, config, tuple(unverified), tuple(cautions))


def _inference(detector: DetectorEngine | None, segmenter: SegmenterEngine | None, trace: Trace | None) -> Inference:
    """On streams of its own where both models live on a GPU, else on the host."""
    devices = {engine.device for engine in (detector, segmenter) if engine is not None}
    if devices != {"cuda"}:
        return HostInference(detector, segmenter)
    from realtime_polyp.inference.cuda import CudaInference  # torch takes seconds to import, and a CPU needs none of it

    return CudaInference(detector, segmenter, trace=trace)


def _fusion(
    options: Options, calibration: Calibration, detector: DetectorEngine | None, segmenter: SegmenterEngine | None
) -> Fusion | None:
    """Raises CalibrationError where a point chosen for fused scores meets a line that has none."""
    fusion = fusion_for(detector, segmenter) if options.fusion and calibration.fuses else None
    chosen = options.score_threshold is None and calibration.operating_point
    if chosen and chosen.fused and fusion is None:
        raise CalibrationError(
            f"{calibration.name} was chosen with box and mask believing each other: run it without --no-fusion and "
            "with both models that calibration.operating_point had"
        )
    return fusion


def _config(options: Options, calibration: Calibration) -> PipelineConfig:
    """What was typed counts before what the calibration says."""
    threshold = options.score_threshold
    return PipelineConfig(
        score_threshold=calibration.score_threshold(SCORE_THRESHOLD) if threshold is None else threshold,
        nms_iou=options.nms_iou,
        temporal=_times(options, calibration.smooth(TemporalConfig())) if options.smooth else None,
        calibration=calibration if options.calibration else None,
        hflip=options.smooth and options.hflip,
    )


def _times(options: Options, usual: TemporalConfig) -> TemporalConfig:
    """Raises CalibrationError where a polyp would be forgotten while it is shown."""
    typed = {"confirm_s": options.confirm_s, "hold_s": options.hold_s, "release_s": options.release_s}
    chosen = replace(usual, **{name: time_s for name, time_s in typed.items() if time_s is not None})
    if chosen.release_s < chosen.hold_s:
        raise CalibrationError(
            f"--release-s {chosen.release_s:g} must be no less than --hold-s {chosen.hold_s:g}, or a polyp would be "
            "forgotten while it is shown: name both"
        )
    return chosen


def say(line: Line) -> None:
    """On standard error, what must not be overlooked."""
    for sentence in line.unverified:
        print(f"run_live.py: UNVERIFIED: {sentence}", file=sys.stderr)
    for sentence in line.cautions:
        print(f"run_live.py: {sentence}", file=sys.stderr)
