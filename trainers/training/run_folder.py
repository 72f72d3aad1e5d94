"""The files in the folder of a training run, and the recipe that says what the run is made of."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.base import Task
from realtime_polyp.json_files import check_json, read_json
from realtime_polyp.messages import quoted
from realtime_polyp.metrics.run_lengths import LONGEST_SIDE_PX

FORMAT = 1  # of the folder, stored in the recipe and in the checkpoint; folders of earlier versions have none
RECIPE, HISTORY, CURVES = "recipe.json", "history.json", "curves.png"
CHECKPOINT, BEST, BAD_BATCH = "checkpoint.pt", "best.safetensors", "bad_batch.pt"
VALIDATION = (
    "AP",
    "AP50",
    "AP75",
    "dice",
    "miou",
    "joint",
)  # the validation figures in a history; all others are losses
_RECIPE = "the recipe of a training run"
Side = Annotated[int, Meta(ge=1, le=LONGEST_SIDE_PX)]


class RecipeFile(Struct, kw_only=True):
    """What a recipe must hold: the model, its input size (h, w) px, how it was trained. Further keys are allowed."""

    config: str
    task: Task
    size: tuple[Side, Side]
    init: str
    differs: dict[str, str]
    loop: dict[str, Any]


def write_recipe(content: dict[str, Any], run: Path) -> None:
    """Write the recipe of a run with its format number. Creates the folder."""
    write_json(run / RECIPE, {"format": FORMAT, **content})


def read_recipe(run: Path) -> dict[str, Any]:
    """Read the recipe of a run, with names of earlier versions replaced by today's.

    Raises:
        FileNotFoundError: the folder is not a run.
        ValueError: the file is damaged, or a later version wrote it.
    """
    path = run / RECIPE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is not a training run: it has no {RECIPE}")
    content = read_json(path, dict[str, Any], what=_RECIPE)
    check_format(content.get("format", FORMAT), path)
    check_json(content, RecipeFile, str(path), _RECIPE)
    return {**content, "loop": upgrade_loop(content["loop"])}


def check_format(found: Any, path: Path) -> None:
    """Raise ValueError if a file has a format number that this version cannot read."""
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {quoted(found)}, this version reads format {FORMAT}: use the version that wrote it"
        )


def upgrade_loop(loop: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a training loop under today's names; earlier versions wrote `trunk_factor`."""
    return {"backbone_factor" if name == "trunk_factor" else name: value for name, value in loop.items()}


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw the losses and validation figures of a run.

    history: one dict per epoch with "epoch", the losses, and the validation figures of epochs that were validated.
    """
    from matplotlib.figure import Figure  # here: most commands that read a run draw nothing, and would start later

    figure = Figure(figsize=(11, 4), layout="constrained")  # of no window: for machines without a display
    left, right = figure.subplots(1, 2)
    names = sorted({name for entry in history for name in entry} - {"epoch"})
    for name in names:
        points = [(entry["epoch"], entry[name]) for entry in history if name in entry]
        axis = right if name in VALIDATION else left
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    for axis, title in ((left, "training loss"), (right, "validation")):
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    figure.savefig(path, dpi=110)
