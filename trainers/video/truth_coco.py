"""Read labels in COCO's video formats: CocoVID (images with video_id and frame_id) or YouTube-VIS (lists per track)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from realtime_polyp.json_files import Count, Finite, check_json, read_json
from realtime_polyp.messages import quoted, shorten
from realtime_polyp.metrics.run_lengths import compressed, decode
from trainers.video.label_names import (
    FAINT,
    Classes,
    frames_by_name,
    frames_of,
    number_in_name,
    number_notes,
    numbers_of,
)
from trainers.video.labels import Clock, Label, Labelling, checked_box, filled, outlined
from trainers.video.pixel_space import PixelSpace, space_of

MOST_BYTES = 256 << 20  # of a file of labels
_NUMBERS = ("instance_id", "track_id")
_WHAT = "a COCO file of a video (docs/video_truth.md)"
Key = int | str | None
Box = Annotated[list[Finite], Meta(min_length=4, max_length=4)]


class Entry(Struct, kw_only=True):
    """A video or an image of the file. Further keys are allowed."""

    id: int | str
    name: str | None = None
    file_name: str | None = None
    video_id: Key = None
    frame_id: Count | None = None
    width: Count | None = None
    height: Count | None = None
    length: Count | None = None
    file_names: list[str] | None = None


class Annotation(Struct, kw_only=True):
    """A polyp in one image (CocoVID) or in every frame of a video (YouTube-VIS). Further keys are allowed."""

    id: Key = None
    image_id: Key = None
    video_id: Key = None
    instance_id: Key = None
    track_id: Key = None
    category_id: Key = None
    attributes: dict[str, Any] = {}
    faint: Any = None
    bbox: Box | None = None
    segmentation: Any = None
    bboxes: list[Box | None] | None = None
    segmentations: list[Any] | None = None


class Content(Struct, kw_only=True):
    """The file."""

    annotations: list[Annotation]
    images: list[Entry] = []
    videos: list[Entry] = []
    categories: list[Entry] = []


@dataclass(frozen=True)
class _Found:
    """An annotation of one frame. place: in the file, for messages. key: which polyp it is."""

    place: str
    frame: int
    key: int | str
    annotation: Annotation


def read_coco_video(path: Path, clock: Clock, *, video: str, classes: Sequence[str] = ()) -> Labelling:
    """Read the labels of the video of that name, or of the only video.

    classes: what polyps are called; empty: as in `label_names.POLYP_CLASSES`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or lacks the video.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such COCO file: {path}")
    content = read_json(path, Content, what=_WHAT, limit=MOST_BYTES)
    try:
        chosen = _select_video(content.videos, video)
        space = space_of(_sizes(content, chosen), clock)
        return _labelling(content, chosen, clock, space, Classes(classes))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _labelling(content: Content, video: Entry | None, clock: Clock, space: PixelSpace, classes: Classes) -> Labelling:
    polyps = _polyps(content, classes)
    if content.images:
        frames = _image_frames(content, video, clock)
        found = _read_images(content, frames, polyps)
        labelled = frozenset(frames.values())
    else:
        found, labelled = _read_tracks(content, video, polyps, clock)
    numbers = numbers_of(one.key for one in found)
    labels: dict[int, list[Label]] = {}
    for one in found:
        difficult = _is_faint(one.annotation) or one.place in polyps.faint
        labels.setdefault(one.frame, []).append(_label(numbers[one.key], one, space, difficult=difficult))
    return Labelling(labels, labelled, notes=[*classes.notes(), *number_notes(numbers)])


@dataclass(frozen=True)
class _Polyps:
    """The annotations that are of polyps, by place in the file, and the places of those of the class FAINT."""

    annotations: Mapping[str, Annotation]
    faint: frozenset[str]


def _polyps(content: Content, classes: Classes) -> _Polyps:
    """Leave out the annotations of other classes. In a file without categories, all are of polyps."""
    names = {str(one.id): str(one.name or one.id) for one in content.categories}
    classes.declare(names.values())
    taken: dict[str, Annotation] = {}
    faint = set()
    for index, one in enumerate(content.annotations):
        place = _place(one, index)
        if names and str(one.category_id) not in names:
            raise ValueError(
                f"{place} has the category_id {quoted(one.category_id)}, which is not among the categories"
            )
        name = names.get(str(one.category_id), "polyp")
        if not names or classes.takes(name):
            place = place if place not in taken else f"annotations[{index}]"  # ids are not unique in every file
            taken[place] = one
            if name.strip().casefold() == FAINT:
                faint.add(place)
    return _Polyps(taken, frozenset(faint))


def _place(annotation: Annotation, index: int) -> str:
    return f"annotations[{index}]" if annotation.id is None else f"annotation {_named(annotation.id)}"


def _select_video(videos: Sequence[Entry], name: str) -> Entry | None:
    """Return the entry of the video; None if the file lists no videos, as CVAT's COCO export of a single one."""
    if len(videos) <= 1:
        return videos[0] if videos else None
    named = [one for one in videos if Path(_name(one)).stem == Path(name).stem]
    if len(named) != 1:
        raise ValueError(
            f"it holds {', '.join(shorten(_name(one)) for one in videos[:12])}, and {name} is not one of them"
        )
    return named[0]


def _name(video: Entry) -> str:
    return str(video.name or video.file_name or video.id)


def _named(key: Key) -> str:
    return shorten(str(key))


def _sizes(content: Content, video: Entry | None) -> set[tuple[int, int]]:
    """Return the (width, height) px that the file gives the video and its images."""
    entries = (*([video] if video else []), *_images(content, video))
    return {(one.width, one.height) for one in entries if one.width is not None and one.height is not None}


def _images(content: Content, video: Entry | None) -> list[Entry]:
    return [
        one for one in content.images if video is None or one.video_id is None or str(one.video_id) == str(video.id)
    ]


def _image_frames(content: Content, video: Entry | None, clock: Clock) -> dict[str, int]:
    """Return the frame of every image of the video, by the image's id as text."""
    videos = {str(one.id) for one in content.videos}
    for image in content.images:
        if image.video_id is not None and videos and str(image.video_id) not in videos:
            raise ValueError(f"image {_named(image.id)} is of video {_named(image.video_id)}, which is not listed")
    images = {f"image {_named(image.id)}": image for image in _images(content, video)}
    if len(images) < len(_images(content, video)):
        ids = [f"image {_named(image.id)}" for image in _images(content, video)]
        raise ValueError(f"{next(one for one in ids if ids.count(one) > 1)} is listed twice")
    names = {place: image.file_name for place, image in images.items() if image.file_name}
    counted = all(image.frame_id is not None for image in images.values())
    frames = frames_by_name(names, clock, counted=counted) if len(names) == len(images) else None
    if frames is None:
        frames = frames_of({place: _number_of(image) for place, image in images.items()}, clock)
    return {str(image.id): frames[place] for place, image in images.items()}


def _number_of(image: Entry) -> int:
    """Return the frame's number: frame_id, else the last number in the file name, as in frame_000012.PNG."""
    number = number_in_name(image.file_name or "") if image.frame_id is None else image.frame_id
    if number is None:
        raise ValueError(
            f"image {_named(image.id)} has neither a frame_id nor a number in its name {quoted(image.file_name)}"
        )
    return number


def _read_images(content: Content, frames: Mapping[str, int], polyps: _Polyps) -> list[_Found]:
    """Return every annotation in CocoVID format that is of this video. frames: as `_image_frames` returns them."""
    known = {str(one.id) for one in content.images}
    for index, one in enumerate(content.annotations):
        if one.image_id is None:
            raise ValueError(f"{_place(one, index)} has no image_id")
        if str(one.image_id) not in known:
            raise ValueError(f"{_place(one, index)} is of image {_named(one.image_id)}, which is not listed")
    here = [(place, one) for place, one in polyps.annotations.items() if str(one.image_id) in frames]
    return [_Found(place, frames[str(one.image_id)], _polyp_key(one, place), one) for place, one in here]


def _polyp_key(annotation: Annotation, place: str) -> int | str:
    own = {"instance_id": annotation.instance_id, "track_id": annotation.track_id}
    found = [part[name] for part in (own, annotation.attributes) for name in _NUMBERS if part.get(name) is not None]
    if not found:
        raise ValueError(f"{place} does not say which polyp it is: it needs one of {', '.join(_NUMBERS)}")
    return _checked_key(found[0], place)


def _checked_key(found: Any, place: str) -> int | str:
    """Return which polyp it is: a number from 0, or a text. Raises ValueError for anything else."""
    if isinstance(found, str) and found.strip():
        return found.strip()
    return check_json(found, Count, place, "of a polyp with a number or a name")


def _read_tracks(
    content: Content, video: Entry | None, polyps: _Polyps, clock: Clock
) -> tuple[list[_Found], frozenset[int]]:
    """Return the same from YouTube-VIS, which lists a box and an outline, or null, per frame; and those frames."""
    for index, one in enumerate(content.annotations):
        if video is not None and str(one.video_id) not in {str(entry.id) for entry in content.videos}:
            raise ValueError(f"{_place(one, index)} is of video {_named(one.video_id)}, which is not listed")
    here = [one for one in content.annotations if video is None or str(one.video_id) == str(video.id)]
    without = next((place for place, one in polyps.annotations.items() if one.bboxes is None and one in here), None)
    if without is not None:
        raise ValueError(f"{without} has no bboxes, and the file lists no images")
    frames = _track_frames(here, video, clock)
    found: list[_Found] = []
    for place, track in polyps.annotations.items():
        if any(track is one for one in here):
            found += _read_track(track, place, frames)
    return found, frozenset(frames)


def _track_frames(tracks: Sequence[Annotation], video: Entry | None, clock: Clock) -> list[int]:
    """Return the frame of each entry of the tracks' lists: those of all classes were labelled, with or without a polyp.

    Raises ValueError if the file does not tell which frames those are.
    """
    if video is not None and video.file_names:
        if by_name := frames_by_name({name: name for name in video.file_names}, clock):
            return [by_name[name] for name in video.file_names]
        numbers = {name: number_in_name(name) for name in video.file_names}
        unnumbered = next((name for name, number in numbers.items() if number is None), None)
        if unnumbered is not None:
            raise ValueError(f"{quoted(unnumbered)} has no number of a frame in its name")
        frames = frames_of({name: number or 0 for name, number in numbers.items()}, clock)
        return [frames[name] for name in video.file_names]
    stated = video.length if video is not None else None
    length = max([stated or 0, *(len(one.bboxes or ()) for one in tracks)])
    if not length:
        raise ValueError("it does not say which frames were labelled: it lists no images, no length and no tracks")
    if length > clock.count:
        raise ValueError(f"its tracks list {length} frames, and the video has {clock.count}: another video?")
    return list(range(length))


def _read_track(track: Annotation, place: str, frames: Sequence[int]) -> Iterable[_Found]:
    if track.bboxes is None:
        return
    if len(track.bboxes) > len(frames):
        raise ValueError(f"{place} has {len(track.bboxes)} bboxes, and its video lists {len(frames)} frames")
    key = _checked_key(track.id, place)
    outlines = track.segmentations or [None] * len(track.bboxes)
    if len(outlines) != len(track.bboxes):
        raise ValueError(f"{place} has {len(track.bboxes)} bboxes and {len(outlines)} segmentations")
    for frame, box, outline in zip(frames, track.bboxes, outlines, strict=False):
        if box or outline:
            one = Annotation(id=track.id, attributes=track.attributes, faint=track.faint, bbox=box)
            one.segmentation = outline
            yield _Found(place, frame, key, one)


def _is_faint(annotation: Annotation) -> bool:
    return any(_is_true(value, annotation) for value in (annotation.faint, annotation.attributes.get(FAINT)))


def _is_true(value: object, annotation: Annotation) -> bool:
    """Whether a mark is set; label tools write it as a JSON type or as a word."""
    known: dict[object, bool] = {
        None: False,
        False: False,
        True: True,
        "": False,
        "false": False,
        "true": True,
        "0": False,
        "1": True,
    }
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, str | bool | int | None) and word in known:
        return known[word]
    raise ValueError(f"annotation {_named(annotation.id)} has {FAINT} {quoted(value)}: give true or false")


def _label(number: int, found: _Found, space: PixelSpace, *, difficult: bool) -> Label:
    """Return the label in shown pixels. Raises ValueError naming its place."""
    try:
        if found.annotation.segmentation:
            mask = _mask(found.annotation.segmentation, space.size)
            return space.shown(outlined(number, mask, difficult=difficult))
        if found.annotation.bbox is None:
            raise ValueError("it has neither a bbox nor a segmentation")
        x, y, width, height = found.annotation.bbox
        return space.shown(Label(number, checked_box([x, y, x + width, y + height], space.size), difficult))
    except ValueError as error:
        raise ValueError(f"{found.place} in frame {found.frame}: {error}") from error


def _mask(outline: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode an outline: polygons, or run lengths, compressed or not."""
    if isinstance(outline, Mapping):
        return np.asarray(decode(compressed(outline, size)), np.bool_)
    return filled(outline, size)
