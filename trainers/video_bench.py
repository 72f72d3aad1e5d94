"""The video test bench with exact truth: python -m trainers.video_bench --data val.json --root ../shared/data

Clips of a virtual scope over real stills, so that every box, mask and number is known; the line with its smoothing and
without, side by side, by METRICS 4. What the models said is kept in this machine's cache: another run with the same
clips and models takes a fraction of the time.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any

from tqdm import tqdm

import realtime_polyp
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.metrics.timeline import timeline
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from realtime_polyp.metrics.video import VideoReport, combined, figures, video_report
from realtime_polyp.metrics.video_table import table
from realtime_polyp.outputs.results_reader import ShownFrame, shown_of
from realtime_polyp.packets import Result
from realtime_polyp.postprocess.fusion import Fusion, fusion_for
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.postprocess.score_calibration import Calibration, read_calibration
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.frame_quality import read_frame_quality
from trainers.command import command_parser, run_command
from trainers.data.stills import Still, read_stills
from trainers.video.clip_file import check_outside, write_clip
from trainers.video.gallery import Seen, write_video_gallery
from trainers.video.goals import goal_lines, goals
from trainers.video.pictures import write_video_pictures
from trainers.video.synthetic.clip import make_clip
from trainers.video.synthetic.ground_truth import RULE
from trainers.video.synthetic.prediction_cache import (
    MIRRORED,
    UNSTEADIED,
    Remembered,
    clip_folder,
    is_remembered,
    remember,
    replay,
    truth_of,
)
from trainers.video.synthetic.replay import recalled, side_by_side
from trainers.video.synthetic.source import ClipSource

RAW, STEADY = "without smoothing", "with smoothing"
_CLIP_S = 60.0
_PHANTOM = Path(__file__).resolve().parents[1] / "assets" / "demo.mp4"
_EPILOG = """examples:
  python -m trainers.video_bench --data ../shared/data/val.json --root ../shared/data --minutes 6 --seed 1
  python -m trainers.video_bench --data train.json --root . --minutes 20 --remember         # only ask the models
  python -m trainers.video_bench --data val.json --root . --score-threshold 0.4 --json figures.json --pictures bench
  python -m trainers.video_bench --data val.json --root . --minutes 1 --clip-out ../clips              # to look at
  python -m trainers.video_bench --data val.json --root . --gallery ../looks    # what was missed, what cried wolf
  python -m trainers.video_bench --phantom"""


@dataclass(frozen=True)
class Video:
    """One video of the bench: its truth, and its frames with what the models said, every time anew."""

    truth: VideoTruth
    frames: Callable[[], Iterator[Remembered]]


@dataclass(frozen=True)
class Watched:
    """reports: one a configuration. shown: with smoothing."""

    reports: dict[str, VideoReport]
    shown: Sequence[ShownFrame]


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.video_bench",
        description="Measure the line on clips with exact truth, with smoothing and without.",
        epilog=f"{_EPILOG}\n\n{fill(f'In the truth of a clip, {RULE}.', width=110)}",
    )
    engines = ", ".join(ENGINE_NAMES)
    add = parser.add_argument
    add("--data", type=Path, metavar="FILE.json", help="COCO file of the stills that clips are made from")
    add("--root", type=Path, metavar="DIR", help="folder that the file's image paths start from")
    add("--phantom", action="store_true", help="the project's own phantom, assets/demo.mp4, instead of stills")
    add("--minutes", type=int, default=6, metavar="N", help="as many clips of a minute (default: %(default)s)")
    add("--seed", type=int, default=1, help="other seeds, other clips (default: %(default)s)")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="default: %(default)s")
    add("--engine", default="auto", metavar="NAME", help=f"{engines} (default: %(default)s)")
    add("--calibration", type=Path, metavar="FILE.json", help="scores and operating point to use")
    add("--score-threshold", type=float, metavar="P", help=f"default: the calibration's, else {SCORE_THRESHOLD:g}")
    add("--no-fusion", dest="fusion", action="store_false", help="each model's own word, as with run_live --no-fusion")
    add(
        "--no-hflip",
        "--no-mirror",
        dest="hflip",
        action="store_false",
        help="every frame as it is, as with run_live --no-mirror",
    )
    add("--remember", action="store_true", help="only make the clips and ask the models, for later runs")
    add("--no-masks", dest="masks", action="store_false", help="leave out what the masks tell, which takes longest")
    add("--json", type=Path, metavar="OUT", help="write every figure of both there")
    add("--pictures", type=Path, metavar="DIR", help="draw FROC, withholding and timelines there")
    add("--gallery", type=Path, metavar="DIR", help="paint missed polyps and long false alarms there, to look at")
    add("--clip-out", type=Path, metavar="DIR", help="write each clip there to look at, with its truth")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    check(options)
    detector = open_detector(options.detector, options.engine)
    segmenter = open_segmenter(options.segmenter, options.engine)
    configs = configurations(options, fusion_for(detector, segmenter))
    if options.phantom:
        videos = [phantom(options)]
    else:
        folders = remembered_folders(options, detector, segmenter)
        if options.remember:
            print("\n".join(str(folder) for folder in folders))
            return
        videos = [Video(truth_of(folder), partial(replay, folder)) for folder in folders]
    parts = [watched(video, configs, masks=options.masks) for video in videos]
    reports = {name: combined([part.reports[name] for part in parts]) for name in configs}
    reports[STEADY] = against(reports[RAW], reports[STEADY])
    threshold = configs[STEADY].score_threshold
    print(f"{detector.model} and {segmenter.model}, {detector.name}; boxes from {threshold:g}; {described(options)}")
    print(table(reports))
    print(goal_lines(goals(reports[RAW], reports[STEADY])))
    if options.json:
        write_figures(reports, options)
    if options.pictures:
        lines = [timeline(video.truth, part.shown) for video, part in zip(videos, parts, strict=True)]
        written = write_video_pictures(reports[STEADY], lines, options.pictures)
        print(f"pictures: {', '.join(str(path) for path in written)}")
    if options.gallery:
        seen = [seen_again(video, part) for video, part in zip(videos, parts, strict=True)]
        written = write_video_gallery(seen, options.gallery)
        print(f"gallery: {', '.join(str(path) for path in written) or 'nothing missed, no long false alarm'}")


def check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that do not go together."""
    if options.phantom == bool(options.data):
        raise ValueError("give either --data with --root, or --phantom")
    if options.data and options.root is None:
        raise ValueError("--data needs --root, the folder that its paths start from")
    if options.phantom and (options.remember or options.clip_out):
        raise ValueError("--phantom is a video already: --remember and --clip-out are for clips of stills")
    if options.minutes < 1:
        raise ValueError(f"--minutes is {options.minutes}: it must be 1 or more")
    for folder in (options.clip_out, None if options.phantom else options.gallery):
        if folder:
            check_outside(folder)


def configurations(options: argparse.Namespace, fusion: Fusion | None) -> dict[str, PipelineConfig]:
    """As `run_live` would set the line; what was typed counts before what the calibration says."""
    calibration = read_calibration(options.calibration) if options.calibration else Calibration("none")
    threshold = options.score_threshold
    steady = PipelineConfig(
        score_threshold=calibration.score_threshold(SCORE_THRESHOLD) if threshold is None else threshold,
        temporal=calibration.temporal_config(TemporalConfig()),
        calibration=calibration if options.calibration else None,
        views=read_frame_quality(),
        fusion=fusion if options.fusion and calibration.detector is None else None,
        hflip=options.hflip,
    )
    return {RAW: replace(steady, temporal=None, hflip=False), STEADY: steady}


def described(options: argparse.Namespace) -> str:
    return "the phantom" if options.phantom else f"{options.minutes} clips of {options.data.name}, seed {options.seed}"


def remembered_folders(options: argparse.Namespace, detector: DetectorEngine, segmenter: SegmenterEngine) -> list[Path]:
    """Of every clip, made where it is not kept yet."""
    stills = read_stills(options.data, options.root)
    return [remembered_clip(stills, options, detector, segmenter, number) for number in range(options.minutes)]


def remembered_clip(
    stills: Sequence[Still],
    options: argparse.Namespace,
    detector: DetectorEngine,
    segmenter: SegmenterEngine,
    number: int,
) -> Path:
    keys = (detector.key, segmenter.key)
    folder = clip_folder(stills, seed=options.seed, number=number, seconds=_CLIP_S, keys=keys)
    if not is_remembered(folder):
        clip = make_clip(stills, seed=options.seed, number=number, seconds=_CLIP_S)
        remember(ClipSource(clip), detector, segmenter, folder)
    if options.clip_out:
        print(f"clip: {write_clip(folder, options.clip_out)}")
    return folder


def phantom(options: argparse.Namespace) -> Video:
    """The phantom, whose answers are not kept: it is short."""
    truth = read_truth(_PHANTOM.with_name("demo_truth.json"))

    def results_of(config: PipelineConfig) -> Iterator[Result]:
        return realtime_polyp.analyse(
            _PHANTOM,
            detector=options.detector,
            segmenter=options.segmenter,
            engine=options.engine,
            config=config,
            allow_unverified=True,
        )

    def frames() -> Iterator[Remembered]:
        for result, hflip in zip(results_of(UNSTEADIED), results_of(MIRRORED), strict=True):
            yield recalled(result, hflip, truth.frames[result.frame.index])

    return Video(truth, frames)


def watched(video: Video, configs: dict[str, PipelineConfig], *, masks: bool) -> Watched:
    """The video once, each way beside the other."""
    shown: dict[str, list[ShownFrame]] = {name: [] for name in configs}
    frames = tqdm(video.frames(), total=len(video.truth.frames), desc=video.truth.name, unit="frame", leave=False)
    for results in side_by_side(frames, configs):
        for name, result in results.items():
            shown[name].append(shown_of(result, mask=masks))
    reports = {name: video_report(video.truth, shown[name], masks=masks) for name in configs}
    return Watched(reports, shown[STEADY])


def against(raw: VideoReport, steady: VideoReport) -> VideoReport:
    """With the detections of the line that is not smoothed for what smoothing is held against: it has the pictures as
    they are, while every other one of the smoothed line's is mirrored."""
    return replace(steady, single_scores=raw.single_scores, single_ages=raw.single_ages)


def seen_again(video: Video, part: Watched) -> Seen:
    (record,) = part.reports[STEADY].records
    return Seen(video.truth, part.shown, record, video.frames)


def write_figures(reports: dict[str, VideoReport], options: argparse.Namespace) -> None:
    told: dict[str, Any] = {"data": described(options)}
    told |= {name: figures(report) for name, report in reports.items()}
    told["goals"] = [goal.told for goal in goals(reports[RAW], reports[STEADY])]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {options.json}")


if __name__ == "__main__":
    main()
