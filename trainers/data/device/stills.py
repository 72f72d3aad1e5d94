"""All training stills in the device's memory, augmented there: no worker processes, and no copies between the steps."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.data.augment import AugmentConfig
from trainers.data.compose import Item, composing_rng
from trainers.data.device.augment import augment
from trainers.data.device.compose import Paste, Polyps, draw_paste, draw_split, measure_polyps, mosaic, paste
from trainers.data.device.geometry import polyp_boxes
from trainers.data.device.operations import Numbers
from trainers.data.device.second_picture import paste_second_pictures
from trainers.data.second_picture import draw_second_picture
from trainers.data.stills import ITEM_BYTES, Batch, Still, item_seed, read_items

_MEMORY = Path("/proc/meminfo")
_PX_AT_ONCE = 64 * 320 * 384
_MOST_SHARE = 0.7  # of the free memory; the model and its gradients need the rest


class DeviceStills:
    """Stills at model size in the memory of a device, augmented there, differently in each epoch.

    An image of a batch depends only on seed, epoch and index. It has the mosaics and pasted polyps of `TrainingStills`,
    and changes of shape and colour that are equal to its in distribution (`augment.py`).
    """

    def __init__(
        self,
        stills: list[Still],
        size: tuple[int, int],
        config: AugmentConfig,
        device: str,
        *,
        seed: int = 0,
        cache: Path | None = None,
    ) -> None:
        """Read the stills at `size` (h, w), from `cache` if they are there.

        Raises ValueError if they do not fit into the device's memory.
        """
        check_memory(len(stills), size, device)
        self._config, self._seed, self._size = config, seed, size
        self.epoch = 0
        self._pixels = torch.empty((len(stills), 3, *size), dtype=torch.uint8, device=device)
        self._labels = torch.empty((len(stills), *size), dtype=torch.uint8, device=device)
        self._polyps: list[Polyps] = []
        self._most: list[int] = []
        for place, (image, labels) in enumerate(read_items(stills, size, cache)):
            self._store(place, (image, labels))

    def _store(self, place: int, item: Item) -> None:
        image, labels = item
        self._pixels[place] = torch.from_numpy(image.transpose(2, 0, 1).copy())
        self._labels[place] = torch.from_numpy(labels)
        self._polyps.append(measure_polyps(labels))
        self._most.append(int(labels.max()))

    def __len__(self) -> int:
        return len(self._pixels)

    def batches(self, order: Iterable[list[int]], workers: int) -> Iterator[Batch]:
        """Yield the batches of the given indices: pixels (N, 3, h, w) uint8, boxes (n, 4) px, masks (N, h, w) uint8."""
        order = list(order)
        at_once = self._batches_at_once(len(order[0])) if order else 1
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            pixels, boxes, masks = self.batch([index for indices in some for index in indices])
            begin = 0
            for indices in some:
                part = slice(begin, begin + len(indices))
                yield pixels[part], boxes[part], masks[part]
                begin = part.stop

    def _batches_at_once(self, size: int) -> int:
        """Return how many batches to augment together: on a card the calls cost more than the pixels."""
        if self._pixels.device.type == "cpu":
            return 1
        return max(1, _PX_AT_ONCE // (size * self._size[0] * self._size[1]))

    def batch(self, indices: list[int]) -> Batch:
        """Return an augmented batch on the device."""
        seeds = np.array([item_seed(self._seed, self.epoch, index) for index in indices])
        images, labels = augment(*self._compose(indices, seeds), self._config, seeds)
        images, labels = self._with_second_pictures(indices, seeds, images, labels)
        return images, polyp_boxes(labels), (labels > 0).to(torch.uint8)

    def _compose(self, indices: list[int], seeds: Numbers) -> tuple[Tensor, Tensor]:
        """Return the images and label maps of a batch, some in mosaics, some with a polyp of another still."""
        chosen = torch.tensor(indices, device=self._pixels.device)
        images, labels = self._pixels[chosen], self._labels[chosen]
        pastes: list[Paste] = []
        for place, (index, seed) in enumerate(zip(indices, seeds.tolist(), strict=True)):
            rng = composing_rng(seed)
            if rng.random() < self._config.mosaic:
                images[place], labels[place] = self._mosaic(index, rng)
            elif rng.random() < self._config.copy_paste:
                donor = int(rng.integers(len(self)))
                drawn = draw_paste(place, self._most[index], donor, self._polyps[donor], self._size, rng)
                pastes += [drawn] if drawn else []
        return paste(images, labels, self._pixels, self._labels, pastes)

    def _with_second_pictures(
        self, indices: list[int], seeds: Numbers, images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        probability, count = self._config.second_picture, len(self)
        drawn = {
            place: draw_second_picture(index, count, self._size, probability=probability, seed=seed)
            for place, (index, seed) in enumerate(zip(indices, seeds.tolist(), strict=True))
        }
        pictures = {place: one for place, one in drawn.items() if one is not None}
        return paste_second_pictures(images, labels, self._pixels, self._labels, pictures)

    def _mosaic(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        four = [index, *(int(other) for other in rng.integers(len(self), size=3))]
        split = draw_split(self._size, rng)
        return mosaic(self._pixels[four], self._labels[four], split, [self._most[one] for one in four])


def check_memory(count: int, size: tuple[int, int], device: str) -> None:
    """Say how much memory the images take. Raises ValueError if the device has not enough."""
    needed = count * size[0] * size[1] * ITEM_BYTES
    free = free_bytes(device)
    what = f"{count:,} images of {size[0]}x{size[1]} px"
    if free is not None and needed > _MOST_SHARE * free:
        raise ValueError(
            f"{what} take {needed / 1e9:.2f} GB, more than {_MOST_SHARE:.0%} of the {free / 1e9:.2f} GB that are free "
            f"on {device}: choose --augment-on workers or a smaller --size"
        )
    print(f"{what} take {needed / 1e9:.2f} GB on {device}")


def free_bytes(device: str) -> int | None:
    """Return the free memory of a device; None where the system does not say."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if not _MEMORY.is_file():
        return None
    lines = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines())
    return 1024 * int(lines["MemAvailable"].split()[0])
