"""Evaluate the models on stills: python -m trainers.evaluate --data DATA/val.json --root DATA

The stills pass through the steps of the live line (field of view, letterbox, engine, postprocessing). METRICS 1 to 3
define the figures. Frames without a polyp are evaluated beside them, each alone (METRICS 4, "Negative video").
"""

import argparse
import shlex
from pathlib import Path

from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.engines.halves import other_half, roles_of
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.negatives import NEGATIVE_FILE, NO_NEGATIVES, NegativeSet, find_reported
from trainers.data.stills import Still, first_stills, read_stills
from trainers.evaluation.figures import Resampling, build_report, challenge_summary, generalisation, read_report
from trainers.evaluation.gallery import write_gallery
from trainers.evaluation.multi_scale import SCALES
from trainers.evaluation.negatives import format_rows, negative_rows, rows_to_dict
from trainers.evaluation.plots import write_plots
from trainers.evaluation.predict import Case, check_files, evaluate
from trainers.evaluation.results import Origin, origin_of_run, origin_of_weights, write_result
from trainers.evaluation.tables import format_report
from trainers.training.run import check_size, engine_of_run
from trainers.training.run_folder import read_recipe

_EPILOG = """examples:
  python -m trainers.evaluate --data DATA/val.json --root DATA
  python -m trainers.evaluate --data DATA/val.json --root DATA --bootstrap 1000 --json figures.json
  python -m trainers.evaluate --data DATA/unseen_C6.json --root DATA --mixed figures.json --negatives none
  python -m trainers.evaluate --data mixed.json --root . --generalisation C4.json C6.json
  python -m trainers.evaluate --data val.json --root . --segmenter none --engine eager --multi-scale
  python -m trainers.evaluate --data val.json --root . --run runs/retinanet --result docs/results/retinanet-r50.json
  python -m trainers.evaluate --data val.json --root . --run runs/joint --size 384 448
  python -m trainers.evaluate --data val.json --root . --detector none --gallery runs/gallery --limit 50"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.evaluate",
        description="Evaluate the detector and the segmenter on stills with ground truth, overall and for each centre.",
        epilog=_EPILOG,
    )
    engines = ", ".join(ENGINE_NAMES)
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills and their ground truth")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that the file's image paths are relative to")
    add(
        "--detector",
        default=DEFAULT_DETECTOR,
        metavar="NAME",
        help="name of the weights, or none (default: %(default)s)",
    )
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="the same (default: %(default)s)")
    add("--run", type=Path, metavar="DIR", help="evaluate the best weights of a training run instead, in torch")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="input size of --run, px (default: as trained)")
    add("--engine", default="auto", metavar="NAME", help=f"{engines} (default: %(default)s)")
    add("--json", type=Path, metavar="OUT", help="write all figures to this file, 0..1 and px")
    add("--result", type=Path, metavar="OUT", help="write the result file that trainers.table reads")
    add(
        "--mixed", type=Path, metavar="FIGURES.json", help="figures of the mixed set, to report the deviation from them"
    )
    add(
        "--generalisation",
        type=Path,
        nargs=2,
        metavar=("A.json", "B.json"),
        help="figures of two generalisation sets, to report final_dAvg and dev_g with --data as the mixed set",
    )
    add(
        "--negatives",
        metavar="FILE.json",
        help=f"also evaluate the reporting sequences of these frames without a polyp, or {NO_NEGATIVES} (default: "
        f"{NEGATIVE_FILE} beside --data, if it is there)",
    )
    add("--bootstrap", type=int, default=0, metavar="N", help="report 95 %% intervals from N bootstrap draws")
    add("--multi-scale", action="store_true", help="evaluate at 3 sizes, flipped too; needs --engine eager")
    add("--plots", type=Path, metavar="DIR", help="draw precision-recall and reliability plots there")
    add("--gallery", type=Path, metavar="DIR", help="write contact sheets of the best and worst cases there")
    add("--limit", type=int, metavar="N", help="use only the first N images")
    add("--score-threshold", type=float, default=0.0, help="discard boxes below this score (default: 0, for AP)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Evaluate, print the tables and write the files that were asked for.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    check_outputs(options.json, options.result)
    origin = find_origin(options) if options.result else None
    stills, set_images = select_stills(options)
    negatives = select_negatives(options)
    mixed = read_report(options.mixed) if options.mixed else None
    others = [read_report(path) for path in options.generalisation or ()]
    scales = SCALES if options.multi_scale else ()
    detector, segmenter = open_engines(options)
    cases = evaluate(stills, detector, segmenter, score_threshold=options.score_threshold, scales=scales, progress=True)
    report = build_report(
        cases,
        detector,
        segmenter,
        data=options.data.name,
        set_images=set_images,
        score_threshold=options.score_threshold,
        scales=scales,
        resampling=Resampling(options.bootstrap, progress=True),
    )
    if options.size:
        report["input_size"] = options.size
    if mixed:
        report["generalisation"] = generalisation(report, mixed)
    if others:
        report["challenge"] = challenge_summary(report, others)
    print(format_report(report))
    if negatives.frames:
        shown = evaluate(
            negatives.frames, detector, segmenter, score_threshold=SCORE_THRESHOLD, scales=scales, progress=True
        )
        rows = negative_rows(shown)
        report["negatives"] = rows_to_dict(rows, negatives.name)
        print(f"{format_rows(rows, negatives.name)}\n")
    if options.json:
        write_json(options.json, report)
        print(f"figures: {options.json}")
    if origin:
        print(f"result: {write_result(options.result, report, origin)}")
    write_pictures(cases, options)


def find_origin(options: argparse.Namespace) -> Origin:
    """Return what a result file records beside the figures.

    Raises:
        ValueError: two models are evaluated; a result file holds one.
    """
    named = [name for name in (options.detector, options.segmenter) if name != NO_MODEL]
    if options.run and read_recipe(options.run)["task"] == "joint":
        raise ValueError(f"--result holds one model, and {options.run} trained a detector and a segmenter in one")
    if options.run:
        return origin_of_run(options.run, format_command(options), multi_scale=options.multi_scale)
    if len(named) != 1:
        raise ValueError(f"--result holds one model: set --detector or --segmenter to none, not {' and '.join(named)}")
    return origin_of_weights(named[0], format_command(options), multi_scale=options.multi_scale)


def format_command(options: argparse.Namespace) -> str:
    """Return the command that reproduces the figures, quoted for a shell, without its output options."""
    words = ["python", "-m", "trainers.evaluate", "--data", options.data, "--root", options.root]
    if options.run:
        words += ["--run", options.run, *(["--size", *options.size] if options.size else [])]
    else:
        words += ["--detector", options.detector, "--segmenter", options.segmenter, "--engine", options.engine]
    defaults = {"bootstrap": 0, "limit": None, "score_threshold": 0.0}
    for name, default in defaults.items():
        if getattr(options, name) != default:
            words += [f"--{name.replace('_', '-')}", getattr(options, name)]
    return shlex.join([*(str(word) for word in words), *(["--multi-scale"] if options.multi_scale else [])])


def write_pictures(cases: list[Case], options: argparse.Namespace) -> None:
    """Write the plots and the gallery if asked for, and print their paths."""
    if options.plots:
        print(f"plots: {', '.join(str(path) for path in write_plots(cases, options.plots))}")
    if options.gallery:
        sheets = write_gallery(cases, options.gallery)
        print(f"pictures: {', '.join(str(sheet) for sheet in sheets)}")
        print("The pictures belong to the data set and its licence applies to them. Keep them out of the repository.")


def select_stills(options: argparse.Namespace) -> tuple[list[Still], int]:
    """Return the selected stills, after checking that their files exist, and the number of stills in the data file.

    Raises:
        OSError, ValueError: bad options, a bad data file, or a missing file.
    """
    if not 0 <= options.score_threshold <= 1:
        raise ValueError(f"--score-threshold is {options.score_threshold}: it must lie in 0..1")
    if options.size:
        check_size(options.size)
    if options.size and (not options.run or options.result):
        raise ValueError("--size needs --run, and a result file is of the size of the training: without --result")
    if options.bootstrap < 0:
        raise ValueError(f"--bootstrap is {options.bootstrap}: it must be the number of draws, or 0 for no intervals")
    every = read_stills(options.data, options.root)
    stills = first_stills(every, options.limit)
    if not stills:
        raise ValueError(f"{options.data} has no images: nothing to evaluate")
    check_files(stills, masks=segments(options) or options.gallery is not None)
    return stills, len(every)


def select_negatives(options: argparse.Namespace) -> NegativeSet:
    """Return the frames without a polyp to evaluate, after checking that their files exist; --limit holds for them too.

    Raises:
        OSError, ValueError: a bad file, or a missing image or mask.
    """
    found = find_reported(options.negatives, options.data, options.root)
    chosen = NegativeSet(found.name, found.frames[: options.limit])
    check_files(chosen.frames, masks=segments(options))
    return chosen


def segments(options: argparse.Namespace) -> bool:
    """Return whether a segmenter is evaluated, which needs the masks of all stills."""
    return read_recipe(options.run)["task"] != "detector" if options.run else options.segmenter != NO_MODEL


def open_engines(options: argparse.Namespace) -> tuple[DetectorEngine | None, SegmenterEngine | None]:
    """Open the engines of the named weights, or of a training run.

    Raises:
        EngineError, ValueError: an engine cannot be opened, or no model is selected.
    """
    if options.run:
        return roles_of(engine_of_run(options.run, tuple(options.size) if options.size else None))
    if options.detector == options.segmenter == NO_MODEL:
        raise ValueError("--detector and --segmenter are both none: nothing to evaluate")
    # Not `open_runtime`: it compiles engines for throughput or for shared cores, which may change low-order bits, and
    # sets up inference, fusion and frame quality. Here each engine runs alone at batch size 1, compiled for latency.
    name = choose_engine(options)
    detector = None if options.detector == NO_MODEL else open_detector(options.detector, name)
    if options.segmenter == NO_MODEL:
        return detector, None
    return detector, other_half(detector, options.segmenter) or open_segmenter(options.segmenter, name)


def choose_engine(options: argparse.Namespace) -> str:
    """Return the name of the engine; multi-scale testing turns auto into eager.

    Raises:
        ValueError: a compiled engine was chosen for multi-scale testing.
    """
    if not options.multi_scale:
        return str(options.engine)
    if options.engine not in ("auto", "eager"):
        raise ValueError(f"--multi-scale needs --engine eager: {options.engine} is compiled for one input size")
    return "eager"


if __name__ == "__main__":
    main()
