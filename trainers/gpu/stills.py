"""The stills as they travel: the same data set in the same layout, the training stills smaller, the others as stored.

A training still is scaled so that the long side of its field of view, which is what the models see, has `long_px`. It
is never enlarged. Masks are lossless. Boxes are scaled, not found again. The stills that are measured on are not
touched: at the sizes that fit, every lossy format changed val AP of the shipped detector by more than 0.002 (README.md
beside this file has the figures).
"""

import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from gzip import GzipFile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.atomic_write import atomic_write_bytes, atomic_write_text, replacing
from realtime_polyp.field_of_view import find_field, whole
from trainers.data.coco_file import check_coco_file, read_document
from trainers.data.negatives import TRAINING_SEQUENCES
from trainers.data.stills import read_image, read_mask

SMALLER = ("train",)
NEGATIVE = "negative"  # frames without a polyp; only those that may train travel
AS_STORED = ("val", "unseen_C6")
_LOSSLESS = 101  # cv2's WebP quality for lossless
_SUFFIX = ".webp"


@dataclass(frozen=True)
class StillFormat:
    """How small the stills are.

    Attributes:
        long_px: long side of the field of view, px.
        quality: of WebP, 1 to 100.
    """

    long_px: int = 448
    quality: int = 75

    def __post_init__(self) -> None:
        if not (64 <= self.long_px <= 4096 and 1 <= self.quality <= 100):
            raise ValueError(
                f"stills of {self.long_px} px at quality {self.quality}: 64 to 4096 px and 1 to 100 are allowed"
            )


def write_stills(data: Path, folder: Path, wanted: StillFormat, *, limit: int | None = None) -> None:
    """Write the data set that travels to `folder`; files that an interrupted call has written are kept.

    limit: use only the first N images of each split.

    Raises:
        OSError, ValueError: the data set is incomplete or damaged, in one sentence.
    """
    negatives = (NEGATIVE,) if (data / f"{NEGATIVE}.json").exists() else ()
    for split in (*SMALLER, *negatives, *AS_STORED):
        document = _read_split(data / f"{split}.json", limit, training_only=split == NEGATIVE)
        for name in {Path(image[key]).parent for image in document["images"] for key in ("file_name", "mask_name")}:
            (folder / name).mkdir(parents=True, exist_ok=True)
        if split not in AS_STORED:
            document = _write_smaller(document, data, folder, wanted)
        else:
            _copy_files(document, data, folder)
        atomic_write_text(folder / f"{split}.json", json.dumps(document))


def _write_smaller(document: dict[str, Any], data: Path, folder: Path, wanted: StillFormat) -> dict[str, Any]:
    images = document["images"]
    _check_names(images)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(partial(_write_still, data=data, folder=folder, wanted=wanted), images)
        sizes = list(tqdm(jobs, total=len(images), desc="shrinking stills", unit="image", disable=None))
    return _scale_document(document, {image["id"]: size for image, size in zip(images, sizes, strict=True)})


def _copy_files(document: dict[str, Any], data: Path, folder: Path) -> None:
    for name in (image[key] for image in document["images"] for key in ("file_name", "mask_name")):
        if not _is_newer(folder / name, data / name):
            with replacing(folder / name, sync=False) as path:
                shutil.copyfile(data / name, path)


def _is_newer(target: Path, source: Path) -> bool:
    """Whether a packed file is there, and of the present state of its source."""
    return target.exists() and target.stat().st_mtime_ns > source.stat().st_mtime_ns


def _read_split(path: Path, limit: int | None, *, training_only: bool = False) -> dict[str, Any]:
    document = read_document(path)
    check_coco_file(document, path)
    images = document["images"]
    if training_only:
        images = [image for image in images if image["group"].rsplit("/", 1)[-1] in TRAINING_SEQUENCES]
    images = images[:limit]
    ids = {image["id"] for image in images}
    return {**document, "images": images, "annotations": [a for a in document["annotations"] if a["image_id"] in ids]}


def _check_names(images: list[dict[str, Any]]) -> None:
    """Raise ValueError if two files of the data set would get the same name, which differed in their suffix only."""
    names: dict[str, str] = {}
    for name in (image[key] for image in images for key in ("file_name", "mask_name")):
        if (before := names.setdefault(small_name(name), name)) != name:
            raise ValueError(f"{before} and {name} differ in their suffix only: put images and masks into two folders")


def _write_still(image: dict[str, Any], *, data: Path, folder: Path, wanted: StillFormat) -> tuple[int, int]:
    """Write one still and its mask, and return its new (width, height)."""
    picture = read_image(data / image["file_name"])
    width, height = small_size(picture, wanted.long_px)
    targets = [folder / small_name(image[key]) for key in ("file_name", "mask_name")]
    sources = [data / image[key] for key in ("file_name", "mask_name")]
    if not all(_is_newer(target, source) for target, source in zip(targets, sources, strict=True)):
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        levels = np.where(read_mask(data / image["mask_name"]), np.uint8(255), np.uint8(0))
        levels = cv2.resize(levels, (width, height), interpolation=cv2.INTER_AREA)
        mask = np.where(levels > 127, np.uint8(255), np.uint8(0))
        _write_webp(targets[0], cv2.cvtColor(small, cv2.COLOR_RGB2BGR), wanted.quality)
        _write_webp(targets[1], mask, _LOSSLESS)
    return width, height


def small_size(picture: NDArray[np.uint8], long_px: int) -> tuple[int, int]:
    """Return the (width, height) of a picture whose field of view has the long side `long_px`, or the size it has."""
    field = find_field(picture) or whole(picture)
    scale = min(1.0, long_px / max(field.width, field.height))
    height, width = picture.shape[:2]
    return round(width * scale), round(height * scale)


def small_name(name: str) -> str:
    """Return the name of a small still or mask, relative to the data folder, with slashes."""
    return Path(name).with_suffix(_SUFFIX).as_posix()


def _write_webp(path: Path, picture: NDArray[Any], quality: int) -> None:
    done, content = cv2.imencode(_SUFFIX, picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot write {path} as WebP")
    atomic_write_bytes(path, content.tobytes(), sync=False)


def _scale_document(document: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> dict[str, Any]:
    """Return a COCO document with new names, sizes and boxes. sizes: new (width, height) by image id."""
    images, scales = [], {}
    for image in document["images"]:
        width, height = sizes[image["id"]]
        scales[image["id"]] = (width / image["width"], height / image["height"])
        names = {key: small_name(image[key]) for key in ("file_name", "mask_name")}
        before = {f"original_{side}": image.get(f"original_{side}") or image[side] for side in ("width", "height")}
        images.append({**image, **before, **names, "width": width, "height": height})
    boxes = [_scale_annotation(one, *scales[one["image_id"]]) for one in document["annotations"]]
    return {**document, "images": images, "annotations": boxes}


def _scale_annotation(annotation: dict[str, Any], across: float, down: float) -> dict[str, Any]:
    x, y, width, height = annotation["bbox"]
    box = [round(x * across, 2), round(y * down, 2), round(width * across, 2), round(height * down, 2)]
    scaled = {**annotation, "bbox": box, "area": round(box[2] * box[3], 2)}
    if "mask_area" in annotation:
        scaled["mask_area"] = round(annotation["mask_area"] * across * down, 2)
    return scaled


def pack_folder(folder: Path, archive: Path) -> None:
    """Write every file of a folder to one archive, always with the same bytes.

    It is compressed for the archive's own headers, 1.5 kB a still; WebP does not become smaller.
    """
    with replacing(archive) as temporary, temporary.open("wb") as file:
        with GzipFile("", "wb", fileobj=file, mtime=0) as gz, tarfile.open(fileobj=gz, mode="w") as packed:
            for path in sorted(_files(folder)):
                packed.add(path, path.relative_to(folder).as_posix(), filter=_without_owner)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def unpack_folder(archive: Path, folder: Path) -> None:
    """Unpack an archive of `pack_folder`. Raises ValueError for a damaged one; `folder` is then incomplete."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive} is damaged ({error}): pack the trips again") from error
