"""Start a joint model from detectors and segmenters that are trained already.

The joint model's head, pyramid and backbone are those of a detector, with one finer level; its mask part is that of a
segmenter whose fusion reads the pyramid. So every part whose name and shape fit is taken over, but for that fusion.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from trainers.training.checkpoint_file import read_tensors

_SEGMENTER_PARTS = ("project.", "low_rank.", "full_head.", "low_rank_head.")
_LEVEL = re.compile(r"^(pyramid\.(?:lateral|smooth))\.(\d+)\.")


def take_over(net: nn.Module, files: Sequence[Path]) -> str:
    """Load all tensors of the files that have a place of the same shape in a joint model; return a description.

    Of two files with the same tensor, the first is taken. Tensors that no file has keep their values.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged or holds a joint model, or nothing of it fits.
    """
    own = net.state_dict()
    found: dict[str, Tensor] = {}
    said = []
    for path in files:
        state = read_tensors(path)
        if any(name.startswith("mask.") for name in state):
            raise ValueError(f"--parts-of {path} holds a joint model: take it with --init")
        named = {joint_name(name): value for name, value in state.items()}
        fitting = {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
        if not fitting:
            raise ValueError(f"--parts-of {path}: nothing of it fits this model")
        new = {name: value for name, value in fitting.items() if name not in found}
        found |= new
        said.append(f"{len(new)} tensors of {path.name}")
    net.load_state_dict(found, strict=False)
    return f"{' and '.join(said)}; {len(own) - len(found)} others as in a new model"


def joint_name(name: str) -> str:
    """Return the name in a joint model of a detector's or a segmenter's tensor."""
    if name.startswith("fusion.backbone."):
        return name.removeprefix("fusion.")
    if name.startswith(_SEGMENTER_PARTS):
        return f"mask.{name}"
    return _LEVEL.sub(lambda match: f"{match[1]}.{int(match[2]) + 1}.", name)
