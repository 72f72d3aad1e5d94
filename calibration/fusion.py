"""How far a box and a mask may believe each other, learnt on the training split and judged on val.

python -m calibration.fusion --data ../shared/data/train.json --val ../shared/data/val.json --root ../shared/data \\
    --out assets/fusion.json

Two logistic regressions: that a box is right (IoU >= 0.5, best score first) by its own score and by how well the mask
fills it; that a region of the mask is a polyp by how surely a box frames it (`realtime_polyp.postprocess.fusion`). What they are
learnt on is told in `calibration.fusing.dataset`. A side that gains nothing on val and on views of it without a polyp is
left out.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from calibration.fusing.dataset import Seen, as_they_are, changed, seen, without_polyp, without_polyp_changed
from calibration.fusing.figures import (
    Judged,
    Side,
    ap_gain,
    calibration_errors,
    draw_gain,
    finding_scores,
    judged,
    mean_dice,
    table,
    threshold_finding,
)
from calibration.scores import labelled_stills
from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.engines import ENGINE_NAMES, open_detector, open_segmenter
from realtime_polyp.engines.base import DetectorEngine, Engine, SegmenterEngine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from realtime_polyp.metrics.detection import COCO_RANGES, coco_ap
from realtime_polyp.metrics.matches import match
from realtime_polyp.postprocess.fusion import (
    FORMAT,
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
from trainers.command import command_parser, run_command
from trainers.data.stills import Still, read_stills
from trainers.evaluation.predict import check_files

_MOST_WEIGHT = 100.0  # of the data against a plain answer (scikit-learn's C): separable data know no limit
_DRAWS = 500  # of the bootstrap
_ON_POLYP = 0.5  # of a region's cells, from where on it is one
_VAL, _FREE = "val", "parts of val without a polyp"
_EPILOG = """examples:
  python -m calibration.fusion --data ../shared/data/train.json --val ../shared/data/val.json \\
      --root ../shared/data --out assets/fusion.json --picture runs/fusion.png
  python -m calibration.fusion --data train.json --val val.json --unseen unseen_C6.json --root . --out fusion.json
  python -m calibration.fusion --data train.json --val val.json --root . --stills 1900 --free 900 --out fusion.json"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.fusion",
        description="Learn how far a box and a mask may believe each other from stills both models were trained on, "
        "strongly augmented, and from views without a polyp; print what it gains on other stills, and write it.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="TRAIN.json", help="COCO file of the stills to learn from")
    add("--val", type=Path, required=True, metavar="VAL.json", help="COCO file of the stills to judge by")
    add("--unseen", type=Path, metavar="FILE.json", help="COCO file of stills that are only reported")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that image paths start from")
    add("--out", type=Path, required=True, metavar="FUSION.json")
    add("--picture", type=Path, metavar="OUT.png", help="draw polyps found against false boxes there")
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="default: %(default)s")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="default: %(default)s")
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--stills", type=int, default=700, metavar="N", help="stills to learn from (default: %(default)s)")
    add("--free", type=int, default=350, metavar="N", help="other stills, a part without polyp (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    if options.stills < 1 or options.free < 1:
        raise ValueError(f"--stills {options.stills} and --free {options.free} must be 1 or more")
    sets = [labelled_stills(path, options.root) for path in (options.data, options.val)]
    unseen = read_stills(options.unseen, options.root) if options.unseen else []
    check_files([*sets[0], *sets[1], *unseen], masks=True)
    detector = open_detector(options.detector, options.engine)
    segmenter = open_segmenter(options.segmenter, options.engine)
    seen_ = seen_to_learn(sets[0], detector, segmenter, (options.stills, options.free))
    fusion = learnt(seen_, detector, segmenter, options.out.name)
    stills = seen(as_they_are(sets[1]), detector, segmenter, total=len(sets[1]), what="judging by stills")
    free = seen(without_polyp(sets[1]), detector, segmenter, total=len(sets[1]), what="and by parts without polyp")
    fusion = with_what_gains(fusion, stills, free)
    shown_from = thresholds(fusion, stills)
    rows = compared({_VAL: stills, _FREE: free}, fusion, shown_from, centres_of=_VAL)
    if unseen:
        reported = seen(as_they_are(unseen), detector, segmenter, total=len(unseen), what="only reported")
        rows |= compared({options.unseen.stem: reported}, fusion, shown_from)
    figures = figures_of(rows[_VAL])
    print(f"{detector.model} and {segmenter.model}, {detector.name}: {median_ms(fusion, stills):.2f} ms a frame")
    print(report(fusion, rows, figures, shown_from))
    without = sum(not len(one.true) for one in seen_)
    save(options.out, document(fusion, figures, f"{options.data.name}: {len(seen_)} views, {without} without a polyp"))
    print(f"fusion: {options.out}")
    if options.picture:
        title = f"{detector.model} and {segmenter.model}, {detector.name}, on {options.val.name}"
        draw_gain(rows[_VAL], rows[_FREE], options.picture, title=title)
        print(f"picture: {options.picture}")


def seen_to_learn(
    stills: Sequence[Still], detector: DetectorEngine, segmenter: SegmenterEngine, counts: tuple[int, int]
) -> list[Seen]:
    """counts: how many stills to augment, and of how many others to cut a part without polyp out."""
    order = np.random.default_rng(0).permutation(len(stills))
    whole_ones = [stills[i] for i in order[: counts[0]]]
    others = [stills[i] for i in order[::-1][: counts[1]]]
    size = detector.size
    return [
        *seen(changed(whole_ones, size), detector, segmenter, total=len(whole_ones), what="learning from stills"),
        *seen(
            without_polyp_changed(others, size),
            detector,
            segmenter,
            total=len(others),
            what="and from parts without polyp",
        ),
    ]


def learnt(seen_: Sequence[Seen], detector: Engine, segmenter: Engine, name: str) -> Fusion:
    """Both sides, whether they gain or not."""
    bias, (score, support) = regression(*box_samples(seen_), "boxes")
    boxes = BoxFusion(bias, score, support)
    bias, (support,) = regression(*region_samples(seen_), "regions of masks")
    masks = MaskFusion(bias, support)
    return Fusion(name, _identity(detector), _identity(segmenter), boxes, masks)


def box_samples(seen_: Sequence[Seen]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Logit and support (n, 2) of every box, best score first, and whether it is right (n,)."""
    scores = np.concatenate([one.detections.scores for one in seen_])
    support = np.concatenate([box_support(one.mask, one.detections.boxes) for one in seen_])
    order = np.argsort(-scores, kind="stable")  # as `match` ranks them
    right = match([one.boxes for one in seen_], {"all": COCO_RANGES["all"]}).rankings["all"][0].right
    return np.stack([logit(scores), support], axis=1)[order], right


def region_samples(seen_: Sequence[Seen]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Support (k, 1) of every region of every mask, and whether it lies on a polyp (k,)."""
    supports, real = [np.zeros(0)], [np.zeros(0, bool)]
    for one in seen_:
        labels, boxes = regions(one.mask)
        on_polyp = np.bincount(labels.ravel(), weights=one.true_cells.ravel(), minlength=len(boxes) + 1)[1:]
        supports.append(region_support(boxes, one.detections))
        real.append(on_polyp >= _ON_POLYP * np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:])
    return np.concatenate(supports)[:, None], np.concatenate(real)


def regression(samples: NDArray[np.float64], right: NDArray[np.bool_], things: str) -> tuple[float, list[float]]:
    """Bias and k weights of a logistic regression on samples (n, k). Raises ValueError where all are of a kind."""
    if right.all() or not right.any():
        kind = "right" if len(right) and right.all() else "wrong"
        raise ValueError(f"all of {len(right)} {things} are {kind}: fusion is learnt from both kinds; give more data")
    found = LogisticRegression(C=_MOST_WEIGHT).fit(samples, right)
    return float(found.intercept_[0]), found.coef_[0].astype(float).tolist()


def _identity(engine: Engine) -> FusedModel:
    return FusedModel(engine.model, engine.name, engine.key)


def with_what_gains(fusion: Fusion, stills: Sequence[Seen], free: Sequence[Seen]) -> Fusion:
    """Without a side that gains nothing on stills and parts without polyp together: in AP, or in Dice."""
    both = [*stills, *free]
    before, after = judged(both, None), judged(both, fusion)
    boxes_gain = _ap(after) > _ap(before)
    masks_gain = mean_dice(after) > mean_dice(before)
    return replace(fusion, boxes=fusion.boxes if boxes_gain else None, masks=fusion.masks if masks_gain else None)


def _ap(views: Sequence[Judged]) -> float:
    return coco_ap([view.boxes for view in views])["AP"] or 0.0


def thresholds(fusion: Fusion, stills: Sequence[Seen]) -> tuple[float, float]:
    """Before and after, the highest that find the polyps of as many stills as SCORE_THRESHOLD does before."""
    before, after = judged(stills, None), judged(stills, fusion)
    wanted = int((finding_scores(before) >= SCORE_THRESHOLD).sum())
    return threshold_finding(before, wanted), threshold_finding(after, wanted)


def compared(
    sets: dict[str, Sequence[Seen]], fusion: Fusion, shown_from: tuple[float, float], *, centres_of: str = ""
) -> dict[str, tuple[Side, Side]]:
    """Each set before and after, and each centre of one of them. shown_from: the thresholds of the two sides."""
    rows = {}
    for name, seen_ in sets.items():
        rows[name] = Side(judged(seen_, None), shown_from[0]), Side(judged(seen_, fusion), shown_from[1])
        for centre in sorted({one.centre for one in seen_}) if name == centres_of else ():
            rows[f"{name}, {centre}"] = rows[name][0].of(centre), rows[name][1].of(centre)
    return rows


def median_ms(fusion: Fusion, seen_: Sequence[Seen]) -> float:
    """Of fusing one frame's answers."""
    took_s = []
    for one in seen_:
        since_s = time.perf_counter()
        fuse(one.detections, one.mask, fusion)
        took_s.append(time.perf_counter() - since_s)
    return float(1e3 * np.median(took_s))


def figures_of(sides: tuple[Side, Side]) -> dict[str, float]:
    """Of val, what the table does not tell: calibration errors, and the interval of the gain in AP."""
    errors = calibration_errors(sides)
    gain = ap_gain(*sides, samples=_DRAWS)
    told = {
        "ece_before": errors[0],
        "ece_after": errors[1],
        "ap_gain_low": gain.low if gain else None,
        "ap_gain_high": gain.high if gain else None,
    }
    return {name: round(value, 5) for name, value in told.items() if value is not None}


def report(
    fusion: Fusion, rows: dict[str, tuple[Side, Side]], figures: dict[str, float], shown_from: tuple[float, float]
) -> str:
    """What was learnt and what it gains, in words and as a table."""
    boxes, masks = fusion.boxes, fusion.masks
    return "\n".join(
        [
            f"boxes: {asdict(boxes)}" if boxes else "boxes: no gain in AP, left alone",
            f"masks: {asdict(masks)}" if masks else "masks: no gain in Dice, left alone",
            f"boxes are shown from {shown_from[0]:.3f} before and from {shown_from[1]:.3f} after: the highest that "
            f"find the polyps of as many stills of val as {SCORE_THRESHOLD:g} does before",
            table(rows),
            ", ".join(f"{name} {value:.4f}" for name, value in figures.items()) + " (on val)",
        ]
    )


def document(fusion: Fusion, figures: dict[str, float], learnt_on: str) -> dict[str, Any]:
    """As the file holds it."""
    return {
        "format": FORMAT,
        "detector": asdict(fusion.detector),
        "segmenter": asdict(fusion.segmenter),
        "boxes": asdict(fusion.boxes) if fusion.boxes else None,
        "masks": asdict(fusion.masks) if fusion.masks else None,
        "learnt_on": learnt_on,
        "on_val": figures,
    }


def save(path: Path, content: dict[str, Any]) -> None:
    """Written under its name only when complete. Raises FusionError for what could not be read again."""
    parse_fusion(content, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
