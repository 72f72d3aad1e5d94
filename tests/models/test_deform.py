"""Deformable convolution against the textbook's loop, value and gradient, and through the compilers it must pass."""

import numpy as np
import openvino as ov
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from realtime_polyp.models.deform import DeformConv2d, deform_conv2d


def bilinear(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """x (C, h, w) at one place: the four pixels around it, zeros beyond the picture. Differentiable in all three."""
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    top, left = int(torch.floor(row)), int(torch.floor(column))
    for r in (top, top + 1):
        for c in (left, left + 1):
            if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                total = total + (1 - (row - r).abs()) * (1 - (column - c).abs()) * x[:, r, c]
    return total


def textbook(
    x: Tensor, offsets: Tensor, weight: Tensor, strength: Tensor | None, *, stride: int, groups: int
) -> Tensor:
    """One output number after the other (Dai et al., equation 2; Zhu et al., equation 1)."""
    kernel, (count, channels) = weight.shape[-1], x.shape[:2]
    outputs, height, width = len(weight), *offsets.shape[-2:]
    per_group_in, per_group_out = channels // groups, outputs // groups
    result = []
    for n in range(count):
        for o in range(outputs):
            first = o // per_group_out * per_group_in
            for i in range(height):
                for j in range(width):
                    total = torch.zeros((), dtype=x.dtype)
                    for tap in range(kernel * kernel):
                        ky, kx = divmod(tap, kernel)
                        row = i * stride - kernel // 2 + ky + offsets[n, 2 * tap, i, j]
                        column = j * stride - kernel // 2 + kx + offsets[n, 2 * tap + 1, i, j]
                        value = bilinear(x[n, first : first + per_group_in], row, column)
                        share = 1.0 if strength is None else strength[n, tap, i, j]
                        total = total + share * (weight[o, :, ky, kx] * value).sum()
                    result.append(total)
    return torch.stack(result).view(count, outputs, height, width)


@settings(max_examples=12)
@given(st.integers(0, 1000), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.booleans())
def test_it_is_the_textbook_s_in_value_and_gradient(seed: int, stride: int, groups: int, modulated: bool) -> None:
    torch.manual_seed(seed)
    x = torch.randn(1, 4, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4 // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    shape = ((5 - 1) // stride + 1, (4 - 1) // stride + 1)
    offsets = (1.7 * torch.randn(1, 18, *shape, dtype=torch.float64)).requires_grad_()  # far outside, too
    strength = torch.rand(1, 9, *shape, dtype=torch.float64, requires_grad=True) if modulated else None
    inputs = [x, weight, offsets] + ([strength] if strength is not None else [])
    found = deform_conv2d(x, offsets, weight, strength, stride=stride, groups=groups)
    wanted = textbook(x, offsets, weight, strength, stride=stride, groups=groups)
    assert torch.allclose(found, wanted, atol=1e-10)
    direction = torch.randn_like(wanted)
    ours = torch.autograd.grad((found * direction).sum(), inputs)
    theirs = torch.autograd.grad((wanted * direction).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4])
def test_it_begins_as_an_ordinary_convolution(stride: int, groups: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 11)
    for modulated, share in ((False, 1.0), (True, 0.5)):
        conv = DeformConv2d(8, 12, 3, stride=stride, groups=groups, modulated=modulated)
        plain = torch.nn.functional.conv2d(x, conv.weight, stride=stride, padding=1, groups=groups)
        assert torch.allclose(conv(x), share * plain, atol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_openvino_takes_it_and_agrees(modulated: bool) -> None:
    torch.manual_seed(1)
    conv = DeformConv2d(4, 6, 3, stride=2, modulated=modulated).eval()
    torch.nn.init.normal_(conv.conv_offset.weight, std=0.3)
    graph = ov.convert_model(conv, example_input=torch.randn(1, 4, 12, 14), input=[1, 4, 12, 14])
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    x = torch.randn(1, 4, 12, 14)
    wanted = conv(x).detach().numpy()
    assert wanted.std() > 0.1 and np.abs(compiled(x.numpy())[0] - wanted).max() < 1e-4


@pytest.mark.parametrize("modulated", [False, True])
def test_torch_export_takes_it(modulated: bool) -> None:
    """What TensorRT's dynamo path, ONNX's exporter and torch.compile all begin with: only common operations."""
    conv = DeformConv2d(4, 4, 3, modulated=modulated).eval()
    exported = torch.export.export(conv, (torch.randn(1, 4, 8, 8),))
    x = torch.randn(1, 4, 8, 8)
    assert torch.allclose(exported.module()(x), conv(x), atol=1e-6)
    used = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert any("grid_sampler" in name for name in used) and not any("deform" in name for name in used)


def test_half_precision_still_tells_neighbouring_pixels_apart() -> None:
    """On a map as wide as the paper's, under autocast: bfloat16 alone counts in steps of two pixels there."""
    torch.manual_seed(2)
    conv = DeformConv2d(2, 2, 3)
    x = torch.randn(1, 2, 4, 336)
    wanted = conv(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x)
    assert found.dtype == torch.bfloat16 and (found.float() - wanted).abs().max() < 0.05 * wanted.abs().max()
