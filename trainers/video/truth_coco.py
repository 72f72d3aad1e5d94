"""Read labels in COCO's video formats: CocoVID (images with video_id and frame_id) or YouTube-VIS (lists per track)."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from realtime_polyp.metrics.run_lengths import decode
from trainers.video.labels import Clock, Label, outlined, polygon_mask

FAINT = "faint"  # an annotation's own key, or among its attributes
_NUMBERS = ("instance_id", "track_id")
Labels = dict[int, list[Label]]
Entry = Mapping[str, Any]


def read_coco_video(path: Path, clock: Clock, *, video: str) -> Labels:
    """Read the labels by frame of the video of that name, or of the only video.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, or lacks the video.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such COCO file: {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        chosen = _select_video(content.get("videos", []), video, path)
        _check_size(content, chosen, clock, path)
        labelled = _read_images(content, chosen) if content.get("images") else _read_tracks(content, chosen)
        return _group_by_frame(labelled, clock)
    except KeyError as error:
        raise ValueError(f"{path} is not a COCO file of a video (docs/video_truth.md): {error} is missing") from error
    except (TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a COCO file of a video (docs/video_truth.md): {error}") from error


def _select_video(videos: Sequence[Entry], name: str, path: Path) -> Entry | None:
    """Return the entry of the video; None if the file lists no videos, as CVAT's COCO export of a single one."""
    if len(videos) <= 1:
        return videos[0] if videos else None
    named = [one for one in videos if Path(_name(one)).stem == Path(name).stem]
    if len(named) != 1:
        raise ValueError(f"{path} holds {', '.join(_name(one) for one in videos)}, and {name} is not one of them")
    return named[0]


def _name(video: Entry) -> str:
    return str(video.get("name") or video.get("file_name") or video["id"])


def _check_size(content: Entry, video: Entry | None, clock: Clock, path: Path) -> None:
    """Check that the sizes in the file equal the video's. Raises ValueError."""
    entries = [one for one in (video, *_images(content, video)) if one and "width" in one and "height" in one]
    for one in entries:
        size = (int(one["width"]), int(one["height"]))
        if size != clock.size:
            raise ValueError(f"{path} labels pictures of {size} px, the video's are {clock.size} px: another video?")


def _images(content: Entry, video: Entry | None) -> list[Entry]:
    return [
        one for one in content.get("images", []) if video is None or one.get("video_id", video["id"]) == video["id"]
    ]


def _read_images(content: Entry, video: Entry | None) -> list[tuple[int, int, Entry]]:
    """Return (frame, polyp, annotation) of every annotation in CocoVID format."""
    frames = {one["id"]: _frame_of(one) for one in _images(content, video)}
    listed = [one for one in content["annotations"] if one["image_id"] in frames]
    return [(frames[one["image_id"]], _polyp_number(one), one) for one in listed]


def _frame_of(image: Entry) -> int:
    """Return the frame's index: frame_id, from 0, else the last number in the file name, as in frame_000012.PNG."""
    if "frame_id" in image:
        return int(image["frame_id"])
    numbers = re.findall(r"\d+", Path(image["file_name"]).stem)
    if not numbers:
        raise ValueError(f"{image['file_name']} has neither a frame_id nor a number in its name")
    return int(numbers[-1])


def _polyp_number(annotation: Entry) -> int:
    for part in (annotation, annotation.get("attributes", {})):
        for name in _NUMBERS:
            if part.get(name) is not None:
                return int(part[name])
    raise ValueError(
        f"annotation {annotation.get('id')} does not say which polyp it is: it needs one of {', '.join(_NUMBERS)}"
    )


def _read_tracks(content: Entry, video: Entry | None) -> list[tuple[int, int, Entry]]:
    """Return the same from YouTube-VIS, which lists a box and an outline, or null, for every frame."""
    found: list[tuple[int, int, Entry]] = []
    for track in content["annotations"]:
        if video is not None and track["video_id"] != video["id"]:
            continue
        boxes = track["bboxes"]
        outlines = track.get("segmentations") or [None] * len(boxes)
        for frame, (box, outline) in enumerate(zip(boxes, outlines, strict=True)):
            if box or outline:
                found.append((frame, int(track["id"]), {**track, "bbox": box, "segmentation": outline}))
    return found


def _group_by_frame(labelled: Sequence[tuple[int, int, Entry]], clock: Clock) -> Labels:
    labels: Labels = {}
    for frame, number, annotation in labelled:
        label = _label(number, annotation, clock)
        if label is not None:
            labels.setdefault(frame, []).append(label)
    return labels


def _label(number: int, annotation: Entry, clock: Clock) -> Label | None:
    difficult = bool(annotation.get(FAINT) or annotation.get("attributes", {}).get(FAINT))
    outline = annotation.get("segmentation")
    if outline:
        return outlined(number, _mask(outline, clock.size), difficult=difficult)
    x, y, width, height = (float(value) for value in annotation["bbox"])
    return Label(number, np.array([x, y, x + width, y + height], np.float32), difficult)


def _mask(outline: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode an outline: polygons, or run lengths, compressed or not."""
    if isinstance(outline, list):
        return polygon_mask(outline, size)
    if list(outline["size"]) != [size[1], size[0]]:
        raise ValueError(f"a mask has the size {outline['size']}, the video's is [{size[1]}, {size[0]}]")
    runs = coco_mask.frPyObjects(outline, size[1], size[0]) if isinstance(outline["counts"], list) else outline
    return np.asarray(decode(runs), np.bool_)
