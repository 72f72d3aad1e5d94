"""Teach the frame quality its views: python -m trainers.train_quality --data ../shared/data --out assets/quality.json

Clear pictures are the training stills as they are; every other view is made from them (`trainers/frame_quality/corruptions.py`).
Multinomial logistic regression tells what was done to them by the features of `realtime_polyp/temporal/frame_quality.py`; by what
margin it must win against "clear" is chosen on training stills that the fit has not seen. The val stills only check.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from realtime_polyp.temporal.frame_quality import FEATURES, FORMAT, FURTHEST, FrameQualityClassifier
from trainers.command import command_parser, run_command
from trainers.data.stills import Still, read_image, read_stills
from trainers.evaluation.predict import check_files
from trainers.frame_quality.corruptions import Picture
from trainers.frame_quality.dataset import AS_IT_IS, CLEAR, Views, read_photographs, views_of
from trainers.frame_quality.tables import check_text

_FOLDS = 5
HELD_OF_ALL, HELD_OF_A_CENTRE = 0.005, 0.01  # of the clear stills that the margins are chosen on, at most
_PENALTY = 10.0  # sklearn's C
_EPILOG = """examples:
  python -m trainers.train_quality --data ../shared/data --out assets/quality.json
  python -m trainers.train_quality --data ../shared/data --out quality.json --limit 300
  python -m trainers.train_quality --data ../shared/data --out quality.json --photographs holiday/

--photographs are checked on and never learned from; those that scikit-image ships do well."""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.train_quality",
        description="Fit the frame quality to the training stills and to pictures spoilt on purpose; check it on val.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder with train.json, val.json and their images")
    add("--out", type=Path, required=True, metavar="QUALITY.json", help="the classifier's numbers are written there")
    add("--photographs", type=Path, metavar="DIR", help="JPEG or PNG, for a check of 'outside' on scenes never seen")
    add("--limit", type=int, metavar="N", help="use only N stills of each set, spread over it")
    add("--seed", type=int, default=0, help="of what is drawn (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    train, val = (chosen_stills(options.data / f"{name}.json", options) for name in ("train", "val"))
    others = read_photographs(options.photographs) if options.photographs else []
    learned = views_of(train, sample_photographs(), seed=options.seed, name="train")
    classifier = fit(learned)
    print(check_text(views_of(val, others, seed=options.seed + 1, name="val"), classifier))
    document = as_document(classifier, f"{len(train)} stills of train.json, spoilt with seed {options.seed}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n")
    print(f"quality: {options.out}")


def chosen_stills(path: Path, options: argparse.Namespace) -> list[Still]:
    """Raises OSError or ValueError for files that are missing and for a limit that leaves none."""
    stills = read_stills(path, options.data)
    if options.limit is not None:
        if options.limit < 1:
            raise ValueError(f"--limit is {options.limit}: it must be 1 or more")
        stills = stills[:: max(1, len(stills) // options.limit)][: options.limit]
    check_files(stills, masks=False)
    return stills


def sample_photographs() -> list[Picture]:
    """A temple, a flower and a portrait: those that scikit-learn and matplotlib bring along."""
    portrait = Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return [*load_sample_images().images, read_image(portrait)]


def fit(learned: Views) -> FrameQualityClassifier:
    """The classifier of all the pictures. Raises ValueError where they come from fewer groups than there are folds."""
    groups = len(set(learned.groups))
    if groups < _FOLDS:
        raise ValueError(f"{groups} groups of training stills are too few: at least {_FOLDS} are needed")
    whole = _fit(learned)
    odds = np.zeros((len(learned), len(whole.kinds)))
    for fold, rest in GroupKFold(_FOLDS).split(learned.vectors, groups=learned.groups):
        odds[rest] = _fit(learned.only(fold), whole.kinds).log_odds(learned.vectors[rest])
    clear = learned.kinds == AS_IT_IS
    return replace(whole, margin=margins(odds[clear], learned.centres[clear]))


def margins(odds: NDArray[np.float64], centres: NDArray[np.str_]) -> NDArray[np.float64]:
    """The smallest margins (k,) that hold back only a few clear pictures, of log odds (n, k) and centres (n,).

    Every kind may hold back the same number of them: as many as keeps to both limits for all kinds together.
    """
    falling = -np.sort(-odds, axis=0)
    found = np.maximum(falling[0], 0)
    for each in range(1, len(odds)):
        tried = np.maximum(falling[each], 0)
        held = (odds > tried).any(axis=1)
        of_centres = [held[centres == centre].mean() for centre in set(centres)]
        if held.mean() > HELD_OF_ALL or max(of_centres) > HELD_OF_A_CENTRE:
            return found
        found = tried
    return found


def _fit(learned: Views, kinds: tuple[str, ...] | None = None) -> FrameQualityClassifier:
    """kinds: in their order, where that is settled already. Raises ValueError where the pictures lack one of them."""
    view_of = dict(zip(learned.classes.tolist(), learned.views.tolist(), strict=True))
    kinds = kinds or (CLEAR, *(kind for kind in sorted(view_of) if kind != CLEAR))
    if set(kinds) - set(view_of):
        raise ValueError(f"too few stills: none was spoilt by {', '.join(sorted(set(kinds) - set(view_of)))}")
    mean, scale = learned.vectors.mean(axis=0), learned.vectors.std(axis=0) + 1e-6
    far = np.clip((learned.vectors - mean) / scale, -FURTHEST, FURTHEST)
    model = LogisticRegression(C=_PENALTY, max_iter=2000).fit(far, [kinds.index(kind) for kind in learned.classes])
    views = tuple(view_of[kind] for kind in kinds)
    return FrameQualityClassifier(kinds, views, mean, scale, model.coef_, model.intercept_, np.zeros(len(kinds)))


def as_document(classifier: FrameQualityClassifier, data: str) -> dict[str, Any]:
    """What `read_frame_quality` reads; six digits are more than the features hold."""
    arrays = {name: _rounded(getattr(classifier, name)) for name in ("mean", "scale", "weights", "bias", "margin")}
    about = {"format": FORMAT, "data": data, "features": list(FEATURES)}
    return {**about, "kinds": list(classifier.kinds), "views": list(classifier.qualities), **arrays}


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.vectorize(lambda value: float(f"{value:.6g}"))(values).tolist()


if __name__ == "__main__":
    main()
