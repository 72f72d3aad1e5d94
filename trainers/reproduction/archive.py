"""The predictions of finished rows beside their result files: claims can be measured after the queue's folder is lost.

A file holds what the paired bootstrap needs, for all seeds of a row on a set: of masks the figures of each image, of
boxes how each one counts at every size and IoU threshold, in the order of their scores. Figures of any resample are
those of the queue's folder to the last digit. The boxes themselves would need several times the space or be rounded,
and rounding to a quarter pixel changes AP.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.array_files import read_arrays
from realtime_polyp.atomic_write import replacing
from realtime_polyp.json_files import parse_json
from realtime_polyp.metrics.matches import Matches, Ranking
from trainers.reproduction.budget import list_differences
from trainers.reproduction.predictions import FoundBoxes, FoundMasks, Predictions, number_groups

_FORMAT = 1
_CURE = "delete it, or restore it with git checkout"
_WHAT = "the origin of a row"


class RowOrigin(msgspec.Struct, kw_only=True, frozen=True):
    """What a file of predictions belongs to.

    Attributes:
        config: name of the recipe.
        set: name of the set.
        multi_scale_test: measured with multi-scale testing.
        budget: of `budget.settings_of`.
        data: {file: checksum} of train.json and the set's file.
        image_list: checksum of the measured images, in order; "" if the queue was begun by an earlier version.
        format: of the file.
    """

    config: str
    set: str
    multi_scale_test: bool
    budget: dict[str, Any]
    data: dict[str, str]
    image_list: str = ""
    format: int = _FORMAT


def archive_path(result: Path) -> Path:
    """Return the path of the predictions that belong to a result file."""
    return result.with_name(f"{result.name.removesuffix('.json')}.npz")


def write_archive(path: Path, runs: Sequence[Predictions], origin: RowOrigin) -> None:
    """Write the predictions of a row on a set, one run per seed."""
    content = json.dumps({name: getattr(origin, name) for name in origin.__struct_fields__})
    arrays: dict[str, Any] = {"origin": np.array(content), "groups": np.array(number_groups(runs[0]), np.uint32)}
    for seed, run in zip(origin.budget["seeds"], runs, strict=True):
        parts = run.columns if isinstance(run, FoundMasks) else _arrays_of_boxes(run)
        arrays |= {f"{seed} {name}": array for name, array in parts.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_archive(path: Path, wanted: RowOrigin) -> list[Predictions]:
    """Read the predictions of a row on a set, one run per seed.

    Raises ValueError in one sentence if the file is damaged, or is not of the wanted row, budget and data.
    """
    arrays = read_arrays(path, cure=_CURE)
    origin = _check_origin(arrays, path, wanted)
    try:
        return [_run_of(arrays, f"{seed} ", origin) for seed in origin.budget["seeds"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {_CURE}") from error


def _check_origin(arrays: Mapping[str, NDArray[Any]], path: Path, wanted: RowOrigin) -> RowOrigin:
    origin = parse_json(str(arrays.get("origin", "")), RowOrigin, str(path), _WHAT, cure=_CURE)
    if origin.format != _FORMAT:
        raise ValueError(f"{path} has format {origin.format}, this version reads format {_FORMAT}: {_CURE}")
    row, wanted_row = ((one.config, one.set, one.multi_scale_test) for one in (origin, wanted))
    if row != wanted_row:
        raise ValueError(f"{path} holds {origin.config} on {origin.set}, not what its name says: {_CURE}")
    check_same_origin(path, origin.budget, origin.data, wanted)
    return origin


def check_same_origin(path: Path, budget: Mapping[str, Any], data: Mapping[str, str], wanted: RowOrigin) -> None:
    """Raise ValueError if a file of results is of another budget or other data than the queue's."""
    if different := list_differences(budget, wanted.budget):
        raise ValueError(f"{path} is of another budget ({different}): choose another folder with --results")
    if changed := [name for name, checksum in data.items() if wanted.data.get(name, checksum) != checksum]:
        raise ValueError(f"{path} is of another {', '.join(changed)}: choose another folder with --results")


def _run_of(arrays: Mapping[str, NDArray[Any]], prefix: str, origin: RowOrigin) -> Predictions:
    """Return one run. Raises KeyError, IndexError, TypeError or ValueError if its arrays do not fit each other."""
    groups = [str(number) for number in arrays["groups"].tolist()]
    parts = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if "scores" in parts:
        return FoundBoxes(_matches_of(parts, len(groups)), len(groups), groups, origin.image_list)
    if not parts or any(column.shape != (len(groups),) for column in parts.values()):
        raise ValueError("figures and images differ in number")
    return FoundMasks(parts, len(groups), groups, origin.image_list)


def _arrays_of_boxes(run: FoundBoxes) -> dict[str, NDArray[Any]]:
    """Return all boxes, best first, and bits (sizes x IoU thresholds, boxes): whether a box counts, and is right."""
    rankings = [ranking for rankings in run.matches.rankings.values() for ranking in rankings]
    whole = run.matches.rankings["all"][0]  # leaves out no box
    boxes = list(zip(whole.scores.tolist(), whole.images.tolist(), strict=True))
    counted, right = zip(*(_place(ranking, boxes) for ranking in rankings), strict=True)
    return {
        "ious": run.matches.ious,
        "sizes": np.array(list(run.matches.rankings)),
        "truths": np.array(list(run.matches.truths.values()), np.uint16),
        "scores": whole.scores.astype(np.float16),  # to be read only: the order is what counts
        "images": whole.images.astype(np.min_scalar_type(run.images)),
        "counted": np.packbits(counted, axis=-1),
        "right": np.packbits(right, axis=-1),
    }


def _place(ranking: Ranking, boxes: list[tuple[float, int]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each box is in a ranking, which holds some of them in the same order, and whether it is right.

    boxes: score and image of each. Boxes that agree in both lie side by side, so it does not matter which is taken.
    """
    counted, right = np.zeros((2, len(boxes)), np.bool_)
    place = 0
    found = zip(ranking.scores.tolist(), ranking.images.tolist(), ranking.right.tolist(), strict=True)
    for score, image, is_right in found:
        while boxes[place] != (score, image):
            place += 1
        counted[place], right[place] = True, is_right
        place += 1
    return counted, right


def _matches_of(parts: Mapping[str, NDArray[Any]], images: int) -> Matches:
    sizes = [str(size) for size in parts["sizes"]]
    scores, numbers = parts["scores"].astype(np.float64), parts["images"].astype(np.int64)
    if scores.shape != numbers.shape or numbers.max(initial=0) >= images or parts["truths"].shape[-1] != images:
        raise ValueError("boxes and images differ in number")
    shape = (len(sizes), len(parts["ious"]), len(scores))
    counted, right = (
        np.unpackbits(parts[name], axis=-1, count=len(scores)).astype(np.bool_).reshape(shape)
        for name in ("counted", "right")
    )
    rankings = {
        size: [Ranking(scores[kept], hits[kept], numbers[kept]) for kept, hits in zip(*at_size, strict=True)]
        for size, *at_size in zip(sizes, counted, right, strict=True)
    }
    truths = {size: parts["truths"][number].astype(np.int64) for number, size in enumerate(sizes)}
    return Matches(parts["ious"], rankings, truths)
