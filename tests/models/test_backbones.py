"""ResNet, the necks and the paper's detector against mmdetection's own numbers, and their shapes at full size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import golden, golden_state, rows_alike
from torch import nn

from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.necks import FPN, PAFPN, BiFPNLayer, NeckConfig, build_neck
from realtime_polyp.models.resnet import R50, R101, X101, ResNet, ResNetConfig, freeze
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS
from trainers.detectors import gfl
from trainers.training.contract import Targets

TOY = ResNetConfig(width=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
NARROW = ResNetConfig(width=8, depths=(1, 1, 1, 1))


def toy_gfl(deform: str) -> Detector:
    config = DetectorConfig(
        backbone=replace(TOY, deform=deform), neck=NeckConfig(channels=64), size=(160, 192), norm="group",
        stacked_convs=4, strides=(8, 16, 32, 64, 128), anchor_scale=8.0,
    )  # fmt: skip
    return Detector(config).eval()


@pytest.mark.parametrize(("name", "deform"), [("gflv2_r50", "none"), ("gflv2_r50_dcnv2", "v2")])
def test_the_paper_s_detector_is_mmdetection_s(name: str, deform: str) -> None:
    numbers = golden(name)
    model = toy_gfl(deform)
    missing, unexpected = model.load_state_dict(gfl.published(golden_state(numbers)), strict=False)
    assert not unexpected and all(one.endswith("num_batches_tracked") for one in missing)
    image = torch.from_numpy(numbers["image"])
    with torch.inference_mode():
        levels = model.pyramid(model.backbone(image)[1:])
        maps = model.maps(image)
        boxes, scores = model(image)
    for index in (2, 3, 4):
        assert np.abs(levels[index].numpy() - numbers[f"fpn/{index}"]).max() <= 1e-4
    for key, found in (("cls", maps.scores[..., None]), ("reg", maps.distributions.flatten(2))):
        wanted = [numbers[f"out/{level}/{key}"] for level in range(1, 5)]  # the files leave out the largest level
        flat = np.concatenate([one.reshape(*one.shape[:2], -1).transpose(0, 2, 1) for one in wanted], axis=1)
        assert np.abs(found.numpy()[:, -flat.shape[1] :] - flat).max() <= 1e-4 and flat.std() > 0
    for index in range(2):  # the reference's last step takes the sigmoid of a joint probability once more
        rows_alike(boxes[index], scores[index].sigmoid(), numbers[f"det_{index}"], size=(160, 192))
    targets = Targets([torch.from_numpy(numbers[f"gt_boxes_{index}"]) for index in range(2)], torch.zeros(2, 160, 192))
    losses = gfl.loss(model, image, targets)
    for ours, theirs in (("quality", "loss_cls"), ("giou", "loss_bbox"), ("edges", "loss_dfl")):
        assert losses[ours].item() == pytest.approx(float(numbers[f"loss/{theirs}"]), rel=1e-4)


def test_the_authors_background_channel_is_left_out() -> None:
    numbers = golden("gflv2_r50")
    state = golden_state(numbers)
    for name in ("weight", "bias"):
        own = state[f"bbox_head.gfl_cls.{name}"]
        state[f"bbox_head.gfl_cls.{name}"] = torch.cat([own, torch.full_like(own, 7.0)])
    published = gfl.published(state)
    assert torch.equal(published["head.cls.bias"], torch.from_numpy(numbers["state/bbox_head.gfl_cls.bias"]))


@pytest.mark.parametrize(("config", "million"), [(R50, 23.5), (R101, 42.5), (X101, 42.1)], ids=["r50", "r101", "x101"])
def test_the_backbones_are_as_large_as_the_published_ones(config: ResNetConfig, million: float) -> None:
    """Without the classifier: 25.6, 44.5 and 44.2 million less 2048 x 1000 + 1000."""
    with torch.device("meta"):
        backbone = ResNet(config)
    count = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    assert count == pytest.approx(million, abs=0.05)
    assert backbone.channels == (256, 512, 1024, 2048)


def test_deformable_convolution_stands_in_the_paper_s_stages_3_to_5() -> None:
    with torch.device("meta"):
        backbone = ResNet(replace(X101, deform="v2"))
    deformed = {name.split(".")[0] for name, _ in backbone.named_parameters() if "conv_offset" in name}
    assert deformed == {"layer2", "layer3", "layer4"}
    assert backbone.layer2[0].conv2.groups == 32  # type: ignore[union-attr]


def test_what_is_frozen_neither_learns_nor_counts() -> None:
    backbone = ResNet(NARROW).train()
    freeze(backbone)
    before = backbone.layer3[0].bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    backbone(torch.rand(2, 3, 64, 64) * 255)[-1].sum().backward()
    assert torch.equal(backbone.layer3[0].bn1.running_mean, before)  # type: ignore[union-attr, arg-type]
    assert backbone.conv1.weight.grad is None and backbone.layer1[0].conv1.weight.grad is None  # type: ignore[union-attr]
    assert backbone.layer2[0].conv1.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["fpn", "pafpn", "bifpn"])
@pytest.mark.parametrize("extra", ["on_input", "on_output", "pool"])
def test_necks_give_every_level_at_half_the_one_below(kind: str, extra: str) -> None:
    neck = build_neck((8, 16, 24), NeckConfig(kind=kind, channels=12, levels=5, extra=extra)).eval()  # type: ignore[arg-type]
    features = [torch.rand(1, 8, 16, 24), torch.rand(1, 16, 8, 12), torch.rand(1, 24, 4, 6)]
    shapes = [tuple(level.shape[1:]) for level in neck(features)]
    assert shapes == [(12, 16, 24), (12, 8, 12), (12, 4, 6), (12, 2, 3), (12, 1, 2)]


def test_pafpn_is_fpn_with_a_way_up() -> None:
    """Against the sums of Liu et al., figure 1b, written out."""
    torch.manual_seed(0)
    config = NeckConfig(kind="pafpn", channels=4, levels=3)
    neck = PAFPN((3, 5, 6), config)
    c = [torch.rand(1, 3, 8, 8), torch.rand(1, 5, 4, 4), torch.rand(1, 6, 2, 2)]
    fpn = neck.fpn
    m2 = fpn.lateral[2](c[2])
    m1 = fpn.lateral[1](c[1]) + nn.functional.interpolate(m2, scale_factor=2)
    m0 = fpn.lateral[0](c[0]) + nn.functional.interpolate(m1, scale_factor=2)
    p = [smooth(m) for smooth, m in zip(fpn.smooth, (m0, m1, m2), strict=True)]
    n1 = p[1] + neck.down[0](p[0])
    n2 = p[2] + neck.down[1](n1)
    for found, wanted in zip(neck(c), (p[0], neck.smooth[0](n1), neck.smooth[1](n2)), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_bifpn_weighs_by_what_it_has_learnt() -> None:
    """A map whose weight is negative is not heard at all; the others share by their weights."""
    layer = BiFPNLayer(4, 3).eval()
    maps = [torch.rand(1, 4, 8, 8), torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)]
    before = layer(maps)[0]
    with torch.no_grad():
        layer.top_down[0].weights.copy_(torch.tensor([2.0, -1.0]))  # type: ignore[union-attr, operator]
    alone = layer(maps)[0]
    other = layer([maps[0], maps[1] + 5, maps[2] - 5])[0]
    assert not torch.allclose(before, alone) and torch.allclose(alone, other)


def test_fpn_takes_relu_where_it_is_told() -> None:
    torch.manual_seed(0)
    plain = FPN((4,), NeckConfig(channels=4, levels=3))
    rectified = FPN((4,), NeckConfig(channels=4, levels=3, relu_before_extra=True))
    rectified.load_state_dict(plain.state_dict())
    x = [torch.randn(1, 4, 8, 8)]
    first = plain(x)
    wanted = plain.extra[0](first[0].relu())
    assert torch.allclose(rectified(x)[1], wanted) and not torch.allclose(first[1], wanted)


def test_mmdetection_and_fcos_take_no_relu_before_the_first_extra_level() -> None:
    """Its FPN and PAFPN: `fpn_convs[used](outs[-1])`, then `fpn_convs[i](relu(outs[-1]))`."""
    torch.manual_seed(0)
    config = NeckConfig(channels=4, levels=4, relu_before_extra=True, relu_before_first_extra=False)
    neck = FPN((4, 4), config)
    maps = neck([torch.randn(1, 4, 16, 16), torch.randn(1, 4, 8, 8)])
    assert torch.allclose(maps[2], neck.extra[0](maps[1])) and (maps[1] < 0).any()
    assert torch.allclose(maps[3], neck.extra[1](maps[2].relu())) and (maps[2] < 0).any()


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_every_named_detector_is_built_and_its_shapes_agree(name: str) -> None:
    """On the meta device: no memory, no numbers, every shape."""
    config = DETECTORS[name]
    with torch.device("meta"):
        model = Detector(config)
        features = [torch.empty(1, width, *(length // stride for length in config.size))
                    for width, stride in zip(model.backbone.channels, (4, 8, 16, 32), strict=True)]  # fmt: skip
        levels = model.pyramid(features[config.neck.start :])
    assert len(levels) == len(config.strides)
    for level, stride in zip(levels, config.strides, strict=True):
        assert tuple(level.shape[-2:]) == tuple(-(-length // stride) for length in config.size)


def test_the_paper_s_segmenters_are_there_under_their_names() -> None:
    widths = {name: SEGMENTERS[name].width for name in ("lowrank-hrnet-w18", "lowrank-hrnet-w32", "lowrank-hrnet-w48")}
    assert widths == {"lowrank-hrnet-w18": 270, "lowrank-hrnet-w32": 480, "lowrank-hrnet-w48": 720}
    assert all(SEGMENTERS[name].size == (512, 512) for name in widths)
