"""What the two models are shown to learn how far to believe each other, and what they made of it.

The models were trained on the training split, and there they are surer and more of one mind than elsewhere. So its
stills are turned, scaled, tinted and spoilt as strongly as in training (`trainers.data.augment.STRONG`, drawn with other
seeds) before the models see them. And a video shows no polyp most of the time while stills mostly do: views without a
polyp are cut out of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.scores import cells_on_polyps
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import Image, find_field, whole
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.packets import Detections, Mask
from realtime_polyp.postprocess.fusion import LEAST_SCORE
from realtime_polyp.preprocess.letterbox import prepare
from trainers.data.augment import STRONG, Augment
from trainers.data.stills import Still, boxes_of, letterboxed, read_image, read_mask
from trainers.evaluation.predict import detect, segment

_SHARES = (0.35, 0.7)  # of the field's sides: how much of it a view without a polyp shows
_TRIES = 30
_LIT_LEVEL, _LEAST_LIT = 40, 0.7  # a view is mostly tissue
_SEEDS = 1_000_000  # a step from one kind of view to the next, so that no two share their changes


@dataclass(frozen=True)
class View:
    """A picture and its truth: image (H, W, 3), boxes (m, 4) xyxy px, mask (H, W). group: patient or video."""

    centre: str
    group: str
    image: Image
    boxes: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """What both models made of a view, its boxes from LEAST_SCORE up, beside the truth; the picture is let go.

    packed: the true mask, a bit a pixel. size: its (H, W).
    """

    centre: str
    group: str
    true: NDArray[np.float32]
    detections: Detections
    mask: Mask
    packed: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def true_mask(self) -> NDArray[np.bool_]:
        height, width = self.size
        return np.unpackbits(self.packed, count=height * width).reshape(self.size).astype(bool)

    @property
    def true_cells(self) -> NDArray[np.bool_]:
        """Which cells of the mask's map (h, w) lie on a polyp."""
        return cells_on_polyps(self.mask, self.true_mask)

    @property
    def boxes(self) -> ImageBoxes:
        return ImageBoxes(self.true, self.detections.boxes, self.detections.scores)


def as_they_are(stills: Iterable[Still]) -> Iterator[View]:
    for still in stills:
        yield View(still.centre, _group(still), read_image(still.image_path), still.boxes, read_mask(still.mask_path))


def changed(stills: Sequence[Still], size: tuple[int, int], *, seed: int = 1) -> Iterator[View]:
    """Each still once, letterboxed to (h, w) and augmented."""
    augment = Augment(STRONG)
    for number, still in enumerate(stills):
        image, labels = augment(*letterboxed(still, size), seed=seed * _SEEDS + number)
        yield View(still.centre, _group(still), image, boxes_of(labels), labels > 0)


def without_polyp(stills: Sequence[Still], *, seed: int = 2) -> Iterator[View]:
    """A part of each still that holds no polyp; of one that is all polyp or dark, none."""
    chance = np.random.default_rng(seed)
    for still in stills:
        image, mask = read_image(still.image_path), read_mask(still.mask_path)
        field = find_field(image) or whole(image)
        part = _free_part(field.crop(image), field.crop(mask), chance)  # type: ignore[arg-type]
        if part is not None:
            yield View(still.centre, _group(still), part, *_no_truth(part))


def without_polyp_changed(stills: Sequence[Still], size: tuple[int, int], *, seed: int = 2) -> Iterator[View]:
    """As `without_polyp`, letterboxed to (h, w) and augmented."""
    augment = Augment(STRONG)
    for number, view in enumerate(without_polyp(stills, seed=seed)):
        pixels = prepare([view.image], [whole(view.image)], size).pixels[0].transpose(1, 2, 0)
        image, _ = augment(np.ascontiguousarray(pixels), np.zeros(size, np.uint8), seed=seed * _SEEDS + number)
        yield View(view.centre, view.group, image, *_no_truth(image))


def _no_truth(image: Image) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.zeros((0, 4), np.float32), np.zeros(image.shape[:2], bool)


def _free_part(image: Image, mask: NDArray[np.bool_], chance: np.random.Generator) -> Image | None:
    """A part of the image (H, W, 3) of its proportions, lit, and with no cell of the mask in it."""
    height, width = mask.shape
    for _ in range(_TRIES):
        share = chance.uniform(*_SHARES)
        rows, columns = max(1, int(share * height)), max(1, int(share * width))
        top, left = int(chance.integers(height - rows + 1)), int(chance.integers(width - columns + 1))
        part = np.s_[top : top + rows, left : left + columns]
        if not mask[part].any() and (image[part].max(axis=2) > _LIT_LEVEL).mean() >= _LEAST_LIT:
            return np.ascontiguousarray(image[part])
    return None


def _group(still: Still) -> str:
    return still.group or f"image {still.id}"


def seen(
    views: Iterable[View], detector: DetectorEngine, segmenter: SegmenterEngine, *, total: int, what: str
) -> list[Seen]:
    """Each view through the live line: field, prepare, engines, postprocess."""
    return [_seen(view, detector, segmenter) for view in tqdm(views, total=total, desc=what, unit="image")]


def _seen(view: View, detector: DetectorEngine, segmenter: SegmenterEngine) -> Seen:
    field = find_field(view.image) or whole(view.image)
    batches = {size: prepare([view.image], [field], size) for size in {detector.size, segmenter.size}}
    detections = detect(detector, batches[detector.size], LEAST_SCORE)
    mask = segment(segmenter, batches[segmenter.size])
    packed = np.packbits(view.mask)
    return Seen(view.centre, view.group, view.boxes, detections, mask, packed, view.mask.shape)  # type: ignore[arg-type]
