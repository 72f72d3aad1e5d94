"""Learn how much a score counts in video: python -m calibration.evidence --data DATA/train.json --root DATA

A track is shown once its boxes have given enough evidence. The curve from score to evidence is learnt from synthetic
clips of the training stills and, with --negatives, from real frames without a polyp of the training sequences.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from calibration.fitting.evidence_fit import WEIGHTS, Clips, Price, learn
from calibration.fitting.plots import draw_evidence
from calibration.fitting.sweep import LabelledVideo, detected_frames
from calibration.scores import labelled_stills
from realtime_polyp.atomic_write import write_json
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import ENGINE_NAMES
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.packets import RawResult
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.temporal.config import Evidence, TemporalConfig
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.negatives import NEGATIVE_RATE_HZ, play, read_negatives, split_sequences
from trainers.video.synthetic.prediction_cache import read_cached_frames, read_cached_truth
from trainers.video.synthetic.replay import CachedFrame, analyse_frames
from trainers.video_bench import cache_clips

_EPILOG = """examples:
  python -m calibration.evidence --data DATA/train.json --root DATA --negatives DATA/negative.json --out evidence.json
  python -m calibration.evidence --data DATA/train.json --root DATA --no-fusion --out detector.json --picture curve.png

The curve is written and printed. realtime_polyp/temporal/config.py holds the one that is used."""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.evidence",
        description="Learn the curve from a box's score to its evidence that best trades delay against false alarms.",
        epilog=_EPILOG,
    )
    engines = ", ".join(ENGINE_NAMES)
    price = Price()
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills that clips are made of")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that image paths are relative to")
    add("--minutes", type=int, default=12, metavar="N", help="clips of one minute per seed (default: %(default)s)")
    add("--seed", type=int, nargs="+", default=[31], help="seeds of the clips (default: 31)")
    add("--negatives", type=Path, metavar="FILE.json", help="frames without a polyp; only training sequences are used")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="default: %(default)s")
    add("--engine", default="auto", metavar="NAME", help=f"{engines} (default: %(default)s)")
    add(
        "--no-fusion",
        dest="fusion",
        action="store_false",
        help="learn the curve of the detector's own scores, as for run_live --no-fusion",
    )
    add("--score-threshold", type=float, default=SCORE_THRESHOLD, metavar="P", help="default: %(default)s")
    add(
        "--slowest-s",
        type=float,
        default=1.0,
        metavar="S",
        help="a box that stays at the threshold is shown after this time at the latest, s (default: %(default)s)",
    )
    add("--long-alarm-s", type=float, default=price.long_s, metavar="S",
        help="price of one false alarm of 0.5 s or longer per minute, s of delay (default: %(default)s)")  # fmt: skip
    add("--any-alarm-s", type=float, default=price.any_s, metavar="S",
        help="price of one false alarm of any length per minute, s of delay (default: %(default)s)")  # fmt: skip
    add("--negative-s", type=float, default=price.frame_s, metavar="S",
        help="price of a box in 1 %% of the frames without a polyp, s of delay (default: %(default)s)")  # fmt: skip
    add("--out", type=Path, required=True, metavar="OUT.json", help="the curve with its figures")
    add("--picture", type=Path, metavar="OUT.png", help="plot of the curve beside the one in use")
    return parser


def run(options: argparse.Namespace) -> None:
    """Learn, print and write the curve. Raises OSError or ValueError with a one-sentence cure."""
    check(options)
    runtime = open_models(options)
    in_use, temporal = runtime.pipeline_config.evidence, runtime.pipeline_config.temporal or TemporalConfig()
    negatives = negative_videos(options, runtime) if options.negatives else []
    clips = Clips(cached_videos(options, runtime), negatives, options.score_threshold, temporal)
    price = Price(options.long_alarm_s, options.any_alarm_s, options.negative_s)
    learnt = learn(clips, in_use, price, least_weight=temporal.confirm_s / options.slowest_s)
    figures = {name: asdict(clips.figures(curve)) for name, curve in (("in_use", in_use), ("learnt", learnt))}
    for name, values in figures.items():
        print(f"{name:>7}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None))
    print(learnt)
    data = describe_data(options, negatives)
    write_curve(learnt, figures, data, options)
    if options.picture:
        draw_evidence({"in use": in_use, "learnt": learnt}, temporal.confirm_s, options.picture, title=data)
        print(f"picture: {options.picture}")


def open_models(options: argparse.Namespace) -> Runtime:
    """Open the models as `run_live` does. An engine that has not passed the accuracy gate must be named."""
    return open_runtime(
        RuntimeConfig(
            detector=options.detector,
            segmenter=options.segmenter,
            engine=options.engine,
            score_threshold=options.score_threshold,
            fusion=options.fusion,
            allow_unverified=options.engine != "auto",
        )
    )


def describe_data(options: argparse.Namespace, negatives: Sequence[LabelledVideo]) -> str:
    seeds = f"seed{'s' if len(options.seed) > 1 else ''} {' '.join(str(seed) for seed in options.seed)}"
    text = f"{options.minutes * len(options.seed)} clips of {options.data.name}, {seeds}"
    frames = sum(len(one.frames) for one in negatives)
    return text + (f"; {frames} frames of {options.negatives.name}" if negatives else "")


def write_curve(learnt: Evidence, figures: dict[str, Any], data: str, options: argparse.Namespace) -> None:
    """Write the curve with its figures and what it was learnt on."""
    content = {
        "curve": asdict(learnt),
        "learnt_on": data,
        "threshold": options.score_threshold,
        "models": [options.detector, options.segmenter],
        "fusion": options.fusion,
        "price_s": asdict(Price(options.long_alarm_s, options.any_alarm_s, options.negative_s)),
        "figures": figures,
    }
    write_json(options.out, content)
    print(f"curve: {options.out}")


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for a number out of its range."""
    check_outputs(options.out, picture=options.picture)
    least_s = TemporalConfig().confirm_s / max(WEIGHTS)
    if options.minutes < 1:
        raise ValueError(f"--minutes is {options.minutes}: it must be 1 or more")
    if len(set(options.seed)) < len(options.seed):
        raise ValueError(f"--seed {' '.join(str(seed) for seed in options.seed)}: a seed is given twice")
    if not 0 < options.score_threshold < 1:
        raise ValueError(f"--score-threshold is {options.score_threshold}: it must lie between 0 and 1")
    if not options.slowest_s >= least_s:
        raise ValueError(f"--slowest-s is {options.slowest_s}: it must be at least {least_s:g}, the time of a sure box")
    for name in ("long_alarm_s", "any_alarm_s", "negative_s"):
        if not getattr(options, name) >= 0:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be 0 or more")


def cached_videos(options: argparse.Namespace, runtime: Runtime) -> list[LabelledVideo]:
    """Return the synthetic clips with the models' outputs; those that are not cached yet are made."""
    stills = labelled_stills(options.data, options.root)
    folders = (
        folder for seed in options.seed for folder in cache_clips(stills, runtime, minutes=options.minutes, seed=seed)
    )
    return [
        labelled_video(read_cached_truth(folder), read_cached_frames(folder), runtime.pipeline_config)
        for folder in tqdm(folders, total=options.minutes * len(options.seed), desc="clips", unit="clip")
    ]


def negative_videos(options: argparse.Namespace, runtime: Runtime) -> list[LabelledVideo]:
    """Return the training sequences without a polyp, one video each."""
    videos = []
    sequences = split_sequences(read_negatives(options.negatives, options.root))
    for name, stills in tqdm(sequences.items(), desc="sequences without a polyp", unit="sequence"):
        truth = VideoTruth(name, (stills[0].width, stills[0].height), NEGATIVE_RATE_HZ, [])
        analysed = analyse_frames(play(stills), runtime.inference)
        frames = (CachedFrame(plain, flipped, TrueFrame({}, {})) for plain, flipped in analysed)
        videos.append(labelled_video(truth, frames, runtime.pipeline_config))
    return videos


def labelled_video(truth: VideoTruth, frames: Iterable[CachedFrame], config: PipelineConfig) -> LabelledVideo:
    """Return the detections of the frames that were analysed, with their truth. One picture at a time is in memory."""
    true_frames: list[TrueFrame] = []

    def analysed() -> Iterator[RawResult]:
        for frame in frames:
            true_frames.append(frame.truth)
            yield frame.select(config)

    found = list(detected_frames(analysed(), config))
    return LabelledVideo(replace(truth, frames=true_frames), found, config.evidence)


if __name__ == "__main__":
    main()
