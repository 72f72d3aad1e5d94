"""Fit the detector-segmenter fusion on the training split and evaluate it on val.

python -m calibration.fusion --data DATA/train.json --val DATA/val.json --root DATA \\
    --out assets/fusion.json

Two logistic regressions are fitted (`realtime_polyp.postprocess.fusion`): whether a box is right (IoU >= 0.5, best
score first), given its score and the support of the mask; whether a region of the mask is a polyp, given the support of
the boxes. `calibration.fusing.dataset` describes the training data. A side that gains nothing on val and on background
views of val is left out. The models agree more on images that they were trained on than elsewhere, so that the learned
weight of the support is low: `--support` gives one that was chosen on video.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from calibration.fusing.dataset import (
    FusionSample,
    augmented_background_views,
    augmented_views,
    background_views,
    original_views,
    predict_views,
)
from calibration.fusing.figures import (
    EvaluatedView,
    Evaluation,
    ap_gain,
    calibration_errors,
    draw_gain,
    evaluate_views,
    format_table,
    hit_scores,
    mean_dice,
    threshold_for_hits,
)
from calibration.scores import labelled_stills
from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.engines.halves import other_half
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.messages import each_once
from realtime_polyp.metrics.detection import COCO_RANGES, coco_ap
from realtime_polyp.metrics.matches import match
from realtime_polyp.postprocess.fusion import (
    FORMAT,
    LEAST_SCORE,
    LEAST_SCORE_WEIGHT,
    MOST_WEIGHT,
    BoxFusion,
    FusedModel,
    Fusion,
    MaskFusion,
    box_support,
    fuse,
    logit,
    parse_fusion,
    region_support,
    regions,
)
from realtime_polyp.postprocess.nms import SCORE_THRESHOLD
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.stills import Still, read_stills
from trainers.evaluation.predict import check_files

_REGULARISATION_C = 100.0  # scikit-learn's C: weak, but keeps the weights finite for separable data
_DRAWS = 500  # bootstrap samples
_ON_POLYP = 0.5  # share of a region on a polyp from which the region counts as one
LEAST_SUPPORT = 0.1  # chosen on clips of val: docs/experiments.md
_VAL, _BACKGROUND = "val", "background views of val"
_EPILOG = """examples:
  python -m calibration.fusion --data DATA/train.json --val DATA/val.json \\
      --root DATA --out assets/fusion.json --picture runs/fusion.png
  python -m calibration.fusion --data train.json --val val.json --unseen unseen_C6.json --root . --out fusion.json
  python -m calibration.fusion --data train.json --val val.json --root . --stills 1900 --free 900 --out fusion.json"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.fusion",
        description="Fit the detector-segmenter fusion on strongly augmented training stills and on background views "
        "without a polyp; print the gain on validation stills, and write the fusion file.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="TRAIN.json", help="COCO file of the training stills")
    add("--val", type=Path, required=True, metavar="VAL.json", help="COCO file of the validation stills")
    add("--unseen", type=Path, metavar="FILE.json", help="COCO file of further stills; reported only")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that image paths start from")
    add("--out", type=Path, required=True, metavar="FUSION.json")
    add("--picture", type=Path, metavar="OUT.png", help="plot found polyps against false boxes")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="default: %(default)s")
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--stills", type=int, default=700, metavar="N", help="training stills to augment (default: %(default)s)")
    add(
        "--free",
        type=int,
        default=350,
        metavar="N",
        help="training stills to crop to background views: others, as far as there are enough (default: %(default)s)",
    )
    add(
        "--support",
        type=float,
        metavar="W",
        help="weight of the mask's support of a box, instead of the one that is learned; the rest is fitted to it",
    )
    add(
        "--least-support",
        type=float,
        default=LEAST_SUPPORT,
        metavar="S",
        help=f"support below which a box's score is at most {LEAST_SCORE:g}, 0..1 (default: %(default)s)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Fit, evaluate and write the fusion. Raises OSError or ValueError with a one-sentence cure."""
    check_outputs(options.out, picture=options.picture)
    if options.stills < 1 or options.free < 1:
        raise ValueError(f"--stills {options.stills} and --free {options.free} must be 1 or more")
    if options.support is not None and not 0 <= options.support <= MOST_WEIGHT:
        raise ValueError(f"--support {options.support:g}: from 0 to {MOST_WEIGHT:g}")
    if not 0 <= options.least_support <= 1:
        raise ValueError(f"--least-support {options.least_support:g}: from 0 to 1")
    if NO_MODEL in (options.detector, options.segmenter):
        raise ValueError(f"--detector {options.detector} --segmenter {options.segmenter}: fusion needs both models")
    sets = [labelled_stills(path, options.root) for path in (options.data, options.val)]
    unseen = read_stills(options.unseen, options.root) if options.unseen else []
    check_files([*sets[0], *sets[1], *unseen], masks=True)
    # The engines alone, without a pipeline: they run on augmented views of stills.
    detector = open_detector(options.detector, options.engine)
    segmenter = other_half(detector, options.segmenter) or open_segmenter(options.segmenter, options.engine)
    samples = training_samples(sets[0], detector, segmenter, stills_count=options.stills, background=options.free)
    fusion = fit_fusion(samples, detector, segmenter, options.out.name, options.support, options.least_support)
    total = len(sets[1])
    stills = predict_views(original_views(sets[1]), detector, segmenter, total=total, description="validation stills")
    background = predict_views(
        background_views(sets[1]), detector, segmenter, total=total, description="validation background"
    )
    fusion = drop_useless_sides(fusion, stills, background)
    thresholds = matched_thresholds(fusion, stills)
    rows = compare({_VAL: stills, _BACKGROUND: background}, fusion, thresholds, centres_of=_VAL)
    if unseen:
        reported = predict_views(
            original_views(unseen), detector, segmenter, total=len(unseen), description="reported only"
        )
        rows |= compare({options.unseen.stem: reported}, fusion, thresholds)
    figures = val_figures(rows[_VAL])
    models = each_once((detector.model, segmenter.model), " and ")
    print(f"{models}, {detector.name}: {median_ms(fusion, stills):.2f} ms per frame")
    print(report(fusion, rows, figures, thresholds))
    without = sum(not len(one.true_boxes) for one in samples)
    save(options.out, to_dict(fusion, figures, f"{options.data.name}: {len(samples)} views, {without} without a polyp"))
    print(f"fusion: {options.out}")
    if options.picture:
        title = f"{models}, {detector.name}, on {options.val.name}"
        draw_gain(rows[_VAL], rows[_BACKGROUND], options.picture, title=title)
        print(f"picture: {options.picture}")


def training_samples(
    stills: Sequence[Still], detector: DetectorEngine, segmenter: SegmenterEngine, *, stills_count: int, background: int
) -> list[FusionSample]:
    """Predictions on augmented views of `stills_count` stills and on background views of `background` others.

    If there are too few stills, some are in both.
    """
    order = np.random.default_rng(0).permutation(len(stills))
    augmented = [stills[i] for i in order[:stills_count]]
    cropped = [stills[i] for i in order[::-1][:background]]
    views = augmented_views(augmented, detector.size)
    background_only = augmented_background_views(cropped, detector.size)
    return [
        *predict_views(views, detector, segmenter, total=len(augmented), description="training stills"),
        *predict_views(background_only, detector, segmenter, total=len(cropped), description="training background"),
    ]


def fit_fusion(
    samples: Sequence[FusionSample],
    detector: Engine,
    segmenter: Engine,
    name: str,
    support: float | None = None,
    least_support: float = 0.0,
) -> Fusion:
    """Fit both sides. support: weight of a box's support; None: it is fitted, too. least_support: see `BoxFusion`.

    Raises ValueError where all boxes or all regions are right, or all are wrong.
    """
    of_boxes, right = box_samples(samples)
    if support is None:
        bias, (score, support) = fit_logistic(of_boxes, right, "boxes")
    else:
        bias, score = fit_to_support(of_boxes, right, support)
    boxes = BoxFusion(bias, score, support, least_support)
    bias, (support,) = fit_logistic(*region_samples(samples), "regions of masks")
    return Fusion(name, _identity(detector), _identity(segmenter), boxes, MaskFusion(bias, support))


def box_samples(samples: Sequence[FusionSample]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the logit and support (n, 2) of every box, best score first, and whether it is right (n,)."""
    scores = np.concatenate([one.detections.scores for one in samples])
    support = np.concatenate([box_support(one.mask, one.detections.boxes) for one in samples])
    order = np.argsort(-scores, kind="stable")  # as `match` ranks them
    right = match([one.image_boxes for one in samples], {"all": COCO_RANGES["all"]}).rankings["all"][0].right
    return np.stack([logit(scores), support], axis=1)[order], right


def region_samples(samples: Sequence[FusionSample]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the support (k, 1) of every region of every mask, and whether it lies on a polyp (k,)."""
    supports, real = [np.zeros(0)], [np.zeros(0, bool)]
    for one in samples:
        labels, boxes = regions(one.mask)
        on_polyp = np.bincount(labels.ravel(), weights=one.true_map.ravel(), minlength=len(boxes) + 1)[1:]
        supports.append(region_support(boxes, one.detections))
        real.append(on_polyp >= _ON_POLYP * np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:])
    return np.concatenate(supports)[:, None], np.concatenate(real)


def fit_logistic(samples: NDArray[np.float64], right: NDArray[np.bool_], things: str) -> tuple[float, list[float]]:
    """Fit a logistic regression on samples (n, k); return the bias and the k weights.

    Raises ValueError where all samples have the same label.
    """
    _check_labels(right, things)
    found = LogisticRegression(C=_REGULARISATION_C).fit(samples, right)
    return float(found.intercept_[0]), found.coef_[0].astype(float).tolist()


def fit_to_support(samples: NDArray[np.float64], right: NDArray[np.bool_], support: float) -> tuple[float, float]:
    """Fit a logistic regression on logit and support (n, 2) of boxes, with a given weight of the support.

    Returns the bias and the weight of the logit. Raises ValueError where all boxes have the same label.
    """
    _check_labels(right, "boxes")
    sign = np.where(right, 1.0, -1.0)
    given = support * samples[:, 1]

    def loss(weights: NDArray[np.float64]) -> float:
        return float(np.logaddexp(0, -sign * (weights[0] + weights[1] * samples[:, 0] + given)).mean())

    bias, score = minimize(loss, np.array([0.0, 1.0])).x
    return float(bias), max(float(score), LEAST_SCORE_WEIGHT)


def _check_labels(right: NDArray[np.bool_], things: str) -> None:
    if right.all() or not right.any():
        kind = "right" if len(right) and right.all() else "wrong"
        raise ValueError(f"all {len(right)} {things} are {kind}: fitting needs right and wrong ones; give more data")


def _identity(engine: Engine) -> FusedModel:
    return FusedModel(engine.model, engine.name, engine.key)


def drop_useless_sides(fusion: Fusion, stills: Sequence[FusionSample], background: Sequence[FusionSample]) -> Fusion:
    """Drop the side that gains nothing on stills and background views together: boxes in AP, masks in Dice."""
    both = [*stills, *background]
    before, after = evaluate_views(both, None), evaluate_views(both, fusion)
    boxes_gain = _ap(after) > _ap(before)
    masks_gain = mean_dice(after) > mean_dice(before)
    return replace(fusion, boxes=fusion.boxes if boxes_gain else None, masks=fusion.masks if masks_gain else None)


def _ap(views: Sequence[EvaluatedView]) -> float:
    return coco_ap([view.boxes for view in views])["AP"] or 0.0


def matched_thresholds(fusion: Fusion, stills: Sequence[FusionSample]) -> tuple[float, float]:
    """Return the highest thresholds before and after that find as many polyps as SCORE_THRESHOLD finds before.

    Polyps whose boxes all lack the mask's support are not found again at any useful threshold, and do not count after.
    """
    before, after = evaluate_views(stills, None), evaluate_views(stills, fusion)
    wanted = int((hit_scores(before) >= SCORE_THRESHOLD).sum())
    supported = int((hit_scores(after) > np.float32(LEAST_SCORE)).sum())
    return threshold_for_hits(before, wanted), threshold_for_hits(after, min(wanted, supported))


def compare(
    sets: dict[str, Sequence[FusionSample]], fusion: Fusion, thresholds: tuple[float, float], *, centres_of: str = ""
) -> dict[str, tuple[Evaluation, Evaluation]]:
    """Evaluate each set before and after fusion, and each centre of the set `centres_of`.

    thresholds: scores from which boxes are shown, before and after.
    """
    rows = {}
    for name, samples in sets.items():
        rows[name] = (
            Evaluation(evaluate_views(samples, None), thresholds[0]),
            Evaluation(evaluate_views(samples, fusion), thresholds[1]),
        )
        for centre in sorted({one.centre for one in samples}) if name == centres_of else ():
            rows[f"{name}, {centre}"] = rows[name][0].select_centre(centre), rows[name][1].select_centre(centre)
    return rows


def median_ms(fusion: Fusion, samples: Sequence[FusionSample]) -> float:
    """Return the median time of fusing one frame, ms."""
    took_s = []
    for one in samples:
        since_s = time.perf_counter()
        fuse(one.detections, one.mask, fusion)
        took_s.append(time.perf_counter() - since_s)
    return float(1e3 * np.median(took_s))


def val_figures(sides: tuple[Evaluation, Evaluation]) -> dict[str, float]:
    """Return figures that the table lacks: calibration errors, and the interval of the AP gain."""
    errors = calibration_errors(sides)
    gain = ap_gain(*sides, samples=_DRAWS)
    values = {
        "ece_before": errors[0],
        "ece_after": errors[1],
        "ap_gain_low": gain.low if gain else None,
        "ap_gain_high": gain.high if gain else None,
    }
    return {name: round(value, 5) for name, value in values.items() if value is not None}


def report(
    fusion: Fusion,
    rows: dict[str, tuple[Evaluation, Evaluation]],
    figures: dict[str, float],
    thresholds: tuple[float, float],
) -> str:
    """Format the fitted weights and their gain as text with a table."""
    boxes, masks = fusion.boxes, fusion.masks
    return "\n".join(
        [
            f"boxes: {asdict(boxes)}" if boxes else "boxes: no gain in AP, not fused",
            f"masks: {asdict(masks)}" if masks else "masks: no gain in Dice, not fused",
            f"thresholds {thresholds[0]:.3f} before, {thresholds[1]:.3f} after: the highest that find as many polyps "
            f"of val as {SCORE_THRESHOLD:g} does before",
            format_table(rows),
            ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) + " (on val)",
        ]
    )


def to_dict(fusion: Fusion, figures: dict[str, float], fitted_on: str) -> dict[str, Any]:
    """Return the content of the fusion file."""
    return {
        "format": FORMAT,
        "detector": asdict(fusion.detector),
        "segmenter": asdict(fusion.segmenter),
        "boxes": asdict(fusion.boxes) if fusion.boxes else None,
        "masks": asdict(fusion.masks) if fusion.masks else None,
        "learnt_on": fitted_on,
        "on_val": figures,
    }


def save(path: Path, content: dict[str, Any]) -> None:
    """Write the file atomically. Raises FusionError for content that `read_fusion` would reject."""
    parse_fusion(content, path.name)
    write_json(path, content)


if __name__ == "__main__":
    main()
