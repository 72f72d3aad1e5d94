"""The backbone that a configuration names."""

from realtime_polyp.models.efficientnet_lite import EfficientNetLite, LiteConfig
from realtime_polyp.models.resnet import ResNet, ResNetConfig


def build_backbone(config: LiteConfig | ResNetConfig) -> EfficientNetLite | ResNet:
    """Pixels (N, 3, h, w) in 0..255 -> features at strides 4, 8, 16, 32; widths in `channels`."""
    return EfficientNetLite(config) if isinstance(config, LiteConfig) else ResNet(config)
