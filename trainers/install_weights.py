"""Install the weights of a training run as a model of the application.

python -m trainers.install_weights --run runs/detector --model gflv2-lite0

They are stored in half precision: kernels in float16, vectors such as biases and the statistics of normalisation in
float32. Every engine reads them as float32.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.engines.base import Task
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, add_to_manifest
from realtime_polyp.messages import quoted, shorten
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.state_file import to_half
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS
from trainers.command import command_parser, report_bad_input
from trainers.evaluation.paper_tables import PAPER_BACKBONE
from trainers.training.checkpoint_file import read_tensors
from trainers.training.run_folder import BEST, RECIPE, read_recipe

_BUILD: dict[Task, Callable[[Any], nn.Module]] = {
    "detector": Detector,
    "segmenter": Segmenter,
    "joint": JointModel,
}


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser("trainers.install_weights", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--model", choices=[*DETECTORS, *SEGMENTERS, *JOINTS], required=True)
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        install(options.run, options.model, options.folder)


def install(run: Path, model: str, folder: Path) -> None:
    """Store `best.safetensors` of a run in half precision in the weights folder, and its checksum in the manifest.

    Raises FileNotFoundError or ValueError, one sentence, before anything is written.
    """
    best = run / BEST
    if not best.is_file():
        raise FileNotFoundError(f"{run} has no {BEST}: has it trained to a first validation?")
    task: Task = "joint" if model in JOINTS else "detector" if model in DETECTORS else "segmenter"
    configs: dict[str, Any] = {**DETECTORS, **SEGMENTERS, **JOINTS}
    size = configs[model].size
    if task == "joint" and (run / RECIPE).is_file():  # its size is chosen by what was trained
        size = tuple(read_recipe(run)["size"])
    check_model(run, model, size)
    stored = read_as_stored(best)
    with torch.device("meta"):  # only names and shapes of the net are needed
        needed = _BUILD[task](replace(configs[model], size=size)).state_dict()
    check_tensors(stored, needed, model, best)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{model}.safetensors"
    atomic_write_bytes(folder / name, save(stored))  # `save_file` would let only its owner read it
    add_to_manifest(model, task, size, {"safetensors": name}, folder)
    print(f"installed {folder / name}; what was made from its old weights is no longer used: run calibration.int8")


def read_as_stored(best: Path) -> dict[str, Tensor]:
    """Return the weights of a run as they are stored. Raises ValueError for values that half precision cannot hold."""
    state = read_tensors(best)
    try:
        return to_half(state)
    except ValueError as error:
        raise ValueError(f"{best}: {error}") from error


def check_tensors(stored: dict[str, Tensor], needed: dict[str, Tensor], model: str, best: Path) -> None:
    """Raise ValueError that names the first tensor that the model lacks, has in another shape, or needs."""
    for name in (*needed, *stored):
        found, wanted = _describe(stored.get(name)), _describe(needed.get(name))
        if found != wanted and not (name not in stored and name.endswith("num_batches_tracked")):  # torch begins at 0
            raise ValueError(f"{best} does not fit {model}: of {quoted(name)}, it has {found}, and {wanted} is needed")


def _describe(value: Tensor | None) -> str:
    if value is None:
        return "nothing"
    kind = "float" if value.is_floating_point() else str(value.dtype).removeprefix("torch.")
    return f"{'x'.join(map(str, value.shape)) or 'scalar'} {kind}"


def check_model(run: Path, model: str, size: tuple[int, int]) -> None:
    """Raise ValueError if the recipe of the run names another model, backbone or input size."""
    if not (run / RECIPE).is_file():
        return
    recipe = read_recipe(run)
    backbone = recipe.get("backbone", PAPER_BACKBONE)
    own = recipe["config"].removesuffix("-ms") == model and backbone == PAPER_BACKBONE
    if not own or tuple(recipe["size"]) != size:
        trained = "{} at {}x{}".format(shorten(recipe["config"]), *recipe["size"])
        trained += "" if backbone == PAPER_BACKBONE else f" on {shorten(str(backbone))}"
        raise ValueError(f"{run} trained {trained}, which is not {model} at {size[0]}x{size[1]}")


if __name__ == "__main__":
    main()
