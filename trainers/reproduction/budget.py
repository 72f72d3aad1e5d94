"""What a queue of `trainers.reproduce` trains: the same budget for every row, and the list of its jobs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.base import Task
from realtime_polyp.json_files import read_json
from trainers.backbone_recipes import recipe_on, rows_on
from trainers.evaluation.claims import CLAIMS
from trainers.evaluation.paper_tables import TABLES
from trainers.recipes import RECIPES, Recipe
from trainers.training.run import AUGMENT_DRAWS
from trainers.training.schedule import Precision

PLAN = "plan.json"
_FORMAT = 1
Count = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class Budget:
    """What every row of a queue has in common.

    Attributes:
        backbone: one of `backbone_recipes.BACKBONE_NAMES`.
        size: input (h, w) px; None: that of the recipe on this backbone.
        epochs: length of each run; None: the recipe's.
        batch: images per step; None: the recipe's.
        seeds: each row is trained once with each.
        limit: use only the first images of each set; None: all.
        augment_on: "workers" or "device", where images are augmented.
        precision: of forward and backward; None: the recipe's.
    """

    backbone: str = "lite0"
    size: tuple[Count, Count] | None = None
    epochs: Count | None = None
    batch: Count | None = None
    seeds: tuple[Annotated[int, Meta(ge=0)], ...] = (0,)
    limit: Count | None = None
    augment_on: Literal["workers", "device"] = "workers"
    precision: Precision | None = None


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        config: name of the recipe.
        seed: of all its random numbers.
    """

    config: str
    seed: int

    @property
    def task(self) -> Task:
        return RECIPES[self.config].task

    def folder(self, out: Path) -> Path:
        return out / f"{self.config}.seed{self.seed}"


class PlanFile(msgspec.Struct, kw_only=True):
    """The schema of a queue's plan. data: checksums of the files of the data; plans of earlier versions have none."""

    format: int
    budget: Budget
    data: dict[str, str] = {}


def list_configs(tables: list[int], backbone: str) -> list[str]:
    """Return the recipes that the rows and the claims of these tables need, each once, in the order of the tables."""
    known = {table.number: [row.config for row in table.rows] for table in TABLES}
    wanted = [config for number in tables for config in known[number]]
    for claim in CLAIMS:  # a claim may need a row that no table has
        if set(claim.configs) & set(wanted):
            wanted += [config for config in claim.configs if config not in {c for row in known.values() for c in row}]
    possible = set(rows_on(backbone))
    return [config for config in dict.fromkeys(wanted) if config in possible]


def list_jobs(configs: list[str], budget: Budget) -> list[Job]:
    """Return all runs: every row with the first seed, then every row with the next one."""
    return [Job(config, seed) for seed in budget.seeds for config in configs]


def recipe_of_budget(config: str, budget: Budget) -> Recipe:
    """Return the recipe of a row with the size of the budget."""
    recipe = recipe_on(RECIPES[config], budget.backbone)
    return recipe.sized(budget.size) if budget.size else recipe


def ways_to_measure(config: str) -> tuple[bool, ...]:
    """Return whether a recipe is measured at several scales: False, and True too if a table asks for it."""
    asked = any(row.config == config and row.multi_scale_test for table in TABLES for row in table.rows)
    return (False, True) if asked else (False,)


def begin(out: Path, budget: Budget, data: Mapping[str, str], *, resume: bool) -> None:
    """Write the plan of a new queue, or check that an existing one has the same budget and the same data.

    data: {file: checksum}. A set that the folder of data did not have before is allowed; plans of earlier versions have
    no checksums.

    Raises:
        FileNotFoundError: there is nothing to resume.
        ValueError: a new queue would mix with an existing one, or the budget or the data are others.
    """
    path = out / PLAN
    if not path.exists():
        if resume:
            raise FileNotFoundError(f"nothing to resume: {path} is not there; leave out --resume")
        content = {"format": _FORMAT, "budget": asdict(budget), "data": dict(data)}
        write_json(path, content)
        return
    if not resume:
        raise ValueError(f"{out} holds a queue: go on with --resume, or begin in another --out")
    found = read_json(path, PlanFile, what="the plan of a queue")
    if found.format != _FORMAT:
        raise ValueError(f"{path} has format {found.format}, this version reads format {_FORMAT}: start a new --out")
    different = list_differences(asdict(found.budget), asdict(budget))
    if different:
        raise ValueError(f"the queue in {out} began with another budget ({different}): repeat its options")
    changed = [name for name, checksum in found.data.items() if data.get(name, checksum) != checksum]
    if changed:
        raise ValueError(
            f"the queue in {out} began with another {', '.join(changed)}: repeat its --data, or begin in another --out"
        )


def settings_of(config: str, budget: Budget) -> dict[str, Any]:
    """Return the budget of one row as JSON holds it, with the recipe's own size, epochs and batch filled in.

    Two rows may be compared if each was trained with the settings that one budget gives it.
    """
    recipe = recipe_of_budget(config, budget)
    return {
        "backbone": budget.backbone,
        "size": list(recipe.config.size),
        "epochs": budget.epochs or recipe.loop.epochs,
        "batch": budget.batch or recipe.loop.batch,
        "seeds": list(budget.seeds),
        "limit": budget.limit,
        "augment_on": budget.augment_on,
        "augment_draws": AUGMENT_DRAWS,
        "precision": budget.precision or recipe.loop.precision,
    }


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what two budgets differ in, such as "epochs 4, not 8"; "" if nothing. Only what `before` has counts."""
    changed = (name for name in before if name in now and before[name] != now[name])
    return "; ".join(f"{name} {_show(name, before[name])}, not {_show(name, now[name])}" for name in changed)


def _show(name: str, value: Any) -> str:
    if value is None:
        return "none" if name == "limit" else "the recipe's"
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
