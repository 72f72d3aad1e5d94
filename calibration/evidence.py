"""Learn how much a score counts in video: python -m calibration.evidence --data DATA/train.json --root DATA

A track is shown once its boxes have given enough evidence. The curve from score to evidence is learnt from synthetic
clips of the training stills and, with --negatives, from real frames without a polyp of the training sequences.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tqdm import tqdm

from calibration.fitting.evidence_fit import WEIGHTS, Clips, Price, learn
from calibration.fitting.plots import draw_evidence
from calibration.fitting.sweep import LabelledVideo, detected_frames
from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import ENGINE_NAMES
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.inference.base import Inference
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.packets import Frame, RawResult
from realtime_polyp.pipeline import Analyzer
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.temporal.config import TemporalConfig
from trainers.command import command_parser, run_command
from trainers.data.negatives import NEGATIVE_RATE_HZ, read_negatives, split_sequences
from trainers.data.stills import Still, read_image, read_stills
from trainers.video.synthetic.prediction_cache import read_cached_frames, read_cached_truth
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
    add("--minutes", type=int, default=12, metavar="N", help="number of clips of one minute (default: %(default)s)")
    add("--seed", type=int, default=31, help="seed of the clips (default: %(default)s)")
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
    runtime = open_runtime(
        RuntimeConfig(
            detector=options.detector,
            segmenter=options.segmenter,
            engine=options.engine,
            score_threshold=options.score_threshold,
            fusion=options.fusion,
            allow_unverified=options.engine != "auto",
        )
    )
    config = runtime.pipeline_config
    temporal = config.temporal or TemporalConfig()
    negatives = negative_videos(options, runtime) if options.negatives else []
    clips = Clips(cached_videos(options, runtime), negatives, options.score_threshold, temporal)
    price = Price(options.long_alarm_s, options.any_alarm_s, options.negative_s)
    least_weight = temporal.confirm_s / options.slowest_s
    learnt = learn(clips, config.evidence, price, least_weight=least_weight)
    figures = {name: asdict(clips.figures(one)) for name, one in (("in_use", config.evidence), ("learnt", learnt))}
    for name, values in figures.items():
        print(f"{name:>7}: " + ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None))
    print(learnt)
    data = f"{options.minutes} clips of {options.data.name}, seed {options.seed}"
    data += f"; {sum(len(one.frames) for one in negatives)} frames of {options.negatives.name}" if negatives else ""
    content = {"curve": asdict(learnt), "learnt_on": data, "threshold": options.score_threshold}
    content |= {"models": [options.detector, options.segmenter], "fusion": options.fusion}
    content |= {"price_s": asdict(price), "figures": figures}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(options.out, json.dumps(content, indent=1) + "\n")
    print(f"curve: {options.out}")
    if options.picture:
        draw_evidence({"in use": config.evidence, "learnt": learnt}, temporal.confirm_s, options.picture, title=data)
        print(f"picture: {options.picture}")


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for a number out of its range."""
    least_s = TemporalConfig().confirm_s / max(WEIGHTS)
    if options.minutes < 1:
        raise ValueError(f"--minutes is {options.minutes}: it must be 1 or more")
    if not 0 < options.score_threshold < 1:
        raise ValueError(f"--score-threshold is {options.score_threshold}: it must lie between 0 and 1")
    if not options.slowest_s >= least_s:
        raise ValueError(f"--slowest-s is {options.slowest_s}: it must be at least {least_s:g}, the time of a sure box")
    for name in ("long_alarm_s", "any_alarm_s", "negative_s"):
        if not getattr(options, name) >= 0:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(options, name)}: it must be 0 or more")


def cached_videos(options: argparse.Namespace, runtime: Runtime) -> list[LabelledVideo]:
    """Return the synthetic clips with the models' outputs; those that are not cached yet are made."""
    stills, videos = read_stills(options.data, options.root), []
    folders = cache_clips(stills, runtime, minutes=options.minutes, seed=options.seed)
    for folder in tqdm(folders, total=options.minutes, desc="clips", unit="clip"):
        videos.append(cached_video(folder, runtime.pipeline_config))
    return videos


def cached_video(folder: Path, config: PipelineConfig) -> LabelledVideo:
    """Read a cached clip, one picture at a time. Frames that its source dropped are not in the cache."""
    truth, true_frames = read_cached_truth(folder), list[TrueFrame]()

    def analysed() -> Iterator[RawResult]:
        for frame in read_cached_frames(folder):
            true_frames.append(frame.truth)
            yield frame.select(config)

    found = list(detected_frames(analysed(), config))
    return LabelledVideo(replace(truth, frames=true_frames), found, config.evidence)


def negative_videos(options: argparse.Namespace, runtime: Runtime) -> list[LabelledVideo]:
    """Return the training sequences without a polyp, one video each."""
    sequences = split_sequences(read_negatives(options.negatives, options.root))
    return [
        negative_video(name, stills, runtime.inference, runtime.pipeline_config)
        for name, stills in tqdm(sequences.items(), desc="sequences without a polyp", unit="sequence")
    ]


def negative_video(
    name: str, stills: Sequence[Still], inference: Inference, config: PipelineConfig
) -> LabelledVideo:  # fmt: skip
    """Show one sequence to the models."""
    analyzer = Analyzer(inference, config)

    def analysed() -> Iterator[RawResult]:
        for index, still in enumerate(stills):
            frame = Frame(index, float(index / NEGATIVE_RATE_HZ), 0.0, read_image(still.image_path))
            yield from analyzer.submit([frame]).result()

    size = (stills[0].width, stills[0].height)
    truth = VideoTruth(name, size, NEGATIVE_RATE_HZ, [TrueFrame({}, {}) for _ in stills])
    return LabelledVideo(truth, list(detected_frames(analysed(), config)), config.evidence)


if __name__ == "__main__":
    main()
