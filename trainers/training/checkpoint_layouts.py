"""Layouts of published checkpoints, and the renaming of their tensors."""

import functools
from collections.abc import Callable
from typing import Any

from realtime_polyp.models.segmenter import Segmenter
from trainers.detectors import atss, cascade_rcnn, double_head, faster_rcnn, fcos, gfl, paa, retinanet
from trainers.segmenters import hrnet
from trainers.training.checkpoint_names import Rule, State, from_mmdet, rename

Layout = Callable[[State, Any], State]

_MMDET: dict[Any, Callable[[State], State]] = {
    gfl.build: gfl.published,
    **{
        module.build: functools.partial(from_mmdet, head=module.MMDET_NAMES)
        for module in (atss, cascade_rcnn, double_head, faster_rcnn, fcos, paa, retinanet)
    },
}
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


def from_mmdetection(state: State, build: Any) -> State:
    """Rename tensors of mmdetection 3 and earlier; backbones of OpenMMLab are ResNets under torchvision's names."""
    if not any(name.startswith("backbone.") for name in state):
        return from_torchvision(state, build)
    if build not in _MMDET:
        raise ValueError("mmdetection has no such model: its backbone alone is read with --layout torchvision")
    return _MMDET[build](state)


def from_torchvision(state: State, build: Any) -> State:
    """Rename ImageNet ResNets and ResNeXts, and backbone and pyramid of torchvision's detectors; heads differ."""
    return rename(state, _TORCHVISION)


def from_timm(state: State, build: Any) -> State:
    """Rename tensors of timm.

    Its ResNets have torchvision's names and its HRNets the authors'; only its EfficientNet-Lites need their own rules.
    """
    if any(name.startswith("conv_stem") for name in state):
        return _from_timm_lite(state, "fusion.backbone" if build is Segmenter else "backbone")
    is_hrnet = any(name.startswith("stage4") for name in state)
    return from_hrnet(state, build) if is_hrnet else from_torchvision(state, build)


def from_hrnet(state: State, build: Any) -> State:
    """Rename tensors of the HRNet authors' classification and segmentation checkpoints."""
    if build not in _HRNETS:
        raise ValueError("this model has no HRNet backbone: choose an hrnet --config")
    prefix = "fusion" if build is Segmenter else "backbone"
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
