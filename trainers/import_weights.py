"""Turn a published checkpoint into weights for one of the recipes.

python -m trainers.import_weights retinanet_r50_coco.pth --layout mmdet --config retinanet-r50 --out r50.safetensors
"""

import hashlib
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from realtime_polyp.atomic_write import replacing
from trainers.command import command_parser, report_bad_input
from trainers.recipes import RECIPES
from trainers.training.checkpoint_layouts import LAYOUTS
from trainers.training.checkpoint_names import State
from trainers.training.initialise import read_tensors

_NESTED = ("state_dict", "model", "model_state_dict", "state_dict_ema")
_PREFIXES = ("module.", "model.")
# Layers as wide as a data set has classes: another data set's say nothing about polyps.
_CLASS_LAYERS = re.compile(r".*\bcls\.(weight|bias)|(head|fc_head|conv_head)\.reg\.(weight|bias)|last_layer\.3\..*")
_MOST_NAMED = 4
_EPILOG = """examples:
  python -m trainers.import_weights resnet50-0676ba61.pth --layout torchvision --config gflv2-r50 --out r50.safetensors
  python -m trainers.import_weights hrnetv2_w48.pth --layout hrnet --config lowrank-hrnet-w48 --out w48.safetensors
  python -m trainers.train_detector --config gflv2-r50 --init r50.safetensors --out runs/gflv2-r50"""


@dataclass
class Account:
    """What became of a checkpoint's tensors: taken {our name: tensor}; left out {their name: why}; untouched: our
    tensors that the file says nothing about."""

    taken: State = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    untouched: list[str] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.import_weights",
        description="Turn a published COCO or ImageNet checkpoint into starting weights for a recipe.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", type=Path, help="checkpoint: .pth, .pt or .safetensors")
    parser.add_argument("--layout", choices=list(LAYOUTS), required=True, help="whose names its tensors carry")
    parser.add_argument("--config", choices=list(RECIPES), required=True, metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options.file, options.layout, options.config, options.out)


def run(file: Path, layout: str, config: str, out: Path) -> None:
    """Read, match, write and tell. Raises FileNotFoundError or ValueError, one sentence, for what does not fit."""
    recipe = RECIPES[config]
    with torch.device("meta"):  # names and shapes are all that is needed of the net
        net = recipe.build(recipe.config)
    account = match(read_checkpoint(file), net, LAYOUTS[layout], recipe.build)
    out.parent.mkdir(parents=True, exist_ok=True)
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    with replacing(out) as path:
        save_file(account.taken, path, {"config": config, "layout": layout, "source": file.name, "sha256": source})
    print(describe(account, file, out))


def read_checkpoint(path: Path) -> State:
    """The tensors of a checkpoint under their own names, whatever it is wrapped in; pickles only as weights.

    Raises FileNotFoundError, or ValueError for a file that is none.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        content: Any = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be read as weights alone, and nothing else is run: {reason}") from error
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not named tensors")
    return {_bare(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def match(state: State, net: nn.Module, layout: Callable[[State, Any], State], build: Any) -> Account:
    """Raises ValueError where a tensor has another shape than the model's, or where a part of the model is filled but
    not whole: the checkpoint is then of another architecture."""
    account = Account()
    own = net.state_dict()
    for name, value in layout(state, build).items():
        if name not in own:
            account.left_out[name] = "this model has no such tensor"
        elif own[name].shape == value.shape:
            account.taken[name] = value.contiguous()
        elif _is_of_other_classes(name, value, own[name]):
            account.left_out[name] = f"{len(value)} outputs of other classes, {len(own[name])} here"
        else:
            raise ValueError(
                f"{name} is {tuple(value.shape)} in the checkpoint and {tuple(own[name].shape)} in this model: "
                f"choose the --config that it was trained for"
            )
    account.untouched = [name for name in own if name not in account.taken and not name.endswith("num_batches_tracked")]
    _refuse_holes(account, net)
    return account


def _is_of_other_classes(name: str, value: Tensor, own: Tensor) -> bool:
    return bool(_CLASS_LAYERS.fullmatch(name)) and own.shape[1:] == value.shape[1:]


def _refuse_holes(account: Account, net: nn.Module) -> None:
    """A part such as the backbone is filled whole or not at all; class layers may stay."""
    filled = {_part(name) for name in account.taken}
    missing = [
        name
        for name in account.untouched
        if _part(name) in filled and not _CLASS_LAYERS.fullmatch(name) and ".conv_offset." not in name
    ]
    if not account.taken:
        raise ValueError(
            f"no tensor matches: is --layout right? The file has {_some(list(account.left_out))}, "
            f"the model {_some(list(net.state_dict()))}"
        )
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, such as {_some(missing)}: another architecture?")


def _part(name: str) -> str:
    return name.split(".")[0]


def describe(account: Account, file: Path, out: Path) -> str:
    """What matched, part by part, what was left out and why, and what stays at its start."""
    parts: dict[str, int] = {}
    for name in account.taken:
        parts[_part(name)] = parts.get(_part(name), 0) + 1
    lines = [f"{file.name}: {len(account.taken)} tensors matched ("
             + ", ".join(f"{part} {count}" for part, count in parts.items()) + ")"]  # fmt: skip
    reasons: dict[str, list[str]] = {}
    for name, why in account.left_out.items():
        reasons.setdefault(why, []).append(name)
    lines += [f"left out, {why}: {len(names)} ({_some(names)})" for why, names in reasons.items()]
    if account.untouched:
        lines.append(
            f"not in the file, they stay at their start: {len(account.untouched)} ({_some(account.untouched)})"
        )
    return "\n".join([*lines, f"wrote {out}"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


if __name__ == "__main__":
    main()
