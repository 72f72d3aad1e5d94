"""Which place learns which polyp: against the plainest loop, and against mmdetection's own assignments."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from realtime_polyp.models.detector import points_of
from trainers.training.assign import atss, square_anchors

DATA = ROOT / "tests" / "data"
MMDET_SHAPES = [(20, 24), (10, 12), (5, 6), (3, 3), (2, 2)]  # of 160 x 192 px at strides 8 to 128
MMDET_STRIDES = (8, 16, 32, 64, 128)


def anchors_of(shapes: list[tuple[int, int]], strides: tuple[int, ...], scale: float = 8.0) -> tuple[Tensor, list[int]]:
    points, repeated = points_of([torch.Size(shape) for shape in shapes], strides)
    return square_anchors(points, repeated, scale), [height * width for height, width in shapes]


@pytest.mark.parametrize("name", ["mmdet_gflv2.npz", "mmdet_atss.npz"])
@pytest.mark.parametrize("image", [0, 1])
def test_assignments_are_mmdetection_s(name: str, image: int) -> None:
    golden = np.load(DATA / name)
    anchors, sizes = anchors_of(MMDET_SHAPES, MMDET_STRIDES)
    found = atss(anchors, sizes, torch.from_numpy(golden[f"gt_boxes_{image}"]))
    expected = golden["assign"][image]
    assert (expected >= 0).sum() > 10
    assert found.tolist() == expected.tolist()


def brute_force(anchors: np.ndarray, sizes: list[int], truth: np.ndarray, k: int) -> list[int]:
    """ATSS (Zhang et al., algorithm 1), one box and one anchor at a time."""
    best, owner = np.full(len(anchors), -1.0), np.full(len(anchors), -1)
    for index, box in enumerate(truth):
        middle = (box[:2] + box[2:]) / 2
        candidates: list[int] = []
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            level = range(start, start + size)
            far = {a: np.hypot(*((anchors[a, :2] + anchors[a, 2:]) / 2 - middle)) for a in level}
            candidates += sorted(level, key=lambda a: far[a])[:k]
        overlaps = [plain_iou(anchors[a], box) for a in candidates]
        threshold = np.mean(overlaps) + np.std(overlaps, ddof=1)
        for a, overlap in zip(candidates, overlaps, strict=True):
            x, y = (anchors[a, :2] + anchors[a, 2:]) / 2
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if overlap >= threshold and inside and overlap > best[a]:
                best[a], owner[a] = overlap, index
    return owner.tolist()


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([1, 4, 9, 13]))
def test_assignments_are_the_brute_force_s(seed: int, count: int, k: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 90, (count, 2))  # no two distances alike, so that no tie decides
    truth = np.concatenate([corners, corners + random.uniform(5, 90, (count, 2))], 1)
    anchors, sizes = anchors_of([(12, 16), (6, 8), (3, 4), (2, 2)], (8, 16, 32, 64), 5.0)
    found = atss(anchors.double(), sizes, torch.from_numpy(truth), k=k)
    assert found.tolist() == brute_force(anchors.double().numpy(), sizes, truth, k)


def test_no_polyp_no_positive() -> None:
    anchors, sizes = anchors_of([(4, 4)], (8,))
    assert atss(anchors, sizes, torch.zeros(0, 4)).tolist() == [-1] * 16


def test_a_place_wanted_twice_learns_the_better_fitting_polyp() -> None:
    anchors, sizes = anchors_of([(1, 3)], (8,), 2.0)  # centres at x 0, 8, 16, sides of 16
    truth = torch.tensor([[-2.0, -8.0, 20.0, 8.0], [0.0, -8.0, 16.0, 8.0]])
    assert atss(anchors, sizes, truth, k=3)[1] == 1
    assert atss(anchors, sizes, truth.flip(0), k=3)[1] == 0
