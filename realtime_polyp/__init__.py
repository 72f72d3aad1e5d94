"""Find and outline polyps in colonoscopy video. Research use only; not a medical device.

for result in realtime_polyp.analyse("video.mp4"):
    for track in result.tracks:
        print(result.frame.pts_s, track.id, track.box, track.score)
"""

from collections.abc import Iterator
from pathlib import Path

from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.packets import RawResult, Result
from realtime_polyp.pipeline import Analyzer, Pipeline
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.temporal.filter import TemporalFilter

__all__ = [
    "Analyzer",
    "Pipeline",
    "PipelineConfig",
    "RawResult",
    "Result",
    "Runtime",
    "RuntimeConfig",
    "TemporalFilter",
    "analyse",
    "open_runtime",
]


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
) -> Iterator[Result]:
    """Yield one result per frame of a recording, in order; boxes and masks in source px.

    Runs the same line as `run_live`, on threads and in batches. The iterator may be left at any moment. For every
    other setting: `open_runtime(RuntimeConfig(...)).results(source)`.

    Raises SourceError or EngineError, both ValueErrors of one sentence, at once for a source or a model that cannot be
    opened, and for an engine that has not passed the accuracy gate unless `allow_unverified`; CalibrationError for a
    calibration that does not fit. A damaged recording yields what can be read, then warns with a RuntimeWarning.
    """
    from realtime_polyp.sources import open_source  # PyAV, which part of the package can do without

    opened = open_source(str(source), start_s=start_s, end_s=end_s)
    runtime = open_runtime(
        RuntimeConfig(
            detector=detector,
            segmenter=segmenter,
            engine=engine,
            device=device,
            live=opened.live,
            calibration=Path(calibration) if calibration is not None else None,
            score_threshold=score_threshold,
            allow_unverified=allow_unverified,
        )
    )
    return runtime.results(opened)
