"""Scores that mean what they say: a box of 0.8 is right eight times in ten.

python -m calibration.scores --model gflv2-lite0 --data ../shared/data/val.json --root ../shared/data --out cal.json

A detector's score becomes the probability that its box matches a true polyp (IoU >= 0.5, best score first); a
segmenter's, that its cell of the map lies on a polyp. The map rises, so ranking and AP stay as they are. How well it
does is told on patients and videos that it was not fitted to.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.fitting.calibration_file import load_or_create, save, with_scores
from calibration.fitting.fit import FITS, FOLDS, Fitted, Samples, described, fit_temperature, fitted
from calibration.fitting.plots import draw_reliability
from realtime_polyp.engines import ENGINE_NAMES, open_engine
from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.metrics.detection import COCO_RANGES
from realtime_polyp.metrics.matches import match
from realtime_polyp.packets import Mask
from realtime_polyp.postprocess.score_calibration import TemperatureMap
from realtime_polyp.preprocess.letterbox import prepare
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still, read_image, read_mask, read_stills
from trainers.evaluation.predict import check_files, evaluate, segment
from trainers.leave_one_out import UNSEEN

LEAST_SCORE = 0.05  # a detector lists hundreds of boxes that it all but rules out: nobody is ever shown them
CELLS = 1000  # of each still's mask
_EPILOG = """examples:
  python -m calibration.scores --model gflv2-lite0 --data ../shared/data/val.json --root ../shared/data \\
      --out calibration.json --picture reliability.png
  python -m calibration.scores --model gflv2-lite0 --data val.json --root . --method isotonic --out calibration.json
  python -m calibration.scores --model lowrank-lite2 --data val.json --root . --out calibration.json"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "calibration.scores",
        description="Fit a model's scores to the probability of being right, and write the map into a calibration "
        "file, beside what that holds already. A detector's new map drops the operating point, which was chosen in "
        "other units: run calibration.operating_point again.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="installed weights of a detector or a segmenter")
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills and their truth")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that image paths start from")
    add(
        "--method",
        choices=sorted(FITS),
        default="temperature",
        help="temperature: one for the logit, and for a detector a bias (Platt); isotonic: rising steps, for a "
        "detector and much data (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="CALIBRATION.json", help="written, or its part of it replaced")
    add("--picture", type=Path, metavar="OUT.png", help="draw the reliability before and after there")
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="use only the first N images")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    document = load_or_create(options.out)
    engine = open_engine(options.model, None, options.engine)
    if engine.task == "segmenter" and options.method != "temperature":
        raise ValueError(
            f"--method {options.method} is for detectors: a mask's map must leave 0.5 in its place, as temperature does"
        )
    stills = labelled_stills(options.data, options.root, options.limit)
    check_files(stills, masks=engine.task == "segmenter")
    found = fitted_boxes(engine, stills, options.method) if engine.task == "detector" else fitted_cells(engine, stills)
    things = "boxes" if engine.task == "detector" else "cells"
    data = f"{options.data.name}, {len(stills)} images"
    save(options.out, with_scores(document, engine, told(found, things, data)))
    print(summary(found, engine, things, data))
    if "operating_point" in document and engine.task == "detector":
        print("the operating point was chosen for other scores and is dropped: run calibration.operating_point again")
    if options.picture:
        draw_reliability(found, options.picture, title=f"{engine.model}, {engine.name}, on {data}", things=things)
        print(f"picture: {options.picture}")
    print(f"calibration: {options.out}")


def labelled_stills(data: Path, root: Path, limit: int | None = None) -> list[Still]:
    """Raises ValueError without a still, and with one of the centre that is only ever reported."""
    stills = read_stills(data, root)[:limit]
    if not stills:
        raise ValueError(f"{data} has no images: nothing to calibrate on")
    if any(still.centre == UNSEEN for still in stills):
        raise ValueError(f"{data} holds images of {UNSEEN}, the unseen centre: nothing may be calibrated on it")
    return stills


def fitted_boxes(engine: DetectorEngine, stills: list[Still], method: str) -> Fitted:
    """Of the boxes of LEAST_SCORE or more; one is right when it takes a free true box at IoU 0.5."""
    cases = evaluate(stills, engine, None, progress=True)
    ranking = match([case.boxes for case in cases], {"all": COCO_RANGES["all"]}).rankings["all"][0]
    kept = ranking.scores >= LEAST_SCORE
    groups = group_numbers(stills)[ranking.images[kept]]
    return fitted(Samples(ranking.scores[kept].clip(0, 1), ranking.right[kept], groups), FITS[method])


def fitted_cells(engine: SegmenterEngine, stills: list[Still]) -> Fitted:
    """Of CELLS drawn from each still's map, which is where the line applies it; right: its middle is on a polyp."""
    chance = np.random.default_rng(0)
    drawn = [_cells(still, engine, chance) for still in tqdm(stills, desc="evaluating", unit="image")]
    scores, right = (np.concatenate(column) for column in zip(*drawn, strict=True))
    groups = np.repeat(group_numbers(stills), [len(one) for one, _ in drawn])
    return fitted(Samples(scores, right, groups), _without_bias)


def _without_bias(samples: Samples) -> TemperatureMap:
    return fit_temperature(samples, bias=False)


def _cells(
    still: Still, engine: SegmenterEngine, chance: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability and truth (n,) of cells of one still, drawn without repeats."""
    image = read_image(still.image_path)
    field = find_field(image) or whole(image)
    mask = segment(engine, prepare([image], [field], engine.size))
    true = sample_truth(mask, read_mask(still.mask_path))
    chosen = chance.choice(true.size, min(CELLS, true.size), replace=False)
    return mask.probability.ravel()[chosen].clip(0, 1).astype(np.float64), true.ravel()[chosen]


def sample_truth(mask: Mask, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the middle of each cell of the mask's map (h, w) lies on a polyp of the whole frame's truth (H, W)."""
    height, width = mask.probability.shape
    rows = ((np.arange(height) + 0.5) * mask.field_of_view.height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.field_of_view.width / width).astype(int)
    return np.asarray(mask.field_of_view.crop(true)[np.ix_(rows, columns)], np.bool_)  # type: ignore[arg-type]


def group_numbers(stills: list[Still]) -> NDArray[np.int64]:
    """The number of each still's patient or video (n,); one of its own where that is not known."""
    names = [still.group or f"image {still.id}" for still in stills]
    return np.unique(names, return_inverse=True)[1]


def told(found: Fitted, things: str, data: str) -> dict[str, Any]:
    """The map and its figures as the file holds them; after: on held-out folds."""
    figures = {
        "ece_before": found.before.error,
        "ece_after": found.after.error,
        "nll_before": found.loss_before,
        "nll_after": found.loss_after,
    }
    rounded = {name: round(value, 5) for name, value in figures.items() if value is not None}
    return {**described(found.map), **rounded, "folds": FOLDS, things: found.samples, "data": data}


def summary(found: Fitted, engine: Engine, things: str, data: str) -> str:
    before, after = found.before.error or 0.0, found.after.error or 0.0
    return "\n".join(
        [
            f"{engine.task} {engine.model}, {engine.name} ({engine.key}); {found.samples} {things} of {data}",
            f"expected calibration error: {100 * before:.1f} % before, {100 * after:.1f} % after, on held-out folds",
            f"negative log likelihood:    {found.loss_before:.3f} before, {found.loss_after:.3f} after, likewise",
        ]
    )


if __name__ == "__main__":
    main()
