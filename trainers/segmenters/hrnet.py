"""HRNetV2 by itself: the backbone of the paper's segmenter with its authors' last layer, and no low-rank module.

In place of HRNet it also takes an EfficientNet-Lite whose resolutions are fused, as the paper's segmenter here does.

Source: Wang et al., Deep High-Resolution Representation Learning (TPAMI 2020). Parameters carry the authors' names, the
backbone's after `backbone.`.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.hrnet import HRNET_W48, HRNet, HRNetConfig
from realtime_polyp.models.segmenter import LiteFusion
from trainers.training.contract import Losses, Targets, in_full_precision
from trainers.training.losses import mask_loss


@dataclass(frozen=True)
class HRNetSegmenterConfig:
    """size: input (h, w) px."""

    size: tuple[int, int] = (512, 512)
    backbone: HRNetConfig | LiteConfig = HRNET_W48


class HRNetSegmenter(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> polyp probability (N, h/4, w/4)."""

    def __init__(self, config: HRNetSegmenterConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone: HRNet | LiteFusion
        if isinstance(config.backbone, LiteConfig):
            self.backbone = LiteFusion(config.backbone)
        else:
            self.backbone = HRNet(config.backbone)
        width = self.backbone.channels
        self.last_layer = nn.Sequential(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.logits(pixels)[0].sigmoid()

    def logits(self, pixels: Tensor) -> tuple[Tensor]:
        """Logits (N, h/4, w/4)."""
        return (self.last_layer(self.backbone(pixels))[:, 0],)


build = HRNetSegmenter


def loss(model: HRNetSegmenter, images: Tensor, targets: Targets) -> Losses:
    return _criterion(model.logits(images), targets.masks)


@in_full_precision
def _criterion(logits: tuple[Tensor], truth: Tensor) -> Losses:
    """The loss of the paper's own segmenter, so that the two differ by the low-rank module only."""
    return {"mask": mask_loss(F.interpolate(logits[0][:, None], truth.shape[-2:], mode="bilinear")[:, 0], truth)}
