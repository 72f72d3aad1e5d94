"""A toy detector, a toy segmenter and a toy of both in one, with weights, for engines of fixed batch sizes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from toys import narrow

from realtime_polyp.engines.base import Task
from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import PRECISIONS, EagerEngine, load_module
from realtime_polyp.engines.static import BUCKETS, StaticEngine
from realtime_polyp.engines.weights import Weights, add_to_manifest, find_weights
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS

TOYS = ("toy-boxes", "toy-mask", "toy-both")
TASKS: dict[str, Task] = {"toy-boxes": "detector", "toy-mask": "segmenter", "toy-both": "joint"}
SIZE = (64, 96)


@contextlib.contextmanager
def installed(name: str, folder: Path) -> Iterator[Weights]:
    """A toy's weights in `folder`: random, with logits about 0 that depend on the picture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DETECTORS, "toy-boxes", narrow(DETECTORS["gflv2-lite0"]))
        patch.setitem(SEGMENTERS, "toy-mask", narrow(SEGMENTERS["lowrank-lite0"]))
        patch.setitem(JOINTS, "toy-both", narrow(JOINTS["polyp-lite0"]))
        yield make_weights(name, folder)


def make_weights(name: str, folder: Path) -> Weights:
    torch.manual_seed(0)
    task = TASKS[name]
    module: Any = _BUILD[task]({**DETECTORS, **SEGMENTERS, **JOINTS}[name])
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0  # one batch tells it all
    module.train()(torch.from_numpy(pixels_of(4)).float())
    module.eval()
    if task != "segmenter":
        spread([module.head.cls, module.head.reg], module)
    if task != "detector":
        mask = module if task == "segmenter" else module.mask
        spread([mask.low_rank.phi], module)
        # A random pyramid tells pixels less apart: a head scaled up to the same spread would magnify rounding.
        spread([mask.low_rank_head], module, deviation=2 if task == "segmenter" else 0.5)
    save_file(module.state_dict(), folder / f"{name}.safetensors")
    add_to_manifest(name, task, SIZE, {"safetensors": f"{name}.safetensors"}, folder)
    return find_weights(name, task, folder)


@torch.no_grad()
def spread(heads: list[nn.Conv2d], module: nn.Module, *, deviation: float = 2) -> None:
    """Scale each so that its logits have this standard deviation about 0."""
    for head in heads:
        seen: list[Tensor] = []
        hook = head.register_forward_hook(lambda layer, inputs, output, seen=seen: seen.append(output.flatten()))
        pixels = torch.from_numpy(pixels_of(4)).float()
        _run_heads(module, pixels)
        hook.remove()
        found = torch.cat(seen)
        head.weight *= deviation / found.std()
        head.bias.copy_((head.bias - found.mean()) * deviation / found.std())  # type: ignore[union-attr]


def _run_heads(module: nn.Module, pixels: Tensor) -> None:
    """Run every layer as a layer: what a model returns applies a mask's head without calling it."""
    if isinstance(module, JointModel):
        module.train_outputs(pixels)
    elif isinstance(module, Segmenter):
        module.logits(pixels)
    else:
        module(pixels)


_BUILD: dict[str, Any] = {"detector": Detector, "segmenter": Segmenter, "joint": JointModel}


def pixels_of(count: int) -> NDArray[np.uint8]:
    """(count, 3, h, w) as `prepare` gives them: channels last."""
    smooth = np.random.default_rng(count).integers(0, 256, (count, SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8)
    return smooth.repeat(8, 1).repeat(8, 2).transpose(0, 3, 1, 2)


def eager_of(weights: Weights, device: str = "cpu") -> EagerEngine:
    return EagerEngine(load_module(weights), weights.model, weights.task, weights.size, device)


def uncompiled(weights: Weights, precision: str = "float32", buckets: tuple[int, ...] = BUCKETS) -> StaticEngine:
    """The engine as it is compiled, without the compiler."""
    dtype = PRECISIONS[precision]
    module = at_precision(load_module(weights), dtype)
    runs = dict.fromkeys(buckets, module)
    return StaticEngine(weights, runs, name="uncompiled", device="cpu", key="-", dtype=dtype)


def assert_same(found: Any, expected: Any, *, box_px: float, probability: float) -> None:
    """A map cell by cell; of candidates, every one found is one of the expected, and the best fifty are there."""
    if isinstance(expected, tuple) and len(expected) == 3:  # a joint model
        assert_same(found[2], expected[2], box_px=box_px, probability=probability)
        found, expected = found[:2], expected[:2]
    if not isinstance(expected, tuple):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert expected.std() > 0.01 and np.abs(found - expected).max() <= probability
        return
    assert found[0].dtype == found[1].dtype == np.float32 and len(found[0]) == len(expected[0])
    for boxes, scores, true_boxes, true_scores in zip(*found, *expected, strict=True):
        assert true_scores.std() > 0.01
        best = np.argsort(-true_scores)[:50]
        assert _all_near(boxes, scores, true_boxes, true_scores, box_px, probability)
        assert _all_near(true_boxes[best], true_scores[best], boxes, scores, box_px, probability)


def _all_near(boxes: Any, scores: Any, others: Any, other_scores: Any, box_px: float, probability: float) -> bool:
    apart = np.abs(boxes[:, None] - others[None]).max(-1) / box_px
    apart = np.maximum(apart, np.abs(scores[:, None] - other_scores[None]) / probability)
    return bool((apart.min(1) <= 1).all())
