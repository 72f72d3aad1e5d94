"""Evaluate the results of a video: python -m trainers.evaluate_video --truth T.json --results R.jsonl

The results were written by `run_live.py --results` for the video that the truth describes. METRICS 4 defines the
figures. A frame without a result, such as one that a live source dropped, keeps the previous result for 0.2 s, as the
viewer does, and then shows nothing. The figures without temporal filtering use the detections of the same run, from its
score threshold; every second frame was flipped unless the run had --no-hflip, which makes them jitter more.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from realtime_polyp.atomic_write import write_json
from realtime_polyp.metrics.timeline import timeline
from realtime_polyp.metrics.truth import VideoTruth, read_truth
from realtime_polyp.metrics.video import combine, figures, video_report
from realtime_polyp.metrics.video_table import table
from realtime_polyp.outputs.results_reader import ShownFrame, check_results, read_results
from trainers.command import check_outputs, command_parser, run_command
from trainers.video.pictures import write_video_pictures
from trainers.video.true_colon_figures import TrueColon, to_dict, to_text, true_colon

_EPILOG = """examples:
  python run_live.py --source assets/demo.mp4 --headless --results out.jsonl
  python -m trainers.evaluate_video --truth assets/demo_truth.json --results out.jsonl --pictures runs/demo
  python -m trainers.evaluate_video --truth a.json --results a.jsonl --truth b.json --results b.jsonl --json all.json

The truth file is described in docs/video_truth.md; trainers.video_truth makes one from CVAT or COCO-video.
exit codes: 0 evaluated, 2 bad input"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.evaluate_video",
        description="Measure how soon and how steadily polyps were shown in labelled videos, and how many false alarms "
        "there were. Several videos are reported one by one and together.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--truth", type=Path, action="append", required=True, metavar="T.json", help="truth of a video; may be repeated"
    )
    add(
        "--results",
        type=Path,
        action="append",
        required=True,
        metavar="R.jsonl",
        help="what run_live --results wrote for the video of the corresponding --truth",
    )
    add("--pictures", type=Path, metavar="DIR", help="draw FROC, withholding, first detection and timelines there")
    add("--json", type=Path, metavar="OUT", help="write all figures to this file, 0..1 and s")
    return parser


def run(options: argparse.Namespace) -> None:
    """Evaluate all videos, print the table and write the files that were asked for.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    check_outputs(options.json)
    videos = read_pairs(options.truth, options.results)
    reports = [video_report(truth, shown) for truth, shown in tqdm(videos, desc="videos", disable=len(videos) < 2)]
    whole = combine(reports)
    print("".join(map(_describe_unlabelled, (truth for truth, _ in videos))), end="")
    columns = {f"{number} {one.names[0]}": one for number, one in enumerate(reports, 1)}
    print(table({**columns, "all": whole} if len(reports) > 1 else {whole.names[0]: whole}))
    protocol = [true_colon(truth, shown) for truth, shown in videos]
    print(to_text(sum(protocol, TrueColon((), ()))))
    if options.json:
        report = {
            "all": {**figures(whole), "true_colon": to_dict(sum(protocol, TrueColon((), ())))},
            "videos": [
                {**figures(one), "true_colon": to_dict(other)} for one, other in zip(reports, protocol, strict=True)
            ],
        }
        write_json(options.json, report)
        print(f"figures: {options.json}")
    if options.pictures:
        lines = [timeline(truth, shown) for truth, shown in videos]
        print(f"pictures: {', '.join(str(path) for path in write_video_pictures(whole, lines, options.pictures))}")


def _describe_unlabelled(truth: VideoTruth) -> str:
    labelled = sum(frame.labelled for frame in truth.frames)
    if labelled == len(truth.frames):
        return ""
    return f"{truth.name}: {labelled} of {len(truth.frames)} frames are labelled, the others are not scored\n"


def read_pairs(truths: list[Path], results: list[Path]) -> list[tuple[VideoTruth, list[ShownFrame]]]:
    """Read each truth with its results and check that they belong together. Raises as `run` does."""
    if len(truths) != len(results):
        raise ValueError(f"{len(truths)} --truth and {len(results)} --results were given: give pairs of them")
    pairs = [(read_truth(truth), read_results(result)) for truth, result in zip(truths, results, strict=True)]
    for truth, shown in pairs:
        check_results(truth, shown)
    return pairs


if __name__ == "__main__":
    main()
