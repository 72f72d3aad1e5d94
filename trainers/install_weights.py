"""Install the weights of a training run as a model of the application.

python -m trainers.install_weights --run runs/detector --model gflv2-lite0
"""

import shutil
from pathlib import Path

from realtime_polyp.engines.base import Task
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, add_to_manifest
from realtime_polyp.messages import shorten
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS
from trainers.command import command_parser, report_bad_input
from trainers.training.run_folder import RECIPE, read_recipe


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser("trainers.install_weights", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--model", choices=[*DETECTORS, *SEGMENTERS], required=True)
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        install(options.run, options.model, options.folder)


def install(run: Path, model: str, folder: Path) -> None:
    """Copy `best.safetensors` of a run to the weights folder and add it to the manifest with its checksum."""
    best = run / "best.safetensors"
    if not best.is_file():
        raise FileNotFoundError(f"{run} has no best.safetensors: has it trained to a first validation?")
    task: Task = "detector" if model in DETECTORS else "segmenter"
    size = DETECTORS[model].size if task == "detector" else SEGMENTERS[model].size
    check_model(run, model, size)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{model}.safetensors"
    shutil.copyfile(best, folder / name)
    add_to_manifest(model, task, size, {"safetensors": name}, folder)
    print(f"installed {folder / name}; its INT8 engine, if it has one, is now out of date: run calibration.int8")


def check_model(run: Path, model: str, size: tuple[int, int]) -> None:
    """Raise ValueError if the recipe of the run names another model or input size."""
    if not (run / RECIPE).is_file():
        return
    recipe = read_recipe(run)
    if recipe["config"].removesuffix("-ms") != model or tuple(recipe["size"]) != size:
        trained = "{} at {}x{}".format(shorten(recipe["config"]), *recipe["size"])
        raise ValueError(f"{run} trained {trained}, which is not {model} at {size[0]}x{size[1]}")


if __name__ == "__main__":
    main()
