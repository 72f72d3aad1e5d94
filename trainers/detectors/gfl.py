"""GFLv2, the paper's own detector, and GFL v1, as they are trained: `realtime_polyp.models.detector` with its losses.

Both have the same losses; in GFL v1 the scores are the class probabilities themselves.
"""

import torch
from torch import Tensor

from realtime_polyp.models.detector import Detector, DetectorConfig, DetectorMaps
from trainers.training.checkpoint_names import Rule, State, from_mmdet
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import detector_loss

build = Detector

MMDET_NAMES: tuple[Rule, ...] = (
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.conv\.(.*)", r"head.\1_tower.convs.\2.\3"),
    (r"bbox_head\.(cls|reg)_convs\.(\d+)\.gn\.(.*)", r"head.\1_tower.norms.\2.0.\3"),
    (r"bbox_head\.gfl_(cls|reg)\.(.*)", r"head.\1.\2"),
    (r"bbox_head\.reg_conf\.(\d)\.(.*)", r"head.quality.\1.\2"),
    (r"bbox_head\.scales\.(\d+)\.scale", r"scales.\1"),
)


def published(state: State) -> State:
    """A checkpoint under mmdetection's names, or the authors', as this detector's state.

    The authors' head has one class channel more than classes, a background that is never positive: it is left out. Its
    1x1 convolutions are linear layers here, its levels' scales one vector, the bins of its integral a constant.
    """
    state = from_mmdet(state, MMDET_NAMES)
    state.pop("bbox_head.integral.project", None)
    scales = [state.pop(f"scales.{level}") for level in range(16) if f"scales.{level}" in state]
    if scales:
        state["head.reg_scale"] = torch.stack([scale.reshape(()) for scale in scales])
    for name in [name for name in state if name.startswith("head.quality") and state[name].dim() == 4]:
        state[name] = state[name].flatten(1)
    for name in ("head.cls.weight", "head.cls.bias"):
        if name in state and len(state[name]) == 2:
            state[name] = state[name][:1]
    return state


def loss(model: Detector, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.maps(images), model.config, targets)


@in_full_precision
def _criterion(maps: DetectorMaps, config: DetectorConfig, targets: Targets) -> Losses:
    return detector_loss(maps, config, targets.boxes)
