"""Training data for box-mask fusion: augmented views and both models' raw predictions on them.

The models were trained on the training split, where they are more confident and agree more often than elsewhere. Its
stills are therefore augmented as strongly as in training (`trainers.data.augment.STRONG`, with other seeds). A video
shows no polyp most of the time while most stills do: background views, without a polyp, are cropped from the stills.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.scores import sample_truth
from realtime_polyp.engines.base import DetectorEngine, SegmenterEngine
from realtime_polyp.field_of_view import Image, find_field, whole
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.packets import Detections, Mask
from realtime_polyp.postprocess.fusion import LEAST_SCORE
from realtime_polyp.preprocess.letterbox import prepare
from trainers.data.augment import STRONG, Augment
from trainers.data.stills import Still, letterboxed, polyp_boxes, read_image, read_mask
from trainers.evaluation.predict import detect, segment

_SHARES = (0.35, 0.7)  # size of a background view, as a fraction of the field's sides
_TRIES = 30  # random crops per still
_LIT_LEVEL, _MIN_LIT = 40, 0.7  # most of a background view must be lit tissue
_SEEDS = 1_000_000  # distance between the seeds of two kinds of views, so they share no augmentation


@dataclass(frozen=True)
class LabelledView:
    """An image with its ground truth.

    Attributes:
        centre: name of the centre.
        group: patient or video.
        image: (H, W, 3) uint8 RGB.
        boxes: (m, 4) true boxes, xyxy px.
        mask: (H, W) true mask.
    """

    centre: str
    group: str
    image: Image
    boxes: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class FusionSample:
    """Both models' raw predictions on a view and its ground truth; the image is not kept.

    Attributes:
        centre: name of the centre.
        group: patient or video.
        true_boxes: (m, 4) xyxy px.
        detections: the detector's boxes, down to LEAST_SCORE.
        mask: the segmenter's probability map.
        packed_mask: the true mask, one bit per pixel.
        size: (H, W) of the true mask.
    """

    centre: str
    group: str
    true_boxes: NDArray[np.float32]
    detections: Detections
    mask: Mask
    packed_mask: NDArray[np.uint8]
    size: tuple[int, int]

    @property
    def true_mask(self) -> NDArray[np.bool_]:
        """(H, W)."""
        height, width = self.size
        return np.unpackbits(self.packed_mask, count=height * width).reshape(self.size).astype(bool)

    @property
    def true_map(self) -> NDArray[np.bool_]:
        """(h, w): which pixels of the probability map lie on a polyp."""
        return sample_truth(self.mask, self.true_mask)

    @property
    def image_boxes(self) -> ImageBoxes:
        """True boxes and detections, for the metrics."""
        return ImageBoxes(self.true_boxes, self.detections.boxes, self.detections.scores)


def original_views(stills: Iterable[Still]) -> Iterator[LabelledView]:
    """Each still, unchanged."""
    for still in stills:
        yield LabelledView(
            still.centre, still.bootstrap_group, read_image(still.image_path), still.boxes, read_mask(still.mask_path)
        )


def augmented_views(stills: Sequence[Still], size: tuple[int, int], *, seed: int = 1) -> Iterator[LabelledView]:
    """Each still once, letterboxed to size (h, w) and strongly augmented."""
    augment = Augment(STRONG)
    for number, still in enumerate(stills):
        image, labels = augment(*letterboxed(still, size), seed=seed * _SEEDS + number)
        yield LabelledView(still.centre, still.bootstrap_group, image, polyp_boxes(labels), labels > 0)


def background_views(stills: Sequence[Still], *, seed: int = 2) -> Iterator[LabelledView]:
    """A random crop without a polyp from each still; none from a still where 30 tries find no such lit crop."""
    random = np.random.default_rng(seed)
    for still in stills:
        image, mask = read_image(still.image_path), read_mask(still.mask_path)
        field = find_field(image) or whole(image)
        part = _background_crop(field.crop(image), field.crop(mask), random)  # type: ignore[arg-type]
        if part is not None:
            yield LabelledView(still.centre, still.bootstrap_group, part, *_no_truth(part))


def augmented_background_views(
    stills: Sequence[Still], size: tuple[int, int], *, seed: int = 2
) -> Iterator[LabelledView]:
    """Like `background_views`, letterboxed to size (h, w) and strongly augmented."""
    augment = Augment(STRONG)
    for number, view in enumerate(background_views(stills, seed=seed)):
        pixels = prepare([view.image], [whole(view.image)], size).pixels[0].transpose(1, 2, 0)
        image, _ = augment(np.ascontiguousarray(pixels), np.zeros(size, np.uint8), seed=seed * _SEEDS + number)
        yield LabelledView(view.centre, view.group, image, *_no_truth(image))


def _no_truth(image: Image) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return np.zeros((0, 4), np.float32), np.zeros(image.shape[:2], bool)


def _background_crop(image: Image, mask: NDArray[np.bool_], random: np.random.Generator) -> Image | None:
    """Crop a lit part without mask pixels from an image (H, W, 3), keeping its aspect ratio; None after 30 tries."""
    height, width = mask.shape
    for _ in range(_TRIES):
        share = random.uniform(*_SHARES)
        rows, columns = max(1, int(share * height)), max(1, int(share * width))
        top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
        part = np.s_[top : top + rows, left : left + columns]
        if not mask[part].any() and (image[part].max(axis=2) > _LIT_LEVEL).mean() >= _MIN_LIT:
            return np.ascontiguousarray(image[part])
    return None


def predict_views(
    views: Iterable[LabelledView], detector: DetectorEngine, segmenter: SegmenterEngine, *, total: int, description: str
) -> list[FusionSample]:
    """Run both models on each view as the live pipeline does. total, description: for the progress bar."""
    return [_predict(view, detector, segmenter) for view in tqdm(views, total=total, desc=description, unit="image")]


def _predict(view: LabelledView, detector: DetectorEngine, segmenter: SegmenterEngine) -> FusionSample:
    field = find_field(view.image) or whole(view.image)
    batches = {size: prepare([view.image], [field], size) for size in {detector.size, segmenter.size}}
    detections = detect(detector, batches[detector.size], LEAST_SCORE)
    mask = segment(segmenter, batches[segmenter.size])
    height, width = view.mask.shape
    packed = np.packbits(view.mask)
    return FusionSample(view.centre, view.group, view.boxes, detections, mask, packed, (height, width))
