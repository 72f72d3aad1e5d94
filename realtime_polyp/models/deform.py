"""Deformable convolution built from bilinear sampling and a plain convolution, which every compiler supports.

TensorRT has no deformable convolution, and the usual CUDA kernels cannot be exported; this form can. Sources: Dai et
al., Deformable ConvNets (ICCV 2017); Zhu et al., Deformable ConvNets v2 (CVPR 2019), which adds modulation.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DeformConv2d(nn.Module):
    """A convolution (N, C, h, w) -> (N, O, h / stride, w / stride) with learned sampling offsets.

    At each output location, `conv_offset` predicts dy and dx of each kernel tap (interleaved, input px). If `modulated`
    (v2), the logits of the taps' modulation follow. It is initialised with zeros: the layer starts as an ordinary
    convolution (v2: scaled by one half).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, modulated: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.modulated = kernel, stride, groups, modulated
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # the initialisation of nn.Conv2d
        channels = (3 if modulated else 2) * kernel * kernel
        self.conv_offset = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        taps = self.kernel * self.kernel
        predicted = self.conv_offset(x)
        offsets = predicted[:, : 2 * taps]
        modulation = predicted[:, 2 * taps :].sigmoid() if self.modulated else None
        return deform_conv2d(x, offsets, self.weight, modulation, stride=self.stride, groups=self.groups)


def deform_conv2d(
    x: Tensor, offsets: Tensor, weight: Tensor, modulation: Tensor | None = None, *, stride: int = 1, groups: int = 1
) -> Tensor:
    """Convolve x at shifted sampling locations; returns (N, O, h', w'). Padding is k // 2, with zeros.

    Sampling locations are computed in float32 or better: half precision cannot distinguish neighbouring pixels of a
    large map.

    Args:
        x: (N, C, h, w).
        offsets: (N, 2 k², h', w'), dy and dx of each tap, interleaved, input px.
        weight: (O, C / groups, k, k).
        modulation: (N, k², h', w'), factors of the samples; None for v1.
    """
    count, channels, height, width = x.shape
    kernel = weight.shape[-1]
    taps = kernel * kernel
    out_height, out_width = offsets.shape[-2:]
    # Not torch.promote_types: torch.compile of torch 2.11 refuses it.
    at_least_float32 = torch.float64 if x.dtype == torch.float64 else torch.float32
    by_tap = offsets.to(at_least_float32).reshape(count, taps, 2, out_height, out_width)
    locations = _tap_locations(kernel, stride, out_height, out_width, x.device).to(by_tap) + by_tap
    # grid_sample's coordinates are -1 and 1 at the outer borders: the centre of pixel i is at (2 i + 1) / size - 1.
    grid_y, grid_x = (locations[:, :, 0] * 2 + 1) / height - 1, (locations[:, :, 1] * 2 + 1) / width - 1
    grid = torch.stack([grid_x, grid_y], dim=-1).flatten(2, 3)  # (N, taps, h' w', 2)
    sampled = F.grid_sample(x.to(at_least_float32), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    columns = sampled.to(x.dtype).reshape(count, channels, taps, out_height, out_width)  # (N, C, taps, h', w')
    if modulation is not None:
        columns = columns * modulation[:, None]
    flat = weight.flatten(2).flatten(1)[..., None, None]  # (O, C / groups * taps, 1, 1)
    return F.conv2d(columns.reshape(count, channels * taps, out_height, out_width), flat, groups=groups)


def _tap_locations(kernel: int, stride: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return the undeformed sampling locations (1, k², 2, h', w') as y, x in input px.

    They are created on the device, because a CUDA graph cannot capture a copy from the host.
    """
    rows = torch.arange(height, device=device) * stride - kernel // 2
    columns = torch.arange(width, device=device) * stride - kernel // 2
    tap = torch.arange(kernel, device=device)
    y = (rows[None, None, :, None] + tap[:, None, None, None]).expand(kernel, kernel, height, width)
    x = (columns[None, None, None, :] + tap[None, :, None, None]).expand(kernel, kernel, height, width)
    return torch.stack([y, x], dim=2).reshape(1, kernel * kernel, 2, height, width)
