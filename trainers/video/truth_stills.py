"""Read labels with one file per frame, in a folder: LabelMe's JSON, or YOLO's text."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from realtime_polyp.json_files import Count, Finite, read_bytes, read_json
from realtime_polyp.messages import quoted, shorten
from trainers.video.label_names import (
    FAINT,
    Classes,
    Key,
    frames_by_name,
    frames_of,
    number_in_name,
    number_notes,
    numbers_of,
)
from trainers.video.labels import Clock, Label, Labelling, checked_box, filled, outlined
from trainers.video.overlap_links import link_boxes
from trainers.video.pixel_space import space_of, space_of_shares

_MOST_BYTES = 64 << 20  # of one file
_MOST_LABELS = 1000  # in one file
_CLASS_FILES = ("classes.txt", "obj.names")  # beside YOLO's labels or one folder above, one class a line
_SHAPES = ("rectangle", "polygon", "circle")


@dataclass(frozen=True)
class _Found:
    """A polyp in one file. key: which polyp it is; None if the file does not say. label: its id is not set yet."""

    place: str
    key: Key | None
    label: Label


class Shape(Struct, kw_only=True):
    """A shape of LabelMe. Further keys are allowed."""

    label: str
    points: list[tuple[Finite, Finite]]
    group_id: Key | None = None
    shape_type: str = "polygon"
    flags: dict[str, Any] | None = None


class Still(Struct, kw_only=True):
    """A file of LabelMe. Further keys, such as the picture itself, are allowed."""

    shapes: list[Shape]
    imageHeight: Count | None = None  # noqa: N815 - LabelMe's names
    imageWidth: Count | None = None  # noqa: N815


def read_labelme(folder: Path, clock: Clock, *, classes: Sequence[str] = ()) -> Labelling:
    """Read a folder of LabelMe's JSON files, one per frame. Arguments and errors are those of `read_yolo`."""
    return _read_folder(folder, ".json", clock, Classes(classes), _read_still)


def read_yolo(folder: Path, clock: Clock, *, classes: Sequence[str] = ()) -> Labelling:
    """Read a folder of YOLO's text files, one per frame: class x y w h, or class x1 y1 x2 y2 ..., as shares of the
    picture.

    classes: what polyps are called; empty: as in `label_names.POLYP_CLASSES`. Frames without a file are unlabelled.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file is damaged, or of another video.
    """
    names = _class_names(folder)

    def read(path: Path, clock: Clock, taken: Classes) -> Iterator[_Found]:
        return _read_text(path, names, clock, taken)

    taken = Classes(classes)
    taken.declare(names)
    return _read_folder(folder, ".txt", clock, taken, read)


def _read_folder(
    folder: Path,
    suffix: str,
    clock: Clock,
    classes: Classes,
    read: Callable[[Path, Clock, Classes], Iterator[_Found]],
) -> Labelling:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder of labels: {folder}")
    paths = sorted(one for one in folder.iterdir() if one.suffix.lower() == suffix and one.name not in _CLASS_FILES)
    try:
        frames = frames_by_name({path.name: path.name for path in paths}, clock)
        if frames is None:
            frames = frames_of({path.name: _number_of(path) for path in paths}, clock)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    if not frames:
        raise ValueError(f"{folder} holds no labels: one {suffix} file per frame is read")
    found: list[tuple[int, _Found]] = []
    for path in sorted(paths, key=lambda one: frames[one.name]):
        try:
            found += [(frames[path.name], one) for one in read(path, clock, classes)]
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    try:
        return _labelling(found, frozenset(frames.values()), clock, classes)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _number_of(path: Path) -> int:
    number = number_in_name(path.name)
    if number is None:
        raise ValueError(f"{quoted(path.name)} has no number of a frame in its name, as frame_000012{path.suffix} has")
    return number


def _labelling(found: list[tuple[int, _Found]], labelled: frozenset[int], clock: Clock, classes: Classes) -> Labelling:
    keys = [one.key for _, one in found if one.key is not None]
    if keys and len(keys) < len(found):
        unnamed = next(one.place for _, one in found if one.key is None)
        raise ValueError(f"{unnamed} does not say which polyp it is, and others do: give all of them a group_id")
    if keys:
        numbers = numbers_of(keys)
        ids, notes = [numbers[key] for key in keys], number_notes(numbers)
    else:
        places = [frame for frame, _ in found]
        ids = link_boxes(places, [one.label.box for _, one in found], rate_hz=float(clock.rate_hz))
        notes = [f"the labels do not say which polyp is which: by overlap they are {len(set(ids))}; check it"] * bool(
            ids
        )
    labels: dict[int, list[Label]] = {}
    for (frame, one), identity in zip(found, ids, strict=True):
        labels.setdefault(frame, []).append(replace(one.label, id=identity))
    return Labelling(labels, labelled, notes=[*classes.notes(), *notes])


def _read_still(path: Path, clock: Clock, classes: Classes) -> Iterator[_Found]:
    still = read_json(path, Still, what="a file of LabelMe", limit=_MOST_BYTES)
    known = still.imageWidth is not None and still.imageHeight is not None
    space = space_of([(still.imageWidth or 0, still.imageHeight or 0)] if known else [], clock)
    _check_count(len(still.shapes))
    for index, shape in enumerate(still.shapes):
        if classes.takes(shape.label):
            key = shape.group_id.strip() or None if isinstance(shape.group_id, str) else shape.group_id
            try:
                yield _Found(f"{path.name}: shapes[{index}]", key, space.shown(_shape_label(shape, space.size)))
            except ValueError as error:
                raise ValueError(f"shapes[{index}]: {error}") from error


def _shape_label(shape: Shape, size: tuple[int, int]) -> Label:
    difficult = shape.label.strip().casefold() == FAINT or bool((shape.flags or {}).get(FAINT))
    points = np.array(shape.points, np.float64).reshape(-1, 2)
    if shape.shape_type == "polygon":
        return outlined(0, filled([points.ravel().tolist()], size), difficult=difficult)
    if shape.shape_type not in _SHAPES:
        raise ValueError(f"it is a {shorten(shape.shape_type)}: draw polyps as {', '.join(_SHAPES)}")
    if len(points) != 2:
        raise ValueError(f"a {shape.shape_type} has two points, not {len(points)}")
    if shape.shape_type == "circle":  # its centre, and a point on it
        radius = math.dist(*points)
        points = np.stack([points[0] - radius, points[0] + radius])
    return Label(0, checked_box([*points.min(axis=0), *points.max(axis=0)], size), difficult)


def _class_names(folder: Path) -> list[str]:
    """Return the names of YOLO's classes; without a list of them, a class is called by its number."""
    path = next((one for at in (folder, folder.parent) for name in _CLASS_FILES if (one := at / name).is_file()), None)
    return [] if path is None else [line.strip() for line in _text(path, "a list of classes").splitlines()]


def _text(path: Path, what: str) -> str:
    try:
        return read_bytes(path, what=what, limit=_MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start})") from error


def _read_text(path: Path, names: Sequence[str], clock: Clock, classes: Classes) -> Iterator[_Found]:
    lines = [(number, line.split()) for number, line in enumerate(_text(path, "YOLO's labels").splitlines(), 1)]
    lines = [(number, words) for number, words in lines if words]
    _check_count(len(lines))
    space = space_of_shares(clock)
    for number, words in lines:
        try:
            name = _class_name(words[0], names)
            values = [_share(word) for word in words[1:]]
            if classes.takes(name):
                yield _Found(f"{path.name}: line {number}", None, space.shown(_text_label(values, space.size, name)))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error


def _class_name(word: str, names: Sequence[str]) -> str:
    if not (word.isascii() and word.isdigit() and len(word) < 6):
        raise ValueError(f"{quoted(word)} is not the number of a class")
    if names and int(word) >= len(names):
        raise ValueError(f"class {word} is not among the {len(names)} listed classes")
    return names[int(word)] if names else word


def _share(word: str) -> float:
    """Read a coordinate: a share of the picture's side. Raises ValueError for anything else, such as NaN or px."""
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 2:  # also NaN; boxes may hang over the picture's edge
        raise ValueError(f"{quoted(word)} is not a share of the picture, 0 to 1")
    return value


def _text_label(values: Sequence[float], size: tuple[int, int], name: str) -> Label:
    difficult = name.strip().casefold() == FAINT
    sides = np.array(size, np.float64)
    if len(values) == 4:
        centre, half = np.array(values[:2]) * sides, np.array(values[2:]) * sides / 2
        return Label(0, checked_box([*(centre - half), *(centre + half)], size), difficult)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(
            f"it has {len(values)} numbers after the class: a box has 4 (x y w h), an outline two for each of three or "
            "more corners; predictions with a score are no labels"
        )
    points = np.array(values).reshape(-1, 2) * sides
    return outlined(0, filled([points.ravel().tolist()], size), difficult=difficult)


def _check_count(count: int) -> None:
    if count > _MOST_LABELS:
        raise ValueError(f"it has {count} labels, at most {_MOST_LABELS} are read")
