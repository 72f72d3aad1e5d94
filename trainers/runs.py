"""A finished run's folder, opened again: its recipe and its best weights."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from realtime_polyp.engines.eager import EagerEngine
from trainers.initial import load_part, read_tensors
from trainers.loop import BEST
from trainers.recipes import RECIPES, Recipe
from trainers.train import RECIPE, engine_of


def read_recipe(run: Path) -> dict[str, Any]:
    """What the run wrote of itself. Raises FileNotFoundError or ValueError naming the file."""
    path = run / RECIPE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no training run: it has no {RECIPE}")
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        known = content["config"] in RECIPES and len(content["size"]) == 2
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no run's recipe: {error}") from error
    if not known:
        raise ValueError(f"{path} names the recipe {content['config']!r}, which this version does not have")
    return content


def recipe_of_run(run: Path) -> Recipe:
    """The named recipe at the size that the run trained at."""
    content = read_recipe(run)
    return RECIPES[content["config"]].sized((content["size"][0], content["size"][1]))


def engine_of_run(run: Path) -> EagerEngine:
    """The run's best weights in torch, on a GPU where there is one. Raises FileNotFoundError or ValueError."""
    recipe = recipe_of_run(run)
    best = run / BEST
    if not best.is_file():
        raise FileNotFoundError(f"{run} has no {BEST}: has it trained to a first validation?")
    net: nn.Module = recipe.build(recipe.config)
    load_part(net, read_tensors(best), best)
    engine: EagerEngine = engine_of(recipe, net, "cuda" if torch.cuda.is_available() else "cpu")
    return engine
