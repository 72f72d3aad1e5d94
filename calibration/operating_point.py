"""Choose the score threshold and the confirmation time for a given rate of false alarms.

python -m calibration.operating_point --truth T.json --video V.mp4 --wanted-per-minute 1 --out cal.json

On videos, a polyp counts as found if a box is shown on it for 0.5 s without interruption, starting within its first
3 s in view. A false alarm is a run of frames with a shown box that matches no true box (IoU >= 0.2), even if a polyp is
in view (METRICS 4). On stills, sensitivity is the share of true boxes that are matched, the false rate is the number of
false boxes per image, and there is no confirmation time to choose.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.fitting.calibration_file import (
    detector_calibration,
    load_or_create,
    save,
    with_operating_point,
)
from calibration.fitting.plots import draw_operating_points
from calibration.fitting.sweep import (
    LabelledVideo,
    Point,
    choose,
    detect_video,
    lowest_false_rate,
    sweep,
    sweep_stills,
)
from calibration.scores import labelled_stills
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import ENGINE_NAMES
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.events import DURATIONS_S
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from realtime_polyp.postprocess.score_calibration import Calibration
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.sources.file import FileSource
from realtime_polyp.temporal.config import TemporalConfig
from trainers.command import check_outputs, command_parser, run_command
from trainers.evaluation.predict import check_files, evaluate

EXIT_NO_POINT = 1
FEW_POLYPS, FEW_MINUTES = 50, 30
_EPILOG = """examples:
  python -m calibration.operating_point --truth assets/demo_truth.json --video assets/demo.mp4 \\
      --wanted-per-minute 2 --out calibration.json --picture curve.png
  python -m calibration.operating_point --truth a.json --video a.mp4 --truth b.json --video b.mp4 \\
      --wanted-per-minute 1 --alarms-from-s 0 --out calibration.json
  python -m calibration.operating_point --stills val.json --root . --wanted-per-image 0.05 --out calibration.json

exit codes: 0 point written, 1 no point has the wanted rate and nothing is written, 2 bad input"""


def main(arguments: list[str] | None = None) -> None:
    chosen = run_command(command_line(), run, arguments)
    if not chosen:
        raise SystemExit(EXIT_NO_POINT)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.operating_point",
        description="Choose the score threshold and the confirmation time from labelled videos, or the threshold from "
        "labelled stills, and write them into a calibration file. A score map in the file is applied first, unless "
        "detector-segmenter fusion replaces it: to calibrate scores without fusion, run calibration.scores before.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--truth",
        type=Path,
        action="append",
        default=[],
        metavar="T.json",
        help="truth of a video; may be repeated",
    )
    add("--video", action="append", default=[], metavar="V.mp4", help="video of the --truth in the same position")
    add("--wanted-per-minute", type=float, metavar="X", help="highest rate of false alarms on videos, per minute")
    add(
        "--alarms-from-s",
        type=float,
        choices=DURATIONS_S,
        default=0.5,
        help="count only false alarms of at least this duration, s (default: %(default)s)",
    )
    add("--stills", type=Path, metavar="FILE.json", help="COCO file of labelled stills, instead of videos")
    add("--root", type=Path, metavar="DIR", help="folder that image paths are relative to")
    add("--wanted-per-image", type=float, metavar="X", help="highest number of false boxes per still")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add(
        "--segmenter",
        default=DEFAULT_SEGMENTER,
        metavar="NAME",
        help="for fusion, or none (default: %(default)s)",
    )
    add(
        "--no-fusion",
        dest="fusion",
        action="store_false",
        help="choose a point for the detector's scores, as for run_live --no-fusion (implied by --stills)",
    )
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="CALIBRATION.json", help="calibration file to create or update")
    add("--picture", type=Path, metavar="OUT.png", help="plot of the candidate points")
    return parser


def run(options: argparse.Namespace) -> bool:
    """Return whether a point was found. Raises OSError or ValueError with a one-sentence cure."""
    check(options)
    document = load_or_create(options.out)
    runtime = open_models(options)
    detector = runtime.detector
    assert detector is not None  # `RuntimeConfig.detector` is a name
    calibration = detector_calibration(document, detector, options.out.name)
    config = replace(runtime.pipeline_config, calibration=calibration)
    points, data = evaluate_points(options, runtime, config)
    wanted = options.wanted_per_image if options.stills else options.wanted_per_minute
    chosen, closest = choose(points, wanted), lowest_false_rate(points)
    if closest is None:
        raise ValueError(f"{detector.model} finds no polyp in {data} at any threshold: nothing to choose from")
    print(f"{detector.model}, {detector.name}, {describe_scores(config)}; {data}")
    print(report(chosen, closest, wanted, options))
    if chosen:
        save(options.out, with_operating_point(document, detector, to_dict(chosen, data, config, options)))
        print(f"calibration: {options.out}")
    if options.picture:
        draw_operating_points(
            points,
            options.picture,
            wanted=wanted,
            marked=chosen or closest,
            chosen=bool(chosen),
            title=f"{detector.model}, {detector.name}: {data}",
            rate=_rate_unit(options),
        )
        print(f"picture: {options.picture}")
    return chosen is not None


def check(options: argparse.Namespace) -> None:
    """Raise ValueError for options that exclude each other or are missing."""
    check_outputs(options.out, picture=options.picture)
    videos = bool(options.truth or options.video)
    if videos == bool(options.stills):
        raise ValueError("give either --truth with --video, or --stills with --root")
    if len(options.truth) != len(options.video):
        raise ValueError(
            f"{len(options.truth)} --truth and {len(options.video)} --video were given: give pairs of them"
        )
    if options.stills and options.root is None:
        raise ValueError("--stills needs --root, the folder that image paths are relative to")
    name = "--wanted-per-image" if options.stills else "--wanted-per-minute"
    wanted = options.wanted_per_image if options.stills else options.wanted_per_minute
    if wanted is None or not 0 <= wanted < math.inf:
        raise ValueError(f"{name} must be given as 0 or more, not {wanted}")


def open_models(options: argparse.Namespace) -> Runtime:
    """Open the models as `run_live` does; on stills and without fusion the detector alone.

    A named engine may be one that has not passed the accuracy gate, such as a new one that is being evaluated.
    """
    alone = bool(options.stills) or not options.fusion or options.segmenter == NO_MODEL
    return open_runtime(
        RuntimeConfig(
            detector=options.detector,
            segmenter=None if alone else options.segmenter,
            engine=options.engine,
            live=True,
            fusion=not alone,
            allow_unverified=options.engine != "auto",
        )
    )


def describe_scores(config: PipelineConfig) -> str:
    """Return which scores the threshold applies to."""
    if config.fusion:
        return f"scores fused with {config.fusion.segmenter.model}"
    return "calibrated scores" if config.calibration and config.calibration.detector else "the model's own scores"


def evaluate_points(options: argparse.Namespace, runtime: Runtime, config: PipelineConfig) -> tuple[list[Point], str]:
    """Return every candidate point with its figures, and a description of the data."""
    if options.stills:
        stills = labelled_stills(options.stills, options.root)
        check_files(stills, masks=False)
        boxes = [case.boxes for case in evaluate(stills, runtime.detector, None, progress=True)]
        calibration = config.calibration or Calibration("none")
        mapped = [ImageBoxes(one.true, one.found, calibration.apply(one.scores)) for one in boxes]
        return sweep_stills(mapped), f"{options.stills.name}, {len(stills)} images"
    # Open every file before the first video runs, so that a mistyped name fails at once.
    pairs = [(FileSource(video), read_truth(path)) for video, path in zip(options.video, options.truth, strict=True)]
    if not any(frame.polyps for _, truth in pairs for _, frame in truth.labelled_frames()):
        raise ValueError(
            f"{join_names([truth for _, truth in pairs])} has no polyp in any labelled frame: sensitivity needs one"
        )
    videos = [detect_video(source, truth, runtime.inference, config) for source, truth in pairs]
    return sweep(videos, base_config=TemporalConfig(), min_alarm_s=options.alarms_from_s), describe_videos(videos)


def describe_videos(videos: Sequence[LabelledVideo]) -> str:
    names = join_names([video.truth for video in videos])
    minutes = sum(len(video.truth.frames) * video.truth.period_s for video in videos) / 60
    return f"{names}, {minutes:.1f} minutes"


def join_names(truths: Sequence[VideoTruth]) -> str:
    return ", ".join(truth.name for truth in truths)


def report(chosen: Point | None, closest: Point, wanted: float, options: argparse.Namespace) -> str:
    """Describe the chosen point, or the closest one if none is chosen."""
    point = chosen or closest
    if chosen:
        lines = [f"chosen for at most {wanted:g} {_rate_unit(options)}:"]
    else:
        lines = [
            f"no point finds a polyp with at most {wanted:g} {_rate_unit(options)}; nothing is written. The closest:"
        ]
    threshold = f"  boxes from a score of {point.score_threshold:g}"
    if point.confirm_s is not None:
        threshold += f", once seen for {point.confirm_s:g} s" if point.confirm_s else ", at once"
    lines.append(threshold)
    lines.append(f"  {point.false_rate:.3g} {_rate_unit(options)}")
    found = f"  {100 * point.sensitivity:.0f} % of {point.figures['polyps']} polyps found"
    if point.first_shown_s is not None:
        found += f", the first box after {point.first_shown_s:.2f} s (median)"
    lines.append(found)
    if not options.stills and (point.figures["polyps"] < FEW_POLYPS or point.figures["minutes"] < FEW_MINUTES):
        lines.append(
            f"  {point.figures['polyps']} polyps in {point.figures['minutes']:.1f} minutes are only an "
            f"example: a reliable choice needs at least {FEW_POLYPS} polyps and {FEW_MINUTES} minutes"
        )
    return "\n".join(lines)


def _rate_unit(options: argparse.Namespace) -> str:
    if options.stills:
        return "false boxes per image"
    return "false alarms per minute" + (f" (of {options.alarms_from_s:g} s or longer)" if options.alarms_from_s else "")


def to_dict(point: Point, data: str, config: PipelineConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Convert the point to its form in the calibration file; one chosen on stills has no times."""
    default = TemporalConfig()
    times = {"confirm_s": point.confirm_s, "hold_s": default.hold_s, "release_s": default.release_s}
    limits = {"wanted_per_minute": options.wanted_per_minute, "alarms_from_s": options.alarms_from_s}
    if options.stills:
        times, limits = dict.fromkeys(times), {"wanted_per_image": options.wanted_per_image}
    fused = config.fusion is not None
    figures = {"found": point.figures, "data": data}
    return {"score_threshold": point.score_threshold, "fused": fused, **times, **limits, **figures}


if __name__ == "__main__":
    main()
