"""Make a truth file from labels: python -m trainers.video_truth --cvat annotations.xml --video V.mp4 --out T.json

docs/video_truth.md describes how to label a video, and the format of the file.
"""

import argparse
from pathlib import Path

from realtime_polyp.metrics.truth import VideoTruth, write_truth
from trainers.command import command_parser, run_command
from trainers.video.labels import check_frames, read_clock, truth_of
from trainers.video.truth_coco import read_coco_video
from trainers.video.truth_cvat import read_cvat

_EPILOG = """examples:
  python -m trainers.video_truth --cvat annotations.xml --video V.mp4 --out V_truth.json
  python -m trainers.video_truth --coco-video labels.json --video V.mp4 --out V_truth.json --cut 1200 --cut 4210

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
    add("--video", type=Path, required=True, metavar="V.mp4", help="the video that was labelled")
    add("--out", type=Path, required=True, metavar="T.json", help="the truth file to write")
    add(
        "--cut",
        type=int,
        action="append",
        default=[],
        metavar="FRAME",
        help="frame that starts a new scene; may be repeated",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Convert the labels and print a summary.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    clock = read_clock(options.video)
    if options.cvat:
        labels, cuts = read_cvat(options.cvat, clock)
    else:
        labels, cuts = read_coco_video(options.coco_video, clock, video=options.video.name), []
    check_frames(options.cut, clock)
    try:
        truth = truth_of(labels, clock, name=options.out.name, cuts=[*cuts, *options.cut])
    except ValueError as error:
        raise ValueError(f"{options.cvat or options.coco_video}: {error}") from error
    write_truth(truth, options.out, video=options.video.name)
    print(describe_truth(truth))
    print(f"truth: {options.out}")


def describe_truth(truth: VideoTruth) -> str:
    """Summarise a truth file in one line, to compare with what was labelled."""
    polyps = {identity for frame in truth.frames for identity in frame.polyps}
    clear = sum(bool(frame.polyps) for frame in truth.frames)
    difficult = sum(bool(frame.difficult) for frame in truth.frames)
    cuts = sum(frame.cut for frame in truth.frames)
    width, height = truth.size
    duration_s = truth.pts_s(len(truth.frames))
    return (
        f"{len(truth.frames)} frames of {width}x{height} at {truth.rate_hz} Hz, {duration_s:.1f} s: "
        f"{len(polyps)} polyps in {clear} frames, difficult ones in {difficult}, {cuts} cuts"
    )


if __name__ == "__main__":
    main()
