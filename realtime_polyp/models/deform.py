"""Deformable convolution out of operations that every compiler knows: bilinear sampling and a plain convolution.

Sources: Dai et al., Deformable ConvNets (ICCV 2017); Zhu et al., Deformable ConvNets v2 (CVPR 2019), whose samples are
weighted too. TensorRT has no deformable convolution, and the common kernels export to nothing; this one does to all.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformConv2d(nn.Module):
    """A convolution (N, C, h, w) -> (N, O, h / stride, w / stride) that learns where each of its taps looks.

    `conv_offset` predicts for every place dy and dx of each tap, px of the input, tap after tap; when `modulated` (v2),
    the taps' weights, as logits, behind them. It starts at zero: an ordinary convolution (v2: at half its strength).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, modulated: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.modulated = kernel, stride, groups, modulated
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as nn.Conv2d begins
        channels = (3 if modulated else 2) * kernel * kernel
        self.conv_offset = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        taps = self.kernel * self.kernel
        predicted = self.conv_offset(x)
        offsets = predicted[:, : 2 * taps]
        strength = predicted[:, 2 * taps :].sigmoid() if self.modulated else None
        return deform_conv2d(x, offsets, self.weight, strength, stride=self.stride, groups=self.groups)


def deform_conv2d(
    x: Tensor, offsets: Tensor, weight: Tensor, strength: Tensor | None = None, *, stride: int = 1, groups: int = 1
) -> Tensor:
    """x (N, C, h, w), offsets (N, 2 k², h', w') as dy, dx of each tap, weight (O, C / groups, k, k), strength
    (N, k², h', w') or None -> (N, O, h', w'). Padding is k // 2; beyond the picture there are zeros.

    Places are computed in float32 at least: half precision cannot tell neighbouring pixels of a large map apart.
    """
    count, channels, height, width = x.shape
    kernel = weight.shape[-1]
    taps = kernel * kernel
    out_height, out_width = offsets.shape[-2:]
    exact = torch.promote_types(x.dtype, torch.float32)
    by_tap = offsets.to(exact).reshape(count, taps, 2, out_height, out_width)
    places = _tap_places(kernel, stride, out_height, out_width, x.device).to(by_tap) + by_tap
    # grid_sample counts from -1 to 1 over the picture's outer edges: a pixel's centre lies at (2 i + 1) / size - 1.
    y, x_place = (places[:, :, 0] * 2 + 1) / height - 1, (places[:, :, 1] * 2 + 1) / width - 1
    grid = torch.stack([x_place, y], dim=-1).flatten(2, 3)  # (N, taps, h' w', 2)
    sampled = F.grid_sample(x.to(exact), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    columns = sampled.to(x.dtype).reshape(count, channels, taps, out_height, out_width)  # (N, C, taps, h', w')
    if strength is not None:
        columns = columns * strength[:, None]
    flat = weight.flatten(2).flatten(1)[..., None, None]  # (O, C / groups * taps, 1, 1)
    return F.conv2d(columns.reshape(count, channels * taps, out_height, out_width), flat, groups=groups)


def _tap_places(kernel: int, stride: int, height: int, width: int, device: torch.device) -> Tensor:
    """Where each tap looks when nothing is deformed: (1, k², 2, h', w') as y, x px of the input.

    Made on the device: a copy from the host would stop a CUDA graph from being captured.
    """
    rows = torch.arange(height, device=device) * stride - kernel // 2
    columns = torch.arange(width, device=device) * stride - kernel // 2
    tap = torch.arange(kernel, device=device)
    y = (rows[None, None, :, None] + tap[:, None, None, None]).expand(kernel, kernel, height, width)
    x = (columns[None, None, None, :] + tap[None, :, None, None]).expand(kernel, kernel, height, width)
    return torch.stack([y, x], dim=2).reshape(1, kernel * kernel, 2, height, width)
