"""From what score on, and after how long, a box is shown: the choice that keeps a wanted rate of false alarms.

python -m calibration.operating_point --truth T.json --video V.mp4 --wanted-per-minute 1 --out cal.json

Polyps found: shown for 0.5 s without interruption from within their first 3 s in view. A false alarm: a run of frames
with a shown box that reaches no true box (IoU >= 0.2), also beside a polyp (METRICS 4). On stills: true boxes reached
and false boxes an image, with no confirmation time to choose.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.fitting.calibration_file import Document, load_or_begin, save, scores_for, with_operating_point
from calibration.fitting.plots import draw_operating_points
from calibration.fitting.sweep import LabelledVideo, Models, Point, choose, nearest, sweep, sweep_stills, watched
from calibration.scores import labelled_stills
from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.events import DURATIONS_S
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from realtime_polyp.postprocess.fusion import fusion_for
from realtime_polyp.sources.file import FileSource
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.frame_quality import read_frame_quality
from trainers.command import command_parser, run_command
from trainers.evaluation.predict import check_files, evaluate

EXIT_NONE_KEEPS_IT = 1
FEW_POLYPS, FEW_MINUTES = 50, 30
_EPILOG = """examples:
  python -m calibration.operating_point --truth assets/demo_truth.json --video assets/demo.mp4 \\
      --wanted-per-minute 2 --out calibration.json --picture curve.png
  python -m calibration.operating_point --truth a.json --video a.mp4 --truth b.json --video b.mp4 \\
      --wanted-per-minute 1 --alarms-from-s 0 --out calibration.json
  python -m calibration.operating_point --stills val.json --root . --wanted-per-image 0.05 --out calibration.json

exit codes: 0 chosen, 1 no point keeps the wanted rate and nothing was written, 2 bad input"""


def main(arguments: list[str] | None = None) -> None:
    chosen = run_command(command_line(), run, arguments)
    if not chosen:
        raise SystemExit(EXIT_NONE_KEEPS_IT)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.operating_point",
        description="Choose the score threshold and the confirmation time from labelled videos, or the threshold from "
        "labelled stills, and write them into a calibration file. Where box and mask do not hear each other, run "
        "calibration.scores first: a map in the file is applied before anything is chosen.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--truth", type=Path, action="append", default=[], metavar="T.json", help="a video's truth; may be repeated")
    add("--video", action="append", default=[], metavar="V.mp4", help="the video of the --truth in the same place")
    add("--wanted-per-minute", type=float, metavar="X", help="false alarms allowed, of videos")
    add(
        "--alarms-from-s",
        type=float,
        choices=DURATIONS_S,
        default=0.5,
        help="false alarms that are limited last this long; 0: any (default: %(default)s)",
    )
    add("--stills", type=Path, metavar="FILE.json", help="COCO file of labelled stills, instead of videos")
    add("--root", type=Path, metavar="DIR", help="folder that the stills' paths start from")
    add("--wanted-per-image", type=float, metavar="X", help="false boxes allowed, of stills")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="of videos (default: %(default)s), or none")
    add(
        "--no-fusion",
        dest="fusion",
        action="store_false",
        help="choose for the detector's own scores, as run_live --no-fusion shows them; so it is with --stills",
    )
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="CALIBRATION.json", help="written, or its part of it replaced")
    add("--picture", type=Path, metavar="OUT.png", help="draw the curves there")
    return parser


def run(options: argparse.Namespace) -> bool:
    """Whether a point was found. Raises OSError or ValueError, one sentence each, for what the user can mend."""
    check(options)
    document = load_or_begin(options.out)
    models = models_of(options, document)
    detector = models.detector
    points, data = points_of(options, models)
    wanted = options.wanted_per_image if options.stills else options.wanted_per_minute
    chosen, closest = choose(points, wanted), nearest(points)
    if closest is None:
        raise ValueError(f"{detector.model} finds no polyp of {data} at any threshold: nothing to choose from")
    print(f"{detector.model}, {detector.name}, {units_of(models)}; {data}")
    print(report(chosen, closest, wanted, options))
    if options.picture:
        words = {"title": f"{detector.model}, {detector.name}: {data}", "rate": _what(options)}
        draw_operating_points(
            points, options.picture, wanted=wanted, marked=chosen or closest, chosen=bool(chosen), **words
        )
        print(f"picture: {options.picture}")
    if chosen:
        save(options.out, with_operating_point(document, detector, told(chosen, data, models, options)))
        print(f"calibration: {options.out}")
    return chosen is not None


def check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that do not go together."""
    videos = bool(options.truth or options.video)
    if videos == bool(options.stills):
        raise ValueError("give either --truth with --video, or --stills with --root")
    if len(options.truth) != len(options.video):
        raise ValueError(
            f"{len(options.truth)} --truth and {len(options.video)} --video were given: give pairs of them"
        )
    if options.stills and options.root is None:
        raise ValueError("--stills needs --root, the folder that its paths start from")
    name = "--wanted-per-image" if options.stills else "--wanted-per-minute"
    wanted = options.wanted_per_image if options.stills else options.wanted_per_minute
    if wanted is None or not wanted >= 0:
        raise ValueError(f"{name} must be given as 0 or more, not {wanted}")


def models_of(options: argparse.Namespace, document: Document) -> Models:
    """Of videos, box and mask hear each other as in the live line, where that was learnt for these two."""
    detector = open_detector(options.detector, options.engine)
    calibration = scores_for(document, detector, options.out.name)
    alone = Models(detector, calibration, views=read_frame_quality(), hflip=not options.stills)
    if options.stills or not options.fusion or options.segmenter == "none":
        return alone
    segmenter = open_segmenter(options.segmenter, options.engine)
    fusion = fusion_for(detector, segmenter)
    return replace(alone, segmenter=segmenter, fusion=fusion) if fusion else alone


def units_of(models: Models) -> str:
    """Of the scores among which a threshold is chosen."""
    if models.fusion:
        return f"scores fused with {models.fusion.segmenter.model}"
    return "calibrated scores" if models.calibration.detector else "the model's own scores"


def points_of(options: argparse.Namespace, models: Models) -> tuple[list[Point], str]:
    """All that can be chosen, and what it was told on."""
    if options.stills:
        stills = labelled_stills(options.stills, options.root)
        check_files(stills, masks=False)
        boxes = [case.boxes for case in evaluate(stills, models.detector, None, progress=True)]
        mapped = [ImageBoxes(one.true, one.found, models.calibration.apply(one.scores)) for one in boxes]
        return sweep_stills(mapped), f"{options.stills.name}, {len(stills)} images"
    # All are opened before the first is run: a name mistyped is told at once.
    pairs = [(FileSource(video), read_truth(path)) for video, path in zip(options.video, options.truth, strict=True)]
    if not any(frame.polyps for _, truth in pairs for frame in truth.frames):
        raise ValueError(f"{names_of([truth for _, truth in pairs])} has no polyp in any frame: sensitivity needs one")
    videos = [watched(source, truth, models) for source, truth in pairs]
    return sweep(videos, usual=TemporalConfig(), alarms_from_s=options.alarms_from_s), described(videos)


def described(videos: Sequence[LabelledVideo]) -> str:
    names = names_of([video.truth for video in videos])
    minutes = sum(len(video.truth.frames) * video.truth.period_s for video in videos) / 60
    return f"{names}, {minutes:.1f} minutes"


def names_of(truths: Sequence[VideoTruth]) -> str:
    return ", ".join(truth.name for truth in truths)


def report(chosen: Point | None, closest: Point, wanted: float, options: argparse.Namespace) -> str:
    """The point in words, or that there is none."""
    point = chosen or closest
    if chosen:
        lines = [f"chosen for {wanted:g} {_what(options)} at most:"]
    else:
        lines = [f"no point finds a polyp with {wanted:g} {_what(options)} or fewer; nothing is written. The nearest:"]
    lines.append(f"  boxes from a score of {point.score_threshold:g}" + _after(point))
    lines.append(f"  {point.false_rate:.3g} {_what(options)}")
    lines.append(f"  {100 * point.sensitivity:.0f} % of {point.told['polyps']} polyps found" + _first(point))
    if not options.stills and (point.told["polyps"] < FEW_POLYPS or point.told["minutes"] < FEW_MINUTES):
        lines.append(
            f"  {point.told['polyps']} polyps in {point.told['minutes']:.1f} minutes are an example: what holds for "
            f"people takes {FEW_POLYPS} and {FEW_MINUTES} or more"
        )
    return "\n".join(lines)


def _what(options: argparse.Namespace) -> str:
    return "false boxes per image" if options.stills else f"false alarms per minute{_class_of(options.alarms_from_s)}"


def _class_of(least_s: float) -> str:
    return f" (of {least_s:g} s or longer)" if least_s else ""


def _after(point: Point) -> str:
    if point.confirm_s is None:
        return ""
    return f", once seen for {point.confirm_s:g} s" if point.confirm_s else ", at once"


def _first(point: Point) -> str:
    return "" if point.first_shown_s is None else f", the first box after {point.first_shown_s:.2f} s (median)"


def told(point: Point, data: str, models: Models, options: argparse.Namespace) -> dict[str, Any]:
    """The point as the calibration file holds it; stills leave the times to the usual configuration."""
    usual = TemporalConfig()
    times = {"confirm_s": point.confirm_s, "hold_s": usual.hold_s, "release_s": usual.release_s}
    limits = {"wanted_per_minute": options.wanted_per_minute, "alarms_from_s": options.alarms_from_s}
    if options.stills:
        times, limits = dict.fromkeys(times), {"wanted_per_image": options.wanted_per_image}
    units = {"fused": models.fusion is not None}
    return {"score_threshold": point.score_threshold, **units, **times, **limits, "found": point.told, "data": data}


if __name__ == "__main__":
    main()
