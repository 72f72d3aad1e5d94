"""Every recipe at a width that a test can train: the same code, narrow backbones, few channels, a small picture."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.hrnet import HRNetConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers.data.augment import NONE
from trainers.recipes import Recipe
from trainers.training.schedule import LoopConfig

SIZE = (64, 96)
LOOP = LoopConfig(
    epochs=7, batch=4, optimizer="adamw", learning_rate=1e-2, backbone_factor=1.0, warmup_steps=2, workers=0,
    average_decay=0.9, validate_every=100,
)  # fmt: skip
# Of the fields that a configuration may have: what a toy has in their place.
NARROW: dict[str, Any] = {
    "size": SIZE,
    "channels": 16,
    "width": 12,
    "bases": 4,
    "fc_width": 32,
    "proposals": 40,
    "training_proposals": 40,
    "candidates": 50,
    "training_candidates": 50,
    "samples": 48,
    "placed": 20,
    "tower_width": 36,
    "tower_depth": 1,
    "conv_width": 32,
    "conv_blocks": 1,
    "branch": 8,
    "squeeze": 4,
    "stacked_convs": 1,
    "repeats": 1,
}


def toy(recipe: Recipe) -> Recipe:
    """The recipe at toy width, without augmentation, with a loop of fourteen steps on eight stills."""
    # What learns from few regions drawn by chance steps less far.
    loop = replace(LOOP, learning_rate=1e-3) if hasattr(recipe.config, "proposals") else LOOP
    return replace(recipe, config=narrow(recipe.config), loop=loop, augment=NONE)


def narrow(config: Any) -> Any:
    if isinstance(config, ResNetConfig):
        return replace(config, depths=(1, 1, 1, 1), width=16, groups=min(2, config.groups), group_width=64)
    if isinstance(config, HRNetConfig):
        return HRNetConfig((6, 12, 24, 48), stem_width=8, stem_blocks=1, modules=(1, 1, 1), blocks=1)
    if isinstance(config, LiteConfig):
        return LiteConfig(width=0.25, depth=0.3)
    if isinstance(config, NeckConfig):
        return replace(config, channels=16, repeats=1)
    changed = {}
    for one in fields(config):
        value = getattr(config, one.name)
        if is_dataclass(value):
            changed[one.name] = narrow(value)
        elif one.name in NARROW:
            changed[one.name] = NARROW[one.name]
        elif one.name.endswith("widths"):
            changed[one.name] = (16,) * len(value)
    return replace(config, **changed)
