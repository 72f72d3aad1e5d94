"""What a run answered on a set, kept so that any resample of the images can be measured again without the model."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.atomic_write import replacing
from realtime_polyp.metrics.bootstrap import Draw, means_of, weights_of
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.matches import Matches, match
from trainers.evaluation.figures import bootstrap_groups, figures_per_image
from trainers.evaluation.predict import Case

Figures = dict[str, float | None]
_MOST_SIDE = 4  # coordinates of a box


class Predictions(Protocol):
    """The answers of one run on the N images of a set.

    Attributes:
        groups: group of each image for the bootstrap; None: each image is its own.
        images: N.
    """

    @property
    def groups(self) -> list[str] | None: ...

    @property
    def images(self) -> int: ...

    def figures(self, draw: Draw) -> Figures:
        """Return the figures on a resample, image indices (n,); None where one is undefined."""
        ...


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes of a detector."""

    matches: Matches
    images: int
    groups: list[str] | None

    def figures(self, draw: Draw) -> Figures:
        return self.matches.figures(weights_of(draw, self.images))


@dataclass(frozen=True)
class FoundMasks:
    """The figures of a segmenter's masks: {figure: (N,)}."""

    columns: dict[str, NDArray[np.float64]]
    images: int
    groups: list[str] | None

    def figures(self, draw: Draw) -> Figures:
        return means_of(self.columns, draw)


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
    if cases[0].detections is not None:
        arrays |= _box_arrays([case.boxes for case in cases])
    else:
        columns = figures_per_image([case.segmentation for case in cases if case.segmentation is not None])
        arrays |= {f"figure {name}": column for name, column in columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _box_arrays(images: list[ImageBoxes]) -> dict[str, NDArray[np.generic]]:
    return {
        "true": np.concatenate([one.true.reshape(-1, _MOST_SIDE) for one in images]),
        "true_counts": np.array([len(one.true) for one in images]),
        "found": np.concatenate([one.found.reshape(-1, _MOST_SIDE) for one in images]),
        "scores": np.concatenate([one.scores for one in images]),
        "found_counts": np.array([len(one.found) for one in images]),
    }


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        groups = [str(group) for group in arrays["groups"]] or None
        images = int(arrays["images"])
        columns = {name.removeprefix("figure "): arrays[name] for name in arrays if name.startswith("figure ")}
        if columns:
            return FoundMasks(columns, images, groups)
        return FoundBoxes(match(_images_of(arrays)), images, groups)
    except (BadZipFile, zlib.error, KeyError, EOFError, IndexError) as error:
        raise ValueError(f"{path} is damaged: delete it, and --resume measures the row again") from error


def _images_of(arrays: dict[str, NDArray[np.generic]]) -> list[ImageBoxes]:
    """Return the boxes of each image."""
    split = {name: np.split(arrays[name], np.cumsum(arrays[f"{side}_counts"])[:-1])
             for side, names in (("true", ("true",)), ("found", ("found", "scores"))) for name in names}  # fmt: skip
    return [
        ImageBoxes(true, found, scores)
        for true, found, scores in zip(split["true"], split["found"], split["scores"], strict=True)
    ]
