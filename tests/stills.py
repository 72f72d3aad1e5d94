"""Eight made-up stills laid out as --data wants them: bright discs on tissue, two without any."""

import json
from pathlib import Path

import cv2
import numpy as np

COUNT = 8
WITHOUT_POLYP = (2, 5)


def write_stills(root: Path) -> Path:
    """train.json and val.json with eight pictures each, alike but for their noise."""
    root.mkdir(parents=True, exist_ok=True)
    for name, prefix in (("train", ""), ("val", "v")):
        (root / f"{name}.json").write_text(json.dumps(_split(root, prefix)))
    return root


def _split(root: Path, prefix: str) -> dict[str, list[dict[str, object]]]:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number in range(COUNT):
        image, mask, box = _still(number, seed=number + (100 if prefix else 0))
        cv2.imwrite(str(root / f"{prefix}{number}.png"), image)
        cv2.imwrite(str(root / f"{prefix}{number}_mask.png"), mask)
        images.append({"id": number, "file_name": f"{prefix}{number}.png", "mask_name": f"{prefix}{number}_mask.png",
                       "width": 192, "height": 128, "centre": f"C{number % 2}"})  # fmt: skip
        if box:
            annotations.append({"image_id": number, "category_id": 1, "bbox": box})
    return {"images": images, "annotations": annotations}


def _still(number: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, list[int] | None]:
    image = np.full((128, 192, 3), (70, 80, 150), np.uint8)
    mask = np.zeros((128, 192), np.uint8)
    image += np.random.default_rng(seed).integers(0, 25, image.shape, np.uint8)
    if number in WITHOUT_POLYP:
        return image, mask, None
    x, y, radius = 50 + 11 * number, 40 + 6 * number, 20 + number
    cv2.circle(image, (x, y), radius, (190, 220, 250), -1)
    cv2.circle(mask, (x, y), radius, 255, -1)
    return image, mask, [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
