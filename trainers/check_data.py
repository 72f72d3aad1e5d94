"""Check a data set before training: python -m trainers.check_data --data DATA

The check finds missing and unreadable files, masks of the wrong size, boxes that are empty or outside their image,
masks and boxes that disagree, and images, patients or videos that are in more than one split.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still, label_polyps, read_mask, read_stills

_MOST_NAMED = 5  # images named for each kind of problem
_EPILOG = """examples:
  python -m trainers.check_data --data DATA
  python -m trainers.check_data --train mine/train.json --val mine/val.json --root mine"""
Splits = dict[str, list[Still]]


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "trainers.check_data",
        description="Check stills and ground truth for errors that would spoil a training run or its figures.",
        epilog=_EPILOG,
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--root", type=Path, help="folder that image paths start from (default: --data)")
    parser.add_argument("--train", type=Path, help="COCO file (default: train.json in --data)")
    parser.add_argument("--val", type=Path, help="COCO file (default: val.json in --data)")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        root = options.root or options.data
        splits = {
            "train": read_stills(options.train or options.data / "train.json", root),
            "val": read_stills(options.val or options.data / "val.json", root),
        }
        splits |= read_unseen(options.data, root)
        check(splits)
        print("; ".join(f"{name}: {describe(stills)}" for name, stills in splits.items()))


def read_unseen(data: Path, root: Path) -> Splits:
    """Read the test sets of a folder, unseen*.json; they must not be used for training or model selection."""
    return {path.stem: read_stills(path, root) for path in sorted(data.glob("unseen*.json"))}


def describe(stills: list[Still]) -> str:
    polyps = sum(len(still.boxes) for still in stills)
    empty = sum(len(still.boxes) == 0 for still in stills)
    return f"{len(stills)} images of {len({s.centre for s in stills})} centres, {polyps} polyps, {empty} without one"


def check(splits: Splits) -> None:
    """Raise ValueError naming every kind of problem, with examples, if there is any."""
    problems = find_problems(splits)
    if problems:
        kinds = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items())
        raise ValueError(f"the data cannot be used as they are: {kinds}")


def find_problems(splits: Splits) -> dict[str, list[str]]:
    """Return {kind of problem: images or groups that have it}."""
    found: dict[str, list[str]] = defaultdict(list)
    stills = [still for split in splits.values() for still in split]
    for still in tqdm(stills, desc="checking data", unit="image"):
        for kind in _problems_of(still):
            found[kind].append(still.image_path.name)
    for kind, names in _leaks(splits).items():
        found[kind] += names
    return dict(found)


def _problems_of(still: Still) -> Iterable[str]:
    if not still.image_path.is_file():
        yield "missing images"
        return
    if not still.mask_path.is_file():
        yield "missing masks"
        return
    widths, heights = still.boxes[:, 2] - still.boxes[:, 0], still.boxes[:, 3] - still.boxes[:, 1]
    if ((widths <= 0) | (heights <= 0)).any():
        yield "empty boxes"
    if (still.boxes < -1).any() or (still.boxes > [still.width + 1, still.height + 1] * 2).any():
        yield "boxes outside their image"
    if not cv2.haveImageReader(str(still.image_path)):
        yield "unreadable images"
    try:
        mask = read_mask(still.mask_path)
    except FileNotFoundError:
        yield "unreadable masks"
        return
    if mask.shape != (still.height, still.width):
        yield "masks of another size than the data file says"
    elif any(not _has_polyp(mask, box) for box in still.boxes):
        yield "boxes with an empty mask"
    elif not len(still.boxes) and label_polyps(mask).any():
        yield "polyps in the mask that have no box"


def _has_polyp(mask: NDArray[np.bool_], box: NDArray[np.float32]) -> bool:
    """Whether a mask (H, W) has a pixel in a box (4,) xyxy, which may begin a pixel before the image."""
    x1, y1, x2, y2 = (max(0, int(side)) for side in box)
    return bool(mask[y1 : y2 + 1, x1 : x2 + 1].any())


def _leaks(splits: Splits) -> dict[str, list[str]]:
    """Return groups and byte-identical images that are in more than one split."""
    groups = {name: {s.group: s.group for s in stills if s.group} for name, stills in splits.items()}
    pictures = {
        name: {_content(s.image_path): s.image_path.name for s in stills if s.image_path.is_file()}
        for name, stills in splits.items()
    }
    kinds = {
        "patients or videos in more than one split": _in_several(groups),
        "images in more than one split": _in_several(pictures),
    }
    return {kind: names for kind, names in kinds.items() if names}


def _in_several(members: dict[str, dict[str, str]]) -> list[str]:
    """Return names of keys in several splits, with the splits. members: {split: {key: its name}}."""
    where: dict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    for split, keys in members.items():
        for key, name in keys.items():
            where[key].append(split)
            names[key] = name
    return [f"{names[key]} in {' and '.join(found)}" for key, found in where.items() if len(found) > 1]


def _content(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{len(names)} ({', '.join(names[:_MOST_NAMED])}{more})"


if __name__ == "__main__":
    main()
