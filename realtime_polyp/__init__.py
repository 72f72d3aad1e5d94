"""Find and outline polyps in colonoscopy video. Research use only; not a medical device.

for result in realtime_polyp.analyse("video.mp4"):
    for track in result.tracks:
        print(result.frame.pts_s, track.id, track.box, track.score)
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_polyp.config import PipelineConfig, usual_config
from realtime_polyp.engines import open_detector, open_segmenter
from realtime_polyp.engines.gate import check_gate
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline, run_inline

if TYPE_CHECKING:
    from realtime_polyp.sources import Source

__all__ = ["Pipeline", "PipelineConfig", "Result", "analyse"]


def analyse(
    source: str | Path,
    *,
    detector: str | None = DEFAULT_DETECTOR,
    segmenter: str | None = DEFAULT_SEGMENTER,
    engine: str = "auto",
    device: str = "auto",
    config: PipelineConfig | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_unverified: bool = False,
) -> Iterator[Result]:
    """One result for each frame of a recording, in order; boxes and masks in pixels of the source.

    config: None for what `run_live` would use.

    Raises SourceError or EngineError, both ValueErrors of one sentence, at once for a source or a model that cannot be
    opened, and for an engine that has not passed the accuracy gate, unless `allow_unverified`. A recording that is
    damaged yields what could be read, then warns with a RuntimeWarning.
    """
    from realtime_polyp.sources import open_source  # PyAV, which a part of the package alone may do without

    opened = open_source(str(source), start_s=start_s, end_s=end_s)
    boxes = open_detector(detector, engine, device) if detector else None
    masks = open_segmenter(segmenter, engine, device) if segmenter else None
    for one in (boxes, masks):
        if one is not None and not allow_unverified:
            check_gate(one)
    return _results(opened, Pipeline(boxes, masks, config or usual_config(boxes, masks)))


def _results(source: "Source", pipeline: Pipeline) -> Iterator[Result]:
    yield from run_inline(source.frames(), pipeline)
    if source.warning:
        warnings.warn(source.warning, RuntimeWarning, stacklevel=2)
