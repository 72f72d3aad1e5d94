"""What a run answered on a set, kept so that any resample of the images can be measured again without the model."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.array_files import read_arrays
from realtime_polyp.atomic_write import replacing
from realtime_polyp.metrics.bootstrap import Draw, means_of, weights_of
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.matches import Matches, match
from trainers.evaluation.figures import bootstrap_groups, figures_per_image
from trainers.evaluation.predict import Case

Figures = dict[str, float | None]


@dataclass(frozen=True)
class FoundBoxes:
    """The answers of a detector on the N images of a set.

    Attributes:
        matches: the boxes that it found, against the true ones.
        images: N.
        groups: group of each image for the bootstrap; None: each image is its own.
        image_list: checksum of the images, in order; "" if an earlier version wrote the file.
    """

    matches: Matches
    images: int
    groups: list[str] | None
    image_list: str = ""

    def figures(self, draw: Draw) -> Figures:
        """Return the figures on a resample, image indices (n,); None where one is undefined."""
        return self.matches.figures(weights_of(draw, self.images))


@dataclass(frozen=True)
class FoundMasks:
    """The answers of a segmenter on the N images of a set.

    Attributes:
        columns: {figure: its values on the images (N,)}.
        images, groups, image_list: as in `FoundBoxes`.
    """

    columns: dict[str, NDArray[np.float64]]
    images: int
    groups: list[str] | None
    image_list: str = ""

    def figures(self, draw: Draw) -> Figures:
        """Return the figures on a resample, image indices (n,); None where one is undefined."""
        return means_of(self.columns, draw)


Predictions = FoundBoxes | FoundMasks


def mean_figures(runs: Sequence[Predictions], draw: Draw) -> Figures:
    """Return the mean of each figure over runs; None where one of them is undefined."""
    each = [run.figures(draw) for run in runs]
    means: Figures = {}
    for name in each[0]:
        values = [value for figures in each if (value := figures[name]) is not None]
        means[name] = sum(values) / len(values) if len(values) == len(each) else None
    return means


def save_predictions(path: Path, cases: Sequence[Case]) -> None:
    """Write the answers of one model on a set, whole or not at all."""
    groups = bootstrap_groups(cases)
    arrays = {"groups": np.array(groups if groups is not None else [], dtype=np.str_), "images": np.array(len(cases))}
    arrays["image_list"] = np.array(_checksum_of_images(cases))
    if cases[0].detections is not None:
        arrays |= _box_arrays([case.boxes for case in cases])
    else:
        columns = figures_per_image([case.segmentation for case in cases if case.segmentation is not None])
        arrays |= {f"figure {name}": column for name, column in columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _checksum_of_images(cases: Sequence[Case]) -> str:
    lines = [f"{case.still.id} {case.still.image_path.name}" for case in cases]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]


def number_groups(predictions: Predictions) -> list[int]:
    """Return the number of each image's group, from 0 in the order of the groups' first images."""
    numbers: dict[str, int] = {}
    groups = predictions.groups or [str(index) for index in range(predictions.images)]
    return [numbers.setdefault(group, len(numbers)) for group in groups]


def _box_arrays(images: list[ImageBoxes]) -> dict[str, NDArray[np.generic]]:
    return {
        "true": np.concatenate([one.true.reshape(-1, 4) for one in images]),
        "true_counts": np.array([len(one.true) for one in images]),
        "found": np.concatenate([one.found.reshape(-1, 4) for one in images]),
        "scores": np.concatenate([one.scores for one in images]),
        "found_counts": np.array([len(one.found) for one in images]),
    }


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    cure = "delete it, and --resume measures the row again"
    arrays = read_arrays(path, cure=cure)
    try:
        groups = [str(group) for group in arrays["groups"]] or None
        images, image_list = int(arrays["images"]), str(arrays.get("image_list", ""))
        columns = {name.removeprefix("figure "): arrays[name] for name in arrays if name.startswith("figure ")}
        if columns:
            return FoundMasks(columns, images, groups, image_list)
        return FoundBoxes(match(_images_of(arrays)), images, groups, image_list)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {cure}") from error


def _images_of(arrays: dict[str, NDArray[np.generic]]) -> list[ImageBoxes]:
    """Return the boxes of each image."""
    split = {name: np.split(arrays[name], np.cumsum(arrays[f"{side}_counts"])[:-1])
             for side, names in (("true", ("true",)), ("found", ("found", "scores"))) for name in names}  # fmt: skip
    return [
        ImageBoxes(true, found, scores)
        for true, found, scores in zip(split["true"], split["found"], split["scores"], strict=True)
    ]
