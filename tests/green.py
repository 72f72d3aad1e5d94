"""A made-up data set, green blobs on pink, and engines that find what is green."""

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.engines.base import BaseEngine, Task

WIDTH, HEIGHT, BORDER = 240, 200, 16
BLOBS = [[(80, 90, 30, 24)], [(150, 80, 28, 36)], [(80, 60, 30, 24), (170, 140, 30, 24)], []]  # x, y, radii; px


def write_green_data(root: Path) -> Path:
    """Four images of two centres with masks and data.json; the last has no polyp. Original px: twice the stored."""
    images, annotations = [], []
    for number, blobs in enumerate(BLOBS, 1):
        mask = _draw(root, number, blobs)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [[int(value) for value in row[:4]] for row in stats[1:]]
        annotations += [{"image_id": number, "category_id": 1, "bbox": box} for box in boxes]
        size = {"width": WIDTH, "height": HEIGHT, "original_width": 2 * WIDTH, "original_height": 2 * HEIGHT}
        names = {"file_name": f"{number}.jpg", "mask_name": f"{number}.png"}
        images.append({"id": number, **names, **size, "centre": "north" if number % 2 else "south"})
    (root / "data.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def _draw(root: Path, number: int, blobs: list[tuple[int, int, int, int]]) -> NDArray[np.uint8]:
    """A lit picture within a black border, as a scope's."""
    image, mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    image[BORDER:-BORDER, BORDER:-BORDER] = (110, 120, 210)  # BGR
    for x, y, across, down in blobs:
        cv2.ellipse(image, (x, y), (across, down), 0, 0, 360, (60, 220, 60), -1)
        cv2.ellipse(mask, (x, y), (across, down), 0, 0, 360, 255, -1)
    cv2.imwrite(str(root / f"{number}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    cv2.imwrite(str(root / f"{number}.png"), mask)
    return mask


def write_empty_frames(
    root: Path, groups: list[str], *, blue: tuple[int, ...] = (), name: str = "negative.json"
) -> Path:
    """A COCO file of one frame without a polyp for each group. blue: places of frames that are blue, not pink."""
    images = []
    for place, group in enumerate(groups):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[BORDER:-BORDER, BORDER:-BORDER] = (210, 40, 60) if place in blue else (110, 120, 210)  # BGR
        image[BORDER:-BORDER, BORDER : BORDER + 1 + place] //= 2  # else all frames are one picture to a cache
        cv2.imwrite(str(root / f"empty{place}.png"), image)
        cv2.imwrite(str(root / f"empty{place}_mask.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
        names = {"file_name": f"empty{place}.png", "mask_name": f"empty{place}_mask.png", "centre": "negative"}
        images.append({"id": place, **names, "width": WIDTH, "height": HEIGHT, "group": f"negative/{group}"})
    (root / name).write_text(json.dumps({"images": images, "annotations": []}))
    return root / name


class GreenEngine(BaseEngine):
    """What both fakes share: where a batch (N, 3, h, w) is green. sizes: of the pixels of each call, (h, w)."""

    name, device = "fake", "cpu"
    size = (128, 160)
    any_size = False

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def green(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        assert pixels.shape[1] == 3 and pixels.dtype == np.uint8
        assert self.any_size or pixels.shape[2:] == self.size
        self.sizes.append(pixels.shape[2:])
        red, green, _ = pixels.astype(int).transpose(1, 0, 2, 3)
        return np.asarray(green - red > 0)


class GreenDetector(GreenEngine):
    """Five candidates an image, those without a blob of no area and no score."""

    model = "green-boxes"
    task: Task = "detector"

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = np.zeros((len(pixels), 5, 4), np.float32), np.zeros((len(pixels), 5), np.float32)
        for image, green in enumerate(self.green(pixels)):
            _, _, stats, _ = cv2.connectedComponentsWithStats(green.astype(np.uint8))
            for place, (x, y, width, height, area) in enumerate(row for row in stats[1:] if row[4] > 50):
                boxes[image, place], scores[image, place] = (x, y, x + width, y + height), min(0.99, area / 3000)
        return boxes, scores


class GreenSegmenter(GreenEngine):
    """At a quarter of the input's resolution, as the real ones."""

    model = "green-mask"
    task: Task = "segmenter"
    size = (160, 192)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = pixels.shape[2:]
        maps = [cv2.resize(green.astype(np.float32), (width // 4, height // 4), interpolation=cv2.INTER_AREA)
                for green in self.green(pixels)]  # fmt: skip
        return np.stack(maps)


class BlindDetector(GreenDetector):
    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.zeros((1, 5, 4), np.float32), np.zeros((1, 5), np.float32)


class BlindSegmenter(GreenSegmenter):
    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((1, 40, 48), np.float32)


class EagerGreenDetector(GreenDetector):
    any_size = True


class EagerGreenSegmenter(GreenSegmenter):
    any_size = True


def is_blue(pixels: NDArray[np.uint8]) -> bool:
    """Whether a batch (1, 3, h, w) shows one of the blue frames of `write_empty_frames`."""
    return bool(pixels[0, 2].mean() > pixels[0, 0].mean())


class AlarmDetector(GreenDetector):
    """Sees a polyp in blue frames, too."""

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = super().__call__(pixels)
        if is_blue(pixels):
            boxes[0, 0], scores[0, 0] = (60, 50, 90, 80), 0.3
        return boxes, scores


class AlarmSegmenter(GreenSegmenter):
    """Outlines a part of blue frames, too. cells: width and height of it, of 40 x 48 in all."""

    def __init__(self, cells: int = 4) -> None:
        super().__init__()
        self.cells = cells

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        maps = super().__call__(pixels)
        if is_blue(pixels):
            maps[0, 20 : 20 + self.cells, 20 : 20 + self.cells] = 1
        return maps
