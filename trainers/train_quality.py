"""Train the frame quality classifier: python -m trainers.train_quality --data DATA --out assets/quality.json

The training stills are the clear frames. Frames of every other quality are synthesised from them
(`trainers/frame_quality/corruptions.py`). Multinomial logistic regression separates the kinds of corruption by the
features of `realtime_polyp/temporal/frame_quality.py`. The margins against "clear" are set by cross-validation on
training stills. The val stills are used for the report only. With --negatives, clear frames of real video join the
training stills, and those of the sequences that report are a part of the report.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from realtime_polyp.atomic_write import write_json
from realtime_polyp.temporal.frame_quality import FEATURES, FORMAT, FURTHEST, FrameQualityClassifier
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.stills import Still, read_image, read_stills
from trainers.evaluation.predict import check_files
from trainers.frame_quality.corruptions import Picture
from trainers.frame_quality.dataset import AS_IT_IS, CLEAR, QualitySamples, make_samples, read_photographs
from trainers.frame_quality.real_frames import clear_frames, read_real_frames
from trainers.frame_quality.tables import check_text, real_text

_FOLDS = 5
# The margins reject at most these shares of the clear stills: of all of them, and of any one centre's.
HELD_OF_ALL, HELD_OF_A_CENTRE = 0.005, 0.01
_PENALTY = 10.0  # C of LogisticRegression, the inverse of the regularisation strength
_EPILOG = """examples:
  python -m trainers.train_quality --data DATA --negatives DATA/negative.json --out assets/quality.json
  python -m trainers.train_quality --data DATA --out quality.json --limit 300
  python -m trainers.train_quality --data DATA --out quality.json --photographs holiday/

--photographs are used for the report only, never for training; those that scikit-image ships work well."""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.train_quality",
        description="Train the frame quality classifier on stills and corrupted copies of them; report on val.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="DIR", help="folder with train.json, val.json and their images")
    add("--out", type=Path, required=True, metavar="QUALITY.json", help="file to write the classifier to")
    add("--photographs", type=Path, metavar="DIR", help="JPEG or PNG files, to test 'outside' on unseen scenes")
    add(
        "--negatives",
        type=Path,
        metavar="FILE.json",
        help="PolypGen's frames of video without a polyp; image paths are relative to --data",
    )
    add("--limit", type=int, metavar="N", help="use only N stills of each set, evenly spaced")
    add("--seed", type=int, default=0, help="seed of the corruptions (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Train, report and write the classifier. Raises OSError or ValueError, one sentence each, for bad input."""
    check_outputs(options.out)
    train, val = (select_stills(options.data / f"{name}.json", options) for name in ("train", "val"))
    photographs = read_photographs(options.photographs) if options.photographs else []
    real = clear_frames(options.negatives, options.data)[: options.limit] if options.negatives else []
    samples = make_samples([*train, *real], sample_photographs(), seed=options.seed, name="train")
    classifier = fit(samples)
    print(check_text(make_samples(val, photographs, seed=options.seed + 1, name="val"), classifier))
    if options.negatives:
        print(f"\n{real_text(*read_real_frames(options.negatives, options.data, 'report'), classifier)}")
    of_video = f" and {len(real)} frames of video" if real else ""
    document = to_dict(classifier, f"{len(train)} stills of train.json{of_video}, corrupted with seed {options.seed}")
    write_json(options.out, document)
    print(f"quality: {options.out}")


def select_stills(path: Path, options: argparse.Namespace) -> list[Still]:
    """Read the stills of a set, or `--limit` of them. Raises OSError or ValueError for missing files or a bad limit."""
    stills = read_stills(path, options.data)
    if options.limit is not None:
        if options.limit < 1:
            raise ValueError(f"--limit is {options.limit}: it must be 1 or more")
        stills = stills[:: max(1, len(stills) // options.limit)][: options.limit]
    check_files(stills, masks=False)
    return stills


def sample_photographs() -> list[Picture]:
    """Return the sample images of scikit-learn and matplotlib: a temple, a flower and a portrait."""
    portrait = Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return [*load_sample_images().images, read_image(portrait)]


def fit(samples: QualitySamples) -> FrameQualityClassifier:
    """Fit the classifier on all samples and its margins by cross-validation over groups.

    Raises ValueError if there are fewer groups than folds.
    """
    groups = len(set(samples.groups))
    if groups < _FOLDS:
        raise ValueError(f"{groups} groups of training stills are too few: at least {_FOLDS} are needed")
    whole = _fit(samples)
    odds = np.zeros((len(samples), len(whole.kinds)))
    for fold, rest in GroupKFold(_FOLDS).split(samples.vectors, groups=samples.groups):
        odds[rest] = _fit(samples.only(fold), whole.kinds).log_odds(samples.vectors[rest])
    clear = samples.kinds == AS_IT_IS
    return replace(whole, margin=margins(odds[clear], samples.centres[clear]))


def margins(odds: NDArray[np.float64], centres: NDArray[np.str_]) -> NDArray[np.float64]:
    """Return the smallest margins (k,) that reject only a few clear frames, given log odds (n, k) and centres (n,).

    Every kind may reject the same number of frames: the largest number for which all kinds together keep both limits.
    """
    falling = -np.sort(-odds, axis=0)
    found = np.maximum(falling[0], 0)
    for each in range(1, len(odds)):
        tried = np.maximum(falling[each], 0)
        rejected = (odds > tried).any(axis=1)
        of_centres = [rejected[centres == centre].mean() for centre in set(centres)]
        if rejected.mean() > HELD_OF_ALL or max(of_centres) > HELD_OF_A_CENTRE:
            return found
        found = tried
    return found


def _fit(samples: QualitySamples, kinds: tuple[str, ...] | None = None) -> FrameQualityClassifier:
    """Fit without margins. kinds: in this order, default: as found. Raises ValueError if the samples lack a kind."""
    quality_of = dict(zip(samples.classes.tolist(), samples.qualities.tolist(), strict=True))
    kinds = kinds or (CLEAR, *(kind for kind in sorted(quality_of) if kind != CLEAR))
    if set(kinds) - set(quality_of):
        raise ValueError(f"too few stills: none was corrupted by {', '.join(sorted(set(kinds) - set(quality_of)))}")
    mean, scale = samples.vectors.mean(axis=0), samples.vectors.std(axis=0) + 1e-6
    standardised = np.clip((samples.vectors - mean) / scale, -FURTHEST, FURTHEST)
    model = LogisticRegression(C=_PENALTY, max_iter=2000).fit(
        standardised, [kinds.index(kind) for kind in samples.classes]
    )
    qualities = tuple(quality_of[kind] for kind in kinds)
    return FrameQualityClassifier(kinds, qualities, mean, scale, model.coef_, model.intercept_, np.zeros(len(kinds)))


def to_dict(classifier: FrameQualityClassifier, data: str) -> dict[str, Any]:
    """Return the JSON document that `read_frame_quality` reads, with six significant digits."""
    arrays = {name: _rounded(getattr(classifier, name)) for name in ("mean", "scale", "weights", "bias", "margin")}
    about = {"format": FORMAT, "data": data, "features": list(FEATURES)}
    return {**about, "kinds": list(classifier.kinds), "views": list(classifier.qualities), **arrays}


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.vectorize(lambda value: float(f"{value:.6g}"))(values).tolist()


if __name__ == "__main__":
    main()
