"""The four one-stage baselines against mmdetection's numbers, brute-force loops and whatever a batch may hold."""

import functools
import math
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from golden import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers.detectors import atss, fcos, paa, retinanet
from trainers.detectors.dense import assigned_boxes, centerness, flatten_levels
from trainers.training.assign import atss as assign_atss
from trainers.training.checkpoint_names import from_mmdet
from trainers.training.contract import ModelWithLoss, Targets
from trainers.training.losses import focal

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}  # no normalisation
TOY_BACKBONE = ResNetConfig(depths=(1, 1, 1, 1), width=4, **PLAIN)
EMPTY = torch.zeros(0, 4)
POLYPS = torch.tensor([[10.0, 8.0, 50.0, 44.0], [60.0, 20.0, 90.0, 60.0]])


@dataclass(frozen=True)
class Baseline:
    """boxes, quality: the maps that hold what mmdetection calls reg and ctr. count: predictions of a place."""

    module: ModuleType
    config: Any
    boxes: str
    quality: str | None
    parts: tuple[str, ...]
    extra: Any = "on_output"
    count: int = 1


BASELINES = {
    "retinanet": Baseline(
        retinanet, retinanet.RetinaNetConfig, "deltas", None, ("cls", "bbox"), extra="on_input", count=9
    ),
    "fcos": Baseline(fcos, fcos.FCOSConfig, "log_distances", "centerness", ("cls", "bbox", "centerness")),
    "atss": Baseline(atss, atss.ATSSConfig, "deltas", "quality", ("cls", "bbox", "centerness")),
    "paa": Baseline(paa, paa.PAAConfig, "deltas", "quality", ("cls", "bbox", "iou")),
}
each = pytest.mark.parametrize("name", BASELINES)


def toy(name: str, *, seed: int = 0, spread: float = 0.1) -> nn.Module:
    """A small net at 64 x 96 px whose outputs differ from place to place."""
    torch.manual_seed(seed)
    one = BASELINES[name]
    neck = NeckConfig(channels=64, extra=one.extra)  # two a group: with one, a map of one place has no variance
    net = one.module.build(one.config(backbone=TOY_BACKBONE, neck=neck, size=(64, 96), stacked_convs=1)).eval()
    for last in (net.head.cls, net.head.reg):
        nn.init.normal_(last.weight, std=spread)
    return net  # type: ignore[no-any-return]


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 255, (count, 3, 64, 96)).astype(np.float32))


# Against mmdetection


@dataclass(frozen=True)
class Reference:
    baseline: Baseline
    net: nn.Module
    numbers: dict[str, Tensor]
    state: dict[str, Tensor]

    @property
    def truths(self) -> list[Tensor]:
        return [self.numbers[f"gt_boxes_{image}"] for image in range(2)]


@functools.cache
def reference_of(name: str) -> Reference:
    one = BASELINES[name]
    numbers = {key: torch.from_numpy(value) for key, value in golden(f"{name}_r50").items()}
    theirs = {key.removeprefix("state/"): value for key, value in numbers.items() if key.startswith("state/")}
    backbone, neck = ResNetConfig(width=8, **PLAIN), NeckConfig(channels=64, extra=one.extra)
    net = one.module.build(one.config(backbone=backbone, neck=neck, size=(160, 192))).eval()
    state = from_mmdet(theirs, one.module.MMDET_NAMES)
    net.load_state_dict(state, strict=False)  # which names there are is a test of its own
    return Reference(one, net, numbers, state)


@each
def test_every_tensor_of_a_published_checkpoint_has_its_place(name: str) -> None:
    reference = reference_of(name)
    ours = {name: x.shape for name, x in reference.net.state_dict().items() if "num_batches_tracked" not in name}
    assert {name: x.shape for name, x in reference.state.items()} == ours


@each
@torch.no_grad()
def test_maps_are_mmdetection_s(name: str) -> None:
    reference = reference_of(name)
    image, one = reference.numbers["image"], reference.baseline
    levels = reference.net.pyramid(reference.net.backbone(image)[1:])  # type: ignore[operator]
    for level in (2, 3, 4):
        assert (levels[level] - reference.numbers[f"fpn/{level}"]).abs().max() < 1e-4
    maps = reference.net.maps(image)  # type: ignore[operator]
    boxes = getattr(maps, one.boxes)
    boxes = boxes.exp() if one.boxes == "log_distances" else boxes
    assert_ends_as(maps.classes, golden_map(reference, "cls", 1)[..., 0])
    assert_ends_as(boxes, golden_map(reference, "reg", 4))
    if one.quality:
        assert_ends_as(getattr(maps, one.quality), golden_map(reference, "ctr", 1)[..., 0])


def golden_map(reference: Reference, name: str, width: int) -> Tensor:
    """(2, P, width) of all levels but the largest, which the files leave out."""
    return flatten_levels([reference.numbers[f"out/{level}/{name}"] for level in range(1, 5)], width)


def assert_ends_as(found: Tensor, wanted: Tensor, tolerance: float = 1e-4) -> None:
    """The last places of `found` are `wanted`: levels are in order of falling size."""
    assert wanted.shape[1] > 100 and (found[:, -wanted.shape[1] :] - wanted).abs().max() < tolerance


@pytest.mark.parametrize("name", ["retinanet", "fcos", "atss"])
@torch.no_grad()
def test_boxes_and_scores_are_mmdetection_s(name: str) -> None:
    """The 300 best with an area: mmdetection drops a box of which clipping left none."""
    reference = reference_of(name)
    for image, (boxes, scores) in enumerate(zip(*reference.net(reference.numbers["image"]), strict=True)):
        expected = reference.numbers[f"det_{image}"]
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
        best = torch.where(has_area, scores, -1.0).topk(len(expected))
        assert (best.values - expected[:, 4].sort(descending=True).values).abs().max() < 1e-4
        far = (boxes[best.indices] - expected[:, :4]).abs().amax(1) > 1e-3
        for row in far.nonzero()[:, 0]:  # equal scores may stand in another order
            same = (boxes - expected[row, :4]).abs().amax(1) < 1e-3
            assert (scores[same] - expected[row, 4]).abs().min() < 1e-6
        assert far.sum() < 10


@torch.no_grad()
def test_paa_s_score_is_the_root_of_class_and_iou() -> None:
    reference = reference_of("paa")
    product = golden_map(reference, "cls", 1).sigmoid() * golden_map(reference, "ctr", 1).sigmoid()
    assert_ends_as(reference.net(reference.numbers["image"])[1], product[..., 0].sqrt(), 1e-5)


@each
def test_losses_are_mmdetection_s(name: str) -> None:
    reference = reference_of(name)
    targets = Targets(reference.truths, torch.zeros(2, 160, 192))
    found = reference.baseline.module.loss(reference.net, reference.numbers["image"], targets)
    assert tuple(found) == reference.baseline.parts
    for part, value in found.items():
        assert value.item() == pytest.approx(reference.numbers[f"loss/loss_{part}"].item(), rel=1e-4), part


@torch.no_grad()
def test_atss_s_assignment_is_mmdetection_s() -> None:
    reference = reference_of("atss")
    maps = reference.net.maps(reference.numbers["image"])  # type: ignore[operator]
    for image, truth in enumerate(reference.truths):
        found = assign_atss(maps.anchors, list(maps.sizes), truth, k=reference.net.config.k)  # type: ignore[union-attr]
        expected = reference.numbers[f"assign_{image}"]
        assert (expected >= 0).sum() > 10
        assert found.tolist() == expected.tolist()


# Against loops


@given(st.lists(st.tuples(st.floats(-8, 8), st.booleans()), min_size=1, max_size=20))
def test_focal_is_the_formula_s(pairs: list[tuple[float, bool]]) -> None:
    logits, truth = torch.tensor(pairs, dtype=torch.float64).T
    for found, (logit, positive) in zip(focal(logits, truth).tolist(), pairs, strict=True):
        p = 1 / (1 + math.exp(-logit))
        expected = -0.25 * (1 - p) ** 2 * math.log(p) if positive else -0.75 * p**2 * math.log(1 - p)
        assert found == pytest.approx(expected, rel=1e-9)


def test_focal_of_far_logits_is_finite_and_has_a_gradient() -> None:
    logits = torch.tensor([-200.0, 200.0, -200.0, 200.0], requires_grad=True)
    loss = focal(logits, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0, 150, 50, 0])
    assert logits.grad is not None and logits.grad.tolist() == pytest.approx([0, 0.75, -0.25, 0])


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_fcos_s_assignment_is_the_brute_force_s(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    truth = np.concatenate([corners, corners + random.uniform(5, 60, (count, 2))], 1)
    shapes, strides, reach = [(8, 12), (4, 6), (2, 3)], (8, 16, 32), (16.0, 32.0, math.inf)
    points, expected = [], []
    for level, ((height, width), stride) in enumerate(zip(shapes, strides, strict=True)):
        for row, column in np.ndindex(height, width):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            points.append((x, y))
            nearer = 0 if level == 0 else reach[level - 1]
            owner, smallest = -1, math.inf
            for index, (x1, y1, x2, y2) in enumerate(truth):
                distances = (x - x1, y - y1, x2 - x, y2 - y)
                fits = min(distances) > 0 and nearer <= max(distances) <= reach[level]
                if fits and (x2 - x1) * (y2 - y1) < smallest:
                    owner, smallest = index, (x2 - x1) * (y2 - y1)
            expected.append(owner)
    sizes = tuple(height * width for height, width in shapes)
    found = fcos.assign(torch.tensor(points, dtype=torch.float64), sizes, torch.from_numpy(truth), reach)
    assert found.tolist() == expected


def test_fcos_s_points_stand_in_the_middle_of_their_places() -> None:
    maps = toy("fcos").maps(pictures(1))  # type: ignore[operator]
    assert maps.sizes == (96, 24, 6, 2, 1)
    assert maps.points[:13].tolist() == [[4.0 + 8 * i, 4.0] for i in range(12)] + [[4.0, 12.0]]
    assert maps.points[96 + 24].tolist() == [16.0, 16.0]


def test_centerness_is_the_formula_s() -> None:
    found = centerness(torch.tensor([[5.0, 5.0, 5.0, 5.0], [1.0, 2.0, 4.0, 8.0], [8.0, 3.0, 2.0, 3.0]]))
    assert found.tolist() == pytest.approx([1.0, 0.25, 0.5])


def test_a_place_that_learns_none_gets_a_box_of_zeros() -> None:
    found = assigned_boxes(torch.tensor([[1, -1, 0], [-1, -2, -1]]), [POLYPS, EMPTY])
    assert found.tolist() == [[POLYPS[1].tolist(), [0.0] * 4, POLYPS[0].tolist()], [[0.0] * 4] * 3]


def test_paa_takes_the_cheap_candidates_up_to_the_likeliest() -> None:
    """Two boxes and two levels: of the first box's cheap heap, what is no dearer than its densest place."""
    costs = torch.tensor([0.7, 1.0, 9.0, 1.02, 0.1, 8.9, 1.3, 0.98, 9.1, 0.5, 0.5, 0.5])
    index = torch.tensor([0, 0, 0, 0, -1, 0, 0, 0, 0, 1, -2, -1])
    found = paa.select(costs, index, (6, 6), 9)
    likeliest = max((1.0, 1.02, 0.98), key=lambda x: -abs(x - (0.7 + 1.0 + 1.02 + 1.3 + 0.98) / 5))
    wanted = [0 if i == 0 and c <= likeliest else -1 for c, i in zip(costs.tolist(), index.tolist(), strict=True)]
    assert wanted.count(0) in (3, 4)
    assert found.tolist() == wanted  # the second box has one candidate: nothing to fit


def test_paa_looks_at_the_cheapest_of_each_level_only() -> None:
    costs, index = torch.tensor([1.0, 1.0, 1.0, 0.1, 5.0, 5.0, 5.0, 4.0]), torch.zeros(8, dtype=torch.int64)
    assert paa.select(costs, index, (4, 4), 1).tolist() == [-1, -1, -1, 0, -1, -1, -1, -1]
    assert paa.select(costs[:4], index[:4], (4,), 1).tolist() == [-1] * 4


def test_paa_s_iou_loss_is_no_way_to_move_a_box() -> None:
    net = toy("paa")
    maps = net.maps(pictures(1))  # type: ignore[operator]
    deltas = maps.deltas.detach().requires_grad_()
    losses = paa._criterion(replace(maps, deltas=deltas), net.config, Targets([POLYPS], torch.zeros(1, 64, 96)))
    (gradient,) = torch.autograd.grad(losses["iou"], deltas, retain_graph=True, allow_unused=True)
    assert losses["iou"] > 0 and (gradient is None or not gradient.any())
    losses["bbox"].backward()
    assert deltas.grad is not None and deltas.grad.any()


def test_retinanet_leaves_out_what_is_neither() -> None:
    """The classes of anchors with an IoU between the two limits have no gradient; those of all others have one."""
    net, truth = toy("retinanet"), torch.tensor([[10.0, 8.0, 42.0, 40.0]])
    maps = net.maps(pictures(1))  # type: ignore[operator]
    classes = torch.zeros_like(maps.classes, requires_grad=True)
    targets = Targets([truth], torch.zeros(1, 64, 96))
    retinanet._criterion(replace(maps, classes=classes), net.config, targets)["cls"].backward()
    overlap = plain_overlaps(maps.anchors, truth[0])
    between = (overlap >= 0.4) & (overlap < 0.5)
    assert between.any() and classes.grad is not None
    assert ((classes.grad[0] == 0) == between).all()
    assert ((classes.grad[0] < 0) == (overlap >= 0.5)).all()


def plain_overlaps(anchors: Tensor, box: Tensor) -> Tensor:
    sides = torch.minimum(anchors[:, 2:], box[2:]) - torch.maximum(anchors[:, :2], box[:2])
    shared = sides.clamp(min=0).prod(1)
    return shared / ((anchors[:, 2:] - anchors[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - shared)


# Whatever a batch holds


@each
@pytest.mark.parametrize("truths", [[EMPTY], [EMPTY, EMPTY], [EMPTY, POLYPS], [POLYPS, POLYPS[:1]]])
def test_losses_are_finite_and_teach(name: str, truths: list[Tensor]) -> None:
    net = toy(name)
    learner = ModelWithLoss(net, BASELINES[name].module.loss)
    losses = learner(pictures(len(truths)), Targets(truths, torch.zeros(len(truths), 64, 96)))
    losses["loss"].backward()
    parts = BASELINES[name].parts
    assert set(losses) == {"loss", *parts}
    assert all(math.isfinite(value.item()) and value.item() >= 0 for value in losses.values())
    gradients = {key: value.grad for key, value in net.named_parameters()}
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients.values())
    boxes_learn = bool(gradients["head.reg.weight"].any())  # type: ignore[union-attr]
    assert boxes_learn == any(len(truth) for truth in truths)
    assert gradients["head.cls.weight"].any()  # type: ignore[union-attr]
    if not boxes_learn:
        assert gradients["head.cls.bias"].min() > 0  # type: ignore[union-attr]
        assert all(losses[part] == 0 for part in parts[1:])


@each
def test_a_few_steps_lower_the_loss(name: str) -> None:
    learner = ModelWithLoss(toy(name), BASELINES[name].module.loss)
    optimiser = torch.optim.Adam(learner.parameters(), 1e-3)
    targets, losses = Targets([POLYPS[:1]], torch.zeros(1, 64, 96)), []
    for _ in range(8):
        loss = learner(pictures(1), targets)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@each
def test_a_loss_in_half_precision_is_near(name: str) -> None:
    net, targets = toy(name), Targets([POLYPS], torch.zeros(1, 64, 96))
    exact = BASELINES[name].module.loss(net, pictures(1), targets)
    with torch.autocast("cpu", torch.bfloat16):
        rough = BASELINES[name].module.loss(net, pictures(1), targets)
    for part, value in rough.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[part].item(), rel=0.1), part


# What an engine takes


@each
@torch.no_grad()
def test_outputs_have_one_shape_and_lie_inside_the_image(name: str) -> None:
    net, places = toy(name, spread=3.0), (96 + 24 + 6 + 2 + 1) * BASELINES[name].count
    for count in (1, 3):
        boxes, scores = net(pictures(count))
        assert boxes.shape == (count, places, 4) and scores.shape == (count, places)
        assert torch.isfinite(boxes).all() and (scores >= 0).all() and (scores <= 1).all()
        assert boxes.min() == 0 and boxes[..., 0::2].max() == 96 and boxes[..., 1::2].max() == 64
        assert (boxes[..., 2:] >= boxes[..., :2]).all()


@each
@torch.no_grad()
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_traced_net_is_the_net(name: str) -> None:
    net = toy(name)
    traced = torch.jit.trace(net, torch.zeros(1, 3, 64, 96), check_trace=False)
    image = pictures(1, seed=1)
    for found, expected in zip(traced(image), net(image), strict=True):
        torch.testing.assert_close(found, expected)
    assert (net(image)[1] - net(torch.zeros(1, 3, 64, 96))[1]).abs().max() > 1e-3


@each
def test_the_defaults_are_the_published_recipe(name: str) -> None:
    config = BASELINES[name].config()
    assert (config.backbone, config.stacked_convs, config.size) == (ResNetConfig(), 4, (800, 1344))
    assert config.strides == (8, 16, 32, 64, 128)
    assert (config.neck.channels, config.neck.levels, config.neck.extra) == (256, 5, BASELINES[name].extra)


@each
def test_at_the_start_almost_every_place_is_background(name: str) -> None:
    one = BASELINES[name]
    net = one.module.build(
        one.config(backbone=TOY_BACKBONE, neck=NeckConfig(channels=8, extra=one.extra), stacked_convs=1)
    )
    assert net.head.cls.bias.sigmoid().tolist() == pytest.approx([0.01] * one.count, rel=1e-3)
    assert net.head.reg.weight.std() < 0.02 and not net.head.reg.bias.any()
