"""The quick gradient of depthwise convolutions is torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from realtime_polyp.models.efficientnet_lite import EfficientNetLite, LiteConfig
from trainers.training.depthwise import Depthwise, use_fast_depthwise


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
@pytest.mark.parametrize("size", [(9, 12), (3, 4), (1, 1)])
def test_it_is_torch_s_own(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6, *size, requires_grad=True)
    weight = torch.randn(6, 1, kernel, kernel, requires_grad=True)
    wanted = F.conv2d(x, weight, None, stride, kernel // 2, 1, 6)
    direction = torch.randn_like(wanted)
    theirs = torch.autograd.grad((wanted * direction).sum(), [x, weight])
    found = Depthwise.apply(x, weight, stride)
    ours = torch.autograd.grad((found * direction).sum(), [x, weight])
    assert torch.equal(found, wanted)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("rate", "size"), [(2, (8, 12)), (4, (8, 12)), (4, (9, 12))])
def test_a_dilated_one_is_torch_s_own(kernel: int, rate: int, size: tuple[int, int]) -> None:
    """The last size is no multiple of the dilation."""
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, kernel, padding=kernel // 2 * rate, dilation=rate, groups=6, bias=False)
    x = torch.randn(3, 6, *size, requires_grad=True)
    wanted = conv(x)
    direction = torch.randn_like(wanted)
    theirs = torch.autograd.grad((wanted * direction).sum(), [x, conv.weight])
    use_fast_depthwise(conv)
    found = conv(x)
    ours = torch.autograd.grad((found * direction).sum(), [x, conv.weight])
    for one, other in zip((found, *ours), (wanted, *theirs), strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_whole_backbone_learns_the_same(precision: torch.dtype) -> None:
    gradients = []
    for quick in (False, True):
        torch.manual_seed(0)
        backbone = EfficientNetLite(LiteConfig(width=0.25, depth=0.3)).train()
        if quick:
            use_fast_depthwise(backbone)
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            loss = sum(feature.float().square().mean() for feature in backbone(torch.rand(2, 3, 64, 64) * 255))
        loss.backward()  # type: ignore[union-attr]
        gradients.append({name: p.grad for name, p in backbone.named_parameters()})
    # Some exact gradients are zero (biases before a batch norm): bfloat16, which has eight bits, leaves only rounding
    # errors there. A parameter's error is therefore compared with its own gradient or with 1 % of the whole gradient.
    tolerance = 1e-3 if precision == torch.float32 else 0.1
    whole = torch.cat([gradient.flatten() for gradient in gradients[0].values()]).norm()
    for name, gradient in gradients[0].items():
        scale = torch.maximum(gradient.norm(), 0.01 * whole)
        assert (gradients[1][name] - gradient).norm() <= tolerance * scale, name


def test_only_depthwise_convolutions_are_touched_and_states_stay() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 1))
    names, x = list(model.state_dict()), torch.randn(1, 8, 9, 9)
    before = model(x)
    use_fast_depthwise(model)
    assert "forward" in vars(model[0]) and not any("forward" in vars(layer) for layer in model[1:])
    assert list(model.state_dict()) == names and torch.equal(model(x), before)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_keeps_its_threads(threads: int) -> None:
    """Else sums would be shared otherwise after the first step than before it, and a resumed run would part."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, weight = torch.randn(2, 4, 8, 8, requires_grad=True), torch.randn(4, 1, 3, 3, requires_grad=True)
        Depthwise.apply(x, weight, 1).sum().backward()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
