"""Losses against the plainest loops and mmdetection's own numbers; finite and learnable whatever the batch holds."""

import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from realtime_polyp.models.detector import DetectorConfig, DetectorMaps, decode, points_of
from trainers.training.losses import (
    detector_loss,
    dice_loss,
    distribution_focal,
    mask_loss,
    quality_focal,
    segmenter_loss,
)

GOLDEN = ROOT / "tests" / "data" / "mmdet_gflv2.npz"
MMDET_SHAPES = [(20, 24), (10, 12), (5, 6), (3, 3), (2, 2)]
MMDET = DetectorConfig(strides=(8, 16, 32, 64, 128), anchor_scale=8.0)
TOY = DetectorConfig(size=(64, 96), strides=(8, 16, 32, 64))
TOY_SHAPES = [(8, 12), (4, 6), (2, 3), (1, 2)]


def test_the_detector_s_losses_are_mmdetection_s() -> None:
    """From the same maps and the same truth, to a ten-thousandth."""
    golden = np.load(GOLDEN)
    edges = np.zeros((*golden["assign"].shape, 68), np.float32)
    edges[golden["assign"] >= 0] = golden["edges_of_positives"]  # elsewhere they are not looked at
    points, strides = points_of([torch.Size(shape) for shape in MMDET_SHAPES], MMDET.strides)
    maps = DetectorMaps(
        torch.from_numpy(golden["scores"]), torch.from_numpy(edges).unflatten(2, (4, 17)), points, strides
    )
    found = detector_loss(maps, MMDET, [torch.from_numpy(golden[f"gt_boxes_{i}"]) for i in range(2)])
    names = {"quality": "loss_cls", "giou": "loss_bbox", "edges": "loss_dfl"}
    for ours, theirs in names.items():
        assert found[ours].item() == pytest.approx(float(golden[theirs]), rel=1e-4), ours


def maps_of(count: int, seed: int = 0, *, score: float | None = None) -> DetectorMaps:
    torch.manual_seed(seed)
    points, strides = points_of([torch.Size(shape) for shape in TOY_SHAPES], TOY.strides)
    scores = torch.rand(count, len(points)) if score is None else torch.full((count, len(points)), score)
    return DetectorMaps(
        scores.requires_grad_(), torch.randn(count, len(points), 4, 17, requires_grad=True), points, strides
    )


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(0, 1)), min_size=1, max_size=20))
def test_quality_focal_is_the_formula_s(pairs: list[tuple[float, float]]) -> None:
    scores, quality = torch.tensor(pairs, dtype=torch.float64).T
    for found, (p, q) in zip(quality_focal(scores, quality).tolist(), pairs, strict=True):
        expected = abs(q - p) ** 2 * -((1 - q) * math.log(1 - p) + q * math.log(p))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9)


@given(st.integers(0, 1000), st.lists(st.floats(0, 15.9), min_size=4, max_size=4))
def test_distribution_focal_is_the_formula_s(seed: int, target: list[float]) -> None:
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (1, 4, 17)))
    found = distribution_focal(logits, torch.tensor([target], dtype=torch.float64))
    for edge, wanted in enumerate(target):
        weights = logits[0, edge].exp().tolist()
        left = math.floor(wanted)
        near, far = (math.log(weights[i] / sum(weights)) for i in (left, left + 1))
        assert found[0, edge].item() == pytest.approx(-(left + 1 - wanted) * near - (wanted - left) * far, rel=1e-6)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_dice_and_mask_loss_are_the_formula_s(seed: int, density: float) -> None:
    random = np.random.default_rng(seed)
    logits, truth = random.normal(0, 2, (3, 5, 6)), (random.random((3, 5, 6)) < density).astype(float)
    dice, entropy = 0.0, 0.0
    for one, true in zip(logits, truth, strict=True):
        p = [1 / (1 + math.exp(-x)) for x in one.ravel()]
        shared = sum(a * b for a, b in zip(p, true.ravel(), strict=True))
        dice += (1 - (2 * shared + 1) / (sum(p) + true.sum() + 1)) / 3
        entropy -= sum(math.log(a if b else 1 - a) for a, b in zip(p, true.ravel(), strict=True)) / 90
    tensors = torch.from_numpy(logits), torch.from_numpy(truth)
    assert dice_loss(tensors[0].sigmoid(), tensors[1]).item() == pytest.approx(dice, rel=1e-9)
    assert mask_loss(*tensors).item() == pytest.approx(dice + entropy, rel=1e-6)


def test_the_whole_detector_loss_is_a_loop_over_places() -> None:
    maps, truths = maps_of(2), [torch.tensor([[10.0, 8, 50, 44], [60, 20, 90, 60]]), torch.tensor([[20.0, 10, 70, 60]])]
    from trainers.training.losses import detector_targets

    targets = detector_targets(maps, TOY, truths)
    assert targets.positive.sum() > 4
    boxes, sums, weights = decode(maps), {"quality": 0.0, "giou": 0.0, "edges": 0.0}, 0.0
    for image, place in np.ndindex(*maps.scores.shape):
        score, quality = maps.scores[image, place], torch.tensor(0.0)
        if targets.positive[image, place]:
            iou, giou = plain_iou(boxes[image, place].tolist(), targets.boxes[image, place].tolist())
            quality = torch.tensor(iou)
            weights += score.item()
            sums["giou"] += 2.0 * score.item() * (1 - giou)
            x, y = maps.points[place]
            x1, y1, x2, y2 = targets.boxes[image, place]
            distances = (torch.stack([x - x1, y - y1, x2 - x, y2 - y]) / maps.strides[place]).clamp(0, 15.9)
            sums["edges"] += (
                0.25 * score.item() * distribution_focal(maps.distributions[image, place], distances).mean().item()
            )
        sums["quality"] += quality_focal(score, quality).item()
    found = detector_loss(maps, TOY, truths)
    positives = int(targets.positive.sum())
    assert found["quality"].item() == pytest.approx(sums["quality"] / positives, rel=1e-4)
    assert found["giou"].item() == pytest.approx(sums["giou"] / max(1, weights), rel=1e-4)
    assert found["edges"].item() == pytest.approx(sums["edges"] / max(1, weights), rel=1e-4)


def plain_iou(a: list[float], b: list[float]) -> tuple[float, float]:
    """IoU and generalised IoU."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union, shared / union - (hull - union) / hull


EMPTY = torch.zeros(0, 4)
POLYP = torch.tensor([[10.0, 8.0, 50.0, 44.0]])


@pytest.mark.parametrize("truths", [[EMPTY], [EMPTY, EMPTY], [EMPTY, POLYP], [POLYP, POLYP]])
@pytest.mark.parametrize("score", [None, 0.0, 1.0, 1e-12])
def test_the_detector_s_losses_are_finite_and_differentiable(truths: list[Tensor], score: float | None) -> None:
    maps = maps_of(len(truths), score=score)
    losses = detector_loss(maps, TOY, truths)
    sum(losses.values()).backward()
    assert all(math.isfinite(value.item()) and value.item() >= 0 for value in losses.values())
    assert maps.scores.grad is not None and torch.isfinite(maps.scores.grad).all()
    assert maps.distributions.grad is None or torch.isfinite(maps.distributions.grad).all()
    if not any(len(truth) for truth in truths):
        assert losses["giou"] == losses["edges"] == 0


def test_a_frame_without_a_polyp_teaches_lower_scores_everywhere() -> None:
    maps = maps_of(1)
    sum(detector_loss(maps, TOY, [EMPTY]).values()).backward()
    assert maps.scores.grad is not None and (maps.scores.grad > 0).all()


def test_boxes_and_scores_learn_only_from_the_places_assigned() -> None:
    maps = maps_of(2)
    losses = detector_loss(maps, TOY, [EMPTY, POLYP])
    (losses["giou"] + losses["edges"]).backward()
    touched = maps.distributions.grad.abs().sum((2, 3)) > 0  # type: ignore[union-attr]
    assert not touched[0].any() and 0 < touched[1].sum() < 40
    assert maps.scores.grad is None or not maps.scores.grad.any()  # the weight is no way to lower the loss


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize("level", [-100.0, 0.0, 100.0])
def test_mask_losses_of_one_sided_batches_are_finite_and_differentiable(truth: float, level: float) -> None:
    logits = torch.full((2, 4, 6), level, requires_grad=True)
    loss = mask_loss(logits, torch.full((2, 4, 6), truth))
    loss.backward()
    assert math.isfinite(loss.item()) and torch.isfinite(logits.grad).all()  # type: ignore[arg-type]
    if level == (100.0 if truth else -100.0):
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_the_segmenter_learns_from_both_predictions_at_the_truth_s_size() -> None:
    full, low = torch.zeros(2, 4, 6, requires_grad=True), torch.zeros(2, 4, 6, requires_grad=True)
    truth = torch.zeros(2, 16, 24)
    truth[0, :8] = 1
    losses = segmenter_loss((full, low), truth)
    assert set(losses) == {"full", "low_rank"} and losses["full"] == losses["low_rank"]
    sum(losses.values()).backward()
    for logits in (full, low):
        assert logits.grad is not None and (logits.grad[0, 0] < 0).all() and (logits.grad[1] > 0).all()
