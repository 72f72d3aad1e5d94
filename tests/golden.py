"""Reference numbers of mmdetection, which lie beside the project and are not part of it."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch import Tensor

FOLDER = ROOT.parent / "shared" / "golden" / "mmdet"
BOX_PX, SCORE = 1e-3, 1e-4


def golden(name: str) -> Any:
    """The arrays of one reference; skips where they are not at hand."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"the reference numbers {name}.npz lie in ../shared/golden, which is not here")
    return np.load(path)


def golden_state(numbers: Any) -> dict[str, Tensor]:
    """Parameters and buffers under mmdetection's names."""
    return {key[6:]: torch.from_numpy(numbers[key]) for key in numbers.files if key.startswith("state/")}


def rows_alike(boxes: Tensor, scores: Tensor, wanted: Any, *, size: tuple[int, int]) -> None:
    """The best of boxes (P, 4) and scores (P,), cut to the image, are the rows (n, 5) of the reference; rows whose
    scores tie may have changed places."""
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    found = np.concatenate([np.clip(boxes.numpy(), 0, limits), scores.numpy()[:, None]], axis=1)
    found = found[np.argsort(-found[:, 4], kind="stable")]
    assert np.abs(found[: len(wanted), 4] - wanted[:, 4]).max() <= SCORE
    for row in wanted:
        near = found[np.abs(found[:, 4] - row[4]) <= 2 * SCORE]
        assert np.abs(near[:, :4] - row[:4]).max(axis=1).min() <= BOX_PX, row
