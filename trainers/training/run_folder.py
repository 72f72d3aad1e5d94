"""A finished run's folder, opened again: its recipe and its best weights."""

from pathlib import Path

import torch
from torch import nn

from realtime_polyp.engines.eager import EagerEngine
from trainers.recipes import RECIPES, Recipe
from trainers.training.initialise import load_part, read_tensors
from trainers.training.loop import BEST
from trainers.training.run import engine_of
from trainers.training.run_recipe import read_recipe


def recipe_of_run(run: Path) -> Recipe:
    """The named recipe at the size that the run trained at. Raises ValueError for one that this version has not."""
    content = read_recipe(run)
    if content["config"] not in RECIPES or len(content["size"]) != 2:
        raise ValueError(f"{run} trained {content['config']!r}, a recipe that this version does not have")
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
