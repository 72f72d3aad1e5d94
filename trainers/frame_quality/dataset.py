"""Pictures of every view with their features: stills as they are, softened, and spoilt on purpose."""

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
from trainers.frame_quality.corruptions import Picture, Spoil, lit_and_coded, softened, spoils, within

AS_IT_IS, SOFTENED, CLEAR = "as it is", "softened", "clear"
_WIDTH_PX = 384  # at which pictures are spoilt; above the 256 px that a thumbnail samples
_PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Views:
    """n pictures: vectors (n, f) of FEATURES, views (n,) of FRAME_QUALITIES, kinds (n,) what was done to each, centres (n,) and
    groups (n,) of the still behind each."""

    vectors: NDArray[np.float64]
    views: NDArray[np.str_]
    kinds: NDArray[np.str_]
    centres: NDArray[np.str_]
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.views)

    def only(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "Views":
        """The pictures of these places."""
        return Views(*(getattr(self, one.name)[which] for one in fields(self)))

    @property
    def classes(self) -> NDArray[np.str_]:
        """(n,) what is to be told apart: the kinds, of which those that are clear are one."""
        return np.where(self.views == CLEAR, CLEAR, self.kinds)


def views_of(stills: Sequence[Still], photographs: Sequence[Picture], *, seed: int, name: str) -> Views:
    """Of each still itself, a softened copy, and one spoilt picture for every view that is not clear.

    What is drawn depends only on the seed and the still's place in the list. name: for the progress bar.
    """
    kinds = spoils(photographs)
    rows = [
        (*row, still.centre, still.group or f"{name} {still.id}")
        for index, still in enumerate(tqdm(stills, desc=f"spoiling {name}", unit="still"))
        for row in _rows(still, kinds, np.random.default_rng((seed, index)))
    ]
    vectors, *texts = zip(*rows, strict=True)
    return Views(np.stack(vectors), *(np.array(column) for column in texts))


def _rows(
    still: Still, kinds: dict[FrameQuality, dict[str, Spoil]], chance: np.random.Generator
) -> list[tuple[NDArray[np.float64], str, str]]:
    """(vector, view, kind) of each picture made from one still."""
    field = field_of(read_image(still.image_path))
    size = (_WIDTH_PX, round(_WIDTH_PX * field.shape[0] / field.shape[1]))
    small = cv2.resize(field, size, interpolation=cv2.INTER_AREA)
    soft = lit_and_coded(softened(small, chance), chance)
    rows = [(compute_features(field).vector(), CLEAR, AS_IT_IS), (compute_features(soft).vector(), CLEAR, SOFTENED)]
    for view, ways in kinds.items():
        kind = str(chance.choice(list(ways)))
        spoilt = lit_and_coded(within(small, ways[kind](small, chance)), chance)
        rows.append((compute_features(spoilt).vector(), view, kind))
    return rows


def field_of(image: Picture) -> Picture:
    """The endoscope's picture in an image (H, W, 3)."""
    return (find_field(image) or whole(image)).crop(image)


def read_photographs(folder: Path) -> list[Picture]:
    """Every JPEG and PNG of a folder, by name. Raises FileNotFoundError when there is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PHOTOGRAPHS)
    if not paths:
        raise FileNotFoundError(f"no photographs (JPEG or PNG) in {folder}")
    return [read_image(path) for path in paths]
