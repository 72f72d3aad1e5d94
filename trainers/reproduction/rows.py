"""The result files of finished rows: figures with intervals over all seeds, and what they were trained with."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.json_files import read_json
from realtime_polyp.metrics.bootstrap import draws, intervals
from trainers.evaluation.results import FIGURES, round_figure
from trainers.reproduction.budget import Budget, Job, ways_to_measure
from trainers.reproduction.predictions import Predictions, load_predictions, mean_figures
from trainers.reproduction.row import epochs_of, predictions_path
from trainers.training.run_folder import HISTORY, read_recipe

_KINDS = {"detector": "detection", "segmenter": "segmentation"}
Key = tuple[str, bool]  # recipe, at several scales


def load_row(config: str, budget: Budget, out: Path, name: str, *, at_scales: bool = False) -> list[Predictions]:
    """Return the predictions of all seeds of a row on a set. Raises OSError or ValueError if one is missing."""
    folders = [Job(config, seed).folder(out) for seed in budget.seeds]
    return [load_predictions(predictions_path(folder, name, at_scales=at_scales)) for folder in folders]


def load_rows(configs: list[str], budget: Budget, out: Path, name: str) -> dict[Key, list[Predictions]]:
    """Return the predictions of every row that is measured with all seeds, at one scale and at several.

    Rows with a damaged file are left out too: they count as not finished, and --resume measures them again.
    """
    found: dict[Key, list[Predictions]] = {}
    for config in configs:
        for at_scales in ways_to_measure(config):
            with contextlib.suppress(OSError, ValueError):
                found[config, at_scales] = load_row(config, budget, out, name, at_scales=at_scales)
    return found


def write_row(
    config: str, budget: Budget, out: Path, results: Path, name: str, *, set_images: int, samples: int, command: str,
    at_scales: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write the result file of a row on a set, and return its content.

    set_images: number of images in the set. samples: draws of the bootstrap. command: reproduces the queue.
    """
    runs = load_row(config, budget, out, name, at_scales=at_scales)
    folder = Job(config, budget.seeds[0]).folder(out)
    recipe = read_recipe(folder)
    wanted = FIGURES[_KINDS[recipe["task"]]]
    count = runs[0].images
    values = mean_figures(runs, np.arange(count))
    drawn = draws(count, samples=samples, groups=runs[0].groups)
    spans = intervals(
        drawn, lambda draw: {one: value for one, value in mean_figures(runs, draw).items() if one in wanted}
    )
    content = {
        "config": config,
        "set": name,
        "engine": "eager",
        "images": count,
        "set_images": set_images,
        "backbone": budget.backbone,
        "seeds": list(budget.seeds),
        "figures": {one: round_figure(values[one]) for one in wanted},
        "intervals": {one: [round_figure(span.low), round_figure(span.high)] for one, span in spans.items() if span},
        "differs": recipe["differs"],
        "multi_scale_test": at_scales,
        "command": command,
        "epochs": epochs_of(config, budget),
        "recipe": {key: recipe[key] for key in ("size", "init", "images", "loop", "augment", "versions")},
        "history": [_rounded(epoch) for epoch in read_json(folder / HISTORY, list[dict[str, float]], what="a history")],
    }
    path = results / f"{config}.{budget.backbone}.{name}{'.multi_scale' if at_scales else ''}.json"
    results.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(content, indent=1) + "\n")
    return content


def _rounded(epoch: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in epoch.items()}
