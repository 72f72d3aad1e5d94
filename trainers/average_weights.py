"""Average the weights of a fine-tuned run with its initial weights: python -m trainers.average_weights --help

Fine-tuning on new images loses some accuracy on the old ones; the average of both sets of weights keeps most of each
(Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). Runs that follow one another can be averaged, too
(Izmailov et al., Averaging weights leads to wider optima and better generalization, UAI 2018). Every set must have
begun with the next: the average of independently trained weights is useless.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.weights import sha256_of
from trainers.command import command_parser, run_command
from trainers.training.checkpoint_file import read_source, read_tensors
from trainers.training.run_folder import BEST, read_recipe, write_recipe

Weights = dict[str, Tensor]
_EPILOG = """examples:
  python -m trainers.average_weights --run runs/tuned --began-with gflv2-lite0.safetensors --out runs/averaged
  python -m trainers.average_weights --run runs/tuned --began-with old.safetensors --share 0.75 --out runs/averaged
  python -m trainers.average_weights --run runs/3 --began-with runs/2/best.safetensors runs/1/best.safetensors \\
      --share 0.34 --out runs/averaged"""


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.average_weights",
        description="Average the best weights of a fine-tuned run with its initial weights; write them as a new run.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="DIR", help="folder of the fine-tuned run")
    add(
        "--began-with",
        type=Path,
        required=True,
        nargs="+",
        metavar="FILE",
        help="its initial weights, as given by --init; then those that they began with, and so on, in equal parts",
    )
    add(
        "--share",
        type=float,
        default=0.5,
        metavar="X",
        help="weight of the fine-tuned ones, 0 to 1 (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="a new folder, for evaluate --run and install_weights")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read, average and write. Raises OSError or ValueError, one sentence each, for bad input."""
    if not 0 <= options.share <= 1:
        raise ValueError(f"--share must be 0 to 1, got {options.share:g}")
    if (options.out / BEST).exists():
        raise ValueError(f"{options.out} holds weights: choose a new --out")
    recipe, began = read_recipe(options.run), " and ".join(_check_order(options.run, options.began_with))
    before = read_tensors(options.began_with[0])
    for count, path in enumerate(options.began_with[1:], 2):
        before = average(before, read_tensors(path), 1 / count)
    weights = average(before, read_tensors(options.run / BEST), options.share)
    differs = {**recipe["differs"], "weights": f"{options.share:g} of the fine-tuned ones, the rest of {began}"}
    averaged = {"with": began, "share": options.share}
    write_recipe({**recipe, "differs": differs, "averaged": averaged}, options.out)
    with replacing(options.out / BEST) as path:
        save_file(weights, path)
    print(f"weights: {options.out / BEST}")


def _check_order(run: Path, began_with: list[Path]) -> list[str]:
    """Return the names of the weights. Raises ValueError unless each set began with the next; `run` is the first."""
    names = []
    for path in began_with:
        recipe, name = read_recipe(run), read_source(path)
        known = recipe.get("init_sha256")  # of recipes since 2026-11-29
        if recipe["init"] != name or (known and known != sha256_of(path)):
            other = f"not with {name}" if recipe["init"] != name else f"of another content than {path}"
            raise ValueError(f"{run} began with {recipe['init']}, {other}: only its own beginning will do")
        names.append(name)
        run = path.parent
    return names


def average(before: Weights, tuned: Weights, share: float) -> Weights:
    """Return before + share * (tuned - before) for each tensor; integer counters are taken from `tuned`.

    Raises ValueError if the two are weights of different models.
    """
    different = [name for name in before.keys() | tuned.keys() if not _same_shape(before.get(name), tuned.get(name))]
    if different:
        raise ValueError(
            f"the two are not of one model: {len(different)} tensors differ in shape, as {different[0]} does"
        )
    return {
        name: torch.lerp(before[name], value, share) if value.is_floating_point() else value.clone()
        for name, value in tuned.items()
    }


def _same_shape(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape and one.dtype == other.dtype


if __name__ == "__main__":
    main()
