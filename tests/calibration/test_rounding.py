"""Rounding as INT8 engines do it: which layers, how finely, and what the gradients are."""

import pytest
import torch
from torch import nn
from toys import SIZE, toy

from calibration.quantisation.layers import body, module_of
from calibration.quantisation.rounding import Rounded, activation_range, round_per_filter, rounded_weights, step_of
from realtime_polyp.engines.openvino import convert
from realtime_polyp.engines.quantized import quantizable
from trainers.recipes import RECIPES


def net_of_toy() -> nn.Module:
    torch.manual_seed(0)
    recipe = toy(RECIPES["polyp-lite0"])
    return recipe.build(recipe.config)


@pytest.mark.parametrize(("inputs", "steps", "levels"), [(1, 127, (200, 255)), (8, 63.5, (120, 129))])
def test_weights_are_rounded_per_filter(inputs: int, steps: float, levels: tuple[int, int]) -> None:
    weight = torch.rand(4, inputs, 61, 61, generator=torch.Generator().manual_seed(0)) * 2 - 1
    weight[2] *= 100  # its range is no other filter's
    weight[3] = 0
    rounded = round_per_filter(weight)
    for one, other in zip(weight[:3], rounded, strict=False):
        step = float(one.abs().max()) / steps
        assert float((one - other).abs().max()) <= step / 2 * 1.001
        torch.testing.assert_close(other / step, (other / step).round(), atol=1e-3, rtol=0)
        assert levels[0] < len(other.unique()) <= levels[1]
    assert not rounded[3].any()


def test_rounding_has_256_levels_keeps_zero_and_lets_gradients_through() -> None:
    x = torch.linspace(-1.3, 6, 5000).view(1, 1, 50, 100)
    x[0, 0, 0, 0] = 0.0
    step = step_of(*activation_range(nn.Conv2d(1, 1, 1), x))
    x.requires_grad_()
    rounded = Rounded.apply(x, step)
    assert 250 < len(rounded.unique()) <= 257 and rounded[0, 0, 0, 0] == 0
    assert float((rounded - x).detach().abs().max()) <= (6 + 1.3) / 255 / 2 * 1.001
    (3 * rounded).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 3))


def test_each_channel_may_have_its_own_levels() -> None:
    x = torch.rand(2, 3, 8, 8) * torch.tensor([0.01, 1, 100]).view(1, 3, 1, 1)
    own, shared = (step_of(*activation_range(nn.Conv2d(3, 3, 1, groups=groups), x)) for groups in (3, 1))
    assert own.shape == (1, 3, 1, 1) and shared.shape == (1, 1, 1, 1)
    torch.testing.assert_close(own.flatten(), x.amax((0, 2, 3)) / 255)
    torch.testing.assert_close(shared.flatten(), x.max()[None] / 255)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_reaches_the_loss(bad: float) -> None:
    x = torch.ones(1, 2, 3, 3)
    x[0, 1, 1, 1] = bad
    assert Rounded.apply(x, step_of(*activation_range(nn.Conv2d(2, 2, 1), x))).isnan().any()


def test_the_layers_that_are_rounded_are_those_of_the_int8_engine() -> None:
    net = net_of_toy()
    rounded = {tuple(name.split(".")[:2]) for name in quantizable(net)}
    graph = convert(net.eval(), SIZE)
    names = [module_of(node).removeprefix("detector.") for node in body(graph)]
    assert rounded == {tuple(name.split(".")[:2]) for name in names}


def test_the_float_weights_return_also_after_an_error() -> None:
    net = net_of_toy()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(FloatingPointError), rounded_weights(net):
        conv = net.get_submodule("mask.project.0")
        assert not torch.equal(conv.weight.data, before["mask.project.0.weight"])
        torch.testing.assert_close(conv.weight.data, round_per_filter(before["mask.project.0.weight"]))
        raise FloatingPointError("not finite")
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
