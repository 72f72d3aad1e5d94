"""Published checkpoints, under the names of four libraries, become starting weights; what does not fit is refused."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden import golden, golden_state
from safetensors import safe_open
from safetensors.torch import load_file
from toys import narrow

from realtime_polyp.models.efficientnet_lite import LITE0
from realtime_polyp.models.hrnet import HRNetConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers import import_weights
from trainers.recipes import RECIPES, Recipe
from trainers.training.initialise import initialise

GOLDEN_BACKBONE = ResNetConfig(width=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
FROM_GOLDEN = {
    "retinanet_r50": "retinanet-r50",
    "fcos_r50": "fcos-r50",
    "atss_r50": "atss-r50",
    "paa_r50": "paa-r50",
    "faster_rcnn_r50": "faster-rcnn-r50",
    "gflv2_r50": "gflv2-r50",
    "gflv2_r50_dcnv2": "gflv2-r50-dcn",
}


def as_in_the_golden(recipe: Recipe) -> Recipe:
    """The recipe at the width of the reference numbers."""
    config = recipe.config
    backbone = replace(GOLDEN_BACKBONE, deform=config.backbone.deform)
    changed = replace(config, backbone=backbone, neck=replace(config.neck, channels=64))
    if hasattr(config, "fc_width"):
        changed = replace(changed, fc_width=64)
    return replace(recipe, config=changed)


@pytest.mark.parametrize("name", sorted(FROM_GOLDEN))
def test_mmdetection_s_checkpoints_are_taken_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command, as a published .pth; the numbers then computed are tested beside each detector."""
    state = golden_state(golden(name))
    config = FROM_GOLDEN[name]
    recipe = as_in_the_golden(RECIPES[config])
    monkeypatch.setitem(RECIPES, config, recipe)
    torch.save({"meta": {"epoch": 12}, "state_dict": state}, tmp_path / "published.pth")
    out = tmp_path / "out.safetensors"
    import_weights.main([str(tmp_path / "published.pth"), "--layout", "mmdet", "--config", config, "--out", str(out)])
    said = capsys.readouterr().out
    net = recipe.build(recipe.config)
    wanted = {key for key in net.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(load_file(out)) == wanted
    assert "left out" not in said and "not in the file" not in said and f"{len(wanted)} tensors matched" in said
    assert initialise(net, out) == "published.pth"  # where they come from, for what the run says of itself
    assert torch.equal(net.backbone.conv1.weight, state["backbone.conv1.weight"])
    with safe_open(out, "pt") as file:
        assert file.metadata()["config"] == config and len(file.metadata()["sha256"]) == 64


def toy_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    recipe = replace(RECIPES[name], config=narrow(RECIPES[name].config))
    monkeypatch.setitem(RECIPES, name, recipe)
    return recipe


def resnet_state(recipe: Recipe) -> dict[str, torch.Tensor]:
    """A backbone's state as torchvision and timm name it, with a classifier."""
    backbone = recipe.build(recipe.config).backbone
    return {**backbone.state_dict(), "fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("layout", ["torchvision", "timm", "mmdet"])
def test_imagenet_resnets_fill_the_backbone_and_nothing_else(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toy_recipe("gflv2-r50-dcn", monkeypatch)
    state = {name: value for name, value in resnet_state(recipe).items() if "conv_offset" not in name}
    torch.save(state, tmp_path / "resnet.pth")
    import_weights.run(tmp_path / "resnet.pth", layout, "gflv2-r50-dcn", tmp_path / "out.safetensors")
    said = capsys.readouterr().out
    taken = load_file(tmp_path / "out.safetensors")
    assert taken and all(name.startswith("backbone.") for name in taken)
    assert "left out, this model has no such tensor: 2 (fc.weight, fc.bias)" in said
    assert "they start at 0: offsets of 3 deformable convolutions" in said
    assert "random until they are trained: pyramid, head\n" in said and "means nothing: train it first" in said


@pytest.mark.parametrize("config", ["hrnet-w48", "lowrank-hrnet-w48"])
@pytest.mark.parametrize("layout", ["hrnet", "timm"])
def test_hrnet_s_checkpoints_fill_the_backbone(
    config: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy_recipe(config, monkeypatch)
    net = recipe.build(recipe.config)
    backbone = net.backbone if config == "hrnet-w48" else net.fusion
    state = {f"model.{name}": value for name, value in backbone.state_dict().items()}
    torch.save({"state_dict": {**state, "model.incre_modules.0.weight": torch.zeros(3)}}, tmp_path / "hrnet.pth")
    import_weights.run(tmp_path / "hrnet.pth", layout, config, tmp_path / "out.safetensors")
    taken = load_file(tmp_path / "out.safetensors")
    assert len(taken) == len(backbone.state_dict())


def test_timm_s_efficientnet_lite_fills_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe("gflv2-lite0", monkeypatch)
    backbone = recipe.build(recipe.config).backbone
    state = {timm_name(name): value for name, value in backbone.state_dict().items()}
    torch.save(state, tmp_path / "lite.pth")
    import_weights.run(tmp_path / "lite.pth", "timm", "gflv2-lite0", tmp_path / "out.safetensors")
    taken = load_file(tmp_path / "out.safetensors")
    assert set(taken) == {f"backbone.{name}" for name in backbone.state_dict()}
    for name, value in backbone.state_dict().items():
        assert torch.equal(taken[f"backbone.{name}"], value), name
    assert LITE0 == RECIPES["lowrank-lite0"].config.backbone


def timm_name(name: str) -> str:
    """Of our Lite backbone's tensors, as timm's tf_efficientnet_lite names them."""
    parts = name.split(".")
    if parts[0] == "stem":
        return ".".join([{"0": "conv_stem", "1": "bn1"}[parts[1]], *parts[2:]])
    _, stage, block, step, which, *rest = parts
    plain = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    expanding = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
    names = (plain if stage == "0" else expanding)[step]
    return ".".join(["blocks", stage, block, names[int(which)], *rest])


def test_another_data_set_s_classes_are_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = golden_state(golden("retinanet_r50"))
    monkeypatch.setitem(RECIPES, "retinanet-r50", as_in_the_golden(RECIPES["retinanet-r50"]))
    for name in ("weight", "bias"):
        own = state[f"bbox_head.retina_cls.{name}"]
        state[f"bbox_head.retina_cls.{name}"] = own.repeat_interleave(80, dim=0)
    torch.save(state, tmp_path / "coco.pth")
    import_weights.run(tmp_path / "coco.pth", "mmdet", "retinanet-r50", tmp_path / "out.safetensors")
    said = capsys.readouterr().out
    assert "left out, 720 outputs of other classes, 9 here: 2" in said
    assert "random until they are trained: head.cls (outputs of other classes in the file)\n" in said
    assert not any(
        "cls.weight" in name and "head.cls.weight" == name for name in load_file(tmp_path / "out.safetensors")
    )


def test_another_architecture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toy_recipe("gflv2-r50", monkeypatch)
    state = resnet_state(recipe)
    words = ["--layout", "torchvision", "--config", "gflv2-r50", "--out", str(tmp_path / "out.safetensors")]

    def refused(state: object, said: str) -> None:
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(SystemExit) as end:
            import_weights.main([str(tmp_path / "other.pth"), *words])
        message = capsys.readouterr().err.strip()
        assert end.value.code == 2 and said in message and len(message.splitlines()) == 1
        assert not (tmp_path / "out.safetensors").exists()

    other = {**state, "conv1.weight": torch.zeros(5, 3, 7, 7)}
    refused(other, "backbone.conv1.weight is (5, 3, 7, 7) in the checkpoint")
    refused({name: value for name, value in state.items() if "layer3" not in name}, "tensors are missing")
    refused({"a": torch.zeros(1)}, "no tensor matches: is --layout right?")
    refused([torch.zeros(1)], "holds a list, not named tensors")


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo run > never",)


def test_a_pickle_that_would_run_code_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pth").write_bytes(pickle.dumps({"state_dict": _Payload()}))
    with pytest.raises(SystemExit) as end:
        import_weights.main(["evil.pth", "--layout", "mmdet", "--config", "gflv2-r50", "--out", "out.safetensors"])
    assert end.value.code == 2 and "cannot be loaded as weights only" in capsys.readouterr().err
    assert not Path("never").exists()


@pytest.mark.parametrize(
    ("config", "layout", "said"),
    [
        ("gflv2-r50", "hrnet", "this model has no HRNet backbone"),
        ("unetpp", "mmdet", "mmdetection has no such model"),
    ],
)
def test_a_layout_without_such_a_model_is_refused(config: str, layout: str, said: str, tmp_path: Path) -> None:
    torch.save({"backbone.conv1.weight": torch.zeros(1)}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=said):
        import_weights.run(tmp_path / "file.pth", layout, config, tmp_path / "out.safetensors")


def test_a_torchvision_detector_gives_its_backbone_and_pyramid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = toy_recipe("retinanet-r50", monkeypatch)
    assert isinstance(recipe.config.neck, NeckConfig)
    net = recipe.build(recipe.config)
    state = {f"backbone.body.{name}": value for name, value in net.backbone.state_dict().items()}
    parts = {"lateral": "inner_blocks.{}.0", "smooth": "layer_blocks.{}.0", "extra": "extra_blocks.p{}"}
    for name, value in net.pyramid.state_dict().items():
        part, index, leaf = name.split(".")
        number = int(index) + 6 if part == "extra" else index
        state[f"backbone.fpn.{parts[part].format(number)}.{leaf}"] = value
    state["head.regression_head.bbox_reg.weight"] = torch.zeros(36, 256, 3, 3)
    torch.save(state, tmp_path / "detector.pth")
    import_weights.run(tmp_path / "detector.pth", "torchvision", "retinanet-r50", tmp_path / "out.safetensors")
    taken = load_file(tmp_path / "out.safetensors")
    assert {name.split(".")[0] for name in taken} == {"backbone", "pyramid"}
    assert len(taken) == len(state) - 1


def test_a_two_stage_detector_of_eighty_classes_leaves_their_boxes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = golden_state(golden("faster_rcnn_r50"))
    monkeypatch.setitem(RECIPES, "faster-rcnn-r50", as_in_the_golden(RECIPES["faster-rcnn-r50"]))
    for name, rows in (("fc_cls", 81), ("fc_reg", 320)):
        for leaf in ("weight", "bias"):
            own = state[f"roi_head.bbox_head.{name}.{leaf}"]
            state[f"roi_head.bbox_head.{name}.{leaf}"] = torch.zeros(rows, *own.shape[1:])
    torch.save(state, tmp_path / "coco.pth")
    import_weights.run(tmp_path / "coco.pth", "mmdet", "faster-rcnn-r50", tmp_path / "out.safetensors")
    said = capsys.readouterr().out
    assert "81 outputs of other classes, 2 here: 2" in said and "320 outputs of other classes, 4 here: 2" in said
    taken = load_file(tmp_path / "out.safetensors")
    assert "rpn.conv.weight" in taken and not any(".reg." in name and "rpn" not in name for name in taken)


def test_double_head_s_extra_layers_are_named_as_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toy_recipe("double-head-r50", monkeypatch)
    own = recipe.build(recipe.config).state_dict()
    state = {published: own[name] for name in own if (published := double_head_name(name))}
    torch.save(state, tmp_path / "double.pth")
    import_weights.run(tmp_path / "double.pth", "mmdet", "double-head-r50", tmp_path / "out.safetensors")
    said = capsys.readouterr().out
    extra = 'the "Ext" outputs of Double-Head-Ext, which no published Double-Head has'
    assert f"random until they are trained: fc_head.reg ({extra}), conv_head.cls ({extra})\n" in said
    assert "left out" not in said and len(load_file(tmp_path / "out.safetensors")) == len(own) - 4


def double_head_name(name: str) -> str:
    """Of our Double-Head's tensors, as mmdetection names them; empty for those that it does not have."""
    if name.startswith(("fc_head.reg", "conv_head.cls")):
        return ""
    names = {
        "pyramid.lateral.": "neck.lateral_convs.", "pyramid.smooth.": "neck.fpn_convs.",
        "rpn.conv.": "rpn_head.rpn_conv.", "rpn.cls.": "rpn_head.rpn_cls.", "rpn.reg.": "rpn_head.rpn_reg.",
        "fc_head.shared.": "roi_head.bbox_head.fc_branch.", "fc_head.cls.": "roi_head.bbox_head.fc_cls.",
        "conv_head.reg.": "roi_head.bbox_head.fc_reg.", "conv_head.blocks.": "roi_head.bbox_head.conv_branch.",
        "conv_head.widen.shortcut.": "roi_head.bbox_head.res_block.conv_identity.",
        "conv_head.widen.": "roi_head.bbox_head.res_block.", "backbone.": "backbone.",
    }  # fmt: skip
    ours = next(prefix for prefix in names if name.startswith(prefix))
    rest = name.removeprefix(ours)
    return names[ours] + (rest.replace(".", ".conv.", 1) if ours.startswith("pyramid") else rest)


def test_gfl_v1_and_deformable_convolution_v1_are_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GFL v1 has no DGQP, and its scores are class probabilities; v1 has two offsets a tap and no modulation."""
    numbers = golden("gflv2_r50")
    v2, deformed = golden_state(numbers), golden_state(golden("gflv2_r50_dcnv2"))
    states = {
        "gfl-r50": {name: value for name, value in v2.items() if "reg_conf" not in name},
        "gflv2-r50-dcnv1": {name: x[:18] if "conv_offset" in name else x for name, x in deformed.items()},
    }
    nets = {}
    for config, state in states.items():
        recipe = as_in_the_golden(RECIPES[config])
        monkeypatch.setitem(RECIPES, config, recipe)
        torch.save(state, tmp_path / "file.pth")
        import_weights.run(tmp_path / "file.pth", "mmdet", config, tmp_path / "out.safetensors")
        assert "left out" not in (said := capsys.readouterr().out) and "not in the file" not in said
        nets[config] = recipe.build(recipe.config).eval()
        initialise(nets[config], tmp_path / "out.safetensors")
    assert not any("quality" in name for name in nets["gfl-r50"].state_dict())
    recipe = as_in_the_golden(RECIPES["gflv2-r50"])
    second = recipe.build(recipe.config).eval()
    second.load_state_dict(nets["gfl-r50"].state_dict(), strict=False)
    with torch.inference_mode():
        image = torch.from_numpy(numbers["image"])
        levels = second.pyramid(second.backbone(image)[1:])
        wanted = torch.cat([second.head.raw(x, level)[0] for level, x in enumerate(levels)], dim=1)
        assert torch.allclose(nets["gfl-r50"](image)[1], wanted)


PAFPN = "gflv2-x101-dcn-pafpn-ms"


def pafpn_state() -> dict[str, torch.Tensor]:
    """The reference GFLv2 of mmdetection with the convolutions that its PAFPN has beyond an FPN."""
    state, generator = golden_state(golden("gflv2_r50_dcnv2")), torch.Generator().manual_seed(5)
    for name in ("downsample_convs.0", "downsample_convs.1", "pafpn_convs.0", "pafpn_convs.1"):
        state[f"neck.{name}.conv.weight"] = torch.randn(64, 64, 3, 3, generator=generator) / 24
        state[f"neck.{name}.conv.bias"] = torch.randn(64, generator=generator)
    return state


def mmdet_pafpn(state: dict[str, torch.Tensor], features: list[torch.Tensor]) -> list[torch.Tensor]:
    """What mmdetection's PAFPN computes of three features, with two extra levels "on_output", under its own names."""

    def conv(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight, bias = (state[f"neck.{name}.conv.{leaf}"] for leaf in ("weight", "bias"))
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)

    laterals = [conv(f"lateral_convs.{i}", x) for i, x in enumerate(features)]
    for i in (2, 1):
        laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size=laterals[i - 1].shape[2:], mode="nearest")
    outs = [conv(f"fpn_convs.{i}", x) for i, x in enumerate(laterals)]
    for i in (0, 1):
        outs[i + 1] = outs[i + 1] + conv(f"downsample_convs.{i}", outs[i], 2)
    outs = [outs[0], conv("pafpn_convs.0", outs[1]), conv("pafpn_convs.1", outs[2])]
    for i in (3, 4):
        outs.append(conv(f"fpn_convs.{i}", outs[-1], 2))
    return outs


def test_a_pafpn_checkpoint_is_taken_whole_and_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = as_in_the_golden(RECIPES[PAFPN])
    monkeypatch.setitem(RECIPES, PAFPN, recipe)
    state, out = pafpn_state(), tmp_path / "out.safetensors"
    torch.save({"state_dict": state}, tmp_path / "pafpn.pth")
    import_weights.run(tmp_path / "pafpn.pth", "mmdet", PAFPN, out)
    assert "left out" not in (said := capsys.readouterr().out) and "not in the file" not in said
    net = recipe.build(recipe.config).eval()
    initialise(net, out)
    features = [torch.randn(1, 32 * 2**i, 24 // 2**i, 32 // 2**i) for i in (1, 2, 3)]
    with torch.inference_mode():
        for found, wanted in zip(net.pyramid(features), mmdet_pafpn(state, features), strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "neck", "said"),
    [
        ("gflv2-r50-dcn", "pafpn", f"is a PAFPN, that of gflv2-r50-dcn an FPN: choose such a --config ({PAFPN})"),
        (PAFPN, "fpn", f"is an FPN, that of {PAFPN} a PAFPN: choose such a --config (gflv2-r50, "),
        ("gflv2-x101-dcn-bifpn-ms", "fpn", "is an FPN, that of gflv2-x101-dcn-bifpn-ms a BiFPN: choose"),
        ("gflv2-x101-dcn-bifpn-ms", "bifpn", "the file's BiFPN has other layers than that of gflv2-x101-dcn-bifpn-ms"),
        ("gflv2-r50-dcn", "other", "is of another kind, that of gflv2-r50-dcn an FPN: its backbone alone"),
    ],
    ids=["pafpn for fpn", "fpn for pafpn", "fpn for bifpn", "bifpn", "other"],
)
def test_another_neck_is_refused_by_its_name_and_its_backbone_can_be_read(
    config: str, neck: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(RECIPES, config, as_in_the_golden(RECIPES[config]))
    state = pafpn_state()
    if neck != "pafpn":
        more = {"fpn": None, "bifpn": "neck.bifpn.0.p4_w1", "other": "neck.yolo.weight"}[neck]
        kept = ("neck.downsample", "neck.pafpn") if more is None else ("neck.",)
        state = {name: value for name, value in state.items() if not name.startswith(kept)}
        state |= {more: torch.ones(2)} if more else {}
    file, out = tmp_path / "file.pth", tmp_path / "out.safetensors"
    torch.save(state, file)
    words = [str(file), "--config", config, "--out", str(out), "--layout"]
    with pytest.raises(SystemExit) as end:
        import_weights.main([*words, "mmdet"])
    message = capsys.readouterr().err.strip()
    assert end.value.code == 2 and said in message and message.endswith("is read with --layout torchvision")
    import_weights.main([*words, "torchvision"])
    assert all(name.startswith("backbone.") for name in load_file(out))
    assert "random until they are trained: pyramid, head\n" in capsys.readouterr().out


def test_the_hrnet_authors_checkpoint_gives_their_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command, their two classes left out; the same numbers come out of the backbone."""
    numbers = golden("hrnet_tiny")
    widths = HRNetConfig((6, 12, 24, 48), stem_width=8, stem_blocks=2, modules=(1, 2, 1), blocks=2, mean=0.0, std=1.0)
    recipe = replace(RECIPES["hrnet-w48"], config=replace(RECIPES["hrnet-w48"].config, backbone=widths))
    monkeypatch.setitem(RECIPES, "hrnet-w48", recipe)
    torch.save(
        {"state_dict": {f"model.{name}": value for name, value in golden_state(numbers).items()}}, tmp_path / "h.pth"
    )
    import_weights.run(tmp_path / "h.pth", "hrnet", "hrnet-w48", tmp_path / "out.safetensors")
    net = recipe.build(recipe.config)
    initialise(net, tmp_path / "out.safetensors")
    with torch.inference_mode():
        fused = net.eval().backbone(torch.from_numpy(numbers["image"]))
    assert np.abs(fused.numpy()[:, ::3] - numbers["fused"]).max() <= 1e-4
