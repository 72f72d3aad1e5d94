"""Video benchmark with exact ground truth: python -m trainers.video_bench --data val.json --root DATA

A virtual scope moves over real stills, so that every box, mask and identity is known. The runtime is measured with
temporal filtering and without, side by side, by METRICS 4. Model outputs are cached on this machine: another run with
the same clips and models takes a fraction of the time.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

from tqdm import tqdm

from realtime_polyp.atomic_write import write_json
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import ENGINE_NAMES
from realtime_polyp.engines.base import Engine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.messages import each_once
from realtime_polyp.metrics.timeline import timeline
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from realtime_polyp.metrics.video import VideoReport, combine, figures, video_report
from realtime_polyp.metrics.video_table import table
from realtime_polyp.outputs.results_reader import ShownFrame, shown_of
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.sources import open_source
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.stills import Still, read_stills
from trainers.video.clip_file import check_outside, write_clip
from trainers.video.gallery import GalleryVideo, write_video_gallery
from trainers.video.goals import goal_lines, goals
from trainers.video.pictures import write_video_pictures
from trainers.video.synthetic.clip import ClipSource, make_clip
from trainers.video.synthetic.ground_truth import RULE
from trainers.video.synthetic.prediction_cache import (
    cache_predictions,
    clip_folder,
    is_cached,
    read_cached_frames,
    read_cached_truth,
)
from trainers.video.synthetic.replay import RAW_FLOOR, CachedFrame, analyse_frames, replay_side_by_side

RAW, FILTERED = "without temporal filter", "with temporal filter"
_CLIP_S = 60.0
_PHANTOM = Path(__file__).resolve().parents[1] / "assets" / "demo.mp4"
_EPILOG = """examples:
  python -m trainers.video_bench --data DATA/val.json --root DATA --minutes 6 --seed 1
  python -m trainers.video_bench --data train.json --root . --minutes 20 --predict-only    # only fill the cache
  python -m trainers.video_bench --data val.json --root . --score-threshold 0.4 --json figures.json --pictures bench
  python -m trainers.video_bench --data val.json --root . --minutes 1 --clip-out ../clips  # write the clips as videos
  python -m trainers.video_bench --data val.json --root . --gallery ../errors    # missed polyps, long false alarms
  python -m trainers.video_bench --phantom"""


@dataclass(frozen=True)
class Video:
    """One video of the benchmark.

    Attributes:
        truth: its ground truth.
        frames: iterates over its frames with their model outputs, from the first frame at each call.
    """

    truth: VideoTruth
    frames: Callable[[], Iterator[CachedFrame]]


@dataclass(frozen=True)
class Measurement:
    """What was measured on one video.

    Attributes:
        reports: one per configuration, by name.
        shown: what the filtered configuration shows in each frame.
    """

    reports: dict[str, VideoReport]
    shown: Sequence[ShownFrame]


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.video_bench",
        description="Measure the runtime on clips with exact ground truth, with temporal filtering and without.",
        epilog=f"{_EPILOG}\n\n{fill(f'In the ground truth of a clip, {RULE}.', width=110)}",
    )
    engines = ", ".join(ENGINE_NAMES)
    add = parser.add_argument
    add("--data", type=Path, metavar="FILE.json", help="COCO file of the stills that clips are made from")
    add("--root", type=Path, metavar="DIR", help="folder that the file's image paths start from")
    add("--phantom", action="store_true", help="measure the rendered demo clip, assets/demo.mp4, instead of stills")
    add("--minutes", type=int, default=6, metavar="N", help="number of clips of one minute each (default: %(default)s)")
    add("--seed", type=int, default=1, help="seed of the clips (default: %(default)s)")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="weights, or none (default: %(default)s)")
    add("--engine", default="auto", metavar="NAME", help=f"{engines} (default: %(default)s)")
    add("--calibration", type=Path, metavar="FILE.json", help="score calibration and operating point to use")
    add("--score-threshold", type=float, metavar="P", help=f"default: the calibration's, else {SCORE_THRESHOLD:g}")
    add("--no-fusion", dest="fusion", action="store_false", help="disable detector-segmenter fusion, as in run_live")
    add(
        "--no-hflip",
        "--no-mirror",
        dest="hflip",
        action="store_false",
        help="do not flip every second frame, as in run_live",
    )
    add(
        "--predict-only",
        "--remember",
        dest="predict_only",
        action="store_true",
        help="only make the clips and run the models, to fill the cache for later runs",
    )
    add("--no-masks", dest="masks", action="store_false", help="skip the mask figures, which take longest")
    add("--json", type=Path, metavar="OUT", help="write all figures to this file")
    add("--pictures", type=Path, metavar="DIR", help="draw FROC, withholding and timelines into this folder")
    add("--gallery", type=Path, metavar="DIR", help="draw missed polyps and long false alarms into this folder")
    add(
        "--clip-out", type=Path, metavar="DIR", help="write each clip as a video, with its ground truth, to this folder"
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the benchmark.

    Raises:
        OSError, ValueError: one sentence each, for input that the user can correct.
    """
    check_options(options)
    runtime = open_runtime(runtime_config(options))
    configs = {RAW: replace(runtime.pipeline_config, temporal=None, hflip=False), FILTERED: runtime.pipeline_config}
    if runtime.pipeline_config.raw_floor < RAW_FLOOR:
        raise ValueError(
            f"--calibration {options.calibration} lets boxes from {runtime.pipeline_config.raw_floor:.3f} continue a "
            f"track, and cached clips hold boxes from {RAW_FLOOR:g}: use run_live --results and trainers.evaluate_video"
        )
    if options.phantom:
        videos = [open_phantom(runtime)]
    else:
        stills = read_stills(options.data, options.root)
        folders = list(cache_clips(stills, runtime, minutes=options.minutes, seed=options.seed))
        for folder in folders if options.clip_out else ():
            print(f"clip: {write_clip(folder, options.clip_out)}")
        if options.predict_only:
            print("\n".join(str(folder) for folder in folders))
            return
        videos = [Video(read_cached_truth(folder), partial(read_cached_frames, folder)) for folder in folders]
    masks = options.masks and runtime.segmenter is not None
    measured = [measure(video, configs, masks=masks) for video in videos]
    reports = {name: combine([one.reports[name] for one in measured]) for name in configs}
    reports[FILTERED] = use_unflipped_detections(reports[RAW], reports[FILTERED])
    print(
        f"{each_once((engine.model for engine in _engines(runtime)), ' and ')}, {_engine_names(runtime)}; "
        f"boxes from {configs[FILTERED].score_threshold:g}; {describe_data(options)}"
    )
    for caution in runtime.cautions:
        print(f"caution: {caution}")
    print(table(reports))
    print(goal_lines(goals(reports[RAW], reports[FILTERED])))
    if options.json:
        write_figures(reports, options)
    if options.pictures:
        lines = [timeline(video.truth, one.shown) for video, one in zip(videos, measured, strict=True)]
        written = write_video_pictures(reports[FILTERED], lines, options.pictures)
        print(f"pictures: {', '.join(str(path) for path in written)}")
    if options.gallery:
        gallery = [
            GalleryVideo(video.truth, one.shown, one.reports[FILTERED].records[0], video.frames)
            for video, one in zip(videos, measured, strict=True)
        ]
        written = write_video_gallery(gallery, options.gallery)
        print(f"gallery: {', '.join(str(path) for path in written) or 'nothing missed, no long false alarm'}")


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together."""
    check_outputs(options.json)
    if options.phantom == bool(options.data):
        raise ValueError("give either --data with --root, or --phantom")
    if options.data and options.root is None:
        raise ValueError("--data needs --root, the folder that its paths start from")
    if options.phantom and (options.predict_only or options.clip_out):
        raise ValueError("--phantom is a video already: --predict-only and --clip-out are for clips of stills")
    if options.detector == NO_MODEL:
        raise ValueError("--detector none: the benchmark measures boxes; only --segmenter can be none")
    if options.minutes < 1:
        raise ValueError(f"--minutes is {options.minutes}: it must be 1 or more")
    for folder in (options.clip_out, None if options.phantom else options.gallery):
        if folder:
            check_outside(folder)


def runtime_config(options: argparse.Namespace) -> RuntimeConfig:
    """Configure the runtime as `run_live` would.

    The benchmark may measure an engine that has not passed the accuracy gate, but only one that was named.
    """
    return RuntimeConfig(
        detector=options.detector,
        segmenter=None if options.segmenter == NO_MODEL else options.segmenter,
        engine=options.engine,
        calibration=options.calibration,
        score_threshold=options.score_threshold,
        fusion=options.fusion,
        hflip=options.hflip,
        allow_unverified=options.engine != "auto",
    )


def describe_data(options: argparse.Namespace) -> str:
    return "the phantom" if options.phantom else f"{options.minutes} clips of {options.data.name}, seed {options.seed}"


def _engine_names(runtime: Runtime) -> str:
    return each_once((engine.name for engine in _engines(runtime)), ", ")


def _engines(runtime: Runtime) -> list[Engine]:
    return [engine for engine in (runtime.detector, runtime.segmenter) if engine is not None]


def cache_clips(stills: Sequence[Still], runtime: Runtime, *, minutes: int, seed: int) -> Iterator[Path]:
    """Yield the cache folder of each clip. Clips that are not cached yet are drawn and shown to the models."""
    keys = [engine.key for engine in (runtime.detector, runtime.segmenter) if engine is not None]
    for number in range(minutes):
        folder = clip_folder(stills, seed=seed, number=number, seconds=_CLIP_S, keys=keys)
        if not is_cached(folder):
            clip = make_clip(stills, seed=seed, number=number, seconds=_CLIP_S)
            cache_predictions(ClipSource(clip), runtime.inference, folder)
        yield folder


def open_phantom(runtime: Runtime) -> Video:
    """Return the phantom. It is short: its model outputs are not cached."""
    truth = read_truth(_PHANTOM.with_name("demo_truth.json"))

    def frames() -> Iterator[CachedFrame]:
        for plain, flipped in analyse_frames(open_source(str(_PHANTOM)).frames(), runtime.inference):
            yield CachedFrame(plain, flipped, truth.frames[plain.frame.index])

    return Video(truth, frames)


def measure(video: Video, configs: dict[str, PipelineConfig], *, masks: bool) -> Measurement:
    """Measure every configuration in one pass over the video."""
    shown: dict[str, list[ShownFrame]] = {name: [] for name in configs}
    frames = tqdm(video.frames(), total=len(video.truth.frames), desc=video.truth.name, unit="frame", leave=False)
    for results in replay_side_by_side(frames, configs):
        for name, result in results.items():
            shown[name].append(shown_of(result, mask=masks))
    reports = {name: video_report(video.truth, shown[name], masks=masks) for name in configs}
    return Measurement(reports, shown[FILTERED])


def use_unflipped_detections(raw: VideoReport, filtered: VideoReport) -> VideoReport:
    """Compare temporal filtering with detections on frames as they are.

    The filtered configuration flips every second frame, so its own single-frame detections jitter more. Measured
    against those, filtering would look better than it is.
    """
    return replace(filtered, single_scores=raw.single_scores, single_ages=raw.single_ages)


def write_figures(reports: dict[str, VideoReport], options: argparse.Namespace) -> None:
    content: dict[str, Any] = {"data": describe_data(options)}
    content |= {name: figures(report) for name, report in reports.items()}
    content["goals"] = [goal.to_dict() for goal in goals(reports[RAW], reports[FILTERED])]
    write_json(options.json, content)
    print(f"figures: {options.json}")


if __name__ == "__main__":
    main()
