"""From what was asked for to a line that is ready: engines that may be trusted, calibration, and how they are run."""

import sys
from dataclasses import dataclass

from realtime_polyp.calibrated import Calibration, read_calibration
from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.acceptance import check_gate, gate_problem
from realtime_polyp.engines.base import DetectorEngine, Engine, Hint, SegmenterEngine
from realtime_polyp.inference import HostInference, Inference
from realtime_polyp.options import Options
from realtime_polyp.pipeline import Pipeline, PipelineConfig
from realtime_polyp.postprocess import SCORE_THRESHOLD
from realtime_polyp.smooth import SmoothConfig
from realtime_polyp.trace import Trace


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
    return Line(detector, segmenter, inference, _config(options, calibration), tuple(unverified), tuple(cautions))


def _inference(detector: DetectorEngine | None, segmenter: SegmenterEngine | None, trace: Trace | None) -> Inference:
    """On streams of its own where both models live on a GPU, else on the host."""
    devices = {engine.device for engine in (detector, segmenter) if engine is not None}
    if devices != {"cuda"}:
        return HostInference(detector, segmenter)
    from realtime_polyp.cuda.inference import CudaInference  # torch takes seconds to import, and a CPU needs none of it

    return CudaInference(detector, segmenter, trace=trace)


def _config(options: Options, calibration: Calibration) -> PipelineConfig:
    """What was typed counts before what the calibration says."""
    threshold = options.score_threshold
    return PipelineConfig(
        calibration.score_threshold(SCORE_THRESHOLD) if threshold is None else threshold,
        options.nms_iou,
        calibration.smooth(SmoothConfig()) if options.smooth else None,
        calibration if options.calibration else None,
    )


def say(line: Line) -> None:
    """On standard error, what must not be overlooked."""
    for sentence in line.unverified:
        print(f"run_live.py: UNVERIFIED: {sentence}", file=sys.stderr)
    for sentence in line.cautions:
        print(f"run_live.py: {sentence}", file=sys.stderr)
