"""Make training stills from synthetic clips: python -m trainers.clip_stills --data train.json --root DIR --out DIR

They show what videos contain but data sets of stills do not: close tissue without a polyp, partly visible polyps,
motion blur, water, glare, instruments. The clips are made as in `trainers.video_bench`, from the given stills.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines import open_detector
from realtime_polyp.engines.base import DetectorEngine
from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.metrics.truth import TrueFrame
from trainers.command import command_parser, run_command
from trainers.data.hard_negatives import find_easy
from trainers.data.stills import Still, label_polyps, polyp_boxes, read_stills
from trainers.video.clip_file import check_outside
from trainers.video.synthetic.clip import Clip, make_clip
from trainers.video.synthetic.compression import compress
from trainers.video.synthetic.ground_truth import true_frame
from trainers.video.synthetic.render import render_frame
from trainers.video.synthetic.scene import Scene

CLIP_STILLS = "train.json"
_CLIP_S = 60.0
_JPEG_QUALITY = 95
_CATEGORY = {"id": 1, "name": "polyp"}
Entry = tuple[dict[str, Any], list[list[int]]]  # the image's COCO entry without its id; boxes [x, y, w, h]
_EPILOG = """examples:
  python -m trainers.clip_stills --data DATA/train.json --root DATA --out ../clip-stills
  python -m trainers.clip_stills --data DATA/train.json --root DATA --out ../clip-stills --hard-for polyp-lite2
  python -m trainers.train_detector --also ../clip-stills/train.json --out runs/detector"""


@dataclass(frozen=True)
class Moment:
    """One frame of a clip.

    Attributes:
        scene: the scene that it belongs to.
        place: its index in the scene.
        index: its index in the clip.
    """

    scene: Scene
    place: int
    index: int


@dataclass(frozen=True)
class TrainingStill:
    """One training image with its mask, at half the frame's size.

    Attributes:
        name: file name without its suffix.
        image: (h, w, 3) RGB.
        mask: (h, w), all polyps.
        still: the still that the clip was made from.
    """

    name: str
    image: Image
    mask: NDArray[np.bool_]
    still: Still


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.clip_stills",
        description="Render clips from stills and save frames of them, with masks, as a COCO file for training.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of the stills to make clips from")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that the file's image paths are relative to")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help=f"for {CLIP_STILLS}, images and masks; outside the project",
    )
    add("--minutes", type=int, default=100, metavar="N", help="number of clips of one minute (default: %(default)s)")
    add(
        "--every",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds between the frames that are saved (default: %(default)s)",
    )
    add("--seed", type=int, default=100, help="random seed of the clips (default: %(default)s)")
    add(
        "--hard-for",
        metavar="MODEL",
        help="of frames without a polyp, keep those in which this detector finds one",
    )
    add(
        "--hard-score",
        type=float,
        default=0.1,
        metavar="P",
        help="for --hard-for: lowest score of such a box (default: %(default)s)",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Render the clips on all cores and write the data set.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    if options.minutes < 1 or not 0.03 <= options.every <= _CLIP_S:
        raise ValueError(
            f"--minutes {options.minutes} --every {options.every:g}: at least 1 minute, and 0.03 to {_CLIP_S:g} s"
        )
    if not 0 <= options.hard_score <= 1:
        raise ValueError(f"--hard-score {options.hard_score:g}: from 0 to 1")
    check_outside(options.out)
    detector = open_detector(options.hard_for) if options.hard_for else None
    stills = read_stills(options.data, options.root)
    if ungrouped := [still.image_path.name for still in stills if not still.group]:
        raise ValueError(
            f"{len(ungrouped)} stills of {options.data} have no group, such as {ungrouped[0]}: give each its patient "
            "or video; without it a leak of val into training could not be detected"
        )
    for name in ("images", "masks"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    draw = partial(_write_clip, stills, options)
    with ProcessPoolExecutor() as pool:
        clips = tqdm(pool.map(draw, range(options.minutes)), total=options.minutes, desc="rendering", unit="clip")
        all_entries = [entry for entries in clips for entry in entries]
    written = write_coco(all_entries, options.out / CLIP_STILLS)
    if detector:
        all_entries = _leave_out_easy(written, all_entries, detector, options.hard_score)
    empty = sum(not boxes for _, boxes in all_entries)
    print(f"{written}: {len(all_entries)} moments, {empty} of them without a polyp")


def _leave_out_easy(path: Path, entries: list[Entry], detector: DetectorEngine, least_score: float) -> list[Entry]:
    """Remove the easy moments from the COCO file and from the disk; returns the entries that are left."""
    easy = find_easy(read_stills(path, path.parent), detector, least_score=least_score)
    names = {str(still.image_path.relative_to(path.parent)) for still in easy}
    left = [entry for entry in entries if entry[0]["file_name"] not in names]
    write_coco(left, path)
    for image, _ in entries:
        if image["file_name"] in names:
            (path.parent / image["file_name"]).unlink()
            (path.parent / image["mask_name"]).unlink()
    return left


def _write_clip(stills: Sequence[Still], options: argparse.Namespace, number: int) -> list[Entry]:
    """Render one clip and write its training stills; returns their entries."""
    clip = make_clip(stills, seed=options.seed, number=number, seconds=_CLIP_S)
    return [write_still(one, options.out) for one in make_training_stills(clip, every_s=options.every)]


def make_training_stills(clip: Clip, *, every_s: float) -> Iterator[TrainingStill]:
    """Yield frames of a clip, one every `every_s` seconds, whose truth is unambiguous.

    Frames with a difficult polyp are left out, as are those in which an instrument divides a polyp into two parts: a
    mask alone would make two polyps of them.
    """
    moments = choose_moments(clip, every=max(1, round(every_s * clip.rate_hz)))
    for moment, compressed in zip(moments, compress(_render_moments(clip, moments), rate_hz=clip.rate_hz), strict=True):
        true = true_frame(moment.scene, clip.scope, moment.place)
        mask = _halve_mask(_mask_of(true, clip.scope.frame_size))
        if not true.difficult and int(label_polyps(mask).max()) == len(true.polyps):
            name = f"{clip.name.replace(' ', '-')}-{moment.index}"
            yield TrainingStill(name, _halve_image(compressed.image), mask, moment.scene.tissue.still)


def choose_moments(clip: Clip, *, every: int) -> list[Moment]:
    """Return every `every`-th frame of the clip, starting with frame `every // 2`."""
    places = [(scene, place) for scene in clip.scenes for place in range(len(scene))]
    return [Moment(*places[index], index) for index in range(every // 2, len(places), every)]


def _render_moments(clip: Clip, moments: Sequence[Moment]) -> Iterator[Image]:
    for one in moments:
        tissue, scene = one.scene.tissue, one.scene
        yield render_frame(tissue.image, scene.camera, scene.conditions, clip.scope, one.place, one.index)


def _mask_of(true: TrueFrame, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (height, width) of all polyps in a frame. size: (width, height)."""
    mask = np.zeros((size[1], size[0]), np.bool_)
    for runs in true.masks.values():
        mask |= decode(runs) > 0
    return mask


def _halve_image(image: Image) -> Image:
    """Halve width and height; the result is still larger than a model's input."""
    return np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _halve_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return _halve_image(mask.astype(np.uint8) * np.uint8(255)) > 127


def write_still(training_still: TrainingStill, folder: Path) -> Entry:
    """Write the image and the mask; returns the COCO entry.

    Raises:
        OSError: a file cannot be written.
    """
    image, mask = f"images/{training_still.name}.jpg", f"masks/{training_still.name}.png"
    bgr = np.ascontiguousarray(training_still.image[..., ::-1])
    _write(folder / image, bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    _write(folder / mask, training_still.mask.astype(np.uint8) * np.uint8(255), [])
    found = polyp_boxes(label_polyps(training_still.mask)).astype(int)
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in found.tolist()]
    height, width = training_still.mask.shape
    entry = {"file_name": image, "mask_name": mask, "width": width, "height": height}
    return entry | {"centre": training_still.still.centre, "group": training_still.still.group}, boxes


def _write(path: Path, picture: NDArray[np.uint8], settings: list[int]) -> None:
    if not cv2.imwrite(str(path), picture, settings):
        raise OSError(f"cannot write {path}: is the disk full?")


def write_coco(entries: Sequence[Entry], path: Path) -> Path:
    """Write the COCO file that `--also` reads, with paths relative to its folder; returns its path."""
    images = [{"id": number, **entry} for number, (entry, _) in enumerate(entries, 1)]
    boxes = [(number, box) for number, (_, found) in enumerate(entries, 1) for box in found]
    annotations = [
        {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for number, (image, box) in enumerate(boxes, 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": [_CATEGORY]}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))
    return path


if __name__ == "__main__":
    main()
