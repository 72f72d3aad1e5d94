"""How a model does on a hospital it never saw: python -m trainers.leave_one_out --out runs/leave_out

For every centre, DIR/CENTRE/train.json and val.json without it and test_CENTRE.json with all of its images. Image paths
stay relative to the data's own folder: the commands that it prints say --root.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER
from trainers.command import command_parser, report_bad_input

Coco = dict[str, Any]

UNSEEN = "polypgen_C6"  # only ever reported: nothing learns from it, and so nothing leaves it out
SETS = ("train", "val")
_EPILOG = """examples:
  python -m trainers.leave_one_out --data ../shared/data --out runs/leave_out
  python -m trainers.leave_one_out --data ../shared/data --out runs/leave_out --centre polypgen_C3"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        print(run(options.data, options.out, options.centre))


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.leave_one_out",
        description="Write data files that leave one centre out of training and test on it; print how to use them.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        default=Path("../shared/data"),
        help="folder of train.json, val.json (default: %(default)s)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="a folder for each centre is written there")
    add("--centre", metavar="NAME", help="only this one (default: each)")
    return parser


def run(data: Path, out: Path, centre: str | None = None) -> str:
    """The commands to train and to test with what was written. Raises OSError or ValueError for what can be mended."""
    sets = {name: read_coco(data / f"{name}.json") for name in SETS}
    known = centres_of(sets.values())
    if centre is not None and centre not in known:
        raise ValueError(f"no centre {centre!r} in {data}: choose from {', '.join(known)}")
    told = []
    for name in [centre] if centre else known:
        learnt, tested = leave_out(sets["train"], {"val": sets["val"]}, name)
        chosen = _only(sets["val"], lambda image, name=name: image["centre"] != name)
        told.append(
            _write(out / name, {"train": learnt, "val": chosen, f"test_{name}": tested})
            + "\n"
            + _commands(out / name, data)
        )
    return "\n\n".join(told)


def read_coco(path: Path) -> Coco:
    """Raises FileNotFoundError, or ValueError for no COCO file with centres, or one with the unseen centre."""
    if not path.is_file():
        raise FileNotFoundError(f"no such data file: {path}")
    try:
        coco = json.loads(path.read_text())
        centres = centres_of([coco])
        ids = {image["id"] for image in coco["images"]}
        strangers = [one for one in coco["annotations"] if one["image_id"] not in ids]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a COCO file whose images name their centre: {error}") from error
    if strangers:
        raise ValueError(f"{path} has annotations of images that it does not have, such as {strangers[0]['image_id']}")
    if UNSEEN in centres:
        raise ValueError(f"{path} holds images of {UNSEEN}, the unseen centre: nothing may be trained or chosen on it")
    return coco


def centres_of(sets: Iterable[Coco]) -> list[str]:
    return sorted({image["centre"] for coco in sets for image in coco["images"]})


def leave_out(train: Coco, others: Mapping[str, Coco], centre: str) -> tuple[Coco, Coco]:
    """(learnt, tested): `train` without the centre, and all of the centre's images of `train` and of every other set.

    The tested images are numbered anew, since the sets' own numbers overlap. Raises ValueError when nothing would be
    left to learn from, when the centre has no image, and for the unseen centre in `train`.
    """
    if UNSEEN in centres_of([train]):
        raise ValueError(f"the training set holds images of {UNSEEN}, the unseen centre: nothing may be trained on it")
    learnt = _only(train, lambda image: image["centre"] != centre)
    parts = [_only(coco, lambda image: image["centre"] == centre) for coco in (train, *others.values())]
    tested = _joined(parts, description=f"all images of {centre}")
    if not learnt["images"] or not tested["images"]:
        raise ValueError(
            f"leaving out {centre} leaves {len(learnt['images'])} to learn, {len(tested['images'])} to test"
        )
    return learnt, tested


def _only(coco: Coco, kept: Callable[[dict[str, Any]], bool]) -> Coco:
    images = [image for image in coco["images"] if kept(image)]
    ids = {image["id"] for image in images}
    return {**coco, "images": images, "annotations": [one for one in coco["annotations"] if one["image_id"] in ids]}


def _joined(parts: Sequence[Coco], *, description: str) -> Coco:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for part in parts:
        numbers = {image["id"]: number for number, image in enumerate(part["images"], len(images) + 1)}
        images += [{**image, "id": numbers[image["id"]]} for image in part["images"]]
        annotations += [{**one, "image_id": numbers[one["image_id"]]} for one in part["annotations"]]
    numbered = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    return {"info": {"description": description}, "images": images, "annotations": numbered,
            "categories": parts[0].get("categories", [])}  # fmt: skip


def _write(folder: Path, files: Mapping[str, Coco]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, coco in files.items():
        (folder / f"{name}.json").write_text(json.dumps(coco) + "\n")
    counts = ", ".join(f"{name} {len(coco['images'])}" for name, coco in files.items())
    return f"# without {folder.name}: images in {counts}"


def _commands(folder: Path, root: Path) -> str:
    lines = []
    for task, config in (("detector", DEFAULT_DETECTOR), ("segmenter", DEFAULT_SEGMENTER)):
        trained = folder / task
        lines += [
            f"python -m trainers.train_{task} --data {folder} --root {root} --config {config} --out {trained}",
            f"python -m trainers.evaluate --data {folder / f'test_{folder.name}.json'} --root {root} --run {trained} "
            f"--json {trained / 'figures.json'}",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
