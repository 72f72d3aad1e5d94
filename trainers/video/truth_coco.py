"""Read labels in COCO's video formats: CocoVID (images with video_id and frame_id) or YouTube-VIS (lists per track)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from realtime_polyp.json_files import Count, Finite, check_json, read_json
from realtime_polyp.messages import quoted, shorten
from realtime_polyp.metrics.run_lengths import compressed, decode, fill_polygons
from trainers.video.labels import Clock, Label, checked_box, outlined

FAINT = "faint"  # an annotation's own key, or among its attributes
MOST_BYTES = 256 << 20  # of a file of labels
_NUMBERS = ("instance_id", "track_id")
_WHAT = "a COCO file of a video (docs/video_truth.md)"
_MOST_DIGITS = 9  # of a frame's number in a file name
Labels = dict[int, list[Label]]
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


class Annotation(Struct, kw_only=True):
    """A polyp in one image (CocoVID) or in every frame of a video (YouTube-VIS). Further keys are allowed."""

    id: Key = None
    image_id: Key = None
    video_id: Key = None
    instance_id: Key = None
    track_id: Key = None
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


def read_coco_video(path: Path, clock: Clock, *, video: str) -> Labels:
    """Read the labels by frame of the video of that name, or of the only video.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or lacks the video.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such COCO file: {path}")
    content = read_json(path, Content, what=_WHAT, limit=MOST_BYTES)
    try:
        chosen = _select_video(content.videos, video)
        _check_size(content, chosen, clock)
        labelled = _read_images(content, chosen) if content.images else _read_tracks(content, chosen)
        return _group_by_frame(labelled, clock)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


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


def _check_size(content: Content, video: Entry | None, clock: Clock) -> None:
    """Check that the sizes in the file equal the video's. Raises ValueError."""
    for one in (*([video] if video else []), *_images(content, video)):
        size = (one.width, one.height)
        if None not in size and size != clock.size:
            raise ValueError(f"it labels pictures of {size} px, the video's are {clock.size} px: another video?")


def _images(content: Content, video: Entry | None) -> list[Entry]:
    return [one for one in content.images if video is None or one.video_id in (None, video.id)]


def _read_images(content: Content, video: Entry | None) -> list[tuple[int, int, Annotation]]:
    """Return (frame, polyp, annotation) of every annotation in CocoVID format."""
    frames = {one.id: _frame_of(one) for one in _images(content, video)}
    found = []
    for place, one in enumerate(content.annotations):
        if one.image_id is None:
            raise ValueError(f"annotations[{place}] has no image_id")
        if one.image_id in frames:
            found.append((frames[one.image_id], _polyp_number(one, place), one))
    return found


def _frame_of(image: Entry) -> int:
    """Return the frame's index: frame_id, from 0, else the last number in the file name, as in frame_000012.PNG."""
    if image.frame_id is not None:
        return image.frame_id
    numbers = re.findall(r"[0-9]+", Path(image.file_name or "").stem)
    if not numbers or len(numbers[-1]) > _MOST_DIGITS:
        raise ValueError(
            f"image {_named(image.id)} has neither a frame_id nor a number in its name {quoted(image.file_name)}"
        )
    return int(numbers[-1])


def _polyp_number(annotation: Annotation, place: int) -> int:
    own = {"instance_id": annotation.instance_id, "track_id": annotation.track_id}
    found = [part[name] for part in (own, annotation.attributes) for name in _NUMBERS if part.get(name) is not None]
    if not found:
        raise ValueError(
            f"annotation {_id_of(annotation, place)} does not say which polyp it is: it needs one of "
            f"{', '.join(_NUMBERS)}"
        )
    return _number(found[0], f"annotation {_id_of(annotation, place)}")


def _number(found: Any, where: str) -> int:
    """Return a polyp's number, which some tools write as text. Raises ValueError for anything else."""
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,12}", found):
        return int(found)
    return check_json(found, Count, where, "of a polyp with a number")


def _id_of(annotation: Annotation, place: int) -> str:
    return f"[{place}]" if annotation.id is None else _named(annotation.id)


def _read_tracks(content: Content, video: Entry | None) -> list[tuple[int, int, Annotation]]:
    """Return the same from YouTube-VIS, which lists a box and an outline, or null, for every frame."""
    found: list[tuple[int, int, Annotation]] = []
    for place, track in enumerate(content.annotations):
        if video is not None and track.video_id != video.id:
            continue
        if track.bboxes is None:
            raise ValueError(f"annotation {_id_of(track, place)} has no bboxes, and the file lists no images")
        number = _number(track.id, f"annotation {_id_of(track, place)}")
        outlines = track.segmentations or [None] * len(track.bboxes)
        if len(outlines) != len(track.bboxes):
            raise ValueError(
                f"annotation {_id_of(track, place)} has {len(track.bboxes)} bboxes and {len(outlines)} segmentations"
            )
        for frame, (box, outline) in enumerate(zip(track.bboxes, outlines, strict=True)):
            if box or outline:
                one = Annotation(id=track.id, attributes=track.attributes, faint=track.faint, bbox=box)
                one.segmentation = outline
                found.append((frame, number, one))
    return found


def _group_by_frame(labelled: Sequence[tuple[int, int, Annotation]], clock: Clock) -> Labels:
    labels: Labels = {}
    for frame, number, annotation in labelled:
        try:
            label = _label(number, annotation, clock)
        except ValueError as error:
            raise ValueError(f"annotation {_named(annotation.id)} in frame {frame}: {error}") from error
        if label is not None:
            labels.setdefault(frame, []).append(label)
    return labels


def _label(number: int, annotation: Annotation, clock: Clock) -> Label | None:
    difficult = bool(annotation.faint or annotation.attributes.get(FAINT))
    if annotation.segmentation:
        return outlined(number, _mask(annotation.segmentation, clock.size), difficult=difficult)
    if annotation.bbox is None:
        raise ValueError("it has neither a bbox nor a segmentation")
    x, y, width, height = annotation.bbox
    return Label(number, checked_box([x, y, x + width, y + height], clock.size), difficult)


def _mask(outline: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode an outline: polygons, or run lengths, compressed or not."""
    if isinstance(outline, Mapping):
        return np.asarray(decode(compressed(outline, size)), np.bool_)
    return fill_polygons(outline, size)
