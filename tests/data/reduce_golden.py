"""Reduce reference numbers to what cannot be drawn again: python tests/data/reduce_golden.py ../shared/golden

The references' parameters and images come from a seeded generator, so `tests/golden.py` draws them again. A reduced
file holds how each tensor is drawn and what the reference implementation computed: losses, assignments, boxes, and
all feature maps but the largest.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from golden import GOLDEN_FILES, draw

LARGEST = {  # left out: what follows from them is compared
    "mmdet": ("fpn/0", "fpn/1", "out/0/cls", "out/0/reg", "out/0/ctr"),
    "hrnet": (),
}


def reduce(path: Path, target: Path, state_seed: int, image_seed: int | None) -> None:
    """Write `target` from one whole reference file. Raises ValueError where a tensor is not as it would be drawn."""
    whole = dict(np.load(path))
    names = [name.removeprefix("state/") for name in whole if name.startswith("state/")]
    kept: dict[str, Any] = {
        name: value
        for name, value in whole.items()
        if not name.startswith("state/") and name != "image" and name not in LARGEST[path.parent.name]
    }
    if "fused" in kept:  # (2, 90, h, w): every third channel of the first image
        kept["fused"] = kept["fused"][:1, ::3]
    if image_seed is None:
        kept["image"] = whole["image"][:1]
    kept |= {f"given/{name}": whole[f"state/{name}"] for name in names if name.endswith("project")}
    kept["state_names"] = np.array(names)
    kept["state_shapes"] = np.array([",".join(map(str, whole[f"state/{name}"].shape)) for name in names])
    kept["state_gains"] = np.array([gain(whole[f"state/{name}"]) for name in names], np.float32)
    kept["seeds"] = np.array([state_seed, -1 if image_seed is None else image_seed])
    kept["image_shape"] = np.array(whole["image"].shape)
    drawn = draw(kept)
    for name in names:
        if not np.allclose(drawn[f"state/{name}"], whole[f"state/{name}"], rtol=0, atol=2e-6):
            raise ValueError(f"{path}: {name} is not drawn as tests/golden.py draws it")
    np.savez_compressed(target, **kept)


def gain(values: np.ndarray) -> float:
    """How much a weight of two or more dimensions spreads, relative to sqrt(2 / fan in): 1, 0.7, 0.3 or 0.1."""
    if values.ndim < 2:
        return 1.0
    found = values.std() / np.sqrt(2 / np.prod(values.shape[1:]))
    return min((1.0, 0.7, 0.3, 0.1), key=lambda one: abs(np.log(one / found)))


if __name__ == "__main__":
    for name, (folder, *seeds) in GOLDEN_FILES.items():
        reduce(Path(sys.argv[1]) / folder / f"{name}.npz", Path(__file__).parent / f"{name}.npz", *seeds)
