"""The schema of a COCO file of stills (docs/data.md), and its checks."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from realtime_polyp.json_files import Finite, check_json, read_json
from realtime_polyp.metrics.run_lengths import LONGEST_SIDE_PX

MOST_BYTES = 256 << 20
WHAT = "a COCO file as --data needs it, with images and annotations"
Text = Annotated[str, Meta(min_length=1, max_length=400)]
Side = Annotated[int, Meta(ge=1, le=LONGEST_SIDE_PX)]
Length = Annotated[float, Meta(ge=0, le=1e6)]


class ImageEntry(Struct, kw_only=True):
    """An image of the file. Further keys are allowed."""

    id: int
    file_name: Text
    mask_name: Text
    width: Side
    height: Side
    original_width: Side | None = None
    centre: Text = "unknown"
    group: str = ""


class BoxEntry(Struct, kw_only=True):
    """An annotation of the file. bbox: x, y, width, height in px. Further keys are allowed."""

    image_id: int
    bbox: tuple[Finite, Finite, Length, Length]


class CocoFile(Struct, kw_only=True):
    """The file. Further keys are allowed."""

    images: list[ImageEntry]
    annotations: list[BoxEntry]


def read_coco_file(path: Path) -> CocoFile:
    """Read and check a COCO file of stills.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not fit the schema. The message names the file and the place.
    """
    return check_coco_file(read_document(path), path)


def read_document(path: Path) -> dict[str, Any]:
    """Read the file as a dict with all of its keys. Raises as `read_coco_file` does, but does not check the schema."""
    if not path.is_file():
        raise FileNotFoundError(f"no such data file: {path}")
    return read_json(path, dict[str, Any], what=WHAT, limit=MOST_BYTES)


def check_coco_file(document: dict[str, Any], path: Path) -> CocoFile:
    """Check a document from `read_document` and return it. Raises ValueError as `read_coco_file` does."""
    content = check_json(document, CocoFile, str(path), WHAT)
    images = {image.id: image for image in content.images}
    if len(images) < len(content.images):
        ids = [image.id for image in content.images]
        raise ValueError(f"{path} has several images with the id {next(one for one in ids if ids.count(one) > 1)}")
    for place, annotation in enumerate(content.annotations):
        image = images.get(annotation.image_id)
        if image is None:
            raise ValueError(f"{path}: annotations[{place}] refers to image {annotation.image_id}, which is not listed")
        _check_box(annotation, image, f"{path}: annotations[{place}]")
    return content


def _check_box(annotation: BoxEntry, image: ImageEntry, where: str) -> None:
    """Raise ValueError for a box that is more than one picture outside its picture."""
    x, y, width, height = annotation.bbox
    if not (-image.width <= x <= x + width <= 2 * image.width and -image.height <= y <= y + height <= 2 * image.height):
        raise ValueError(
            f"{where} has the box {list(annotation.bbox)}, far outside its picture of {image.width}x{image.height} px"
        )
