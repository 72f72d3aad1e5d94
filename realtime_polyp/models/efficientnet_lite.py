"""EfficientNet-Lite: the ImageNet backbone of both default models.

The Lite variant has no squeeze-and-excitation, uses ReLU6 and never scales the widths of stem and head; it stays
accurate in INT8. Source: Tan and Le, EfficientNet (ICML 2019).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Of the published checkpoints: normalisation of pixels in 0..255, and epsilon of the batch norms.
_MEAN, _STD = 127.0, 128.0
BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Stage:
    """Consecutive blocks with the same output width.

    Attributes:
        kernel: size of the depthwise convolutions.
        stride: of the first block.
        expand: expansion factor of the blocks.
        channels: of the output.
        blocks: number of blocks.
    """

    kernel: int
    stride: int
    expand: int
    channels: int
    blocks: int


@dataclass(frozen=True)
class LiteConfig:
    """Multipliers of the seven stages of EfficientNet-B0.

    Attributes:
        width: multiplies the channels.
        depth: multiplies the blocks per stage.
    """

    width: float = 1.0
    depth: float = 1.0


LITE0 = LiteConfig()
LITE1 = LiteConfig(width=1.0, depth=1.1)
LITE2 = LiteConfig(width=1.1, depth=1.2)

_STEM_CHANNELS = 32
_B0_STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)


def stages_of(config: LiteConfig) -> tuple[Stage, ...]:
    """Return the seven scaled stages. The depth of the first and the last stage is never scaled."""
    last = len(_B0_STAGES) - 1
    return tuple(
        Stage(
            stage.kernel,
            stage.stride,
            stage.expand,
            _round_channels(stage.channels * config.width),
            stage.blocks if index in (0, last) else math.ceil(stage.blocks * config.depth),
        )
        for index, stage in enumerate(_B0_STAGES)
    )


def _round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8; round up where that would remove more than 10 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU6: (N, inputs, h, w) -> (N, outputs, h / stride, w / stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPS, momentum=0.01),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """An inverted residual block: expand, depthwise, project. It has a shortcut if the shape does not change."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = conv_bn(inputs, hidden, 1) if expand > 1 else nn.Identity()
        self.depthwise = conv_bn(hidden, hidden, kernel, stride=stride, groups=hidden)
        self.project = conv_bn(hidden, outputs, 1)[:2]
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """Pixels (N, 3, h, w) in 0..255 -> features at strides 4, 8, 16 and 32, with `channels` channels."""

    def __init__(self, config: LiteConfig = LITE0) -> None:
        super().__init__()
        self.config = config
        self.stem = conv_bn(3, _STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = _STEM_CHANNELS
        for stage in stages_of(config):
            self.stages.append(_build_stage(inputs, stage))
            inputs = stage.channels
        widths = [stage.channels for stage in stages_of(config)]
        self.half_resolution_channels = widths[0]
        self.channels = (widths[1], widths[2], widths[4], widths[6])

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = self.stage_outputs(x)
        return [outputs[1], outputs[2], outputs[4], outputs[6]]

    def stage_outputs(self, x: Tensor) -> list[Tensor]:
        """Return the outputs of all seven stages, at strides 2, 4, 8, 16, 16, 32 and 32."""
        outputs = []
        x = self.stem((x - _MEAN) / _STD)
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


def _build_stage(inputs: int, stage: Stage) -> nn.Sequential:
    blocks = []
    for index in range(stage.blocks):
        stride = stage.stride if index == 0 else 1
        blocks.append(InvertedResidual(inputs, stage.channels, kernel=stage.kernel, stride=stride, expand=stage.expand))
        inputs = stage.channels
    return nn.Sequential(*blocks)


def from_published(state: dict[str, Tensor], config: LiteConfig = LITE0) -> dict[str, Tensor]:
    """Rename a checkpoint of the `efficientnet_lite_pytorch` packages to this module's names.

    The classifier and the 1280-channel head are dropped. Raises KeyError that names the first missing tensor.
    """
    renamed = _rename_conv_bn(state, "_conv_stem", "_bn0", "stem")
    block = 0
    for index, stage in enumerate(stages_of(config)):
        for position in range(stage.blocks):
            source, target = f"_blocks.{block}", f"stages.{index}.{position}"
            if stage.expand > 1:
                renamed |= _rename_conv_bn(state, f"{source}._expand_conv", f"{source}._bn0", f"{target}.expand")
            renamed |= _rename_conv_bn(state, f"{source}._depthwise_conv", f"{source}._bn1", f"{target}.depthwise")
            renamed |= _rename_conv_bn(state, f"{source}._project_conv", f"{source}._bn2", f"{target}.project")
            block += 1
    return renamed


def _rename_conv_bn(state: dict[str, Tensor], conv: str, bn: str, target: str) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    renamed = {f"{target}.1.{name}": state[f"{bn}.{name}"] for name in names if f"{bn}.{name}" in state}
    return {f"{target}.0.weight": state[f"{conv}.weight"], **renamed}


def freeze(backbone: EfficientNetLite, *, stages: int) -> None:
    """Freeze the stem and the first `stages` stages, including their batch-norm statistics."""
    for module in (backbone.stem, *backbone.stages[:stages]):
        module.eval().requires_grad_(False)


def load_published(backbone: EfficientNetLite, path: str, config: LiteConfig = LITE0) -> None:
    """Load a published ImageNet checkpoint (.pth). Raises KeyError or RuntimeError if it does not fit `config`."""
    backbone.load_state_dict(from_published(torch.load(path, weights_only=True), config))
