"""The mean of a tuned run's weights and those that it began with: python -m trainers.average_weights --help

What is tuned to new pictures forgets some of what it knew; half-way between both it keeps most of each (Wortsman et
al., Robust fine-tuning of zero-shot models, CVPR 2022). Only of one run and its own beginning: two nets that were
trained apart have no half-way.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from realtime_polyp.atomic_write import replacing
from trainers.command import command_parser, run_command
from trainers.training.initialise import read_tensors, source_of
from trainers.training.run_folder import BEST, read_recipe, write_recipe

Weights = dict[str, Tensor]
_EPILOG = """examples:
  python -m trainers.average_weights --run runs/tuned --began-with gflv2-lite0.safetensors --out runs/averaged
  python -m trainers.average_weights --run runs/tuned --began-with old.safetensors --share 0.75 --out runs/averaged"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.average_weights",
        description="Write the mean of a tuned run's best weights and those that it began with, as a run of its own.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="DIR", help="folder of the tuned run")
    add("--began-with", type=Path, required=True, metavar="FILE", help="the weights that its --init named")
    add("--share", type=float, default=0.5, metavar="X", help="of the tuned ones, 0 to 1 (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder, for evaluate --run and install_weights")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    if not 0 <= options.share <= 1:
        raise ValueError(f"--share must be 0 to 1, got {options.share:g}")
    if (options.out / BEST).exists():
        raise ValueError(f"{options.out} holds weights: choose a new --out")
    recipe, began = read_recipe(options.run), source_of(options.began_with)
    if recipe["init"] != began:
        raise ValueError(f"{options.run} began with {recipe['init']}, not with {began}: only its own beginning will do")
    weights = averaged(read_tensors(options.began_with), read_tensors(options.run / BEST), options.share)
    write_recipe({**recipe, "averaged": {"with": began, "share": options.share}}, options.out)
    with replacing(options.out / BEST) as path:
        save_file(weights, path)
    print(f"weights: {options.out / BEST}")


def averaged(before: Weights, tuned: Weights, share: float) -> Weights:
    """before + share * (tuned - before), tensor by tensor; counters are the tuned ones.

    Raises ValueError for weights of another model.
    """
    different = [name for name in before.keys() | tuned.keys() if not _alike(before.get(name), tuned.get(name))]
    if different:
        raise ValueError(
            f"the two are not of one model: {len(different)} tensors differ in shape, as {different[0]} does"
        )
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value.clone()
        for name, value in tuned.items()
    }


def _alike(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape and one.dtype == other.dtype


if __name__ == "__main__":
    main()
