"""Make data files for leave-one-centre-out evaluation: python -m trainers.leave_one_out --out runs/leave_out

For each centre, the command writes DIR/CENTRE/train.json and val.json without that centre, and test_CENTRE.json with
all of its images. Image paths stay relative to the folder of the data, so the printed commands pass --root.
"""

import argparse
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime_polyp.messages import quoted
from trainers.command import command_parser, report_bad_input
from trainers.data.coco_file import check_coco_file, read_document

Coco = dict[str, Any]

UNSEEN = "polypgen_C6"  # used for reporting only: it is in no training set, so it cannot be left out
SETS = ("train", "val")
_LONGEST_NAME = 60  # characters of a centre's name that its folder keeps
_EPILOG = """examples:
  python -m trainers.leave_one_out --data DATA --out runs/leave_out
  python -m trainers.leave_one_out --data DATA --out runs/leave_out --centre polypgen_C3"""


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
    add("--out", type=Path, required=True, metavar="DIR", help="output folder; each centre gets a subfolder")
    add("--centre", metavar="NAME", help="leave out only this centre (default: each in turn)")
    return parser


def run(data: Path, out: Path, centre: str | None = None) -> str:
    """Write the files and return the commands that train and test with them. Raises OSError or ValueError."""
    sets = {name: read_coco(data / f"{name}.json") for name in SETS}
    known = centres_of(sets.values())
    if centre is not None and centre not in known:
        raise ValueError(f"no centre {quoted(centre)} in {data}: choose from {', '.join(map(_shown, known[:12]))}")
    texts = []
    for name in [centre] if centre else known:
        train, test = leave_out(sets["train"], {"val": sets["val"]}, name)
        folder = out / folder_name(name)
        summary = _write(folder, {"train": train, "val": _without(sets["val"], name), f"test_{folder.name}": test})
        texts.append(summary + "\n" + _commands(folder, data))
    return "\n\n".join(texts)


def read_coco(path: Path) -> Coco:
    """Read a COCO file whose images name their centre.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file (names the file and the place), or it holds images of the unseen centre.
    """
    coco = read_document(path)
    content = check_coco_file(coco, path)
    unnamed = [place for place, image in enumerate(coco["images"]) if "centre" not in image]
    if unnamed:
        raise ValueError(f"{path} is not a COCO file whose images name their centre: images[{unnamed[0]}] has none")
    if UNSEEN in {image.centre for image in content.images}:
        raise ValueError(f"{path} holds images of {UNSEEN}, the unseen centre: do not train or select on it")
    return coco


def folder_name(centre: str) -> str:
    """Return a name for the centre's folder that is one plain word and no other centre's.

    A centre's name comes from a file and may hold anything, slashes and line breaks included.
    """
    plain = re.sub(r"[^\w.-]", "_", centre).lstrip(".-")[:_LONGEST_NAME]
    if plain == centre:
        return centre
    return f"{plain}_{hashlib.sha256(centre.encode('utf-8')).hexdigest()[:8]}"


def _shown(centre: str) -> str:
    return centre if re.fullmatch(r"[\w.-]{1,40}", centre) else quoted(centre)


def centres_of(sets: Iterable[Coco]) -> list[str]:
    return sorted({image["centre"] for coco in sets for image in coco["images"]})


def leave_out(train: Coco, others: Mapping[str, Coco], centre: str) -> tuple[Coco, Coco]:
    """Return `train` without the centre, and a test set of all images of the centre in `train` and the other sets.

    The images of the test set get new ids, because the ids of the sets overlap.

    Raises:
        ValueError: no image is left for training, the centre has no image, or `train` holds the unseen centre.
    """
    if UNSEEN in centres_of([train]):
        raise ValueError(f"the training set holds images of {UNSEEN}, the unseen centre: do not train on it")
    rest = _without(train, centre)
    parts = [_select(coco, lambda image: image["centre"] == centre) for coco in (train, *others.values())]
    test = _concatenate(parts, description=f"all images of {centre}")
    if not rest["images"] or not test["images"]:
        raise ValueError(
            f"leaving out {_shown(centre)} leaves {len(rest['images'])} images for training, "
            f"{len(test['images'])} for testing"
        )
    return rest, test


def _without(coco: Coco, centre: str) -> Coco:
    return _select(coco, lambda image: image["centre"] != centre)


def _select(coco: Coco, keep: Callable[[dict[str, Any]], bool]) -> Coco:
    """Return the set with only the images for which `keep` is true, and their annotations."""
    images = [image for image in coco["images"] if keep(image)]
    ids = {image["id"] for image in images}
    return {**coco, "images": images, "annotations": [one for one in coco["annotations"] if one["image_id"] in ids]}


def _concatenate(parts: Sequence[Coco], *, description: str) -> Coco:
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
    """Return the commands that train and test without the centre, quoted for a shell."""
    lines = []
    for task, config in (("detector", "gflv2-lite0"), ("segmenter", "lowrank-lite2"), ("joint", "polyp-lite2")):
        run, test = folder / task, folder / f"test_{folder.name}.json"
        train_command = ("-m", f"trainers.train_{task}", "--data", folder, "--root", root, "--config", config)
        test_command = ("-m", "trainers.evaluate", "--data", test, "--root", root, "--run", run)
        lines += [_command(*train_command, "--out", run), _command(*test_command, "--json", run / "figures.json")]
    return "\n".join(lines)


def _command(*words: object) -> str:
    return shlex.join(["python", *(str(word) for word in words)])


if __name__ == "__main__":
    main()
