"""Random truth and detections for the metrics."""

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.metrics.detection import ImageBoxes


def random_images(count: int, seed: int) -> list[ImageBoxes]:
    """Boxes of all three sizes, found with a jitter, beside false alarms; some images without truth, some unseen."""
    chance = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        corner = chance.uniform(0, 300, (chance.integers(0, 4), 2))
        true = np.hstack([corner, corner + chance.uniform(8, 150, corner.shape)])
        seen = true[chance.random(len(true)) < 0.8]
        found = np.vstack([seen + chance.normal(0, 6, seen.shape), true + 60, true[:1] + chance.normal(0, 4, (1, 4))])
        images.append(ImageBoxes(true.astype(np.float32), found.astype(np.float32), _scores(chance, len(found))))
    return images


def _scores(chance: np.random.Generator, count: int) -> NDArray[np.float32]:
    return chance.random(count).astype(np.float32)
