"""Proposals, what is read from them and what is learnt: RoIAlign against a loop, the rest on hand-made numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from trainers.detectors import roi_align
from trainers.detectors.regions import (
    BOX_STDS,
    RoISamples,
    Sampling,
    box_loss,
    class_loss,
    pad_to_fixed_count,
    polyp_probability,
    sample_rois,
)
from trainers.detectors.roi_align import (
    RoIs,
    bin_points,
    enlarged,
    level_of,
    pool_levels,
    read_levels,
    rois_of,
)
from trainers.detectors.rpn import RPNConfig, RPNMaps, draw, propose, rpn_criterion

SIZE = (96, 128)


# RoIAlign


def slow_roi_align(feature: Tensor, rois: RoIs, stride: int, size: int, samples: int) -> Tensor:
    """He et al., one sample at a time, with four neighbours looked up for each."""
    out = []
    for box, image in zip(rois.boxes.tolist(), rois.image.tolist(), strict=True):
        left, top, right, bottom = (value / stride - 0.5 for value in box)
        high, wide = (bottom - top) / size, (right - left) / size
        down, across = (samples, samples) if samples else (int(np.ceil(high)), int(np.ceil(wide)))
        for row in range(size):
            for column in range(size):
                total = torch.zeros(feature.shape[1], dtype=feature.dtype)
                for i in range(down):
                    for j in range(across):
                        y, x = top + high * (row + (i + 0.5) / down), left + wide * (column + (j + 0.5) / across)
                        total = total + bilinear(feature[image], y, x)
                out.append(total / max(down * across, 1))
    return torch.stack(out).view(-1, size, size, feature.shape[1]).permute(0, 3, 1, 2)


def bilinear(feature: Tensor, y: float, x: float) -> Tensor:
    height, width = feature.shape[1:]
    if y < -1 or x < -1 or y > height or x > width:
        return torch.zeros(feature.shape[0], dtype=feature.dtype)
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    up, left = int(y), int(x)
    down, right = min(up + 1, height - 1), min(left + 1, width - 1)
    v, u = y - up, x - left
    above = (1 - u) * feature[:, up, left] + u * feature[:, up, right]
    below = (1 - u) * feature[:, down, left] + u * feature[:, down, right]
    return (1 - v) * above + v * below


MANY_ROIS = RoIs(
    torch.tensor(
        [
            [3.0, 5.0, 40.0, 31.0],
            [0.0, 0.0, 52.0, 40.0],  # the whole feature
            [30.0, 20.0, 31.0, 21.5],  # less than a cell
            [-30.0, -9.0, 60.0, 70.0],  # past every edge
            [44.0, 2.0, 50.0, 39.0],  # tall
            [7.0, 7.0, 7.0, 20.0],  # empty
            [17.0, 11.0, 29.5, 23.5],
        ],
        dtype=torch.float64,
    ),
    torch.tensor([0, 1, 1, 0, 1, 0, 0]),
)


@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("gathered", [2**24, 200])
def test_roi_align_is_the_loop_s(monkeypatch: pytest.MonkeyPatch, samples: int, gathered: int) -> None:
    monkeypatch.setattr(roi_align, "_LARGEST_GATHER", gathered)
    torch.manual_seed(0)
    feature = torch.randn(2, 3, 10, 13, dtype=torch.float64, requires_grad=True)
    expected = slow_roi_align(feature, MANY_ROIS, 4, 3, samples)
    found = roi_align.roi_align(feature, MANY_ROIS, 4, size=3, samples=samples)
    assert expected.abs().amax((1, 2, 3)).gt(0).sum() >= 6
    assert torch.allclose(found, expected, atol=1e-12)
    upstream = torch.randn_like(expected)
    (slope,) = torch.autograd.grad((expected * upstream).sum(), feature)
    assert torch.allclose(torch.autograd.grad((found * upstream).sum(), feature)[0], slope, atol=1e-12)


def test_a_region_s_level_doubles_with_its_side() -> None:
    sides = torch.tensor([0.0, 10.0, 111.0, 112.0, 223.0, 224.0, 448.0, 5000.0])
    boxes = torch.stack([sides * 0 + 3, sides * 0 + 4, 3 + sides * 2, 4 + sides / 2], dim=1)
    assert level_of(boxes, 4).tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


def test_regions_keep_their_order_and_the_level_of_their_own_size() -> None:
    strides = (4, 8, 16, 32)
    levels = [torch.full((1, 1, 640 // stride, 640 // stride), float(stride)) for stride in strides]
    sides = torch.tensor([300.0, 20.0, 480.0, 100.0, 150.0, 30.0])
    boxes = 320 + sides[:, None] * torch.tensor([-0.5, -0.5, 0.5, 0.5])
    rois = RoIs(boxes, torch.zeros(6, dtype=torch.int64))
    for factor in (1.0, 1.3):  # 100 px enlarged would be of the next level
        found = pool_levels(levels, rois, strides, size=2, factor=factor)[:, 0, 1, 0]
        assert found.tolist() == pytest.approx([16, 4, 32, 4, 8, 4])


def test_enlarging_keeps_the_middle() -> None:
    assert torch.allclose(enlarged(torch.tensor([[10.0, 20.0, 30.0, 60.0]]), 1.5), torch.tensor([[5.0, 10, 35, 70]]))


def test_points_are_read_where_they_lie() -> None:
    ramp = torch.arange(16.0, dtype=torch.float64).expand(1, 2, 12, 16).clone()
    ramp[:, 1] = torch.arange(12.0, dtype=torch.float64)[:, None]
    levels = [torch.cat([ramp, ramp + 100]), torch.zeros(2, 2, 6, 8, dtype=torch.float64)]
    boxes = torch.tensor([[8.0, 8.0, 24.0, 16.0], [4.0, 12.0, 40.0, 20.0]], dtype=torch.float64)
    points = bin_points(boxes, 4).requires_grad_()
    found = read_levels(levels, RoIs(boxes, torch.tensor([1, 0])), points, (4, 8))
    expected = points.permute(0, 3, 1, 2) / 4 - 0.5 + torch.tensor([100.0, 0.0]).view(2, 1, 1, 1)
    assert points[0, 0, :, 0].tolist() == [10, 14, 18, 22]
    assert torch.allclose(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), points)
    assert torch.allclose(slope, torch.full_like(slope, 0.25))


# Proposals


def one_level_maps(boxes: Tensor, scores: list[float], sizes: list[int]) -> RPNMaps:
    """Maps of one image whose anchors are `boxes`, with deltas of zero."""
    return RPNMaps(torch.tensor(scores).logit()[None], torch.zeros(1, len(boxes), 4), boxes, sizes)


def test_suppression_keeps_levels_apart_and_the_best_come_first() -> None:
    box, near, far = [10.0, 10.0, 50.0, 50.0], [11.0, 10.0, 50.0, 50.0], [-20.0, 60.0, 30.0, 200.0]
    maps = one_level_maps(torch.tensor([box, near, box, far, [200.0, 0, 240, 9]]), [0.6, 0.7, 0.9, 0.5, 0.99], [2, 3])
    (found,) = propose(maps, RPNConfig(), SIZE, 10)
    assert found.boxes.tolist() == [box, near, [0.0, 60.0, 30.0, 96.0]]  # cut to the image; outside of it dropped
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    (few,) = propose(maps, RPNConfig(), SIZE, 2)
    assert few.scores.tolist() == pytest.approx([0.9, 0.7])
    (first,) = propose(maps, RPNConfig(), SIZE, 10, candidates=2)
    assert first.scores.tolist() == pytest.approx([0.9, 0.7])  # of the second level the one outside took a place


def test_the_share_of_positives_drawn_is_limited_and_background_fills_up() -> None:
    learnt = torch.cat([torch.full((100,), 3), torch.full((50,), -2), torch.full((400,), -1)])
    positive, background = draw(learnt, 256, 0.25)
    assert (len(positive), len(background)) == (64, 192)
    assert (learnt[positive] >= 0).all() and (learnt[background] == -1).all()
    assert len(set(positive.tolist())) == 64
    few, rest = draw(learnt[97:], 256, 0.25)
    assert few.tolist() == [0, 1, 2] and len(rest) == 253
    assert [len(part) for part in draw(learnt[:120], 256, 0.5)] == [100, 0]


def test_drawing_follows_the_seed() -> None:
    learnt = torch.full((1000,), -1)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(draw(learnt, 50, 0.5)[1].tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_proposal_losses_are_over_the_anchors_drawn() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 16], [50.0, 50, 60, 60], [0.0, 0, 10, 20]])
    truth = torch.tensor([[0.0, 0, 10, 11]])  # IoUs .91, .69 (neither), 0, .55 (neither)
    logits = torch.tensor([[2.0, 9.0, -1.0, 9.0]], requires_grad=True)
    deltas = torch.full((1, 4, 4), 0.5, requires_grad=True)
    parts = rpn_criterion(RPNMaps(logits, deltas, anchors, [4]), RPNConfig(), [truth])
    wanted = torch.tensor([0.0, 0.05, 0.0, np.log(1.1)])
    assert parts["rpn_class"].item() == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2)
    assert parts["rpn_box"].item() == pytest.approx((0.5 - wanted).abs().sum().item() / 2, rel=1e-5)
    torch.stack(list(parts.values())).sum().backward()
    assert logits.grad[0, [1, 3]].tolist() == [0, 0] and deltas.grad[0, 1:].abs().sum() == 0


# What the heads learn


def test_true_boxes_are_among_the_regions_that_learn() -> None:
    truth = torch.tensor([[10.0, 10, 50, 50], [60.0, 60, 90, 90]])
    proposals = torch.tensor([[12.0, 10, 50, 50], [0.0, 0, 5, 5], [10.0, 10, 50, 28]])  # IoUs .95, 0, .45
    samples = sample_rois([proposals, proposals], [truth, torch.zeros(0, 4)], Sampling(count=16))
    first = samples.rois.image == 0
    assert samples.positive[first].tolist() == [True] * 3 + [False] * 2
    assert samples.truth[first][:3].tolist() == [truth[0].tolist(), truth[1].tolist(), truth[0].tolist()]
    assert samples.added.tolist() == [True, True] + [False] * 6
    assert samples.rois.boxes[~first].tolist() == proposals.tolist()
    assert not samples.positive[~first].any()


def test_class_and_box_losses_are_over_all_regions() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 20, 20]])
    truth = torch.tensor([[1.0, 0, 11, 10], [0.0, 0, 20, 20]])
    samples = RoISamples(rois_of([boxes]), torch.tensor([True, False]), truth, torch.zeros(2, dtype=torch.bool))
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    expected = (np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2
    assert class_loss(logits, samples.positive).item() == pytest.approx(expected)
    deltas = torch.tensor([[0.5, 0.0, 0.0, 0.0], [9.0, 9.0, 9.0, 9.0]])
    assert box_loss(deltas, samples, BOX_STDS).item() == pytest.approx(0.5 / 2)  # wanted: a shift of .1 over .1
    assert box_loss(deltas, samples, BOX_STDS, beta=1.0).item() == pytest.approx(0.5 * 0.5**2 / 2)


def test_the_polyp_is_the_first_class() -> None:
    assert polyp_probability(torch.tensor([[3.0, 1.0]])).item() == pytest.approx(1 / (1 + np.exp(-2)))


def test_candidates_are_filled_up_with_nothing() -> None:
    rois = RoIs(torch.arange(12.0).view(3, 4), torch.tensor([0, 2, 2]))
    boxes, scores = pad_to_fixed_count(rois, torch.tensor([0.5, 0.6, 0.7]), 3, 2)
    assert scores.tolist() == [[0.5, 0], [0, 0], pytest.approx([0.6, 0.7])]
    assert boxes[0].tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]] and boxes[2].tolist() == rois.boxes[1:].tolist()
