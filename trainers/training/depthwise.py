"""Faster depthwise convolutions in training on the CPU.

torch's own gradient of a 5x5 depthwise kernel takes most of a training step of an EfficientNet on a CPU, most of all in
bfloat16. It computes dilated depthwise convolutions as matrix products, slower still; here they are plain ones on each
of the grids that they see. On a GPU nothing is changed.
"""

from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from realtime_polyp.compiled import compiled


def use_fast_depthwise(model: nn.Module) -> None:
    """Make every square depthwise convolution of a model, dilated or not, a fast one on the CPU."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_depthwise(module):
            module.forward = _forward_of(module)  # type: ignore[method-assign]


def _is_depthwise(conv: nn.Conv2d) -> bool:
    pairs = (conv.kernel_size, conv.stride, conv.dilation)
    square = all(one == other for one, other in pairs) and 1 in (conv.stride[0], conv.dilation[0])
    plain = conv.bias is None and conv.padding == (conv.kernel_size[0] // 2 * conv.dilation[0],) * 2
    return conv.groups == conv.in_channels == conv.out_channels > 1 and square and plain


def _forward_of(conv: nn.Conv2d) -> Any:
    rate = conv.dilation[0]

    def forward(x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.shape[2] % rate or x.shape[3] % rate:
            return F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        return join_grids(_convolve(conv, split_grids(x, rate)), rate)

    return forward


def _convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution without its dilation."""
    if not (torch.is_grad_enabled() and conv.weight.requires_grad):
        return F.conv2d(x, conv.weight, None, conv.stride, conv.kernel_size[0] // 2, 1, conv.groups)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        return Depthwise.apply(x.to(dtype), conv.weight.to(dtype), conv.stride[0])
    return Depthwise.apply(x, conv.weight, conv.stride[0])


def split_grids(x: Tensor, rate: int) -> Tensor:
    """(N, C, h, w) -> (N * rate * rate, C, h / rate, w / rate): every `rate`-th row and column, from each beginning."""
    if rate == 1:
        return x
    count, channels, height, width = x.shape
    split = x.reshape(count, channels, height // rate, rate, width // rate, rate)
    return split.permute(0, 3, 5, 1, 2, 4).reshape(-1, channels, height // rate, width // rate)


def join_grids(x: Tensor, rate: int) -> Tensor:
    """The inverse of `split_grids`."""
    if rate == 1:
        return x
    _, channels, height, width = x.shape
    split = x.reshape(-1, rate, rate, channels, height, width)
    return split.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels, height * rate, width * rate)


class Depthwise(torch.autograd.Function):
    """x (N, C, h, w), weight (C, 1, k, k), padding k // 2 -> (N, C, h / stride, w / stride)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        of_x = _gradient_of_input(x, weight, gradient, ctx.stride) if ctx.needs_input_grad[0] else None
        of_weight = torch.from_numpy(
            weight_gradient(_rows_of(x), _rows_of(gradient), weight.shape[-1], ctx.stride)
        ).reshape(weight.shape)
        return of_x, of_weight.to(weight.dtype), None


def _gradient_of_input(x: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    dtype = x.dtype if stride == 1 else torch.float32  # bfloat16 is fast at stride 1 only
    padding = weight.shape[-1] // 2
    of_x: Tensor = torch.ops.aten.convolution_backward(
        gradient.to(dtype), x.to(dtype), weight.to(dtype), None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0],
        len(weight), [True, False, False],
    )[0]  # fmt: skip
    return of_x.to(x.dtype)


def _rows_of(x: Tensor) -> NDArray[np.float32]:
    """(N, C, h, w) -> (N, h, w, C) float32, contiguous."""
    return x.detach().float().permute(0, 2, 3, 1).contiguous().numpy()


def weight_gradient(
    x: NDArray[np.float32], gradient: NDArray[np.float32], kernel: int, stride: int
) -> NDArray[np.float32]:
    """Return the weight gradient (C, kernel, kernel) from x (N, h, w, C) and the output gradient (N, h', w', C)."""
    threads = torch.get_num_threads()
    parts = _products(x, gradient, kernel, stride)
    if torch.get_num_threads() != threads:  # numba changes the shared setting when it starts
        torch.set_num_threads(threads)
    return np.ascontiguousarray(parts.sum(0).T.reshape(-1, kernel, kernel))


@compiled(parallel=True, fastmath=True)
def _products(x: NDArray[np.float32], gradient: NDArray[np.float32], kernel: int, stride: int) -> NDArray[np.float32]:
    """(N, kernel * kernel, C): for each image and tap, the sum of gradient times input over all locations."""
    count, height, width, channels = gradient.shape
    padding = kernel // 2
    sums = np.zeros((count, kernel * kernel, channels), np.float32)
    for image in numba.prange(count):
        for row in range(height):
            for tap_row in range(kernel):
                source_row = row * stride + tap_row - padding
                if source_row < 0 or source_row >= x.shape[1]:
                    continue
                for column in range(width):
                    for tap in range(kernel):
                        source = column * stride + tap - padding
                        if 0 <= source < x.shape[2]:
                            for channel in range(channels):
                                sums[image, tap_row * kernel + tap, channel] += (
                                    gradient[image, row, column, channel] * x[image, source_row, source, channel]
                                )
    return sums
