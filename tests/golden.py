"""Reference numbers of other implementations (mmdetection, the HRNet authors' code), small enough for the repository.

Their parameters and images were drawn from a seeded generator and are drawn again here. `tests/data/NAME.npz` holds the
results. `tests/data/reduce_golden.py` made these files from the whole ones, which a test compares where it has them.
"""

import math
from typing import Any

import numpy as np
import torch
from conftest import ROOT
from torch import Tensor

DATA = ROOT / "tests" / "data"
WHOLE = ROOT.parent / "shared" / "golden"
# name: folder of the whole file, seed of the parameters, seed of the images (None: the file holds an image)
GOLDEN_FILES: dict[str, tuple[str, int, int | None]] = {
    "atss_r50": ("mmdet", 7, 11),
    "faster_rcnn_r50": ("mmdet", 7, 11),
    "fcos_r50": ("mmdet", 7, 11),
    "gflv2_r50": ("mmdet", 7, 11),
    "gflv2_r50_dcnv2": ("mmdet", 7, 11),
    "paa_r50": ("mmdet", 7, 11),
    "retinanet_r50": ("mmdet", 7, 11),
    "hrnet_tiny": ("hrnet", 3, None),
}
BOX_PX, SCORE = 1e-3, 1e-4


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of one reference: state/PARAMETER, image, and results of the reference implementation."""
    stored = dict(np.load(DATA / f"{name}.npz"))
    how_to_draw = ("state_", "given/", "seeds", "image_shape")
    return draw(stored) | {key: value for key, value in stored.items() if not key.startswith(how_to_draw)}


def draw(stored: Any) -> dict[str, np.ndarray]:
    """state/PARAMETER and image of a reduced file. Parameters come from the generator first, then buffers."""
    names = [str(name) for name in stored["state_names"]]
    shapes = [tuple(int(side) for side in text.split(",") if side) for text in stored["state_shapes"].tolist()]
    gains = dict(zip(names, stored["state_gains"].tolist(), strict=True))
    generator = torch.Generator().manual_seed(int(stored["seeds"][0]))
    drawn: dict[str, np.ndarray] = {}
    for buffers in (False, True):
        for name, shape in zip(names, shapes, strict=True):
            if f"given/{name}" in stored:
                drawn[f"state/{name}"] = stored[f"given/{name}"]
            elif ("running_" in name) == buffers:
                drawn[f"state/{name}"] = draw_tensor(name, shape, gains[name], generator).numpy()
    ordered = {f"state/{name}": drawn[f"state/{name}"] for name in names}  # as in a checkpoint
    if (seed := int(stored["seeds"][1])) >= 0:
        shape = tuple(stored["image_shape"].tolist())
        ordered["image"] = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()
    return ordered


def draw_tensor(name: str, shape: tuple[int, ...], gain: float, generator: torch.Generator) -> Tensor:
    """One parameter or buffer: norms near 1, biases near 0, weights with He's variance times gain squared."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "scale":
        return 0.8 + 0.4 * torch.rand(shape, generator=generator)
    if leaf == "running_var":
        return 0.5 + torch.rand(shape, generator=generator)
    if leaf == "weight" and len(shape) == 1:
        return 0.5 + 0.5 * torch.rand(shape, generator=generator)
    if leaf == "weight":
        return torch.randn(shape, generator=generator) * (gain * math.sqrt(2 / math.prod(shape[1:])))
    return torch.randn(shape, generator=generator) * (0.05 if leaf == "running_mean" else 0.1)


def golden_state(numbers: Any) -> dict[str, Tensor]:
    """Parameters and buffers under the reference's names."""
    return {key[6:]: torch.from_numpy(value) for key, value in numbers.items() if key.startswith("state/")}


def rows_alike(boxes: Tensor, scores: Tensor, wanted: Any, *, size: tuple[int, int]) -> None:
    """The best of boxes (P, 4) and scores (P,), clipped to the image, are the rows (n, 5) of the reference. Rows whose
    scores tie may have changed places."""
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    found = np.concatenate([np.clip(boxes.numpy(), 0, limits), scores.numpy()[:, None]], axis=1)
    found = found[np.argsort(-found[:, 4], kind="stable")]
    assert np.abs(found[: len(wanted), 4] - wanted[:, 4]).max() <= SCORE
    for row in wanted:
        near = found[np.abs(found[:, 4] - row[4]) <= 2 * SCORE]
        assert np.abs(near[:, :4] - row[:4]).max(axis=1).min() <= BOX_PX, row
