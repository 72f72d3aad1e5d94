"""Stills and their ground truth, read from COCO files (layout: docs/data.md), and the data set for training.

Boxes and masks are derived from one label map (0 background, 1.. polyps), so every transform changes both alike.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.image_files import ImageError, load_image
from realtime_polyp.preprocess.letterbox import fit_placement, prepare
from trainers.data.augment import Augment
from trainers.data.coco_file import ImageEntry, read_coco_file
from trainers.data.compose import Item, composing_rng, copy_paste, mosaic
from trainers.data.item_cache import cached_items
from trainers.data.second_picture import draw_second_picture, paste_second_picture

ITEM_BYTES = 4  # three levels and one label per pixel
_MAX_CACHED_BYTES = 4e9
Batch = tuple[Tensor, list[Tensor], Tensor]  # pixels, boxes of each image, masks

_MIN_POLYP_PX = 25
_MIN_POLYP_SHARE = 1e-4  # of the image; the ground truth leaves out smaller components


@dataclass(frozen=True)
class Still:
    """One image of a COCO file.

    Attributes:
        id: of the image in its file.
        image_path: path of the image.
        mask_path: path of the mask.
        width, height: stored size, px.
        centre: hospital that the image comes from.
        boxes: (n, 4) true boxes, xyxy, stored px.
        original_scale: original px per stored px; above 1 if the image was stored smaller than it was taken.
        group: patient or video that the image comes from; "" if unknown.
    """

    id: int
    image_path: Path
    mask_path: Path
    width: int
    height: int
    centre: str
    boxes: NDArray[np.float32]
    original_scale: float = 1.0
    group: str = ""

    @property
    def bootstrap_group(self) -> str:
        """What is drawn as one by a bootstrap: the patient or video, else the image itself."""
        return self.group or f"image {self.id}"


def read_stills(coco_path: Path, root: Path) -> list[Still]:
    """Read every image entry of a COCO file. Raises FileNotFoundError or ValueError naming the file and the place."""
    content = read_coco_file(coco_path)
    boxes: dict[int, list[list[float]]] = {}
    for annotation in content.annotations:
        x, y, width, height = annotation.bbox
        boxes.setdefault(annotation.image_id, []).append([x, y, x + width, y + height])
    return [_still(image, root, boxes.get(image.id, [])) for image in content.images]


def first_stills(stills: list[Still], limit: int | None) -> list[Still]:
    """Return the first `limit` stills, as --limit asks for; None: all. Raises ValueError for a limit below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"--limit is {limit}: it must be 1 or more")
    return stills[:limit]


def _still(image: ImageEntry, root: Path, boxes: list[list[float]]) -> Still:
    return Still(
        image.id,
        root / image.file_name,
        root / image.mask_name,
        image.width,
        image.height,
        image.centre,
        np.array(boxes, np.float32).reshape(-1, 4),
        (image.original_width or image.width) / image.width,
        image.group,
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an RGB image (H, W, 3). Raises FileNotFoundError naming the file."""
    try:
        return load_image(path)
    except ImageError as error:
        raise FileNotFoundError(f"cannot read image {path}: {error}") from error


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask (H, W), true on polyps. Raises FileNotFoundError naming the file."""
    try:
        return load_image(path, grey=True) > 127
    except ImageError as error:
        raise FileNotFoundError(f"cannot read mask {path}: {error}") from error


def label_polyps(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Number the connected components of a mask (H, W) from 1; components too small to be a polyp become background."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    smallest = max(_MIN_POLYP_PX, _MIN_POLYP_SHARE * mask.size)
    large = 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= smallest)  # label 0 is the background, of any size
    numbers = np.zeros(len(stats), np.uint8)
    numbers[large] = np.arange(1, len(large) + 1)
    return numbers[labels]


def polyp_boxes(labels: NDArray[np.uint8], *, least_px: int = 16) -> NDArray[np.float32]:
    """Return tight boxes (n, 4) xyxy of the polyps of a label map that cover at least `least_px` pixels."""
    boxes = []
    for number in range(1, int(labels.max(initial=0)) + 1):
        ys, xs = np.nonzero(labels == number)
        if len(xs) >= least_px:
            boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return np.array(boxes, np.float32).reshape(-1, 4)


def letterboxed(still: Still, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a still (h, w, 3) and its label map (h, w) as the live pipeline would pass them to a model.

    Raises ValueError if image and mask differ in size.
    """
    image = read_image(still.image_path)
    labels = label_polyps(read_mask(still.mask_path))
    if labels.shape != image.shape[:2]:
        raise ValueError(f"{still.mask_path} is {labels.shape}, its image {image.shape[:2]}: sizes must agree")
    field = find_field(image) or whole(image)
    batch = prepare([image], [field], size)
    rows, columns = fit_placement(field, size).inner()
    placed = np.zeros(size, np.uint8)
    inner_size = (columns.stop - columns.start, rows.stop - rows.start)
    placed[rows, columns] = cv2.resize(field.crop(labels), inner_size, interpolation=cv2.INTER_NEAREST)
    return batch.pixels[0].transpose(1, 2, 0), placed


def read_items(stills: list[Still], size: tuple[int, int], cache: Path | None = None) -> Iterable[Item]:
    """Return the stills at model size, read by several threads. cache: folder that keeps them for the next run."""
    if cache is None:
        return _read_items(stills, size)
    files = [path for still in stills for path in (still.image_path, still.mask_path)]
    return cached_items(_read_items(stills, size), files, size, cache)


def _read_items(stills: list[Still], size: tuple[int, int]) -> Iterator[Item]:
    with ThreadPoolExecutor() as pool:
        jobs = pool.map(lambda still: letterboxed(still, size), stills)
        yield from tqdm(jobs, total=len(stills), desc="reading stills", unit="image")


def item_seed(seed: int, epoch: int, index: int) -> int:
    """Return the seed of an item's random numbers."""
    return hash((seed, epoch, index)) % 2**31


class TrainingStills(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Stills at model size, augmented differently in each epoch; cached in memory if they fit.

    An item is pixels (3, h, w) uint8, boxes (n, 4) px and a mask (h, w) uint8. It depends only on seed, epoch and
    index, so a resumed run sees the same items as an uninterrupted one.
    """

    def __init__(
        self, stills: list[Still], size: tuple[int, int], augment: Augment, *, seed: int = 0, cache: Path | None = None
    ) -> None:
        self._stills, self._size, self._augment, self._seed = stills, size, augment, seed
        self.epoch = 0
        self._cached: list[Item] | None = None
        if cache is not None or len(stills) * size[0] * size[1] * ITEM_BYTES <= _MAX_CACHED_BYTES:  # it is on the disk
            self._cached = list(read_items(stills, size, cache))
        else:
            print(f"{len(stills)} images do not fit into {_MAX_CACHED_BYTES / 1e9:g} GB: each epoch reads them again")

    def __len__(self) -> int:
        return len(self._stills)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        seed = item_seed(self._seed, self.epoch, index)
        item = self._augment(*self._compose(index, composing_rng(seed)), seed=seed)
        image, labels = self._with_second_picture(index, item, seed)
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())
        return pixels, torch.from_numpy(polyp_boxes(labels)), torch.from_numpy((labels > 0).astype(np.uint8))

    def batches(self, order: list[list[int]], workers: int) -> Iterable[Batch]:
        """Return the batches of the given indices, made by a number of worker processes."""
        return DataLoader(self, batch_sampler=order, collate_fn=collate, num_workers=workers)

    def _item(self, index: int) -> Item:
        return self._cached[index] if self._cached is not None else letterboxed(self._stills[index], self._size)

    def _compose(self, index: int, rng: np.random.Generator) -> Item:
        """Return the item itself, or with a polyp of another one pasted in, or in a mosaic with three others."""
        config, item = self._augment.config, self._item(index)
        if rng.random() < config.mosaic:
            return mosaic([item, *(self._item(int(i)) for i in rng.integers(len(self), size=3))], rng)
        if rng.random() < config.copy_paste:
            return copy_paste(item, self._item(int(rng.integers(len(self)))), rng)
        return item

    def _with_second_picture(self, index: int, item: Item, seed: int) -> Item:
        """Return the item, perhaps with a second picture: upright and sharp, for a processor adds it to the image."""
        probability = self._augment.config.second_picture
        drawn = draw_second_picture(index, len(self), self._size, probability=probability, seed=seed)
        return item if drawn is None else paste_second_picture(item, self._item(drawn.donor)[0], drawn)


def collate(items: list[tuple[Tensor, Tensor, Tensor]]) -> Batch:
    """Stack pixels and masks; boxes stay a list with one tensor per image."""
    pixels, boxes, masks = zip(*items, strict=True)
    return torch.stack(pixels), list(boxes), torch.stack(masks)


def epoch_order(length: int, batch: int, *, seed: int, epoch: int) -> Iterator[list[int]]:
    """Yield the index batches of an epoch, determined by seed and epoch; an incomplete last batch is dropped."""
    generator = torch.Generator().manual_seed(hash((seed, epoch)) % 2**31)
    order = torch.randperm(length, generator=generator).tolist()
    for start in range(0, length - batch + 1, batch):
        yield order[start : start + batch]
