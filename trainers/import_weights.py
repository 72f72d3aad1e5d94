"""Convert a published checkpoint to initial weights for one of the recipes.

python -m trainers.import_weights retinanet_r50_coco.pth --layout mmdet --config retinanet-r50 --out r50.safetensors
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from realtime_polyp.atomic_write import replacing
from trainers.command import command_parser, report_bad_input
from trainers.recipes import RECIPES, Recipe
from trainers.training.checkpoint_file import load_checkpoint, read_tensors
from trainers.training.checkpoint_layouts import LAYOUTS, Layout
from trainers.training.checkpoint_names import State

_NESTED = ("state_dict", "model", "model_state_dict", "state_dict_ema")
_PREFIXES = ("module.", "model.")
# Layers with one output per class: those of another data set are of no use for polyps.
_CLASS_LAYERS = re.compile(r".*\bcls\.(weight|bias)|(head|fc_head|conv_head)\.reg\.(weight|bias)|last_layer\.3\..*")
_OFFSETS = re.compile(r".*\.conv_offset")
_MEANINGS = (
    (
        re.compile(r"fc_head\.reg|conv_head\.cls"),
        'the "Ext" outputs of Double-Head-Ext, which no published Double-Head has',
    ),
    (re.compile(r".*\bcls"), "class outputs"),
)
_MOST_NAMED = 4
_EPILOG = """examples:
  python -m trainers.import_weights resnet50-0676ba61.pth --layout torchvision --config gflv2-r50 --out r50.safetensors
  python -m trainers.import_weights hrnetv2_w48.pth --layout hrnet --config lowrank-hrnet-w48 --out w48.safetensors
  python -m trainers.train_detector --config gflv2-r50 --init r50.safetensors --out runs/gflv2-r50"""


@dataclass
class Match:
    """How the tensors of a checkpoint match a model.

    Attributes:
        taken: {name in the model: tensor of the checkpoint}.
        left_out: {name in the checkpoint: reason}.
        untouched: names of the model's tensors that the checkpoint does not have.
        random: {layer or part of the model without a tensor of the checkpoint: what it is, or ""}.
        offsets: number of deformable convolutions whose offsets the checkpoint does not have.
    """

    taken: State = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    untouched: list[str] = field(default_factory=list)
    random: dict[str, str] = field(default_factory=dict)
    offsets: int = 0


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.import_weights",
        description="Convert a published COCO or ImageNet checkpoint to initial weights for a recipe.",
        epilog=_EPILOG,
    )
    parser.add_argument("file", type=Path, help="checkpoint: .pth, .pt or .safetensors")
    parser.add_argument("--layout", choices=list(LAYOUTS), required=True, help="source of its tensor names")
    parser.add_argument("--config", choices=list(RECIPES), required=True, metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options.file, options.layout, options.config, options.out)


def run(file: Path, layout: str, config: str, out: Path) -> None:
    """Convert a checkpoint and print a summary. Raises FileNotFoundError or ValueError for one that does not fit."""
    recipe = RECIPES[config]
    with torch.device("meta"):  # only names and shapes of the net are needed
        net = recipe.build(recipe.config)
    matched = match(read_checkpoint(file), net, LAYOUTS[layout], recipe)
    out.parent.mkdir(parents=True, exist_ok=True)
    source = hashlib.sha256(file.read_bytes()).hexdigest()
    with replacing(out) as path:
        save_file(matched.taken, path, {"config": config, "layout": layout, "source": file.name, "sha256": source})
    print(describe(matched, file, out))


def read_checkpoint(path: Path) -> State:
    """Return the named tensors of a checkpoint; wrapping dicts and name prefixes are removed, no code is run.

    Raises FileNotFoundError, or ValueError for a file that is no checkpoint.
    """
    if path.suffix == ".safetensors":
        return read_tensors(path)
    content = load_checkpoint(path)
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not named tensors")
    return {
        _bare(name): value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def match(state: State, net: nn.Module, layout: Layout, recipe: Recipe) -> Match:
    """Match the tensors of a checkpoint to those of a net of the recipe.

    Raises:
        ValueError: a tensor has another shape than in the net, or a part of the net is filled only partly; the
            checkpoint is of another architecture.
    """
    matched = Match()
    own = net.state_dict()
    for name, value in layout(state, recipe).items():
        if name not in own:
            matched.left_out[name] = "this model has no such tensor"
        elif own[name].shape == value.shape:
            matched.taken[name] = value.contiguous()
        elif _has_other_classes(name, value, own[name]):
            matched.left_out[name] = f"{len(value)} outputs of other classes, {len(own[name])} here"
        else:
            raise ValueError(
                f"{name} is {tuple(value.shape)} in the checkpoint and {tuple(own[name].shape)} in this model: "
                f"choose the --config that it was trained for"
            )
    matched.untouched = [name for name in own if name not in matched.taken and not _is_counter(name)]
    _check_parts_complete(matched, net)
    layers = find_untouched_layers(matched.untouched, list(own))
    matched.offsets = sum(bool(_OFFSETS.fullmatch(layer)) for layer in layers)
    matched.random = {layer: _meaning(layer, matched) for layer in layers if not _OFFSETS.fullmatch(layer)}
    return matched


def find_untouched_layers(untouched: list[str], names: list[str]) -> list[str]:
    """Return the layers, or whole parts of the model, that have no tensor but untouched ones.

    untouched: names of tensors among `names`, those of the whole model.
    """
    touched = {prefix for name in set(names) - set(untouched) for prefix in _prefixes(name) if not _is_counter(name)}
    layers = (next(prefix for prefix in _prefixes(name) if prefix not in touched) for name in untouched)
    return list(dict.fromkeys(layers))


def _prefixes(name: str) -> list[str]:
    """Return "a", "a.b" and "a.b.weight" for "a.b.weight"."""
    parts = name.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _meaning(layer: str, matched: Match) -> str:
    if any(name.startswith(f"{layer}.") for name in matched.left_out):
        return "outputs of other classes in the file"
    return next((what for pattern, what in _MEANINGS if pattern.fullmatch(layer)), "")


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _has_other_classes(name: str, value: Tensor, own: Tensor) -> bool:
    return bool(_CLASS_LAYERS.fullmatch(name)) and own.shape[1:] == value.shape[1:]


def _check_parts_complete(matched: Match, net: nn.Module) -> None:
    """Raise ValueError if a part, such as the backbone, is filled only partly; class layers may be missing."""
    filled = {_part(name) for name in matched.taken}
    missing = [
        name
        for name in matched.untouched
        if _part(name) in filled and not _CLASS_LAYERS.fullmatch(name) and ".conv_offset." not in name
    ]
    if not matched.taken:
        raise ValueError(
            f"no tensor matches: is --layout right? The file has {_some(list(matched.left_out))}, "
            f"the model {_some(list(net.state_dict()))}"
        )
    if missing:
        raise ValueError(f"{len(missing)} tensors are missing, such as {_some(missing)}: another architecture?")


def _part(name: str) -> str:
    return name.split(".")[0]


def describe(matched: Match, file: Path, out: Path) -> str:
    """Return a summary: tensors matched by part, left out and why, and every layer that the file does not fill."""
    parts: dict[str, int] = {}
    for name in matched.taken:
        parts[_part(name)] = parts.get(_part(name), 0) + 1
    lines = [f"{file.name}: {len(matched.taken)} tensors matched ("
             + ", ".join(f"{part} {count}" for part, count in parts.items()) + ")"]  # fmt: skip
    reasons: dict[str, list[str]] = {}
    for name, why in matched.left_out.items():
        reasons.setdefault(why, []).append(name)
    lines += [f"left out, {why}: {len(names)} ({_some(names)})" for why, names in reasons.items()]
    if matched.offsets:
        lines.append(
            f"not in the file, they start at 0: offsets of {matched.offsets} deformable convolutions, which begin as "
            f"ordinary convolutions (v2: at half strength)"
        )
    if matched.random:
        layers = [f"{layer} ({what})" if what else layer for layer, what in matched.random.items()]
        lines.append(f"not in the file, random until they are trained: {', '.join(layers)}")
        lines.append(f"with random layers the model's output means nothing: train it first, with --init {out}")
    return "\n".join([*lines, f"wrote {out}"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")


if __name__ == "__main__":
    main()
