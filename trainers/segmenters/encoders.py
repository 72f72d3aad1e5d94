"""The encoders of the segmentation baselines: a ResNet, as in the paper, or an EfficientNet-Lite."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.efficientnet_lite import EfficientNetLite
from realtime_polyp.models.resnet import ResNet

Encoder = EfficientNetLite | ResNet


def encoder_channels(backbone: Encoder) -> tuple[int, int, int, int, int]:
    """Return the widths of `encoder_features`."""
    if isinstance(backbone, EfficientNetLite):
        return (backbone.half_resolution_channels, *backbone.channels)
    return (backbone.bn1.num_features, *backbone.channels)


def encoder_features(backbone: Encoder, pixels: Tensor) -> list[Tensor]:
    """Pixels (N, 3, h, w) in 0..255 -> features at strides 2, 4, 8, 16 and 32.

    At stride 2: what a ResNet's stem has before its pooling, and the first stage of an EfficientNet-Lite.
    """
    if isinstance(backbone, EfficientNetLite):
        outputs = backbone.stage_outputs(pixels)
        return [outputs[0], outputs[1], outputs[2], outputs[4], outputs[6]]
    features = [F.relu(backbone.bn1(backbone.conv1(backbone.normalise(pixels))))]
    x = F.max_pool2d(features[0], 3, 2, 1)
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        x = stage(x)
        features.append(x)
    return features


def dilate(backbone: Encoder) -> Encoder:
    """Replace the strides to 16 and 32 by dilations of 2 and 4, in place: the last features have stride 8 too."""
    if isinstance(backbone, EfficientNetLite):
        _dilate_lite(backbone)
    else:
        _dilate_resnet(backbone)
    return backbone


def _dilate_lite(backbone: EfficientNetLite) -> None:
    for index, rate in ((3, 2), (4, 2), (5, 4), (6, 4)):
        stage: Any = backbone.stages[index]
        for position, block in enumerate(stage):
            strided = position == 0 and index in (3, 5)
            _dilate(block.depthwise[0], rate // 2 if strided else rate)


def _dilate_resnet(backbone: ResNet) -> None:
    for stage, rate in ((backbone.layer3, 2), (backbone.layer4, 4)):
        for position, block in enumerate(stage):
            if not isinstance(block.conv2, nn.Conv2d):
                raise ValueError(
                    f"a dilated backbone cannot have {type(block.conv2).__name__}: use a ResNet with deform='none'"
                )
            _dilate(block.conv2, rate if position else rate // 2)
            if isinstance(block.downsample, nn.Sequential):
                shortcut: Any = block.downsample[0]
                shortcut.stride = (1, 1)


def _dilate(conv: Any, rate: int) -> None:
    """Give a convolution stride 1 and dilation `rate`. The first block of a stage still reads the stage before it."""
    reach = conv.kernel_size[0] // 2 * rate
    conv.stride, conv.dilation, conv.padding = (1, 1), (rate, rate), (reach, reach)
