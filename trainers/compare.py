"""Compare two models on the same images, with a bootstrap interval of the difference.

python -m trainers.compare runs/gflv2-r50 runs/atss-r50 --data DATA/val.json --root DATA
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from realtime_polyp.engines import open_engine
from realtime_polyp.engines.halves import roles_of
from realtime_polyp.engines.weights import read_manifest
from realtime_polyp.metrics.bootstrap import Draw, Interval, draws, intervals, means_of, weights_of
from realtime_polyp.metrics.matches import match
from realtime_polyp.telemetry.text_table import format_table
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still, first_stills, read_stills
from trainers.evaluation.figures import bootstrap_groups, figures_per_image
from trainers.evaluation.predict import Case, check_files, evaluate
from trainers.evaluation.tables import SEGMENTATION
from trainers.training.run import engine_of_run

_BOXES = ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l")
_MASKS = ("dice", "miou", "iou_p", "sensitivity", "specificity", "hd95_px")
_SHOWN = {"detector": _BOXES, "segmenter": _MASKS, "joint": (*_BOXES, *_MASKS)}
_EPILOG = """examples:
  python -m trainers.compare runs/gflv2-r50 runs/atss-r50 --data DATA/val.json --root DATA
  python -m trainers.compare lowrank-lite2 runs/unetpp --data DATA/val.json --root DATA"""
Figures = dict[str, float | None]


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.compare",
        description="Measure two models on the same images and the difference, with its interval. The bootstrap "
        "draws whole patients or videos, the same for both models, so that the images' difficulty cancels out.",
        epilog=_EPILOG,
    )
    parser.add_argument("first", help="folder of a training run, or name of installed weights")
    parser.add_argument("second", help="the same, for the same task")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills")
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="folder that the image paths are relative to"
    )
    parser.add_argument("--draws", type=int, default=1000, help="number of bootstrap draws (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="engine for installed weights (default: %(default)s)")
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N images")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        print(run(options))


def run(options: argparse.Namespace) -> str:
    """Measure both models and return the table.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    if options.draws < 1:
        raise ValueError(f"--draws is {options.draws}: it must be 1 or more")
    named = (options.first, options.second)
    engines = [open_model(name, options.engine) for name in named]
    if engines[0].task != engines[1].task:
        raise ValueError(
            f"{options.first} is a {engines[0].task}, {options.second} a {engines[1].task}: not comparable"
        )
    stills = first_stills(read_stills(options.data, options.root), options.limit)
    if not stills:
        raise ValueError(f"{options.data} has no images: nothing to compare on")
    check_files(stills, masks=engines[0].task != "detector")
    compared = compare_models([_evaluate_model(engine, stills) for engine in engines], engines[0].task, options.draws)
    # Runs are opened in torch, installed weights on --engine: a difference may be the engines'.
    first, second = (f"{name} ({engine.name})" for name, engine in zip(named, engines, strict=True))
    return format_comparison(compared, first, second, f"{options.data.name}, {len(stills)} images")


def open_model(name: str, engine: str) -> Any:
    """Open the engine of a run's folder or of installed weights.

    Raises:
        ValueError: neither exists under this name.
    """
    if Path(name).is_dir():
        return engine_of_run(Path(name))
    known = read_manifest()
    if name not in known:
        raise ValueError(f"{name} is neither a run's folder nor installed: choose from {', '.join(sorted(known))}")
    return open_engine(name, None, engine)


def _evaluate_model(engine: Any, stills: list[Still]) -> list[Case]:
    return evaluate(stills, *roles_of(engine), progress=True)


def compare_models(sides: list[list[Case]], task: str, count: int) -> dict[str, tuple[Figures, Any]]:
    """Return {figure: ({"first", "second"} values, interval of first - second)} of two models on the same stills."""
    functions = [_figures_on_draws(cases, task) for cases in sides]
    cases = sides[0]
    resamples = draws(len(cases), samples=count, groups=bootstrap_groups(cases))

    def difference(draw: Draw) -> Figures:
        first, second = (one(draw) for one in functions)
        return {name: _minus(first[name], second[name]) for name in _SHOWN[task]}

    spans = intervals(tqdm(resamples, total=count, desc="resampling", leave=False), difference)
    values = [one(np.arange(len(cases))) for one in functions]
    return {name: ({"first": values[0][name], "second": values[1][name]}, spans[name]) for name in _SHOWN[task]}


def _figures_on_draws(cases: list[Case], task: str) -> Callable[[Any], Figures]:
    """Return a function from a draw of image indices to the model's figures on these images."""
    if task == "joint":
        halves = _figures_on_draws(cases, "detector"), _figures_on_draws(cases, "segmenter")
        return lambda draw: halves[0](draw) | halves[1](draw)
    if task == "detector":
        matches = match([case.boxes for case in cases])
        return lambda draw: matches.figures(weights_of(draw, len(cases)))
    columns = figures_per_image([case.segmentation for case in cases if case.segmentation is not None])
    return lambda draw: means_of(columns, draw)


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def format_comparison(compared: dict[str, tuple[Figures, Interval | None]], first: str, second: str, data: str) -> str:
    """Format the result of `compare_models` in percent, distances in px; a star marks intervals that exclude 0."""
    rows = []
    for name, (values, interval) in compared.items():
        scale = 1 if name.endswith("_px") else 100
        change = _number(_minus(values["first"], values["second"]), scale)
        ends = (interval.low, interval.high) if interval else (None, None)
        low, high = (_number(end, scale) for end in ends)
        star = "*" if interval and (interval.low > 0 or interval.high < 0) else ""
        sides = (_number(values[side], scale) for side in ("first", "second"))
        rows.append([SEGMENTATION.get(name, name), *sides, f"{change} [{low} {high}]", star])
    head = f"{data}; first: {first}, second: {second}"
    text = format_table(("", "first", "second", "first - second [95 %]", ""), rows)
    return f"{head}\n{text}\n* the interval excludes 0"


def _number(value: float | None, scale: int) -> str:
    return "-" if value is None else f"{scale * value:.1f}"


if __name__ == "__main__":
    main()
