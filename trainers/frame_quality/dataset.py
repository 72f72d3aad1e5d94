"""Training samples of the frame quality classifier: features of clear, softened and corrupted stills."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.packets import FrameQuality
from realtime_polyp.temporal.frame_quality import compute_features
from trainers.data.stills import Still, read_image
from trainers.frame_quality.corruptions import (
    Corruption,
    Picture,
    corruptions,
    keep_surround,
    relight_and_compress,
    soften,
)

AS_IT_IS, SOFTENED, CLEAR = "as it is", "softened", "clear"
_WIDTH_PX = 384  # of the pictures that are corrupted; larger than the classifier's thumbnail
_PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class QualitySamples:
    """Features of n pictures, and what each of them is.

    Attributes:
        vectors: (n, f) features, in the order of FEATURES.
        qualities: (n,) of FRAME_QUALITIES.
        kinds: (n,) how each picture was made.
        centres: (n,) centre of the still it was made from.
        groups: (n,) patient or video of that still.
    """

    vectors: NDArray[np.float64]
    qualities: NDArray[np.str_]
    kinds: NDArray[np.str_]
    centres: NDArray[np.str_]
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.qualities)

    def only(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "QualitySamples":
        """Select samples by a mask or by indices."""
        return QualitySamples(*(getattr(self, one.name)[which] for one in fields(self)))

    @property
    def classes(self) -> NDArray[np.str_]:
        """(n,) classes of the classifier: the kinds, with all clear ones as one class."""
        return np.where(self.qualities == CLEAR, CLEAR, self.kinds)


def make_samples(stills: Sequence[Still], photographs: Sequence[Picture], *, seed: int, name: str) -> QualitySamples:
    """Compute the features of each still, of a softened copy, and of one corrupted copy for every quality but clear.

    Random choices depend only on the seed and on the index of the still. name: of the set, for the progress bar.
    """
    kinds = corruptions(photographs)
    rows = [
        (*row, still.centre, still.group or f"{name} {still.id}")
        for index, still in enumerate(tqdm(stills, desc=f"corrupting {name}", unit="still"))
        for row in _samples_of_still(still, kinds, np.random.default_rng((seed, index)))
    ]
    vectors, *texts = zip(*rows, strict=True)
    return QualitySamples(np.stack(vectors), *(np.array(column) for column in texts))


def _samples_of_still(
    still: Still, kinds: dict[FrameQuality, dict[str, Corruption]], rng: np.random.Generator
) -> list[tuple[NDArray[np.float64], str, str]]:
    """Return (features, quality, kind) of each picture made from one still."""
    field = field_of(read_image(still.image_path))
    size = (_WIDTH_PX, round(_WIDTH_PX * field.shape[0] / field.shape[1]))
    small = cv2.resize(field, size, interpolation=cv2.INTER_AREA)
    soft = relight_and_compress(soften(small, rng), rng)
    rows = [(compute_features(field).vector(), CLEAR, AS_IT_IS), (compute_features(soft).vector(), CLEAR, SOFTENED)]
    for quality, functions in kinds.items():
        kind = str(rng.choice(list(functions)))
        corrupted = relight_and_compress(keep_surround(small, functions[kind](small, rng)), rng)
        rows.append((compute_features(corrupted).vector(), quality, kind))
    return rows


def field_of(image: Picture) -> Picture:
    """Crop an image (H, W, 3) to its field of view."""
    return (find_field(image) or whole(image)).crop(image)


def read_photographs(folder: Path) -> list[Picture]:
    """Read all JPEG and PNG files of a folder, by name. Raises FileNotFoundError if there are none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PHOTOGRAPHS)
    if not paths:
        raise FileNotFoundError(f"no photographs (JPEG or PNG) in {folder}")
    return [read_image(path) for path in paths]
