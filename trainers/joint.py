"""The joint model, as it is trained: `realtime_polyp.models.joint` with the losses of both halves.

The halves are balanced by one fixed weight, `JointConfig.mask_weight`.
"""

from torch import Tensor

from realtime_polyp.models.detector import DetectorMaps
from realtime_polyp.models.joint import JointConfig, JointModel
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import detector_loss, segmenter_loss

build = JointModel


def loss(model: JointModel, images: Tensor, targets: Targets) -> Losses:
    return _criterion(*model.train_outputs(images), model.config, targets)


@in_full_precision
def _criterion(
    maps: DetectorMaps, logits: tuple[Tensor, Tensor], config: JointConfig, targets: Targets
) -> Losses:  # fmt: skip
    masks = segmenter_loss(logits, targets.masks)
    weighted = {name: config.mask_weight * value for name, value in masks.items()}
    return detector_loss(maps, config.detector, targets.boxes) | weighted
