"""What steadiness costs: the step between the models' answers and the results, alone and on one core."""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import cv2

from realtime_polyp.bench.line import open_pipeline
from realtime_polyp.bench.steps import Scene, Step
from realtime_polyp.config import PipelineConfig
from realtime_polyp.packets import RawResult, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.sources import FileSource
from realtime_polyp.temporal.filter import TemporalFilter, fuse_box_and_mask

_LEAD_IN = 5  # frames not counted: what is followed has to be found first


@dataclass(frozen=True)
class Answered:
    """Frames with the models' own answers to them, down to the least score that fusion asks for; config: the line's."""

    results: Sequence[Result]
    config: PipelineConfig


def steadying(scene: Scene) -> Step:
    answered = _answered(scene)
    whole = answered.config
    variants = {
        "fusion, tracker, masks, frame quality": whole,
        "fusion, tracker, masks": replace(whole, frame_quality=None),
        "fusion": replace(whole, frame_quality=None, temporal=None),
    }
    told = {name: partial(_steadied_per_s, answered.results, config) for name, config in variants.items()}
    return Step("steadying the models' answers on one core, the median frame", told)


def _answered(scene: Scene) -> Answered:
    """The clip from the first polyp on, for as many frames as the scene holds: with nothing to follow, less is done."""
    line = open_pipeline(scene.setup, "throughput")
    untouched = PipelineConfig(score_threshold=line.config.model_floor, temporal=None)
    pipeline = Pipeline(line.detector, line.segmenter, untouched)
    results = (pipeline.analyse([frame])[0] for frame in FileSource(scene.clip).frames())
    followed = itertools.dropwhile(partial(_shows_none, line.config), results)
    kept = list(itertools.islice(followed, len(scene.images)))
    if not kept:
        raise ValueError(f"no polyp is found in {scene.clip.name}: nothing to steady")
    return Answered(kept, line.config)


def _shows_none(config: PipelineConfig, result: Result) -> bool:
    found, _ = fuse_box_and_mask(_raw(result), config)
    return not (found.scores >= config.score_threshold).any()


def _steadied_per_s(results: Sequence[Result], config: PipelineConfig) -> float:
    """Frames a second, were all of them as quick as the median one."""
    steadier, took_s = TemporalFilter(config), []
    with _one_core():
        for result in results:
            since_s = time.perf_counter()
            steadier.update(_raw(result))
            took_s.append(time.perf_counter() - since_s)
    return 1 / statistics.median(took_s[_LEAD_IN:] or took_s)


def _raw(result: Result) -> RawResult:
    assert result.raw is not None
    return result.raw


@contextmanager
def _one_core() -> Iterator[None]:
    """OpenCV is all there that would share its work out."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
