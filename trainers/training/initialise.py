"""What a net knows before it learns, and what of it stays as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from realtime_polyp.engines.base import Task
from realtime_polyp.models import efficientnet_lite, resnet
from realtime_polyp.models.efficientnet_lite import EfficientNetLite
from realtime_polyp.models.resnet import ResNet
from realtime_polyp.models.segmenter import LiteFusion, Segmenter
from trainers.training.imagenet import load_imagenet

_FROZEN_LITE_STAGES = 2  # with the stem, as the paper freezes its first stage; also the costliest ones to learn


def trunk_of(net: nn.Module) -> nn.Module:
    """The part that ImageNet can teach."""
    if isinstance(net, Segmenter):
        return net.fusion.trunk if isinstance(net.fusion, LiteFusion) else net.fusion
    trunk: Any = net.trunk
    return trunk  # type: ignore[no-any-return]


def initialise(net: nn.Module, init: Path | None, trunk_from: Path | None = None) -> str:
    """Fill the net from a file, its trunk from another net's, or a Lite trunk from its package; says which it was.

    Raises FileNotFoundError or ValueError for a file that does not fit.
    """
    trunk = trunk_of(net)
    if init is not None and trunk_from is not None:
        raise ValueError("--init and --trunk-of are two beginnings: give one")
    if trunk_from is not None:
        state = {
            name.removeprefix("trunk."): value
            for name, value in read_tensors(trunk_from).items()
            if name.startswith("trunk.")
        }
        load_part(trunk, state, trunk_from)
        return f"trunk of {trunk_from.name}"
    if init is not None and init.suffix == ".safetensors":
        load_part(net, read_tensors(init), init)
        return source_of(init)
    if isinstance(trunk, EfficientNetLite):
        load_imagenet(trunk, init, trunk.config)
        return "ImageNet"
    if init is not None:
        raise ValueError(f"--init {init} is no .safetensors file: convert it with python -m trainers.import_weights")
    return "random"


def source_of(path: Path) -> str:
    """The published checkpoint that a file was imported from, or the file's own name."""
    with safe_open(path, "pt") as file:
        return str((file.metadata() or {}).get("source", path.name))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Raises FileNotFoundError or ValueError with the file's name."""
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error


def load_part(module: nn.Module, state: dict[str, Tensor], source: Path) -> None:
    """Load every tensor of `state`; what the module has beside them stays. Raises ValueError for a misfit."""
    own = module.state_dict()
    wrong = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
    if wrong or not state:
        raise ValueError(
            f"{source} does not fit this model: {len(wrong)} of its {len(state)} tensors have no place here, such as "
            f"{', '.join(wrong[:3]) or 'any'}"
        )
    module.load_state_dict(state, strict=False)


def starter(net: nn.Module, *, task: Task, pretrained: bool) -> Callable[[nn.Module], None]:
    """What sets a net's modes before each epoch. A pretrained detector's first stages stay as they are (section 2.1.1),
    and a Lite trunk's; the paper's segmenters, and what begins at random, learn whole."""
    trunk = trunk_of(net)
    if pretrained and isinstance(trunk, EfficientNetLite):
        return _hold_lite_stages
    if pretrained and task == "detector" and isinstance(trunk, ResNet):
        return _hold_first_stage
    return _train


def _train(net: nn.Module) -> None:
    net.train()


def _hold_lite_stages(net: nn.Module) -> None:
    net.train()
    trunk = trunk_of(net)
    assert isinstance(trunk, EfficientNetLite)
    efficientnet_lite.freeze(trunk, stages=_FROZEN_LITE_STAGES)


def _hold_first_stage(net: nn.Module) -> None:
    net.train()
    trunk = trunk_of(net)
    assert isinstance(trunk, ResNet)
    resnet.freeze(trunk)
