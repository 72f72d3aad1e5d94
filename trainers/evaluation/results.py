"""Result files for `trainers.table`: a model's figures on one set, their origin, and the differences from the paper."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import write_json
from trainers.evaluation.paper_tables import DETECTION, PAPER_BACKBONE, SEGMENTATION
from trainers.recipes import RECIPES
from trainers.training.run_folder import read_recipe

FIGURES = {"detection": DETECTION, "segmentation": (*SEGMENTATION, "precision", "f2", "hd95_px")}
DECIMALS = 6  # tables print three: a figure that was rounded to four before would often be printed one too high or low


@dataclass(frozen=True)
class Origin:
    """How a model was trained and measured.

    Attributes:
        config: name of the recipe.
        differs: aspect -> how it differs from the paper.
        command: reproduces the figures.
        multi_scale: measured with multi-scale testing.
        backbone: "paper" for the recipe's own, else a name of `trainers.backbone_recipes`.
    """

    config: str
    differs: dict[str, str]
    command: str
    multi_scale: bool
    backbone: str = PAPER_BACKBONE


def origin_of_run(run: Path, command: str, *, multi_scale: bool = False) -> Origin:
    """Return the origin of a training run's weights, from the run's recipe."""
    content = read_recipe(run)
    backbone = content.get("backbone", PAPER_BACKBONE)
    return Origin(content["config"], content["differs"], command, multi_scale, backbone)


def origin_of_weights(model: str, command: str, *, multi_scale: bool = False) -> Origin:
    """Return the origin of shipped weights; their model card describes the training.

    Raises:
        ValueError: no recipe has this name.
    """
    if model not in RECIPES:
        raise ValueError(f"there is no recipe {model!r}: choose from {', '.join(RECIPES)}")
    recipe = RECIPES[model]
    differs = {
        "recipe": "our own" if not recipe.paper else "the paper's",
        "data, init, epochs": f"see assets/weights/{model}.md",
        "size": "{}x{}".format(*recipe.config.size),
    }
    return Origin(model, differs, command, multi_scale)


def write_result(path: Path, report: dict[str, Any], origin: Origin) -> Path:
    """Write one result file and return its path. report: of `build_report`, with one model in it."""
    kind = "detection" if report["detection"] else "segmentation"
    found = report[kind]
    content = {
        "config": origin.config,
        "set": Path(report["data"]).stem,
        "engine": report["engine"],
        "images": report["images"],
        "set_images": report["set_images"],
        "backbone": origin.backbone,
        "figures": {name: round_figure(found[name]) for name in FIGURES[kind]},
        "intervals": {
            name: [round_figure(end) for end in span] for name, span in (found.get("intervals") or {}).items() if span
        },
        "differs": origin.differs,
        "multi_scale_test": origin.multi_scale,
        "command": origin.command,
    }
    write_json(path, content)
    return path


def round_figure(value: float | None) -> float | None:
    """Round a figure as result files hold it, far finer than tables print it; None where it is undefined."""
    return None if value is None else round(value, DECIMALS)
