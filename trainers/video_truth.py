"""Make a truth file from labels: python -m trainers.video_truth --cvat annotations.xml --video V.mp4 --out T.json

docs/video_truth.md describes how to label a video, and the format of the file.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from realtime_polyp.metrics.truth import VideoTruth, write_truth
from trainers.command import command_parser, run_command
from trainers.video.folder_clock import leave_out_missing, read_folder_clock
from trainers.video.labels import Clock, Labelling, check_frames, read_clock, truth_of
from trainers.video.truth_coco import read_coco_video
from trainers.video.truth_cvat import read_cvat
from trainers.video.truth_stills import read_labelme, read_yolo

_EPILOG = """examples:
  python -m trainers.video_truth --cvat annotations.xml --video V.mp4 --out V_truth.json
  python -m trainers.video_truth --coco-video labels.json --video V.mp4 --out V_truth.json --cut 1200 --cut 4210
  python -m trainers.video_truth --yolo labels/ --class 0 --first-frame 1 --video V.mp4 --out V_truth.json

exit codes: 0 written, 2 bad input"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.video_truth",
        description="Convert labels of a video to the truth file that trainers.evaluate_video and "
        "calibration.operating_point read.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cvat", type=Path, metavar="FILE.xml", help="an export in the format 'CVAT for video 1.1'")
    source.add_argument("--coco-video", type=Path, metavar="FILE.json", help="a file in CocoVID or YouTube-VIS format")
    source.add_argument("--labelme", type=Path, metavar="DIR", help="a folder of LabelMe's files, one per frame")
    source.add_argument("--yolo", type=Path, metavar="DIR", help="a folder of YOLO's text files, one per frame")
    add(
        "--video",
        type=Path,
        required=True,
        metavar="V.mp4",
        help="the video that was labelled, or the folder of its frames",
    )
    add("--rate", type=float, metavar="HZ", help="of a folder of frames: its frames per second (default: 25)")
    add("--out", type=Path, required=True, metavar="T.json", help="the truth file to write")
    add(
        "--cut",
        type=int,
        action="append",
        default=[],
        metavar="FRAME",
        help="frame that starts a new scene; may be repeated",
    )
    add(
        "--class",
        dest="classes",
        action="append",
        default=[],
        metavar="NAME",
        help="a class that is of polyps, if they are not called 'polyp'; may be repeated. Others are left out",
    )
    add(
        "--first-frame",
        type=int,
        choices=(0, 1),
        help="number that COCO, LabelMe or YOLO labels give the video's first frame (default: 0)",
    )
    add(
        "--pixels",
        choices=("stored", "shown"),
        help="whether labels are in pixels as stored in the file, before it is turned and its pixels are made square, "
        "or as shown (default: their size tells)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Convert the labels and print a summary.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    clock = replace(_read_clock(options), pixels=options.pixels)
    found = read_labels(options, clock)
    if options.video.is_dir():
        found = leave_out_missing(found, options.video)
    check_frames(options.cut, clock)
    try:
        truth = truth_of(found, clock, name=options.out.name, cuts=options.cut)
    except ValueError as error:
        raise ValueError(f"{_labels_path(options)}: {error}") from error
    write_truth(truth, options.out, video=options.video.name)
    print("\n".join([*found.notes, describe_truth(truth), f"truth: {options.out}"]))


def _read_clock(options: argparse.Namespace) -> Clock:
    """Labels of a folder of frames are found by the names of its pictures; other labels count from 0 unless told."""
    if not options.video.is_dir():
        if options.rate is not None:
            raise ValueError(f"{options.video} has a rate of its own: --rate is for a folder of frames")
        return replace(read_clock(options.video), first=options.first_frame)
    if options.rate is not None and not 0.001 <= options.rate <= 1000:
        raise ValueError(f"--rate must lie in 0.001..1000 Hz, got {options.rate:g}")
    clock = read_folder_clock(options.video, options.rate)
    if options.first_frame is not None:  # the labels count on their own
        return replace(clock, first=options.first_frame, names=None)
    return clock if options.labelme or options.yolo else replace(clock, first=None)


def read_labels(options: argparse.Namespace, clock: Clock) -> Labelling:
    """Read the labels with the reader of their format. Raises as `run` does."""
    path, classes = _labels_path(options), options.classes
    if options.cvat:
        return read_cvat(path, clock, classes=classes)
    if options.coco_video:
        return read_coco_video(path, clock, video=options.video.name, classes=classes)
    return (read_labelme if options.labelme else read_yolo)(path, clock, classes=classes)


def _labels_path(options: argparse.Namespace) -> Path:
    path: Path = options.cvat or options.coco_video or options.labelme or options.yolo
    return path


def describe_truth(truth: VideoTruth) -> str:
    """Summarise a truth file in one line, to compare with what was labelled."""
    polyps = {identity for frame in truth.frames for identity in frame.polyps}
    clear = sum(bool(frame.polyps) for frame in truth.frames)
    difficult = sum(bool(frame.difficult) for frame in truth.frames)
    cuts = sum(frame.cut for frame in truth.frames)
    width, height = truth.size
    duration_s = truth.pts_s(len(truth.frames))
    labelled = sum(frame.labelled for frame in truth.frames)
    part = "" if labelled == len(truth.frames) else f"; {labelled} frames are labelled, the others are not scored"
    return (
        f"{len(truth.frames)} frames of {width}x{height} at {truth.rate_hz} Hz, {duration_s:.1f} s: "
        f"{len(polyps)} polyps in {clear} frames, difficult ones in {difficult}, {cuts} cuts{part}"
    )


if __name__ == "__main__":
    main()
