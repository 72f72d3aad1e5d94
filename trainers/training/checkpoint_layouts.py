"""Layouts of published checkpoints, and the renaming of their tensors."""

import functools
from collections.abc import Callable
from typing import Any

from realtime_polyp.models.segmenter import Segmenter
from trainers.detectors import atss, cascade_rcnn, double_head, faster_rcnn, fcos, gfl, paa, retinanet
from trainers.recipes import RECIPES, Recipe
from trainers.segmenters import hrnet
from trainers.training.checkpoint_names import Rule, State, find_mmdet_neck, from_mmdet, rename

Layout = Callable[[State, Recipe], State]

_MMDET: dict[Any, Callable[[State], State]] = {
    gfl.build: gfl.published,
    **{
        module.build: functools.partial(from_mmdet, head=module.MMDET_NAMES)
        for module in (atss, cascade_rcnn, double_head, faster_rcnn, fcos, paa, retinanet)
    },
}
_NECKS = {"fpn": "an FPN", "pafpn": "a PAFPN", "bifpn": "a BiFPN", "other": "of another kind"}
_BACKBONE_ALONE = "its backbone alone is read with --layout torchvision"
_HRNETS = (Segmenter, hrnet.build)
_RESNET = r"(conv1|bn1|layer[1-4])\.(.*)"
_TORCHVISION: tuple[Rule, ...] = (
    (r"backbone\.body\.(.*)", r"backbone.\1"),
    (rf"(?:backbone\.)?{_RESNET}", r"backbone.\1.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d+)\.(?:0\.)?(.*)", r"pyramid.lateral.\1.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d+)\.(?:0\.)?(.*)", r"pyramid.smooth.\1.\2"),
    (r"backbone\.fpn\.extra_blocks\.p6\.(.*)", r"pyramid.extra.0.\1"),
    (r"backbone\.fpn\.extra_blocks\.p7\.(.*)", r"pyramid.extra.1.\1"),
)
_HRNET_PARTS = r"(conv[12]|bn[12]|layer1|transition[1-3]|stage[2-4])\.(.*)"


def from_mmdetection(state: State, recipe: Recipe) -> State:
    """Rename tensors of mmdetection 3 and earlier; backbones of OpenMMLab are ResNets under torchvision's names.

    Raises:
        ValueError: mmdetection has no such model, or the checkpoint has another neck.
    """
    if not any(name.startswith("backbone.") for name in state):
        return from_torchvision(state, recipe)
    if recipe.build not in _MMDET:
        raise ValueError(f"mmdetection has no such model: {_BACKBONE_ALONE}")
    _check_neck(find_mmdet_neck(state), recipe)
    return _MMDET[recipe.build](state)


def _check_neck(found: str | None, recipe: Recipe) -> None:
    """Raise ValueError for a neck of another kind than the recipe's, or a BiFPN.

    The BiFPN of mmdetection (projects/EfficientDet) pools the backbone's last feature for its coarse levels, and its
    first layer has laterals of its own for the way back: ours has neither, so its tensors would compute something else.
    """
    wanted = recipe.config.neck.kind
    if found is None or found == wanted != "bifpn":
        return
    if found == wanted:
        raise ValueError(f"the file's BiFPN has other layers than that of {recipe.name}: {_BACKBONE_ALONE}")
    fitting = [one for one in RECIPES.values() if one.paper and one.build is recipe.build]
    same = [one.name for one in fitting if one.config.neck.kind == found]
    choose = f"choose such a --config ({', '.join(same)}); " if same and found != "bifpn" else ""
    raise ValueError(
        f"the file's neck is {_NECKS[found]}, that of {recipe.name} {_NECKS[wanted]}: {choose}{_BACKBONE_ALONE}"
    )


def from_torchvision(state: State, recipe: Recipe) -> State:
    """Rename ImageNet ResNets and ResNeXts, and backbone and pyramid of torchvision's detectors; heads differ."""
    return rename(state, _TORCHVISION)


def from_timm(state: State, recipe: Recipe) -> State:
    """Rename tensors of timm.

    Its ResNets have torchvision's names and its HRNets the authors'; only its EfficientNet-Lites need their own rules.
    """
    if any(name.startswith("conv_stem") for name in state):
        return _from_timm_lite(state, "fusion.backbone" if recipe.build is Segmenter else "backbone")
    is_hrnet = any(name.startswith("stage4") for name in state)
    return from_hrnet(state, recipe) if is_hrnet else from_torchvision(state, recipe)


def from_hrnet(state: State, recipe: Recipe) -> State:
    """Rename tensors of the HRNet authors' classification and segmentation checkpoints."""
    if recipe.build not in _HRNETS:
        raise ValueError("this model has no HRNet backbone: choose an hrnet --config")
    prefix = "fusion" if recipe.build is Segmenter else "backbone"
    return rename(state, ((_HRNET_PARTS, rf"{prefix}.\1.\2"),))


def _from_timm_lite(state: State, backbone: str) -> State:
    """timm's tf_efficientnet_lite: conv_pw, conv_dw, conv_pwl in each block; the first stage only widens at its end."""
    rules: list[Rule] = [(r"conv_stem\.(.*)", rf"{backbone}.stem.0.\1"), (r"bn1\.(.*)", rf"{backbone}.stem.1.\1")]
    plain = ("conv_dw", "bn1"), ("conv_pw", "bn2")
    expanding = ("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")
    for stage in range(7):
        steps, names = (
            (plain, ("depthwise", "project")) if stage == 0 else (expanding, ("expand", "depthwise", "project"))
        )
        for (conv, norm), ours in zip(steps, names, strict=True):
            source, target = rf"blocks\.{stage}\.(\d+)\.", rf"{backbone}.stages.{stage}.\1.{ours}."
            rules += [(rf"{source}{conv}\.(.*)", rf"{target}0.\2"), (rf"{source}{norm}\.(.*)", rf"{target}1.\2")]
    return rename(state, rules)


LAYOUTS: dict[str, Layout] = {
    "mmdet": from_mmdetection,
    "torchvision": from_torchvision,
    "timm": from_timm,
    "hrnet": from_hrnet,
}
