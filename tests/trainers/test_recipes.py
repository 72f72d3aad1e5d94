"""Every named recipe, narrow, on eight stills: it builds, learns, resumes to the bit, and evaluates."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stills import write_stills
from toys import SIZE, toy

import trainers.training.loop as loop
from realtime_polyp.engines.halves import roles_of
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from trainers.data.augment import NONE, OURS, Augment
from trainers.data.stills import Still, TrainingStills, read_stills
from trainers.evaluation.paper_tables import TABLES
from trainers.evaluation.predict import evaluate
from trainers.recipes import RECIPES, Recipe
from trainers.training.contract import Losses, Targets
from trainers.training.loop import Run, fit
from trainers.training.run import TrainingSets, _parser, apply_options, differences, engine_of, task_of

pytestmark = pytest.mark.usefixtures("quick_loop")
BREAKS_AT = 9  # in the middle of an epoch of two steps
LATE = {"gflv2-r101-dcn-ms": 10, "gflv2-x101-dcn-ms": 10}  # recipes whose toys learn later: epochs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def training(data: Path) -> TrainingStills:
    return TrainingStills(read_stills(data / "train.json", data), SIZE, Augment(NONE), seed=0)


def train(recipe: Recipe, data: Path, training: TrainingStills, out: Path, *, resume: bool = False
          ) -> tuple[Run, list[float]]:  # fmt: skip
    """A run from the same start each time, or from its checkpoint, and its losses step by step.

    A whole run leaves its folder as one that broke off at BREAKS_AT would: with the checkpoint of that step.
    """
    torch.manual_seed(0)
    net = recipe.build(recipe.config)
    task = task_of(recipe, net, few_stills(data), pretrained=False)
    totals: list[float] = []
    original = task.model._loss

    def watched(net: object, images: torch.Tensor, targets: Targets) -> Losses:
        losses = original(net, images, targets)
        totals.append(sum(value.item() for value in losses.values()))
        return losses

    def save_at_the_break(run: Run, path: Path) -> None:  # one checkpoint is enough, and each takes time
        if run.step == BREAKS_AT:
            save(run, path)

    save = loop.save_checkpoint
    task.model._loss = watched
    with patch.object(loop, "save_checkpoint", save_at_the_break):
        return fit(task, training, replace(recipe.loop, checkpoint_s=-1.0), out, resume=resume), totals


def few_stills(data: Path) -> list[Still]:
    """Three validation stills, the last without a polyp."""
    return read_stills(data / "val.json", data)[:3]


def distinct_toys() -> list[str]:
    """Of the recipes that are the same at toy width, such as those of ResNet-50 and ResNet-101, the first."""
    names: dict[Recipe, str] = {}
    for name, recipe in sorted(RECIPES.items()):
        names.setdefault(replace(toy(recipe), name="", paper=False), name)
    return list(names.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", distinct_toys())
def test_it_learns_resumes_to_the_bit_and_evaluates(
    name: str, data: Path, training: TrainingStills, tmp_path: Path
) -> None:
    recipe = toy(RECIPES[name])
    recipe = replace(recipe, loop=replace(recipe.loop, epochs=LATE.get(name, recipe.loop.epochs)))
    unbroken, totals = train(recipe, data, training, tmp_path)
    assert unbroken.step == len(totals) == 2 * recipe.loop.epochs and np.isfinite(totals).all()
    assert np.mean(totals[-4:]) < 0.93 * np.mean(totals[:4]), totals

    (tmp_path / loop.BEST).unlink()
    resumed, rest = train(recipe, data, training, tmp_path, resume=True)
    assert rest == totals[BREAKS_AT:]
    for key, value in unbroken.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[key]), key

    net = recipe.build(recipe.config)
    net.load_state_dict(load_file(tmp_path / loop.BEST))
    stills = few_stills(data)
    cases = evaluate(stills, *roles_of(engine_of(recipe, net)))
    assert len(cases) == len(stills)
    for case in cases:
        assert (case.detections is not None) == (recipe.task != "segmenter")
        assert (case.segmentation is not None) == (recipe.task != "detector")


def test_every_row_of_the_paper_s_tables_is_a_recipe_and_no_recipe_is_named_twice() -> None:
    named = {row.config for table in TABLES for row in table.rows}
    assert named <= set(RECIPES), named - set(RECIPES)
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    assert DEFAULT_DETECTOR in RECIPES and DEFAULT_SEGMENTER in RECIPES


def test_the_paper_s_recipes_are_the_paper_s() -> None:
    """Section 3.1 and 3.2, number by number."""
    for name, recipe in RECIPES.items():
        if not recipe.paper:
            continue
        found = recipe.loop
        if recipe.task == "detector":
            assert (found.optimizer, found.learning_rate, found.batch, found.epochs) == ("sgd", 0.01, 8, 24), name
            assert found.schedule == "step" and found.milestones == (16 / 24, 22 / 24)
            assert recipe.augment.gamma_percent == (50, 200) and recipe.augment.brightness_levels == 10
            assert recipe.augment.geometry_probability == 0.75 and recipe.augment.crop > 0
        else:
            assert (found.optimizer, found.learning_rate, found.batch, found.epochs) == ("sgd", 0.01, 16, 484), name
            assert (found.momentum, found.weight_decay) == (0.9, 5e-4) and recipe.config.size == (512, 512)
            assert recipe.augment.geometry_probability == recipe.augment.flip_probability == 0.5
        assert recipe.augment.copy_paste == recipe.augment.mosaic == 0, name


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_built_at_full_width(name: str) -> None:
    recipe = RECIPES[name]
    with torch.device("meta"):
        net = recipe.build(recipe.config)
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert (20 if recipe.paper and "w18" not in name else 1) < millions < 130, millions


def test_augmentation_and_image_size_of_a_run_are_options() -> None:
    given = ["--out", "runs/x", "--augment", "ours", "--full-size"]
    recipe = apply_options(RECIPES["polyp-lite2"], _parser("joint", "polyp-lite2", "").parse_args(given))
    assert recipe.augment == OURS and recipe.loop.small_share == 0
    assert differences(recipe, "ImageNet", TrainingSets([], [], [], None))["augment"] == "ours"
    usual = apply_options(RECIPES["polyp-lite2"], _parser("joint", "polyp-lite2", "").parse_args(["--out", "runs/x"]))
    assert usual.augment == RECIPES["polyp-lite2"].augment and usual.loop.small_share > 0
    assert "augment" not in differences(usual, "ImageNet", TrainingSets([], [], [], None))
