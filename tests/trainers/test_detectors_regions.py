"""The two-stage detectors: Faster R-CNN against mmdetection, the others on hand-made numbers, all on a toy picture."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from golden import golden, golden_state
from torch import Tensor, nn

from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers.detectors import cascade_rcnn, d2det, double_head, faster_rcnn
from trainers.detectors.cascade_rcnn import CascadeRCNN, CascadeRCNNConfig
from trainers.detectors.d2det import D2Det, D2DetConfig
from trainers.detectors.double_head import DoubleHead, DoubleHeadConfig
from trainers.detectors.faster_rcnn import FasterRCNN, FasterRCNNConfig
from trainers.detectors.regions import BOX_STDS, RoISamples, Sampling, pyramid_levels, sample_rois
from trainers.detectors.roi_align import RoIs, bin_points, rois_of
from trainers.detectors.rpn import Proposals, RPNConfig, propose, suppress
from trainers.training.anchors import clip_to, decode
from trainers.training.checkpoint_names import from_mmdet
from trainers.training.contract import Losses, ModelWithLoss, Targets

SIZE = (96, 128)

SMALL: dict[str, Any] = {
    "backbone": ResNetConfig(width=8, depths=(1, 1, 1, 1)),
    "neck": NeckConfig(start=0, levels=5, extra="pool", channels=16),
    "size": SIZE,
    "proposals": 20,
    "training_proposals": 40,
    "sampling": Sampling(count=32),
    "fc_width": 32,
}
FEW = RPNConfig(candidates=50, training_candidates=60, samples=64)


@dataclass(frozen=True)
class Kind:
    """A detector, small; `given`: candidates an image."""

    build: Callable[[Any], nn.Module]
    loss: Callable[[Any, Tensor, Targets], Losses]
    config: Any
    given: int = 20


KINDS = {
    "faster": Kind(FasterRCNN, faster_rcnn.loss, FasterRCNNConfig(**SMALL, rpn=FEW)),
    "cascade": Kind(CascadeRCNN, cascade_rcnn.loss, CascadeRCNNConfig(**SMALL, rpn=replace(FEW, beta=1 / 9))),
    "double": Kind(DoubleHead, double_head.loss, DoubleHeadConfig(**SMALL, rpn=FEW, conv_width=16, conv_blocks=1)),
    "d2det": Kind(D2Det, d2det.loss, D2DetConfig(**SMALL, rpn=FEW, tower_width=12, tower_depth=2, placed=7), given=7),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


# Cascade R-CNN


def toy_picture(seed: int = 0) -> tuple[Tensor, Targets]:
    """Two noisy images, each with a bright polyp or two."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, *SIZE, generator=generator) * 60
    boxes = [torch.tensor([[20.0, 16, 68, 64]]), torch.tensor([[8.0, 40, 40, 88], [72.0, 8, 120, 48]])]
    masks = torch.zeros(2, *SIZE)
    for image, some in enumerate(boxes):
        for left, top, right, bottom in some.int().tolist():
            images[image, :, top:bottom, left:right] += 150
            masks[image, top:bottom, left:right] = 1
    return images, Targets(boxes, masks)


def test_each_cascade_head_starts_from_the_boxes_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["cascade"]
    model = CascadeRCNN(kind.config).eval()
    start = torch.tensor([[20.0, 20.0, 60.0, 60.0], [80.0, 40.0, 126.0, 90.0]])
    deltas, logits = torch.tensor([1.0, -0.5, 1.0, 0.5]), torch.tensor([[3.0, 0.0], [0.0, 0.0], [-1.0, 1.0]])
    seen = []

    def roi_forward(number: int, levels: list[Tensor], rois: RoIs) -> tuple[Tensor, Tensor]:
        seen.append(rois.boxes)
        return logits[number].expand(2, 2), deltas.expand(2, 4)

    monkeypatch.setattr(model, "roi_forward", roi_forward)
    monkeypatch.setattr(cascade_rcnn, "propose_rois", lambda *_: rois_of([start]))
    boxes, scores = model(torch.zeros(1, 3, *SIZE))
    expected = start
    for stage, stds in enumerate([(0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067)]):
        assert torch.allclose(seen[stage], expected)
        expected = clip_to(decode(expected, deltas, stds), SIZE)
    assert torch.allclose(boxes[0, :2], expected)
    assert scores[0, :3].tolist() == pytest.approx([1 / (1 + np.exp(-1 / 3))] * 2 + [0.0])


def test_cascade_heads_learn_from_ever_stricter_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, seen = KINDS["cascade"], []

    def spy(proposals: list[Tensor], truths: list[Tensor], sampling: Sampling) -> RoISamples:
        samples = sample_rois(proposals, truths, sampling)
        seen.append((sampling.positive, [len(boxes) for boxes in proposals], samples))
        return samples

    monkeypatch.setattr(cascade_rcnn, "sample_rois", spy)
    images, targets = toy_picture()
    cascade_rcnn.loss(CascadeRCNN(kind.config).eval(), images, targets)
    assert [positive for positive, _, _ in seen] == [0.5, 0.6, 0.7]
    for (_, _, before), (_, counts, _) in zip(seen, seen[1:], strict=False):
        assert counts == [int(((before.rois.image == image) & ~before.added).sum()) for image in (0, 1)]
        assert before.added.any()


def test_a_cascade_stage_s_losses_are_smooth_and_weighted() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    samples = RoISamples(rois_of([boxes]), torch.tensor([True]), boxes, torch.tensor([False]))
    parts = cascade_rcnn._criterion(torch.zeros(1, 2), torch.full((1, 4), 0.5), samples, cascade_rcnn.STAGES[1])
    assert parts["class"].item() == pytest.approx(0.5 * np.log(2))
    assert parts["box"].item() == pytest.approx(0.5 * 4 * 0.5 * 0.5**2)


# Double-Head-Ext


def test_the_convolution_head_sees_larger_regions_and_places_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, factors, start = DoubleHead(KINDS["double"].config).eval(), [], torch.tensor([[20.0, 20.0, 60.0, 60.0]])
    deltas, pool = torch.tensor([[1.0, -1.0, 0.5, 0.5]]), double_head.pool_levels

    def spy(*arguments: Any, **options: Any) -> Tensor:
        factors.append(options.get("factor", 1.0))
        return pool(*arguments, **options)

    def roi_forward(*_: Any) -> double_head.HeadOutputs:
        return double_head.HeadOutputs((torch.zeros(1, 2), -deltas), (torch.zeros(1, 2), deltas))

    monkeypatch.setattr(double_head, "pool_levels", spy)
    monkeypatch.setattr(double_head, "propose_rois", lambda *_: rois_of([start]))
    model(torch.zeros(1, 3, *SIZE))
    assert factors == [1.0, 1.3]
    monkeypatch.setattr(model, "roi_forward", roi_forward)
    boxes, scores = model(torch.zeros(1, 3, *SIZE))
    assert torch.allclose(boxes[0, :1], decode(start, deltas, BOX_STDS)) and scores[0, 0] == 0.75


def test_double_head_scores_complement_each_other() -> None:
    found = double_head.fuse_scores(torch.tensor([0.5, 0.0, 1.0]), torch.tensor([0.5, 0.3, 0.2]))
    assert found.tolist() == pytest.approx([0.75, 0.3, 1.0])


def test_double_head_s_own_tasks_weigh_more() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    samples = RoISamples(rois_of([boxes]), torch.tensor([True]), boxes, torch.tensor([False]))
    said = (torch.zeros(1, 2), torch.full((1, 4), 2.0))  # class loss log 2, box loss 4 * 1.5
    parts = double_head._criterion(
        double_head.HeadOutputs(said, said), samples, DoubleHeadConfig(fc_weight=1, conv_weight=10)
    )
    assert [parts[name].item() for name in ("fc_class", "fc_box", "conv_class", "conv_box")] == pytest.approx(
        [0.7 * np.log(2), 0.3 * 6, 10 * 0.2 * np.log(2), 10 * 0.8 * 6]
    )


# D2Det


def test_d2det_averages_the_boxes_of_the_cells_within_the_polyp() -> None:
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]] * 2)
    distances = torch.full((2, 2, 2, 4), 0.5)
    distances[0, 0, 0] = torch.tensor([0.25, 0.25, 0.75, 0.75])  # from (15, 30): the region itself
    distances[0, 1, 1] = torch.tensor([0.75, 0.75, 0.75, 0.75])  # from (25, 50): (10, 20, 40, 80)
    inside = torch.full((2, 2, 2), -1.0)
    inside[0, 0, 0] = inside[0, 1, 1] = 0.1
    found = d2det.average_boxes(d2det.dense_boxes(boxes, distances), inside, boxes)
    assert found.tolist() == [[10.0, 20.0, 35.0, 70.0], [10.0, 20.0, 30.0, 60.0]]


def test_d2det_s_cells_learn_the_polyp_s_edges() -> None:
    region, truth = torch.tensor([[0.0, 0.0, 40.0, 40.0]]), torch.tensor([[0.0, 0.0, 20.0, 40.0]])
    points = bin_points(region, 2)
    right = torch.cat([points, truth[:, None, None, 2:] - points], dim=-1) / 40
    inside = torch.tensor([[[9.0, -9.0], [9.0, -9.0]]])  # the left column lies within
    parts = d2det._dense_criterion(right, inside, region, truth)
    assert parts["box"].item() == pytest.approx(0, abs=1e-6)
    assert parts["inside"].item() == pytest.approx(np.log1p(np.exp(-9)), rel=0.01)
    right[..., 2] += 0.5  # 20 px too wide: an IoU of one half
    assert d2det._dense_criterion(right, inside, region, truth)["box"].item() == pytest.approx(np.log(2))


def test_d2det_weights_the_four_samples_of_a_bin() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert d2det.weighted_mean(x, torch.zeros_like(x))[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    logits = torch.zeros_like(x)
    logits[0, 0, 1, 2] = 50.0
    assert d2det.weighted_mean(x, logits)[0, 0].tolist() == [[2.5, 6.0], [10.5, 12.5]]


def test_d2det_s_offsets_are_tenths_of_the_region_s_sides() -> None:
    boxes, offsets = torch.tensor([[0.0, 0.0, 40.0, 80.0]]), torch.zeros(1, 2, 2, 2)
    assert torch.equal(d2det.shifted_points(boxes, offsets), bin_points(boxes, 4))
    offsets[0, 0, 1] = torch.tensor([1.0, -2.0])
    moved = d2det.shifted_points(boxes, offsets) - bin_points(boxes, 4)
    assert torch.allclose(moved[0, :2, 2:], torch.tensor([4.0, -16.0]).expand(2, 2, 2))
    assert moved.abs().sum().item() == pytest.approx(80, rel=1e-5)


def test_d2det_places_the_best_regions_that_overlap_little() -> None:
    near, other = [[10.0, 10, 50, 50], [12.0, 10, 50, 50]], [[60.0, 10, 90, 50], [0.0, 60, 30, 90], [40.0, 60, 60, 90]]
    rois = RoIs(torch.tensor(near + other), torch.tensor([0, 0, 0, 0, 1]))
    model = D2Det(replace(KINDS["d2det"].config, placed=2))
    kept, scores = model._best(rois, torch.tensor([0.6, 0.9, 0.3, 0.5, 0.1]), 2)
    assert kept.boxes.tolist() == [near[1], other[1], other[2]] and kept.image.tolist() == [0, 0, 1]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert D2DetConfig().placed == 125


def test_d2det_s_dense_head_learns_from_positive_regions_shaken() -> None:
    torch.manual_seed(0)
    corner = torch.arange(300.0)[:, None] / 10
    boxes = torch.cat([corner, corner, corner + 20, corner + 40], dim=1)
    samples = RoISamples(RoIs(boxes, torch.arange(300) % 2), torch.arange(300) < 250, boxes, torch.zeros(300).bool())
    rois, truth = d2det._to_place(samples, SIZE)
    assert len(truth) == 192 and truth[:, 0].unique().numel() == 192 and truth[:, 0].max() < 25
    assert torch.equal(rois.image, (truth[:, 0] * 10).round().long() % 2)
    moves = (rois.boxes - truth).abs() / torch.tensor([20.0, 40.0, 20.0, 40.0])
    assert 0.2 < moves.amax() <= 0.15 * 1.5 + 1e-5


def test_d2det_s_class_loss_weighs_double() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    samples = RoISamples(rois_of([boxes]), torch.tensor([True]), boxes, torch.tensor([False]))
    assert d2det._class_criterion(torch.zeros(1, 2), samples, D2DetConfig())["class"].item() == pytest.approx(
        2 * np.log(2)
    )


# Every detector


@every_kind
def test_candidates_have_one_shape_and_lie_in_the_image(kind: Kind) -> None:
    torch.manual_seed(0)
    model = kind.build(kind.config).eval()
    with torch.no_grad():
        boxes, scores = model(toy_picture()[0])
    assert boxes.shape == (2, kind.given, 4) and scores.shape == (2, kind.given)
    assert (scores > 0).any() and scores.amin() >= 0 and scores.amax() <= 1
    assert boxes.amin() >= 0 and boxes[..., ::2].amax() <= 128 and boxes[..., 1::2].amax() <= 96
    assert (boxes[..., 2:] >= boxes[..., :2]).all()
    assert (boxes[scores == 0] == 0).all()


def limited(proposals: Callable[..., list[Proposals]], most: int) -> Callable[..., list[Proposals]]:
    return lambda *arguments, **options: [
        Proposals(*(x[:most] for x in one)) for one in proposals(*arguments, **options)
    ]


@every_kind
@pytest.mark.parametrize("most", [0, 3])
def test_few_proposals_change_no_shape(monkeypatch: pytest.MonkeyPatch, kind: Kind, most: int) -> None:
    monkeypatch.setattr("trainers.detectors.regions.propose", limited(propose, most))
    with torch.no_grad():
        boxes, scores = kind.build(kind.config).eval()(toy_picture()[0])
    assert boxes.shape == (2, kind.given, 4)
    assert (scores[:, most:] == 0).all() and (boxes[:, most:] == 0).all() and (scores[:, :1] > 0).all() == (most > 0)


@every_kind
@pytest.mark.parametrize("emptied", [[1], [0, 1]], ids=["one empty", "all empty"])
def test_images_without_a_polyp_are_learnt_from(kind: Kind, emptied: list[int]) -> None:
    torch.manual_seed(0)
    images, targets = toy_picture()
    boxes = [torch.zeros(0, 4) if image in emptied else some for image, some in enumerate(targets.boxes)]
    model = kind.build(kind.config)
    losses = ModelWithLoss(model, kind.loss)(images, replace(targets, boxes=boxes))
    assert all(torch.isfinite(value) for value in losses.values())
    losses["loss"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert gradients["rpn.cls.weight"].abs().sum() > 0
    if len(emptied) == 2:
        assert losses["rpn_box"] == 0 and all(value == 0 for name, value in losses.items() if "box" in name)


@every_kind
def test_the_loss_falls(kind: Kind) -> None:
    torch.manual_seed(0)
    images, targets = toy_picture()
    learner = ModelWithLoss(kind.build(kind.config), kind.loss)
    optimiser = torch.optim.SGD(learner.parameters(), lr=0.01, momentum=0.9)
    values = []
    for _ in range(20):
        torch.manual_seed(1)  # the same draw of anchors each time
        loss = learner(images, targets)["loss"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 10.0)
        optimiser.step()
        values.append(loss.item())
    assert np.mean(values[-5:]) < 0.85 * np.mean(values[:3])


@every_kind
def test_losses_are_finite_in_half_precision(kind: Kind) -> None:
    images, targets = toy_picture()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = kind.loss(kind.build(kind.config), images, targets)
        boxes, _ = kind.build(kind.config).eval()(images)
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in losses.values())
    assert boxes.dtype == torch.float32


# Names and golden numbers


def mmdet_head(kind: str, channels: int, width: int) -> dict[str, tuple[int, ...]]:
    """mmdetection's tensors of the proposal network and of the heads, by shape; batch norms by their weights only."""
    shapes: dict[str, tuple[int, ...]] = {
        "rpn_head.rpn_conv.weight": (channels, channels, 3, 3),
        "rpn_head.rpn_cls.weight": (3, channels, 1, 1),
        "rpn_head.rpn_reg.bias": (12,),
    }
    for stage in ("0", "1", "2") if kind == "cascade" else ():
        head = f"roi_head.bbox_head.{stage}"
        shapes |= {f"{head}.shared_fcs.0.weight": (width, channels * 49), f"{head}.shared_fcs.1.bias": (width,)}
        shapes |= {f"{head}.fc_cls.weight": (2, width), f"{head}.fc_reg.weight": (4, width)}
    if kind == "double":
        head = "roi_head.bbox_head"
        shapes |= {f"{head}.fc_branch.0.weight": (width, channels * 49), f"{head}.fc_branch.1.bias": (width,)}
        shapes |= {f"{head}.fc_cls.weight": (2, width), f"{head}.fc_reg.weight": (4, 16)}
        shapes |= {f"{head}.res_block.conv1.conv.weight": (channels, channels, 3, 3)}
        shapes |= {f"{head}.res_block.conv1.bn.weight": (channels,), f"{head}.res_block.conv2.bn.weight": (16,)}
        shapes |= {f"{head}.res_block.conv2.conv.weight": (16, channels, 1, 1)}
        shapes |= {f"{head}.res_block.conv_identity.conv.weight": (16, channels, 1, 1)}
        shapes |= {f"{head}.conv_branch.0.conv2.weight": (4, 4, 3, 3), f"{head}.conv_branch.0.bn3.weight": (16,)}
    return shapes


@pytest.mark.parametrize("name", ["cascade", "double"])
def test_published_heads_have_a_place(name: str) -> None:
    kind = KINDS[name]
    rules = {"cascade": cascade_rcnn.MMDET_NAMES, "double": double_head.MMDET_NAMES}[name]
    given = from_mmdet({key: torch.zeros(shape) for key, shape in mmdet_head(name, 16, 32).items()}, rules)
    own = kind.build(kind.config).state_dict()
    assert {key: tuple(value.shape) for key, value in given.items()} == {key: tuple(own[key].shape) for key in given}


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    return golden("faster_rcnn_r50")


@pytest.fixture(scope="module")
def mmdet_model(numbers: dict[str, Any]) -> FasterRCNN:
    config = FasterRCNNConfig(
        backbone=ResNetConfig(width=8, mean=(0, 0, 0), std=(1, 1, 1)),
        neck=NeckConfig(start=0, levels=5, extra="pool", channels=64),
        fc_width=64,
        proposals=200,
    )
    model = FasterRCNN(config).eval()
    given = from_mmdet(golden_state(numbers), faster_rcnn.MMDET_NAMES)
    missing, unexpected = model.load_state_dict(given, strict=False)
    assert unexpected == []
    assert [name for name in missing if not name.endswith("num_batches_tracked")] == []  # counters are not in the file
    return model


def test_pyramid_and_proposals_are_mmdetection_s(numbers: dict[str, Any], mmdet_model: FasterRCNN) -> None:
    with torch.no_grad():
        levels = pyramid_levels(mmdet_model, torch.from_numpy(numbers["image"]))
        found = propose(mmdet_model.rpn(levels), mmdet_model.config.rpn, (160, 192), 200)
    for number in (2, 3, 4):  # the file leaves out the largest
        assert np.abs(levels[number].numpy() - numbers[f"fpn/{number}"]).max() < 1e-4
    for image, one in enumerate(found):
        expected = torch.from_numpy(numbers[f"proposals_{image}"])
        assert len(one.boxes) == len(expected) == 200
        distance, match = (one.boxes[:, None] - expected[None, :, :4]).abs().amax(-1).min(0)
        assert distance.amax() < 1e-3 and match.unique().numel() == 200
        assert (one.scores[match] - expected[:, 4]).abs().amax() < 1e-4


def test_detections_are_mmdetection_s(numbers: dict[str, Any], mmdet_model: FasterRCNN) -> None:
    with torch.no_grad():
        boxes, scores = mmdet_model(torch.from_numpy(numbers["image"]))
    for image in (0, 1):
        order = scores[image].argsort(descending=True)
        found = suppress(Proposals(boxes[image][order], scores[image][order]), 0.5)
        expected = torch.from_numpy(numbers[f"det_{image}"])
        assert (found.boxes[:100] - expected[:, :4]).abs().amax() < 1e-3
        assert (found.scores[:100] - expected[:, 4]).abs().amax() < 1e-4
