"""Write the labels of a session for other programs: python -m realtime_polyp.review.export SESSION --format coco ...

What a person has accepted and drawn becomes COCO stills to train on, a truth file to score videos with, or tracks for
CVAT. docs/review.md describes the files.
"""

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.atomic_write import atomic_write_bytes, replacing
from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.field_of_view import Image
from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, write_truth
from realtime_polyp.outputs.sharing import blank_outside
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.review.actions import judge, read_actions
from realtime_polyp.review.labels import LabelledPolyp, SessionLabels, collect_labels
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.video_clock import (
    ExportError,
    VideoClock,
    picture_size,
    places_of,
    read_video_clock,
    video_of,
)
from realtime_polyp.sources.base import SourceError

FORMATS = ("coco", "truth", "cvat")
SPLITS = ("train", "val")
"""Names of the COCO file, as the trainers call them: sessions of other patients are exported beside it as the other."""
DEFAULT_EVERY_S = 0.4
"""Time between two exported pictures, s: neighbouring frames are almost the same picture."""

_EPILOG = """examples:
  python -m realtime_polyp.review.export SESSION --format coco --out DIR
  python -m realtime_polyp.review.export SESSION --format truth --out V_truth.json
  python -m realtime_polyp.review.export SESSION --format cvat --out annotations.xml

exit codes: 0 written, 2 bad input"""


@dataclass(frozen=True)
class PictureRules:
    """Which pictures become stills, and how.

    Attributes:
        every_s: least time between two pictures, s; 0: every frame.
        blank: make everything outside the field of view black, where names and dates stand.
        split: one of `SPLITS`: the name of the COCO file.
        ellipses: give a polyp without an outline the ellipse in its box; else its frames are left out.
    """

    every_s: float = DEFAULT_EVERY_S
    blank: bool = True
    split: str = "train"
    ellipses: bool = False


def export_coco(session: RecordedSession, labels: SessionLabels, folder: Path, rules: PictureRules) -> str:
    """Write pictures, masks and a COCO file into a folder; returns one sentence about them.

    Frames with polyps, and those of false alarms, which hold none. Raises ExportError, SourceError or OSError.
    """
    coco = folder / f"{rules.split}.json"
    if coco.exists():
        raise ExportError(f"{coco} exists, and nothing is overwritten: name another folder, or another --split")
    wanted, left_out = _choose(session, labels, rules)
    for number in wanted:
        if (still := folder / "images" / _still_name(session, number)).exists():
            whose = "of this session or of another one with its name"
            raise ExportError(f"{still} exists, {whose}, and nothing is overwritten: name another folder")
    pictures = PictureFile(video_of(session), deinterlace=session.deinterlace)
    for part in ("images", "masks"):
        make_private_folder(folder / part)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    try:
        for number in wanted:
            picture = pictures.at(float(session.frames.picture_s[number - 1]))
            if picture is None:
                left_out += 1
                continue
            polyps = labels.polyps.get(number, ())
            image = session.frame(number, picture.image).image  # of the size that was analysed, as the labels are
            entry = _write_still(session, folder, number, image, polyps, blank=rules.blank)
            images.append({"id": len(images) + 1, **entry})
            for one in polyps:
                annotations.append(_annotation(len(annotations) + 1, len(images), one))
    finally:
        pictures.close()
    document = {
        "info": {"description": f"session {session.folder.name}", "session_frames": "images[].session_frame"},
        "categories": [{"id": 1, "name": "polyp"}],
        "images": images,
        "annotations": annotations,
    }
    _write_json(document, coco)
    empty = len(images) - len({one["image_id"] for one in annotations})
    missing = f"; {left_out} frames without an outline or a picture are left out" if left_out else ""
    return f"{len(images)} pictures with {len(annotations)} polyps, {empty} without a polyp{missing}"


def _choose(session: RecordedSession, labels: SessionLabels, rules: PictureRules) -> tuple[list[int], int]:
    """Return the frames to export, and how many are left out because they have no outline or no picture."""
    chosen: list[int] = []
    left_out, last_s = 0, -np.inf
    for number in sorted({*labels.polyps, *labels.false_alarms} & labels.labelled):
        at_s = float(session.frames.session_s[number - 1])
        if at_s - last_s < rules.every_s - 1e-6:
            continue
        polyps = labels.polyps.get(number, ())
        usable = rules.ellipses or all(one.outline for one in polyps)
        if not usable or np.isnan(session.frames.picture_s[number - 1]):
            left_out += 1
            continue
        chosen.append(number)
        last_s = at_s
    return chosen, left_out


def _write_still(
    session: RecordedSession, folder: Path, number: int, image: Image, polyps: Sequence[LabelledPolyp], *, blank: bool
) -> dict[str, Any]:
    """Write picture and mask of a frame; returns its entry in `images`."""
    height, width = image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for one in polyps:
        mask |= 255 * (decode(one.outline) if one.outline else _ellipse(one, width, height))
    if blank:
        image = blank_outside(image, session.result(number, image) if session.frames.analysed[number - 1] else None)
    name = _still_name(session, number)
    _write_png(folder / "images" / name, np.ascontiguousarray(image[..., ::-1]))
    _write_png(folder / "masks" / name, mask)
    return {
        "file_name": f"images/{name}",
        "mask_name": f"masks/{name}",
        "width": width,
        "height": height,
        "centre": "session",
        "group": session.folder.name,
        "session_frame": number,
    }


def _still_name(session: RecordedSession, number: int) -> str:
    """The name of a frame's picture, and of its mask."""
    return f"{session.folder.name}_{number:06d}.png"


def _ellipse(polyp: LabelledPolyp, width: int, height: int) -> NDArray[np.uint8]:
    x1, y1, x2, y2 = polyp.box
    rows, columns = np.mgrid[:height, :width] + 0.5
    distance = ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((rows - (y1 + y2) / 2) / (y2 - y1)) ** 2
    return np.asarray(distance <= 0.25, np.uint8)


def _annotation(number: int, image: int, polyp: LabelledPolyp) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(value, 2) for value in polyp.box)
    box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
    outline = {"segmentation": dict(polyp.outline)} if polyp.outline else {}
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "instance_id": polyp.id,
        "bbox": box,
        "area": round(box[2] * box[3], 2),
        "iscrowd": 0,
        **outline,
    }


def export_truth(session: RecordedSession, labels: SessionLabels, path: Path) -> str:
    """Write a truth file (docs/video_truth.md) of the video that was recorded; returns one sentence about it.

    Frames that were not recorded or not judged are not labelled. Raises ExportError, SourceError or OSError.
    """
    video, clock = video_of(session), read_video_clock(session)
    place_of = places_of(session, clock)
    at = {place: number for number, place in place_of.items()}
    frames = [_true_frame(session, labels, at.get(place), at.get(place - 1)) for place in range(clock.count)]
    if not any(one.labelled for one in frames):
        raise ExportError(f"nothing in {session.folder} was judged: accept or reject its alarms first")
    with replacing(path) as temporary:
        write_truth(VideoTruth(path.name, picture_size(session), clock.rate_hz, frames), temporary, video=video.name)
    labelled, polyps = sum(one.labelled for one in frames), {one for frame in frames for one in frame.polyps}
    return f"{len(frames)} frames, {labelled} of them labelled, {len(polyps)} polyps"


def _true_frame(session: RecordedSession, labels: SessionLabels, number: int | None, before: int | None) -> TrueFrame:
    """number: of the frame in the session; before: of the picture before it; None: it was not recorded."""
    if number is None:
        return TrueFrame({}, {}, labelled=False)
    polyps = labels.polyps.get(number, ())
    cut = number > 1 and not session.frames.continues[number - 1]
    motion = None if cut or before != number - 1 else _motion(session, number)
    return TrueFrame(
        {one.id: np.array(one.box, np.float32) for one in polyps},
        {},
        cut,
        {one.id: one.outline for one in polyps if one.outline},
        motion,
        number in labels.labelled,
    )


def _motion(session: RecordedSession, number: int) -> NDArray[np.float64] | None:
    """The camera motion since the frame before, which was analysed too."""
    if number < 2 or not session.frames.analysed[number - 2 : number].all():
        return None
    camera = session.cues(number).camera
    return None if camera is None else camera.astype(np.float64)


def export_cvat(session: RecordedSession, labels: SessionLabels, path: Path) -> str:
    """Write tracks of boxes as "CVAT for video 1.1"; returns one sentence about them.

    CVAT has no outlines in tracks. Raises ExportError, SourceError or OSError.
    """
    video, clock = video_of(session), read_video_clock(session)
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    _add_meta(root, session, video.name, clock)
    place_of = places_of(session, clock)
    tracks: dict[int, dict[int, LabelledPolyp]] = {}
    for number, polyps in labels.polyps.items():
        for one in polyps:
            if number in place_of:
                tracks.setdefault(one.id, {})[place_of[number]] = one
    if not tracks:
        raise ExportError(f"{session.folder} has no accepted and no marked polyp: accept alarms or mark polyps first")
    for identity, boxes in sorted(tracks.items()):
        _add_track(root, identity, boxes, clock)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    atomic_write_bytes(path, text, private=True)
    return f"{len(tracks)} tracks with {sum(map(len, tracks.values()))} boxes"


def _add_meta(root: Element, session: RecordedSession, video: str, clock: VideoClock) -> None:
    task = SubElement(SubElement(root, "meta"), "task")
    facts = {"name": session.folder.name, "size": clock.count, "mode": "interpolation"}
    facts |= {"start_frame": 0, "stop_frame": clock.count - 1, "source": video}
    for name, value in facts.items():
        SubElement(task, name).text = str(value)
    label = SubElement(SubElement(task, "labels"), "label")
    SubElement(label, "name").text = "polyp"
    attribute = SubElement(SubElement(label, "attributes"), "attribute")
    for name, text in (("name", "polyp"), ("mutable", "False"), ("input_type", "number"), ("default_value", "0")):
        SubElement(attribute, name).text = text
    size = SubElement(task, "original_size")
    for name, side in zip(("width", "height"), picture_size(session), strict=True):
        SubElement(size, name).text = str(side)


def _add_track(root: Element, identity: int, boxes: Mapping[int, LabelledPolyp], clock: VideoClock) -> None:
    track = SubElement(root, "track", {"id": str(identity - 1), "label": "polyp", "source": "manual"})
    for place, polyp in sorted(boxes.items()):
        _add_box(track, place, polyp)
        if place + 1 not in boxes and place + 1 < clock.count:
            _add_box(track, place + 1, polyp, outside=True)


def _add_box(track: Element, place: int, polyp: LabelledPolyp, *, outside: bool = False) -> None:
    """Add a key frame: CVAT reads no other boxes of a track, and would fill in between."""
    corners = {name: f"{value:.2f}" for name, value in zip(("xtl", "ytl", "xbr", "ybr"), polyp.box, strict=True)}
    states = {"frame": str(place), "keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
    box = SubElement(track, "box", {**states, **corners, "z_order": "0"})
    SubElement(box, "attribute", {"name": "polyp"}).text = str(polyp.id)


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    encoded = cv2.imencode(".png", picture)[1]
    atomic_write_bytes(path, encoded.tobytes(), sync=False, private=True)


def _write_json(document: object, path: Path) -> None:
    atomic_write_bytes(path, (json.dumps(document, indent=1) + "\n").encode(), private=True)


# The command

Exporter = Callable[[RecordedSession, SessionLabels, Path], str]


def export_session(folder: Path, kind: str, out: Path, rules: PictureRules = PictureRules()) -> str:
    """Export a session; returns one sentence about what was written.

    kind: one of `FORMATS`. Raises SessionFileError, ExportError, SourceError or OSError.
    """
    exporters: dict[str, Exporter] = {
        "coco": lambda session, labels, path: export_coco(session, labels, path, rules),
        "truth": export_truth,
        "cvat": export_cvat,
    }
    if kind != "coco" and os.path.lexists(out):
        raise ExportError(f"{out} exists, and nothing is overwritten: name another file")
    session = RecordedSession(folder)
    try:
        labels = collect_labels(session, judge(read_actions(session.database)))
        written = exporters[kind](session, labels, out)
    except sqlite3.Error as error:
        raise SessionFileError(f"{session.path} cannot be read: {error}") from error
    finally:
        session.close()
    left_out = ""
    if labels.open_alarms:
        left_out += f"; {labels.open_alarms} alarms are not judged, and their frames are left out"
    if labels.boxless:
        left_out += f"; {len(labels.boxless)} frames of accepted polyps have no recorded box and are left out"
    return f"{out}: {written}{left_out}"


def main(arguments: list[str] | None = None) -> None:
    options = command_line().parse_args(arguments)
    rules = PictureRules(options.every, not options.whole_picture, options.split, options.ellipses)
    try:
        print(export_session(options.session, options.format, options.out, rules))
    except (SessionFileError, ExportError, SourceError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or options.out} cannot be written: {error.strerror or error}")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m realtime_polyp.review.export",
        description="Write what persons have accepted, corrected and marked in a recorded session for other programs.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("session", type=Path, metavar="SESSION", help="folder of the session")
    add(
        "--format",
        choices=FORMATS,
        required=True,
        help="coco: stills to train on; truth: a truth file of the video; cvat: tracks for CVAT",
    )
    add("--out", type=Path, required=True, metavar="PATH", help="folder (coco) or file to write")
    add(
        "--every",
        type=float,
        default=DEFAULT_EVERY_S,
        metavar="S",
        help="coco: least time between two stills, s; 0: every frame (default: %(default)s)",
    )
    add("--split", choices=SPLITS, default="train", help="coco: name of the COCO file (default: %(default)s)")
    add("--whole-picture", action="store_true", help="coco: keep what lies outside the field of view, such as names")
    add("--ellipses", action="store_true", help="coco: where a polyp has no outline, use the ellipse in its box")
    return parser


def _fail(sentence: str) -> None:
    print(f"realtime-polyp: {sentence}", file=sys.stderr)
    raise SystemExit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    main()
