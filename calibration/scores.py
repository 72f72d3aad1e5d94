"""Calibrate a model's scores: of the boxes with a score of 0.8, eight in ten are right.

python -m calibration.scores --model gflv2-lite0 --data DATA/val.json --root DATA --out cal.json

A detector's score becomes the probability that its box matches a true polyp (IoU >= 0.5, best score first); a
segmenter's score becomes the probability that the cell of the mask is on a polyp. The score map is monotonic, so
ranking and AP do not change. Its quality is measured by cross-validation over patients and videos.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.fitting.calibration_file import load_or_create, save, with_scores
from calibration.fitting.fit import FITS, FOLDS, FitResult, Samples, cross_validate, fit_temperature, to_dict
from calibration.fitting.plots import draw_reliability
from realtime_polyp.engines import ENGINE_NAMES, open_engine
from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.engines.halves import JointHalf, roles_of
from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.metrics.detection import COCO_RANGES
from realtime_polyp.metrics.matches import match
from realtime_polyp.packets import Mask
from realtime_polyp.preprocess.letterbox import prepare
from trainers.command import check_outputs, command_parser, report_bad_input
from trainers.data.stills import Still, first_stills, read_image, read_mask, read_stills
from trainers.evaluation.predict import check_files, evaluate, segment
from trainers.leave_one_out import UNSEEN

LEAST_SCORE = 0.05  # boxes with lower scores, hundreds per image, are never shown and are left out of the fit
CELLS = 1000  # sampled from the mask of each still
_EPILOG = """examples:
  python -m calibration.scores --model gflv2-lite0 --data DATA/val.json --root DATA \\
      --out calibration.json --picture reliability.png
  python -m calibration.scores --model gflv2-lite0 --data val.json --root . --method isotonic --out calibration.json
  python -m calibration.scores --model lowrank-lite2 --data val.json --root . --out calibration.json"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "calibration.scores",
        description="Fit a map from a model's scores to probabilities of being right, and write it into a "
        "calibration file, whose other parts stay. A new detector map removes the operating point, which was chosen "
        "for other scores: run calibration.operating_point again.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="installed weights")
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of labelled stills")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that image paths are relative to")
    add(
        "--method",
        choices=sorted(FITS),
        default="temperature",
        help="temperature: scales the logit, with a bias for detectors (Platt); isotonic: a monotonic step function, "
        "for detectors and large data sets (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="CALIBRATION.json", help="calibration file to create or update")
    add("--picture", type=Path, metavar="OUT.png", help="plot of the reliability before and after")
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="use only the first N images")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Fit the map and write it. Raises OSError or ValueError with a one-sentence cure."""
    check_outputs(options.out, picture=options.picture)
    document = load_or_create(options.out)
    # One model alone, of any task: `open_runtime` opens a detector and a segmenter for the pipeline.
    engines = [one for one in roles_of(open_engine(options.model, None, options.engine)) if one is not None]
    if engines[-1].task == "segmenter" and options.method != "temperature":
        raise ValueError(
            f"--method {options.method} is for detectors: a segmenter's map must leave 0.5 unchanged, as --method "
            "temperature does"
        )
    stills = labelled_stills(options.data, options.root, options.limit)
    check_files(stills, masks=engines[-1].task == "segmenter")
    data = f"{options.data.name}, {len(stills)} images"
    fitted = []
    for engine in engines:
        fitted.append(_fit_one(engine, stills, data, options.method))
        if "operating_point" in document and engine.task == "detector":
            print("the operating point is of other scores and is removed: run calibration.operating_point again")
        document = with_scores(document, engine, score_entry(fitted[-1], _things(engine), data))
    save(options.out, document)
    print(f"calibration: {options.out}")
    if options.picture:
        for engine, found in zip(engines, fitted, strict=True):
            _draw(engine, found, data, options.picture)


def _fit_one(engine: Any, stills: list[Still], data: str, method: str) -> FitResult:
    """Return the map of one engine, after printing its figures."""
    found = fit_boxes(engine, stills, method) if engine.task == "detector" else fit_cells(engine, stills)
    print(summary(found, engine, _things(engine), data))
    return found


def _things(engine: Any) -> str:
    return "boxes" if engine.task == "detector" else "cells"


def _draw(engine: Any, found: FitResult, data: str, path: Path) -> None:
    """Draw the reliability of one engine. Of a joint model there are two: the segmenter's ends with "-mask"."""
    if isinstance(engine, JointHalf) and engine.task == "segmenter":
        path = path.with_stem(path.stem + "-mask")
    draw_reliability(found, path, title=f"{engine.model}, {engine.name}, on {data}", things=_things(engine))
    print(f"picture: {path}")


def labelled_stills(data: Path, root: Path, limit: int | None = None) -> list[Still]:
    """Read labelled stills. Raises ValueError for none, for a limit below 1, and for the unseen test centre."""
    stills = first_stills(read_stills(data, root), limit)
    if not stills:
        raise ValueError(f"{data} has no images: nothing to calibrate on")
    if any(still.centre == UNSEEN for still in stills):
        raise ValueError(f"{data} contains images of {UNSEEN}, the unseen test centre: calibrate on other data")
    return stills


def fit_boxes(engine: DetectorEngine, stills: list[Still], method: str) -> FitResult:
    """Fit the scores of boxes from LEAST_SCORE. A box is right if it matches a free true box (IoU >= 0.5)."""
    cases = evaluate(stills, engine, None, progress=True)
    ranking = match([case.boxes for case in cases], {"all": COCO_RANGES["all"]}).rankings["all"][0]
    kept = ranking.scores >= LEAST_SCORE
    groups = group_numbers(stills)[ranking.images[kept]]
    return cross_validate(Samples(ranking.scores[kept].clip(0, 1), ranking.right[kept], groups), FITS[method])


def fit_cells(engine: SegmenterEngine, stills: list[Still]) -> FitResult:
    """Fit the scores of CELLS random cells per mask. A cell is right if its centre is on a polyp."""
    rng = np.random.default_rng(0)
    drawn = [_sample_cells(still, engine, rng) for still in tqdm(stills, desc="evaluating", unit="image")]
    scores, right = (np.concatenate(column) for column in zip(*drawn, strict=True))
    groups = np.repeat(group_numbers(stills), [len(one) for one, _ in drawn])
    return cross_validate(Samples(scores, right, groups), lambda samples: fit_temperature(samples, bias=False))


def _sample_cells(
    still: Still, engine: SegmenterEngine, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return probability and truth (n,) of random cells of one still, sampled without replacement."""
    image = read_image(still.image_path)
    field = find_field(image) or whole(image)
    mask = segment(engine, prepare([image], [field], engine.size))
    true = sample_truth(mask, read_mask(still.mask_path))
    chosen = rng.choice(true.size, min(CELLS, true.size), replace=False)
    return mask.probability.ravel()[chosen].clip(0, 1).astype(np.float64), true.ravel()[chosen]


def sample_truth(mask: Mask, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each cell of the mask (h, w) whether its centre is on a polyp of the full frame's truth (H, W)."""
    height, width = mask.probability.shape
    rows = ((np.arange(height) + 0.5) * mask.field_of_view.height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.field_of_view.width / width).astype(int)
    return np.asarray(mask.field_of_view.crop(true)[np.ix_(rows, columns)], np.bool_)  # type: ignore[arg-type]


def group_numbers(stills: list[Still]) -> NDArray[np.int64]:
    """Return the number of each still's patient or video (n,); a still without one is a group of its own."""
    names = [still.bootstrap_group for still in stills]
    return np.unique(names, return_inverse=True)[1]


def score_entry(found: FitResult, things: str, data: str) -> dict[str, Any]:
    """Return the calibration file's entry: the map and its figures; those after calibration are of held-out folds.

    things: "boxes" or "cells", the name of the sample count. data: name and size of the set of stills.
    """
    figures = {
        "ece_before": found.before.error,
        "ece_after": found.after.error,
        "nll_before": found.loss_before,
        "nll_after": found.loss_after,
    }
    rounded = {name: round(value, 5) for name, value in figures.items() if value is not None}
    return {**to_dict(found.map), **rounded, "folds": FOLDS, things: found.samples, "data": data}


def summary(found: FitResult, engine: Engine, things: str, data: str) -> str:
    before, after = found.before.error or 0.0, found.after.error or 0.0
    return "\n".join(
        [
            f"{engine.task} {engine.model}, {engine.name} ({engine.key}); {found.samples} {things} of {data}",
            f"expected calibration error: {100 * before:.1f} % before, {100 * after:.1f} % after",
            f"negative log likelihood:    {found.loss_before:.3f} before, {found.loss_after:.3f} after",
            "figures after calibration are of held-out folds",
        ]
    )


if __name__ == "__main__":
    main()
