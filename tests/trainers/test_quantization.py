"""Training that is aware of INT8: what is rounded, what the gradients are, and a run as a user starts it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stills import write_stills
from torch import nn
from toys import SIZE, toy

from calibration.quantisation.layers import body, module_of
from realtime_polyp.engines.openvino import convert
from realtime_polyp.engines.quantized import quantizable
from trainers import train_joint
from trainers.recipes import RECIPES
from trainers.training.contract import Losses, ModelWithLoss, Targets
from trainers.training.distributed import ProcessGroup
from trainers.training.loop import Run, Task, train_step
from trainers.training.quantization import (
    Rounded,
    activation_step,
    round_activations,
    round_per_filter,
    rounded_weights,
)
from trainers.training.run_folder import read_recipe, write_recipe
from trainers.training.schedule import LoopConfig

NAME = "polyp-lite0"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch, quick_loop: None) -> None:
    monkeypatch.setitem(RECIPES, NAME, replace(RECIPES[NAME], config=toy(RECIPES[NAME]).config))


def net_of_toy() -> nn.Module:
    torch.manual_seed(0)
    return RECIPES[NAME].build(RECIPES[NAME].config)


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
    step = activation_step(x, per_channel=False)
    x.requires_grad_()
    rounded = Rounded.apply(x, step)
    assert 250 < len(rounded.unique()) <= 257 and rounded[0, 0, 0, 0] == 0
    assert float((rounded - x).detach().abs().max()) <= (6 + 1.3) / 255 / 2 * 1.001
    (3 * rounded).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 3))


def test_each_channel_may_have_its_own_levels() -> None:
    x = torch.rand(2, 3, 8, 8) * torch.tensor([0.01, 1, 100]).view(1, 3, 1, 1)
    own, shared = activation_step(x, per_channel=True), activation_step(x, per_channel=False)
    assert own.shape == (1, 3, 1, 1) and shared.shape == (1, 1, 1, 1)
    torch.testing.assert_close(own.flatten(), x.amax((0, 2, 3)) / 255)
    torch.testing.assert_close(shared.flatten(), x.max()[None] / 255)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_reaches_the_loss(bad: float) -> None:
    x = torch.ones(1, 2, 3, 3)
    x[0, 1, 1, 1] = bad
    assert Rounded.apply(x, activation_step(x, per_channel=False)).isnan().any()


def test_the_layers_that_are_rounded_are_those_of_the_int8_engine() -> None:
    net = net_of_toy()
    rounded = {tuple(name.split(".")[:2]) for name in quantizable(net)}
    graph = convert(net.eval(), SIZE)
    names = [module_of(node).removeprefix("detector.") for node in body(graph)]
    assert rounded == {tuple(name.split(".")[:2]) for name in names}


def test_a_net_reads_rounded_activations_in_training_only() -> None:
    net = net_of_toy()
    pixels = torch.randint(0, 256, (2, 3, *SIZE)).float()
    read: dict[str, torch.Tensor] = {}
    round_activations(net)
    for name, conv in quantizable(net).items():
        conv.register_forward_pre_hook(lambda conv, inputs, name=name: read.__setitem__(name, inputs[0]))
    net.train()
    net.train_outputs(pixels)  # type: ignore[operator]
    assert "mask.project.0" in read and not any("low_rank" in name or "head.cls." in name for name in read)
    assert len(read["mask.project.0"].unique()) <= 257
    depthwise = read["backbone.stages.1.0.depthwise.0"]
    assert all(len(channel.unique()) <= 257 for channel in depthwise.transpose(0, 1)) and len(depthwise.unique()) > 257
    net.eval()
    net(pixels)
    assert len(read["mask.project.0"].unique()) > 257


def test_a_net_without_any_input_is_left_alone() -> None:
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1))
    round_activations(conv)
    assert conv(torch.zeros(0, 3, 4, 4)).shape == (0, 4, 4, 4)


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


@pytest.mark.parametrize("aware", [True, False])
def test_a_step_sees_rounded_weights_and_changes_the_float_ones(tmp_path: Path, aware: bool) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False))
    seen = []

    def loss(net: nn.Module, images: torch.Tensor, targets: Targets) -> Losses:
        seen.append(net[0].weight.detach().clone())  # type: ignore[index]
        return {"sum": net(images).sum()}

    before = net[0].weight.detach().clone()
    config = LoopConfig(
        optimizer="sgd", learning_rate=0.5, momentum=0, weight_decay=0, clip_norm=None, warmup_steps=0,
        average_decay=None, quantization_aware=aware, schedule="step", epochs=1,
    )  # fmt: skip
    task = Task(ModelWithLoss(net, loss), nn.Module(), lambda net: {}, "sum", lambda net: net.train())
    run = Run(task, config, ProcessGroup(), steps_per_epoch=1)
    images = torch.rand(2, 3, 4, 4)
    train_step(run, images, Targets([], torch.zeros(0)), tmp_path)
    assert torch.equal(seen[0], before) is not aware
    if aware:
        torch.testing.assert_close(seen[0], round_per_filter(before))
    read = Rounded.apply(images, activation_step(images, per_channel=False)) if aware else images
    gradient = read.sum((0, 2, 3)).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    torch.testing.assert_close(net[0].weight.detach(), before - 0.5 * gradient)


def test_a_run_that_is_aware_of_int8_and_weighs_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_stills(tmp_path / "stills")
    words = ["--config", NAME, "--size", "64", "96", "--batch", "4", "--workers", "0", "--device", "cpu"]
    start = tmp_path / "start.safetensors"
    save_file(RECIPES[NAME].build(RECIPES[NAME].config).state_dict(), start)
    words += ["--data", str(data), "--root", str(data), "--epochs", "2", "--init", str(start)]
    weights = {}
    for name, more in {
        "plain": [],
        "aware": ["--quantization-aware"],
        "heavier": ["--mask-weight", "2"],
    }.items():
        train_joint.main([*words, *more, "--out", str(tmp_path / name)])
        weights[name] = load_file(tmp_path / name / "best.safetensors")
    recipe = {name: json.loads((tmp_path / name / "recipe.json").read_text()) for name in weights}
    assert [recipe[name]["loop"]["quantization_aware"] for name in weights] == [False, True, False]
    assert [recipe[name]["model"]["mask_weight"] for name in weights] == [1, 1, 2]
    assert recipe["heavier"]["differs"]["mask_weight"] == "2, not 1"
    assert recipe["aware"]["differs"]["quantization_aware"] == "rounded as in INT8"
    assert not {"mask_weight", "quantization_aware"} & set(recipe["plain"]["differs"])
    before, key = load_file(start), "backbone.stem.0.weight"
    assert torch.equal(weights["plain"][key], before[key])  # frozen
    assert not torch.equal(weights["aware"][key], before[key])
    key = "mask.project.0.weight"
    assert not torch.equal(weights["plain"][key], weights["aware"][key])
    assert not torch.equal(weights["plain"][key], weights["heavier"][key])
    assert torch.isfinite(weights["aware"][key]).all()

    # A run of an earlier version, which did not know the option, is resumed.
    earlier = read_recipe(tmp_path / "plain")
    del earlier["loop"]["quantization_aware"]
    (tmp_path / "plain" / "recipe.json").unlink()
    write_recipe(earlier, tmp_path / "plain")
    checkpoint = torch.load(tmp_path / "plain" / "checkpoint.pt", weights_only=True)
    del checkpoint["config"]["quantization_aware"]
    torch.save(checkpoint, tmp_path / "plain" / "checkpoint.pt")
    train_joint.main([*words, "--out", str(tmp_path / "plain"), "--resume"])
    with pytest.raises(SystemExit):
        train_joint.main([*words, "--out", str(tmp_path / "plain"), "--resume", "--quantization-aware"])
    assert "began with another loop" in capsys.readouterr().err
    for bad in ("0", "-1", "nan", "inf"):
        with pytest.raises(SystemExit):
            train_joint.main([*words, "--mask-weight", bad, "--out", str(tmp_path / "bad")])
        assert "--mask-weight must be above 0, got " in capsys.readouterr().err
