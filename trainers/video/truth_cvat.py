"""Read labels from an export of CVAT (cvat.ai), "CVAT for video 1.1": tracks of boxes, polygons or masks in XML."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.messages import quoted, shorten
from trainers.video.label_names import FAINT, Classes, Key, number_notes, numbers_of
from trainers.video.labels import Clock, Label, Labelling, checked_box, filled, outlined
from trainers.video.pixel_space import PixelSpace, space_of
from trainers.video.xml_file import read_xml

CUT = "cut"  # a label
POLYP_NUMBER = "polyp"  # an attribute: several tracks of one polyp that left and came back
Labels = dict[int, list[Label]]
_SHAPES = ("box", "polygon", "mask")
_MOST_PER_FRAME = 100  # labels, on average over the video
_MOST_BEYOND = 0.5  # of the video's frames that are labelled beyond its end, as in a copy that was cut; more: another
_WHAT = "an export in the format 'CVAT for video 1.1'"


def read_cvat(path: Path, clock: Clock, *, classes: Sequence[str] = ()) -> Labelling:
    """Read the labels and the cuts.

    classes: what polyps are called; empty: as in `label_names.POLYP_CLASSES`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or of another video.
    """
    root = _root(path)
    try:
        space, labelled, count = _check_video(root, clock)
        whole = replace(clock, count=max(clock.count, count))
        found = _labelling(list(root.iter("track")), root, whole, space, Classes(classes))
        return _up_to_end(replace(found, labelled=labelled), clock, count)
    except KeyError as error:
        raise ValueError(f"{path} is not a readable CVAT export: {error} is missing") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _up_to_end(found: Labelling, clock: Clock, count: int) -> Labelling:
    """Leave out what lies beyond the video's end, and name it. count: of the task's frames."""
    if count <= clock.count:
        return found
    labels = {frame: one for frame, one in found.labels.items() if frame < clock.count}
    labelled = None if found.labelled is None else frozenset(one for one in found.labelled if one < clock.count)
    cuts = [one for one in found.cuts if one < clock.count]
    note = f"the labels are of {count} frames and the video has {clock.count}: what lies beyond its end is left out"
    return Labelling(labels, labelled, cuts, [*found.notes, note])


def _labelling(
    tracks: Sequence[Element], root: Element, clock: Clock, space: PixelSpace, classes: Classes
) -> Labelling:
    classes.declare(one.text or "" for one in root.findall("meta//labels/label/name"))
    cuts = sorted({_frame_of(_visible_shapes(track)[0]) for track in tracks if _class_of(track) == CUT})
    polyps = [track for track in tracks if _class_of(track) != CUT and classes.takes(track.get("label", "polyp"))]
    numbers = _numbers(polyps)
    labels = _group_by_frame(
        (one for track in polyps for one in _read_track(track, numbers, clock, space)), clock, space
    )
    return Labelling(labels, cuts=cuts, notes=[*classes.notes(), *number_notes(numbers)])


def _class_of(track: Element) -> str:
    return track.get("label", "").strip().casefold()


def _group_by_frame(found: Iterator[tuple[int, Label]], clock: Clock, space: PixelSpace) -> Labels:
    labels: Labels = {}
    for count, (frame, label) in enumerate(found):
        if count >= _MOST_PER_FRAME * clock.count:
            raise ValueError(f"more than {_MOST_PER_FRAME} polyps a frame are labelled")
        labels.setdefault(frame, []).append(space.shown(label))
    return labels


def _root(path: Path) -> Element:
    if not path.is_file():
        raise FileNotFoundError(f"no such CVAT file: {path}")
    root = read_xml(path, what=_WHAT)
    if root.tag != "annotations" or root.find("image") is not None:
        raise ValueError(f"{path} is not {_WHAT}: export the task in it, with its tracks")
    return root


def _check_video(root: Element, clock: Clock) -> tuple[PixelSpace, frozenset[int] | None, int]:
    """Check that the labels cover this video, from start to end, if the file says so.

    Returns the pixels that they are in; the frames that the annotator saw, None: all; and the number of the task's
    frames, 0: it is not known.
    """
    meta = root.find("meta")
    about = None if meta is None else next((one for name in ("task", "job") for one in meta.iter(name)), None)
    if about is None:
        return space_of((), clock), None, 0
    width, height = about.findtext("original_size/width"), about.findtext("original_size/height", "0")
    space = space_of([(_whole(width), _whole(height))] if width else [], clock)
    step = _whole((about.findtext("frame_filter") or "step=1").removeprefix("step="))
    first = _whole(about.findtext("start_frame") or "0")
    last = _whole(about.findtext("stop_frame") or str(clock.count - 1))
    if first > 0 or step < 1 or last + step < clock.count:
        raise ValueError(
            f"frames {first} to {last} of {clock.count} are labelled: the truth of the others is unknown; "
            "trim the video to the labelled frames"
        )
    if last + 1 > (1 + _MOST_BEYOND) * clock.count:
        raise ValueError(f"the labels are of {last + 1} frames, and the video has {clock.count}: another video?")
    return space, None if step == 1 else frozenset(range(first, last + 1, step)), last + 1


def _read_track(
    track: Element, numbers: Mapping[Key, int], clock: Clock, space: PixelSpace
) -> Iterator[tuple[int, Label]]:
    """Yield (frame, label) in the pixels of the file."""
    shapes = sorted(_checked_shapes(track), key=_frame_of)
    identity = numbers[_identity(track, shapes)]
    for shape in shapes:
        if not _is_outside(shape):
            yield _frame_of(shape), _label(identity, shape, track, space.size)
    for before, after in pairwise(shapes):
        yield from _interpolate(identity, before, after, track, clock)


def _interpolate(
    identity: int, before: Element, after: Element, track: Element, clock: Clock
) -> Iterator[tuple[int, Label]]:
    """Yield labels of the frames between two listed shapes, as CVAT defines them: boxes are interpolated linearly, and
    stay in place before they go outside. Outlines are not interpolated."""
    first, last = _frame_of(before), _frame_of(after)
    if last - first < 2 or _is_outside(before):
        return
    if last > clock.count:
        raise ValueError(
            f"track {_name(track)} is labelled from frame {first} to before frame {last}, and the video has frames "
            f"0 to {clock.count - 1}: another video?"
        )
    start = _box(before)
    end = start if _is_outside(after) else _box(after)
    for frame in range(first + 1, last):
        share = (frame - first) / (last - first)
        yield frame, Label(identity, (start + share * (end - start)).astype(np.float32), _is_difficult(before, track))


def _visible_shapes(track: Element) -> list[Element]:
    """Return the shapes inside the picture by frame. Raises ValueError if there is none."""
    drawn = sorted((shape for shape in track if shape.tag != "attribute" and not _is_outside(shape)), key=_frame_of)
    if not drawn:
        raise ValueError(f"track {_name(track)} is never inside the picture")
    return drawn


def _checked_shapes(track: Element) -> list[Element]:
    """Return the shapes of a track. Raises ValueError for one that is not supported."""
    shapes = [shape for shape in track if shape.tag != "attribute"]
    wrong = {shape.tag for shape in shapes if shape.tag not in _SHAPES}
    if wrong:
        raise ValueError(f"track {_name(track)} holds a {shorten(wrong.pop())}: draw polyps as {', '.join(_SHAPES)}")
    if any(_number(shape.get("rotation", "0")) for shape in shapes):
        raise ValueError(f"track {_name(track)} holds a rotated box: draw it upright, or as a polygon")
    return shapes


def _numbers(tracks: Sequence[Element]) -> dict[Key, int]:
    """Number the polyps. Raises ValueError if a track's own id is also a number that was given to another polyp."""
    given = [key for track in tracks if (key := _polyp_key(track)) is not None]
    own = [_track_id(track) for track in tracks if _polyp_key(track) is None]
    numbers = numbers_of([*own, *given])
    mixed = {numbers[key] for key in given} & set(own)
    if mixed:
        raise ValueError(f"polyp {mixed.pop()} is also the number of a track without the attribute '{POLYP_NUMBER}'")
    return numbers


def _polyp_key(track: Element) -> Key | None:
    """Return the number or name that the annotator gave the polyp, on the track or on one of its shapes."""
    return next((one.strip() for part in (track, *track) if (one := _attribute(part, POLYP_NUMBER))), None)


def _track_id(track: Element) -> int:
    return _whole(track.attrib["id"])


def _identity(track: Element, shapes: Sequence[Element]) -> Key:
    number = _polyp_key(track)
    if (
        number is None
        and len(shapes) - sum(map(_is_outside, shapes)) == 1
        and _frame_of(shapes[-1]) < _frame_of(shapes[0]) + 2
    ):
        raise ValueError(
            f"track {_name(track)} is one frame long: draw each polyp as a track, not as shapes, or give the shapes "
            f"of one polyp the same number in an attribute '{POLYP_NUMBER}'"
        )
    return _track_id(track) if number is None else number


def _label(identity: int, shape: Element, track: Element, size: tuple[int, int]) -> Label:
    """Return the label of one shape. Raises ValueError naming its track and frame."""
    difficult = _is_difficult(shape, track)
    try:
        if shape.tag == "box":
            return Label(identity, checked_box(_corners(shape), size), difficult)
        mask = filled([_points(shape)], size) if shape.tag == "polygon" else _mask(shape, size)
        return outlined(identity, mask, difficult=difficult)
    except ValueError as error:
        raise ValueError(f"track {_name(track)}, frame {_frame_of(shape)}: {error}") from error


def _box(shape: Element) -> NDArray[np.float32]:
    if shape.tag in ("box", "mask"):
        return np.array(_corners(shape), np.float32)
    corners = np.array(_points(shape)).reshape(-1, 2)
    return np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)


def _corners(shape: Element) -> list[float]:
    """Return the box of a box or a mask, xyxy px."""
    if shape.tag == "box":
        return [_number(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr")]
    left, top, width, height = (_number(shape.attrib[name]) for name in ("left", "top", "width", "height"))
    return [left, top, left + width, top + height]


def _points(shape: Element) -> list[float]:
    return [_number(value) for pair in shape.attrib["points"].split(";") for value in pair.split(",")]


def _mask(shape: Element, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode CVAT's run lengths: row by row within the mask's box, the first run is background."""
    left, top, width, height = (int(_number(shape.attrib[name])) for name in ("left", "top", "width", "height"))
    lengths = [_whole(value) for value in shape.attrib["rle"].split(",")]
    inside = 0 <= left < left + width <= size[0] and 0 <= top < top + height <= size[1]
    if not inside or min(lengths) < 0 or sum(lengths) != width * height:
        raise ValueError("a mask does not fill its box, or exceeds the picture")
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    mask = np.zeros(size[::-1], np.bool_)
    mask[top : top + height, left : left + width] = pixels.reshape(height, width)
    return mask


def _number(text: str) -> float:
    """Read a finite number. Raises ValueError for anything else."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return value


def _name(track: Element) -> str:
    return shorten(track.get("id", "without an id"))


def _whole(text: str) -> int:
    """Read a whole number. Raises ValueError for anything else, and for one of more than 12 digits."""
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,12}\s*", text):
        raise ValueError(f"{quoted(text)} is not a whole number")
    return int(text)


def _is_difficult(shape: Element, track: Element) -> bool:
    return _class_of(track) == FAINT or _attribute(shape, FAINT) == "true" or _attribute(track, FAINT) == "true"


def _attribute(shape: Element, name: str) -> str | None:
    return next((one.text for one in shape.findall("attribute") if one.get("name") == name), None)


def _is_outside(shape: Element) -> bool:
    return shape.get("outside") == "1"


def _frame_of(shape: Element) -> int:
    return _whole(shape.attrib["frame"])
