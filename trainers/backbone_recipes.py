"""The recipes of the paper's tables on another backbone: EfficientNet-Lite, whose ImageNet weights need no download.

A row of the tables is a detector or segmenter on ResNet-50 or larger. On two cores, and without ImageNet weights of
ResNets, the rows can be compared on one small backbone. Only the scale changes: the heads keep their structure with
fewer channels, and one training loop is used for all of a table's rows, so that they differ by the method only.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from realtime_polyp.models.efficientnet_lite import LITE0, LITE1, LITE2, LiteConfig
from realtime_polyp.models.hrnet import HRNetConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers.evaluation.paper_tables import PAPER_BACKBONE, TABLES
from trainers.recipes import Recipe
from trainers.training.schedule import LoopConfig

BACKBONES: dict[str, LiteConfig] = {"lite0": LITE0, "lite1": LITE1, "lite2": LITE2}
BACKBONE_NAMES = (PAPER_BACKBONE, *BACKBONES)
SIZE = (320, 384)  # of the default models

# One loop for all rows. AdamW, the average of weights and the cosine let a short run come to rest.
LOOP = LoopConfig(epochs=12, batch=8, validate_every=12, workers=1)
# A backbone of 320 channels at stride 32, not 2,048, and 320 px, not 800: the heads' sizes, and the numbers of regions.
_DETECTOR_SCALE: dict[str, Any] = {
    "channels": 64,
    "stacked_convs": 2,
    "fc_width": 256,
    "conv_width": 256,
    "tower_width": 144,
    "tower_depth": 4,
    "candidates": 300,
    "training_candidates": 600,
    "proposals": 300,
    "training_proposals": 300,
    "count": 128,
    "inside_only": False,  # at 320 px the largest anchors always cross the border
}
_SEGMENTER_SCALE: dict[str, Any] = {
    "PraNetConfig": {"reverse_widths": (64, 64, 64)},
    "ACSNetConfig": {"widths": (128, 96, 64, 32, 32), "context_widths": (96, 64, 32, 32), "branch": 32},
    "ACFNetConfig": {"width": 128, "branch": 64, "rates": (6, 12, 18)},
    "UNetPPConfig": {"widths": (16, 32, 64, 128)},
    "SegmenterConfig": {"width": 192, "bases": 32},  # as wide as the fused backbone, as HRNet's head
}
_REPEATED = {  # recipe: the one that would be the same model on EfficientNet-Lite
    "gflv2-r50-dcn": "gflv2-r50",
    "gflv2-r50-dcnv1": "gflv2-r50",
    "gflv2-r50-dcn-ms": "gflv2-x101-dcn-ms",
    "gflv2-r101-dcn-ms": "gflv2-x101-dcn-ms",
    "lowrank-hrnet-w32": "lowrank-hrnet-w48",
    "lowrank-hrnet-w18": "lowrank-hrnet-w48",
}
_FOR_CLAIMS = ("atss-r50-k9",)  # no row of a table
_ONE_STAGE_STRIDES = (8, 16, 32, 64)  # a fifth level would have 5 x 6 places
_ANCHOR_STRIDES = 5.0  # side of an anchor in strides: the largest is as wide as the picture is high


def recipe_on(recipe: Recipe, backbone: str) -> Recipe:
    """Return a recipe of the paper on one of `BACKBONES` at 320 x 384 px; on "paper" as it is.

    Raises:
        ValueError: the backbone has no such name, or the row is about what this backbone does not have.
    """
    if backbone == PAPER_BACKBONE:
        return recipe
    if backbone not in BACKBONES:
        raise ValueError(f"there is no backbone {backbone!r}: choose from {', '.join(BACKBONE_NAMES)}")
    if not recipe.paper:
        raise ValueError(f"{recipe.name} is no row of the paper's tables: it has its own backbone")
    if recipe.name in _REPEATED:
        raise ValueError(f"{recipe.name} on {backbone} would be the same model as {_REPEATED[recipe.name]}: train that")
    config = _scaled(recipe.config, BACKBONES[backbone])
    loop = replace(LOOP, scales=recipe.loop.scales)
    return replace(recipe, config=replace(config, size=SIZE), loop=loop, backbone=backbone)


def rows_on(backbone: str) -> tuple[str, ...]:
    """Return the recipes of the tables' rows, and of the paper's claims, that differ from each other on a backbone.

    EfficientNet-Lite has no deformable convolution, and its depth is its own. Several rows of Table 2 would then be the
    same model; one of them is kept for each neck and kind of training.
    """
    names = dict.fromkeys([*(row.config for table in TABLES for row in table.rows), *_FOR_CLAIMS])
    return tuple(name for name in names if backbone == PAPER_BACKBONE or name not in _REPEATED)


def _scaled(config: Any, backbone: LiteConfig) -> Any:
    """Replace the backbone of a configuration and scale its heads down with it."""
    values = {one.name: getattr(config, one.name) for one in fields(config)}
    changed = {name: _DETECTOR_SCALE[name] for name in values if name in _DETECTOR_SCALE}
    changed |= _SEGMENTER_SCALE.get(type(config).__name__, {})
    for name, value in values.items():
        if isinstance(value, ResNetConfig | HRNetConfig):
            changed[name] = backbone
        elif name in ("neck", "rpn", "sampling") and is_dataclass(value):
            changed[name] = _scaled(value, backbone)
    if "backbone" in values and values.get("strides", ())[:1] == (8,):
        changed |= _one_stage(config, changed["neck"])
    return replace(config, **changed)


def _one_stage(config: Any, neck: Any) -> dict[str, Any]:
    """Four levels, and what belongs to a level."""
    changed: dict[str, Any] = {"neck": replace(neck, levels=4), "strides": _ONE_STAGE_STRIDES}
    if hasattr(config, "anchor_scale"):
        changed["anchor_scale"] = _ANCHOR_STRIDES
    if hasattr(config, "reach_px"):
        changed["reach_px"] = (*config.reach_px[:3], config.reach_px[-1])
    return changed
