"""The line from the models on, over answers that are remembered: any configuration, several at once, in seconds."""

from collections.abc import Iterable, Iterator

from realtime_polyp.config import PipelineConfig
from realtime_polyp.metrics.truth import TrueFrame
from realtime_polyp.packets import Detections, Frame, Result
from realtime_polyp.postprocess.score_calibration import Calibration
from realtime_polyp.temporal.filter import TemporalFilter, unheard
from trainers.video.synthetic.prediction_cache import MIRRORED, Remembered, Said


def side_by_side(frames: Iterable[Remembered], configs: dict[str, PipelineConfig]) -> Iterator[dict[str, Result]]:
    """The line from the models on, several ways at once: one result a way, frame by frame."""
    ways = {name: (TemporalFilter(config), config) for name, config in configs.items()}
    for one in frames:
        yield {name: _result(one, steadier, config) for name, (steadier, config) in ways.items()}


def steadied(frames: Iterable[Remembered], config: PipelineConfig) -> Iterator[Result]:
    """The line from the models on, as the pipeline would have done it then and there."""
    return (results["only"] for results in side_by_side(frames, {"only": config}))


def _result(one: Remembered, steadier: TemporalFilter, config: PipelineConfig) -> Result:
    frame = Frame(one.index, one.pts_s, 0.0, one.image)
    said = one.answer(config)
    found = _likely(said.detections, None if config.fusion else config.calibration, config.model_floor)
    moment = steadier.update(frame, one.field_of_view, found, said.mask, config, unheard)
    return Result(
        frame,
        one.field_of_view,
        moment.detections,
        moment.tracks,
        moment.mask,
        signal=one.signal,
        frame_quality=moment.view,
    )


def _likely(found: Detections, calibration: Calibration | None, floor: float) -> Detections:
    scores = calibration.apply(found.scores) if calibration else found.scores
    kept = scores >= floor
    return Detections(found.boxes[kept], scores[kept])


def recalled(result: Result, hflip: Result, true: TrueFrame) -> Remembered:
    """Results of the two unsteadied lines (UNSTEADIED, MIRRORED) as if they had been remembered."""
    frame = result.frame
    plain, turned = (Said(one.detections, one.mask) for one in (result, hflip))
    return Remembered(
        frame.index,
        frame.pts_s,
        result.field_of_view,
        result.signal,
        plain,
        turned if MIRRORED.flips(frame) else None,
        frame.image,
        true,
    )
