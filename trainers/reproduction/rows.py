"""The result files of finished rows: figures with intervals over all seeds, and what they were trained with.

A folder of results holds rows of one budget and one folder of data for each backbone; others are refused.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from realtime_polyp.atomic_write import write_json
from realtime_polyp.json_files import Count, Finite, read_json
from realtime_polyp.metrics.bootstrap import draws, intervals
from trainers.backbone_recipes import rows_on
from trainers.evaluation.claims import FOLDER as CLAIMS_FOLDER
from trainers.evaluation.claims import read_claims
from trainers.evaluation.results import FIGURES, round_figure
from trainers.reproduction.archive import RowOrigin, archive_path, check_same_origin, read_archive, write_archive
from trainers.reproduction.budget import Budget, Job, settings_of, ways_to_measure
from trainers.reproduction.predictions import Predictions, load_predictions, mean_figures, number_groups
from trainers.reproduction.row import SETS, predictions_path
from trainers.training.run import AUGMENT_DRAWS
from trainers.training.run_folder import HISTORY, read_recipe

_KINDS = {"detector": "detection", "segmenter": "segmentation"}
Key = tuple[str, bool]  # recipe, at several scales


@dataclass(frozen=True)
class QueueContext:
    """What the rows of a queue have in common.

    Attributes:
        budget: of every row.
        data: checksums of the files of the data, `row.checksums_of`.
        out: folder of the queue, with one folder for each run.
        results: folder of result files.
    """

    budget: Budget
    data: Mapping[str, str]
    out: Path
    results: Path

    def result_path(self, config: str, name: str, *, at_scales: bool = False) -> Path:
        """Return the path of the result file of a row on a set."""
        return self.results / f"{config}.{self.budget.backbone}.{name}{'.multi_scale' if at_scales else ''}.json"

    def claims_path(self, name: str) -> Path:
        """Return the path of the file of claims on a set."""
        return self.results / CLAIMS_FOLDER / f"{self.budget.backbone}.{name}.json"

    def origin_of(self, config: str, name: str, *, at_scales: bool = False, image_list: str = "") -> RowOrigin:
        """Return what a row on a set is trained and measured with in this queue."""
        files = ("train.json", f"{name}.json")
        return RowOrigin(
            config=config, set=name, multi_scale_test=at_scales, budget=settings_of(config, self.budget),
            data={file: self.data[file] for file in files if file in self.data}, image_list=image_list,
        )  # fmt: skip


class TrainedWith(msgspec.Struct, kw_only=True):
    """The part of a run's recipe that tells its budget. Further keys are allowed."""

    size: list[Count]
    loop: dict[str, Any]


class QueueResult(msgspec.Struct, kw_only=True):
    """The schema of a result file that a queue wrote. Files of earlier versions have no `budget` and no `data`."""

    figures: dict[str, Finite | None]
    seeds: list[Count]
    epochs: Count
    recipe: TrainedWith
    command: str
    budget: dict[str, Any] = {}
    data: dict[str, str] = {}

    def settings(self) -> dict[str, Any]:
        """Return the budget that it was trained with, as far as the file tells it."""
        on_device = "--augment-on device" in self.command
        told = {
            "size": self.recipe.size,
            "epochs": self.epochs,
            "batch": self.recipe.loop.get("batch"),
            "seeds": self.seeds,
            "augment_on": "device" if on_device else "workers",
            "augment_draws": AUGMENT_DRAWS if on_device else "coinciding",
            "precision": self.recipe.loop.get("precision"),
        }
        return self.budget or told


def read_queue_result(path: Path) -> QueueResult:
    """Read a result file of a queue. Raises ValueError if another command wrote it."""
    cure = "choose another folder with --results"
    return read_json(path, QueueResult, what="a result of trainers.reproduce", cure=cure)


def check_results(queue: QueueContext) -> None:
    """Raise ValueError, one sentence, if the folder of results holds rows or claims that this queue must not mix with.

    The folder may hold rows that the queue does not train: the claims count them.
    """
    for config, name, at_scales in _list_results(queue.budget.backbone):
        path = queue.result_path(config, name, at_scales=at_scales)
        origin = queue.origin_of(config, name, at_scales=at_scales)
        if path.exists():
            found = read_queue_result(path)
            check_same_origin(path, found.settings(), found.data, origin)
        if archive_path(path).exists():
            read_archive(archive_path(path), origin)
    for path in map(queue.claims_path, SETS):
        if path.exists():
            read_claims(path)


def _list_results(backbone: str, names: Iterable[str] = SETS) -> Iterator[tuple[str, str, bool]]:
    """Yield recipe, set and whether it is measured at several scales, of every result that a backbone may have."""
    for config in rows_on(backbone):
        for name in names:
            for at_scales in ways_to_measure(config):
                yield config, name, at_scales


def load_row(config: str, budget: Budget, out: Path, name: str, *, at_scales: bool = False) -> list[Predictions]:
    """Return the predictions of all seeds of a row on a set. Raises OSError or ValueError if one is missing."""
    folders = [Job(config, seed).folder(out) for seed in budget.seeds]
    return [load_predictions(predictions_path(folder, name, at_scales=at_scales)) for folder in folders]


def load_rows(queue: QueueContext, name: str) -> dict[Key, list[Predictions]]:
    """Return the predictions of every row that is measured with all seeds on a set, at one scale and at several.

    A row that the folder of the queue lacks is read from beside its result file. Rows with a damaged file in the folder
    of the queue count as not measured: --resume measures them again.

    Raises:
        ValueError: rows were measured on different images, or a file beside a result does not fit this queue.
    """
    found: dict[Key, list[Predictions]] = {}
    for config, _, at_scales in _list_results(queue.budget.backbone, (name,)):
        with contextlib.suppress(OSError, ValueError):
            found[config, at_scales] = load_row(config, queue.budget, queue.out, name, at_scales=at_scales)
            continue
        path = archive_path(queue.result_path(config, name, at_scales=at_scales))
        if path.exists():
            found[config, at_scales] = read_archive(path, queue.origin_of(config, name, at_scales=at_scales))
    _check_same_images(found, name)
    return found


def _check_same_images(rows: Mapping[Key, list[Predictions]], name: str) -> None:
    """Raise ValueError if rows were measured on different images: their difference would mean nothing."""
    runs = [(config, run, number_groups(run)) for (config, _), seeds in rows.items() for run in seeds]
    known = next((run.image_list for _, run, _ in runs if run.image_list), "")  # earlier versions wrote none
    for config, run, groups in runs:
        if groups != runs[0][2] or run.image_list not in ("", known):
            raise ValueError(
                f"{runs[0][0]} and {config} were measured on different images of {name}: choose another folder with "
                "--results, or begin in another --out"
            )


def read_figures(queue: QueueContext, name: str) -> dict[Key, dict[str, float | None]]:
    """Return the figures of every result file on a set, also of rows whose predictions are lost."""
    paths = {
        (config, at_scales): queue.result_path(config, name, at_scales=at_scales)
        for config, _, at_scales in _list_results(queue.budget.backbone, (name,))
    }
    return {key: read_queue_result(path).figures for key, path in paths.items() if path.exists()}


def write_row(
    config: str, queue: QueueContext, name: str, *, set_images: int, samples: int, command: str, at_scales: bool = False
) -> dict[str, Any]:
    """Write the result file of a row on a set and the predictions beside it; return the content of the result file.

    set_images: number of images in the set. samples: draws of the bootstrap. command: reproduces the queue.

    Raises:
        ValueError: another queue has written results that this one must not mix with.
    """
    runs = load_row(config, queue.budget, queue.out, name, at_scales=at_scales)
    folder = Job(config, queue.budget.seeds[0]).folder(queue.out)
    recipe = read_recipe(folder)
    wanted = FIGURES[_KINDS[recipe["task"]]]
    count = runs[0].images
    values = mean_figures(runs, np.arange(count))
    drawn = draws(count, samples=samples, groups=runs[0].groups)
    spans = intervals(
        drawn, lambda draw: {one: value for one, value in mean_figures(runs, draw).items() if one in wanted}
    )
    origin = queue.origin_of(config, name, at_scales=at_scales, image_list=runs[0].image_list)
    content = {
        "config": config,
        "set": name,
        "engine": "eager",
        "images": count,
        "set_images": set_images,
        "backbone": queue.budget.backbone,
        "seeds": list(queue.budget.seeds),
        "figures": {one: round_figure(values[one]) for one in wanted},
        "intervals": {one: [round_figure(span.low), round_figure(span.high)] for one, span in spans.items() if span},
        "differs": recipe["differs"],
        "multi_scale_test": at_scales,
        "command": command,
        "epochs": origin.budget["epochs"],
        "budget": origin.budget,
        "data": origin.data,
        "recipe": {key: recipe[key] for key in ("size", "init", "images", "loop", "augment", "versions")},
        "history": [_rounded(epoch) for epoch in read_json(folder / HISTORY, list[dict[str, float]], what="a history")],
    }
    check_results(queue)
    path = queue.result_path(config, name, at_scales=at_scales)
    queue.results.mkdir(parents=True, exist_ok=True)
    write_archive(archive_path(path), runs, origin)
    write_json(path, content)
    return content


def _rounded(epoch: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in epoch.items()}
