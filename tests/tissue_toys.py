"""Made-up stills large enough for a virtual scope: bright discs on textured tissue, laid out as --data wants them."""

import json
from pathlib import Path

import cv2
import numpy as np
from fakes import POLYP_LEVEL
from numpy.typing import NDArray

SIZE = (480, 360)
WITH_POLYP = 6
PLAIN = 3


def tissue_picture(seed: int) -> NDArray[np.uint8]:
    """Reddish and uneven (h, w, 3) RGB, nowhere as bright as a polyp."""
    chance = np.random.default_rng(seed)
    levels = cv2.resize(chance.random((24, 32)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    red = np.clip(120 + 70 * levels, 60, 220)
    return np.stack([red, red * 0.55, red * 0.45], axis=-1).astype(np.uint8)


def write_tissue_stills(root: Path) -> Path:
    """val.json, and polyps here and there on six of its nine stills; gives the file's path."""
    images, annotations = [], []
    for number in range(WITH_POLYP + PLAIN):
        image, mask = tissue_picture(number), np.zeros(SIZE[::-1], np.uint8)
        if number < WITH_POLYP:
            x, y, radius = 70 + 65 * number, 130 + 25 * (number % 4), 26 + 3 * number
            cv2.circle(image, (x, y), radius, (255, 220, POLYP_LEVEL + 30), -1)
            cv2.circle(mask, (x, y), radius, 255, -1)
            box = [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
            annotations.append({"image_id": number, "category_id": 1, "bbox": box})
        cv2.imwrite(str(root / f"{number}.png"), image[..., ::-1])
        cv2.imwrite(str(root / f"{number}_mask.png"), mask)
        images.append({"id": number, "file_name": f"{number}.png", "mask_name": f"{number}_mask.png",
                       "width": SIZE[0], "height": SIZE[1], "centre": "C1", "group": f"patient {number}"})  # fmt: skip
    path = root / "val.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path
