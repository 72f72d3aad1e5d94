"""Run both models once per frame, then replay their outputs through any number of pipeline configurations.

The models see each frame as it is. They also see the frames that a pipeline with `hflip` would flip, flipped. With both
kept, a replay of `TemporalFilter` gives what the pipeline would have given under any configuration of what follows the
models, in a fraction of the time.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.base import Inference
from realtime_polyp.metrics.truth import TrueFrame
from realtime_polyp.packets import Frame, RawResult, Result
from realtime_polyp.pipeline import Analyzer
from realtime_polyp.temporal.filter import TemporalFilter

RAW_FLOOR = 0.05
"""Lowest score of the detector's own that is kept, 0..1."""

_PLAIN = PipelineConfig(score_threshold=RAW_FLOOR, temporal=None)
_FLIPPED = replace(_PLAIN, hflip=True)


@dataclass(frozen=True)
class CachedFrame:
    """One frame with its model outputs and its ground truth.

    Attributes:
        plain: what the models say of the frame as it is.
        flipped: what they say of the frame flipped left to right, mapped back; None for frames that are never flipped.
        truth: what the frame shows.
    """

    plain: RawResult
    flipped: RawResult | None
    truth: TrueFrame

    def select(self, config: PipelineConfig) -> RawResult:
        """Return the raw result that a pipeline with this configuration would have."""
        return self.flipped if config.hflip and self.flipped else self.plain


def analyse_frames(frames: Iterable[Frame], inference: Inference) -> Iterator[tuple[RawResult, RawResult | None]]:
    """Run the models on each frame as it is, and flipped where a pipeline with `hflip` flips it.

    Both analysers see every frame, because the field of view depends on the frames before.
    """
    plain, flipped = Analyzer(inference, _PLAIN), Analyzer(inference, _FLIPPED)
    for frame in frames:
        (as_it_is,) = plain.submit([frame]).result()
        (turned,) = flipped.submit([frame]).result()
        yield as_it_is, turned if _FLIPPED.flips(frame) else None


def replay(frames: Iterable[CachedFrame], config: PipelineConfig) -> Iterator[Result]:
    """Yield the result of each frame, as the pipeline with this configuration would have given it."""
    return (results[""] for results in replay_side_by_side(frames, {"": config}))


def replay_side_by_side(
    frames: Iterable[CachedFrame], configs: Mapping[str, PipelineConfig]
) -> Iterator[dict[str, Result]]:
    """Yield one result per configuration for each frame, in one pass over the frames."""
    filters = {name: TemporalFilter(config) for name, config in configs.items()}
    for frame in frames:
        yield {name: one.update(frame.select(one.config)) for name, one in filters.items()}
