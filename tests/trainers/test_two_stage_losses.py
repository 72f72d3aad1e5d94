"""The losses of the two-stage detectors against plain loops over boxes, with numbers of no library.

Each test runs a whole `loss`: anchors or proposals are matched, sampled, coded and weighted again here, one at a time.
What the nets say of regions, and RoIAlign, have tests of their own and are taken as they are.
"""

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.resnet import ResNetConfig
from trainers.detectors import cascade_rcnn, d2det, double_head, faster_rcnn
from trainers.detectors.regions import Sampling, pyramid_levels
from trainers.detectors.roi_align import RoIs
from trainers.detectors.rpn import RPNConfig, RPNMaps, rpn_criterion
from trainers.training.contract import Losses, Targets

Box = tuple[float, ...]
HEIGHT, WIDTH = 96, 128
UNIT, STDS = (1.0, 1.0, 1.0, 1.0), (0.1, 0.1, 0.2, 0.2)
CONFIG: dict[str, Any] = {
    "backbone": ResNetConfig(width=8, depths=(1, 1, 1, 1)),
    "neck": NeckConfig(start=0, levels=5, extra="pool", channels=16),
    "size": (HEIGHT, WIDTH),
    "sampling": Sampling(count=20),
    "fc_width": 32,
}
# About as large as anchors, and beside them: of several anchors that overlap a truth equally, because they lie within
# it, rounding would choose.
TRUTHS: list[list[Box]] = [[(14.0, 11.7, 77.4, 76.9)], [(13.4, 40.3, 36.5, 84.9), (72.4, 17.2, 118.2, 40.1)]]


# Boxes, one at a time


def overlap(a: Box, b: Box) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0.0) * max(high, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def encoded(box: Box, truth: Box, stds: Box) -> Box:
    """The four numbers that lead from a box to the truth: R-CNN's equations 6 to 9, over their deviations."""
    wide, high = box[2] - box[0], box[3] - box[1]
    true_wide, true_high = truth[2] - truth[0], truth[3] - truth[1]
    right = ((truth[0] + truth[2]) / 2 - (box[0] + box[2]) / 2) / wide
    down = ((truth[1] + truth[3]) / 2 - (box[1] + box[3]) / 2) / high
    return (right / stds[0], down / stds[1], math.log(true_wide / wide) / stds[2], math.log(true_high / high) / stds[3])


def moved(box: Box, deltas: list[float], stds: Box) -> Box:
    """The box that deltas lead to, cut to the image."""
    wide, high = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + deltas[0] * stds[0] * wide
    y = (box[1] + box[3]) / 2 + deltas[1] * stds[1] * high
    return cut(x, y, wide * math.exp(deltas[2] * stds[2]), high * math.exp(deltas[3] * stds[3]))


def cut(x: float, y: float, wide: float, high: float) -> Box:
    edges = ((x - wide / 2, WIDTH), (y - high / 2, HEIGHT), (x + wide / 2, WIDTH), (y + high / 2, HEIGHT))
    return tuple(min(max(value, 0.0), float(most)) for value, most in edges)


def smooth_l1(difference: float, beta: float) -> float:
    size = abs(difference)
    return 0.5 * size * size / beta if size < beta else size - 0.5 * beta


def binary_entropy(logit: float, *, wanted: bool) -> float:
    return math.log1p(math.exp(-logit if wanted else logit))


def matched(boxes: list[Box], truths: list[Box], positive: float, negative: float, least: float | None) -> list[int]:
    """Of each box the index of its truth, -1 for background, -2 for neither; the best of a truth if it has `least`."""
    found = []
    for box in boxes:
        overlaps = [overlap(box, truth) for truth in truths]
        best = max(overlaps, default=0.0)
        found.append(overlaps.index(best) if best >= positive else -1 if best < negative else -2)
    for number, truth in enumerate(truths if least is not None else []):
        most = max((overlap(box, truth) for box in boxes), default=0.0)
        for index, box in enumerate(boxes):
            if most >= (least or 0.0) and overlap(box, truth) == most:
                found[index] = number
    return found


def drawn(learnt: list[int], count: int, share: float) -> tuple[list[int], list[int]]:
    """Indices of positive and background boxes; of too many the last, from the end: see `last_first`."""
    positive = [index for index, one in enumerate(learnt) if one >= 0]
    most = int(count * share)
    positive = positive if len(positive) <= most else positive[::-1][:most]
    background = [index for index, one in enumerate(learnt) if one == -1]
    rest = count - len(positive)
    return positive, background if len(background) <= rest else background[::-1][:rest]


@pytest.fixture(autouse=True)
def last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance takes the last first, and moves by half of what it may."""
    monkeypatch.setattr(torch, "randperm", lambda count: torch.arange(count - 1, -1, -1))
    monkeypatch.setattr(torch, "rand", lambda *shape: torch.full(shape, 0.75))


# Proposal network


def anchors_by_loop(shapes: list[tuple[int, int]], strides: tuple[int, ...]) -> list[Box]:
    """Eight strides wide, of height to width 1:2, 1:1 and 2:1, about each place's upper left corner."""
    found: list[Box] = []
    for (high, wide), stride in zip(shapes, strides, strict=True):
        for row in range(high):
            for column in range(wide):
                for ratio in (0.5, 1.0, 2.0):
                    across, down = 8 * stride / math.sqrt(ratio) / 2, 8 * stride * math.sqrt(ratio) / 2
                    x, y = column * stride, row * stride
                    found.append((x - across, y - down, x + across, y + down))
    return found


def proposal_losses(levels: list[Tensor], model: nn.Module, config: RPNConfig) -> tuple[dict[str, float], list[int]]:
    """The losses of the proposal network, and of how many anchors: positive, background, left out of too many."""
    maps = model.rpn(levels)  # type: ignore[operator]
    anchors = anchors_by_loop([tuple(x.shape[-2:]) for x in levels], config.strides)
    inside = [a[0] >= 0 and a[1] >= 0 and a[2] < WIDTH and a[3] < HEIGHT for a in anchors]
    used = [index for index in range(len(anchors)) if inside[index] or not config.inside_only]
    classes = boxes = 0.0
    counts = [0, 0, 0]
    for image, truths in enumerate(TRUTHS):
        logits, deltas = maps.logits[image].tolist(), maps.deltas[image].tolist()
        learnt = matched([anchors[index] for index in used], truths, 0.7, 0.3, 0.3)
        positive, background = drawn(learnt, config.samples, config.positive_share)
        classes += sum(binary_entropy(logits[used[index]], wanted=True) for index in positive)
        classes += sum(binary_entropy(logits[used[index]], wanted=False) for index in background)
        for index in positive:
            wanted = encoded(anchors[used[index]], truths[learnt[index]], UNIT)
            said = deltas[used[index]]
            boxes += sum(smooth_l1(a - b, config.beta) for a, b in zip(said, wanted, strict=True))
        counts[0] += len(positive)
        counts[1] += len(background)
        counts[2] += sum(one >= 0 for one in learnt) - len(positive)
    total = counts[0] + counts[1]
    return {"rpn_class": classes / total, "rpn_box": boxes / total}, counts


def test_the_best_anchor_of_a_polyp_learns_it_from_an_overlap_of_three_tenths() -> None:
    anchors = torch.tensor([[0.0, 0.0, 10.0, 4.5], [50.0, 0.0, 60.0, 2.5]])  # overlaps of .45 and .25
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0]])
    maps = RPNMaps(torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2, 4), anchors, [2])
    found = rpn_criterion(maps, RPNConfig(), [truth])
    wanted = binary_entropy(3.0, wanted=True) + binary_entropy(1.0, wanted=False)
    assert found["rpn_class"].item() == pytest.approx(wanted / 2)
    nothing = rpn_criterion(replace(maps, learning=torch.zeros(2).bool()), RPNConfig(inside_only=True), [truth])
    assert [value.item() for value in nothing.values()] == [0.0, 0.0]


# Second stage


def proposals_near(truths: list[Box]) -> list[Box]:
    """Regions that overlap the truths by a little to almost all, and some far away."""
    found: list[Box] = [(0.0, 0.0, 16.0, 16.0), (90.0, 60.0, 126.0, 94.0), (50.0, 66.0, 70.0, 90.0)]
    for left, top, right, bottom in truths:
        wide, high = right - left, bottom - top
        for shift in (0.02, 0.08, 0.14, 0.2, 0.26, 0.34, 0.5):
            found.append((left + shift * wide, top - 0.3 * shift * high, right + shift * wide, bottom))
    return found


def regions_by_loop(
    proposals: list[list[Box]], positive: float
) -> tuple[RoIs, list[Box | None], list[bool], list[int]]:
    """Regions, of each its truth or None, and whether it is an added truth; and counts per image of those left out."""
    boxes: list[Box] = []
    images: list[int] = []
    wanted: list[Box | None] = []
    added: list[bool] = []
    left_out = []
    for image, (given, truths) in enumerate(zip(proposals, TRUTHS, strict=True)):
        every = [*truths, *given]
        learnt = matched(every, truths, positive, positive, None)
        chosen, background = drawn(learnt, 20, 0.25)
        left_out.append(sum(one >= 0 for one in learnt) - len(chosen))
        boxes += [every[index] for index in (*chosen, *background)]
        wanted += [truths[learnt[index]] for index in chosen] + [None] * len(background)
        added += [index < len(truths) for index in (*chosen, *background)]
        images += [image] * (len(chosen) + len(background))
    return RoIs(torch.tensor(boxes), torch.tensor(images)), wanted, added, left_out


def head_losses(
    said: tuple[Tensor, Tensor], rois: RoIs, wanted: list[Box | None], stds: Box, beta: float
) -> tuple[float, float]:
    """Cross entropy and box loss of one head, both over all regions."""
    classes = boxes = 0.0
    for logits, deltas, box, truth in zip(said[0].tolist(), said[1].tolist(), rois.boxes.tolist(), wanted, strict=True):
        classes += math.log(math.exp(logits[0]) + math.exp(logits[1])) - logits[1 if truth is None else 0]
        if truth is not None:
            boxes += sum(smooth_l1(a - b, beta) for a, b in zip(deltas, encoded(box, truth, stds), strict=True))
    return classes / len(wanted), boxes / len(wanted)


def toy_images() -> Tensor:
    images = torch.empty(2, 3, HEIGHT, WIDTH).uniform_(0, 60, generator=torch.Generator().manual_seed(0))
    for image, truths in enumerate(TRUTHS):
        for box in truths:
            left, top, right, bottom = (int(edge) for edge in box)
            images[image, :, top:bottom, left:right] += 150
    return images


def build(module: ModuleType, config: Any) -> Any:
    """A net whose boxes and classes differ from region to region."""
    torch.manual_seed(0)
    model = module.build(config).eval()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and name.endswith((".reg", ".cls", ".inside")):
            nn.init.normal_(layer.weight, std=0.1)
    return model


def computed(module: ModuleType, model: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Losses, list[Tensor]]:
    """The detector's own losses on the proposals above, and the levels of the pyramid."""
    proposals = [torch.tensor(proposals_near(truths)) for truths in TRUTHS]
    monkeypatch.setattr(module, "training_proposals", lambda *_: proposals)
    images = toy_images()
    targets = Targets([torch.tensor(truths) for truths in TRUTHS], torch.zeros(2, HEIGHT, WIDTH))
    with torch.no_grad():
        return module.loss(model, images, targets), pyramid_levels(model, images)


def assert_same(found: Losses, wanted: dict[str, float]) -> None:
    assert {name: value.item() for name, value in found.items()} == pytest.approx(wanted, rel=1e-4, abs=1e-6)


RPN = RPNConfig(samples=64)


@pytest.mark.parametrize(("beta", "inside_only"), [(0.0, False), (1 / 9, True)])
@torch.no_grad()
def test_faster_rcnn_s_losses(beta: float, inside_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rpn = replace(RPN, beta=beta or 1e-12, inside_only=inside_only, samples=10)
    model = build(faster_rcnn, faster_rcnn.FasterRCNNConfig(**CONFIG, rpn=rpn))
    found, levels = computed(faster_rcnn, model, monkeypatch)
    wanted, counts = proposal_losses(levels, model, rpn)
    assert counts[0] > 4 and counts[0] + counts[1] == 20 and counts[2] > 0
    rois, truths, added, left_out = regions_by_loop([proposals_near(one) for one in TRUTHS], 0.5)
    assert min(left_out) > 0 and not all(added[: len(truths)]) and sum(one is not None for one in truths) == 10
    wanted["class"], wanted["box"] = head_losses(model.roi_forward(levels, rois), rois, truths, STDS, 1e-12)
    assert_same(found, wanted)


@torch.no_grad()
def test_cascade_rcnn_s_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage matches the boxes of the one before anew, to a stricter overlap, and codes them more finely."""
    config = cascade_rcnn.CascadeRCNNConfig(**CONFIG)
    model = build(cascade_rcnn, config)
    found, levels = computed(cascade_rcnn, model, monkeypatch)
    wanted, _ = proposal_losses(levels, model, config.rpn)
    proposals, positives = [proposals_near(truths) for truths in TRUTHS], []
    for stage, (least, scale, weight) in enumerate([(0.5, 1.0, 1.0), (0.6, 0.5, 0.5), (0.7, None, 0.25)], 1):
        stds = (0.033, 0.033, 0.067, 0.067) if scale is None else tuple(scale * one for one in STDS)
        rois, truths, added, _ = regions_by_loop(proposals, least)
        said = model.roi_forward(stage - 1, levels, rois)
        classes, boxes = head_losses(said, rois, truths, stds, 1.0)
        wanted |= {f"class_{stage}": weight * classes, f"box_{stage}": weight * boxes}
        after = [moved(box, deltas, stds) for box, deltas in zip(rois.boxes.tolist(), said[1].tolist(), strict=True)]
        rows = list(zip(after, rois.image.tolist(), added, strict=True))
        proposals = [[box for box, image, is_truth in rows if image == which and not is_truth] for which in (0, 1)]
        positives.append(sum(truth is not None and not is_truth for truth, is_truth in zip(truths, added, strict=True)))
    assert min(positives) > 0, positives
    assert_same(found, wanted)


@torch.no_grad()
def test_double_head_ext_s_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both heads learn both tasks: 0.7 and 0.3 of the loss of one, 0.2 and 0.8 of the other, both twice."""
    config = double_head.DoubleHeadConfig(**CONFIG, rpn=RPN, conv_width=16, conv_blocks=1)
    model = build(double_head, config)
    found, levels = computed(double_head, model, monkeypatch)
    wanted, _ = proposal_losses(levels, model, replace(RPN, beta=1e-12))
    rois, truths, _, _ = regions_by_loop([proposals_near(one) for one in TRUTHS], 0.5)
    said = model.roi_forward(levels, rois)
    for head, outputs, shares in (("fc", said.fc, (0.7, 0.3)), ("conv", said.conv, (0.2, 0.8))):
        classes, boxes = head_losses(outputs, rois, truths, STDS, 1.0)
        wanted |= {f"{head}_class": 2 * shares[0] * classes, f"{head}_box": 2 * shares[1] * boxes}
    assert_same(found, wanted)


@torch.no_grad()
def test_d2det_s_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class loss of all regions; of the positive ones, moved by chance, the box of every cell within the polyp."""
    config = d2det.D2DetConfig(**CONFIG, tower_width=12, tower_depth=2)
    model = build(d2det, config)
    found, levels = computed(d2det, model, monkeypatch)
    wanted, _ = proposal_losses(levels, model, config.rpn)
    rois, truths, _, _ = regions_by_loop([proposals_near(one) for one in TRUTHS], 0.5)
    nothing = torch.zeros(len(truths), 4)
    wanted["class"] = 2 * head_losses((model.classify(levels, rois), nothing), rois, truths, STDS, 1.0)[0]
    positive = [index for index, truth in enumerate(truths) if truth is not None][::-1]
    learnt = [shaken(rois.boxes[index].tolist()) for index in positive]
    distances, inside = model.place(levels, RoIs(torch.tensor(learnt), rois.image[positive]))
    wanted["box"], wanted["inside"] = dense_losses(
        distances.tolist(), inside.tolist(), learnt, [truths[index] for index in positive]
    )
    assert_same(found, wanted)


def test_a_cell_of_d2det_that_hardly_overlaps_has_a_bounded_loss() -> None:
    region = torch.tensor([[0.0, 0.0, 40.0, 40.0]])
    distances = torch.full((1, 2, 2, 4), 0.05, requires_grad=True)  # boxes of 4 x 4 px: an IoU of one hundredth
    loss = d2det._dense_criterion(distances, torch.zeros(1, 2, 2), region, region)["box"]
    assert loss.item() == pytest.approx(-math.log(0.11))


def shaken(box: list[float]) -> Box:
    """Moved and widened by half of the 15 % that chance may."""
    left, top, right, bottom = box
    wide, high = right - left, bottom - top
    return cut((left + right) / 2 + 0.075 * wide, (top + bottom) / 2 + 0.075 * high, 1.075 * wide, 1.075 * high)


def dense_losses(distances: Any, inside: Any, regions: list[Box], truths: list[Any]) -> tuple[float, float]:
    """Mean of -log of the IoU over the cells whose middle lies in the truth; mean cross entropy of which those are."""
    boxes, masks = [], []
    for region, truth, of_region, logits in zip(regions, truths, distances, inside, strict=True):
        wide, high = region[2] - region[0], region[3] - region[1]
        for row in range(7):
            for column in range(7):
                x, y = region[0] + (column + 0.5) / 7 * wide, region[1] + (row + 0.5) / 7 * high
                within = truth[0] < x < truth[2] and truth[1] < y < truth[3]
                masks.append(binary_entropy(logits[row][column], wanted=within))
                if within:
                    left, top, right, bottom = of_region[row][column]
                    box = (x - left * wide, y - top * high, x + right * wide, y + bottom * high)
                    shared = overlap(box, truth)
                    boxes.append(-math.log(shared if shared > 0.1 else 0.1 + shared))
    assert len(boxes) < len(masks)
    return sum(boxes) / len(boxes), sum(masks) / len(masks)
