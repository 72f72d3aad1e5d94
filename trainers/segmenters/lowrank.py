"""The paper's own segmenter, as it is trained: `realtime_polyp.models.segmenter` with its losses."""

from torch import Tensor

from realtime_polyp.models.segmenter import Segmenter
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import segmenter_loss

build = Segmenter


def loss(model: Segmenter, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor, Tensor], truth: Tensor) -> Losses:
    return segmenter_loss(logits, truth)
