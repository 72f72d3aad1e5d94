"""Frames with their truth, and the clip and the JSON file made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from phantom.render import FieldPicture, render_field
from phantom.scene import Scene, frame_count
from phantom.screen import Screen, build_screen, compose

MIN_AREA_SHARE = 0.0015  # of the field's box: a polyp with fewer visible pixels is too small for the truth
MIN_LUMA = 40.0  # mean of R, G, B over its pixels, 0..255: a darker polyp is still lost in the depth of the lumen
MIN_FAINT_PX = 4  # fewer pixels than this are nowhere in the truth
VISIBLE_RULE = (
    "a polyp is listed where its visible pixels (not hidden by folds, other polyps or the field's edge) "
    f"are at least {MIN_AREA_SHARE:.2%} of the field's box and their mean of R, G, B is at least "
    f"{MIN_LUMA:g}; otherwise it is faint"
)


@dataclass(frozen=True)
class SeenPolyp:
    """A polyp in one frame: its id, box (x1, y1, x2, y2) source px (x2, y2 excluded), visible mask (H, W)."""

    id: int
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class PhantomFrame:
    """One frame of the clip with its truth.

    Attributes:
        index: from 0.
        pts_s: time, s.
        image: (H, W, 3) uint8 RGB.
        polyps: polyps that must be found.
        difficult: polyps that are hardly visible and need not be found; "faint" in the truth file.
    """

    index: int
    pts_s: float
    image: NDArray[np.uint8]
    polyps: tuple[SeenPolyp, ...]
    difficult: tuple[SeenPolyp, ...]


def tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The smallest box that holds all true pixels of a mask that has some."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def is_clear(part: NDArray[np.bool_], image: NDArray[np.uint8]) -> bool:
    """The rule of the truth for a polyp's pixels ``part`` (h, w) in the field's picture."""
    return bool(part.sum() >= MIN_AREA_SHARE * part.size and image[part].mean() >= MIN_LUMA)


def seen_polyps(scene: Scene, picture: FieldPicture, screen: Screen) -> tuple[list[SeenPolyp], list[SeenPolyp]]:
    """The polyps that pass the rule and those that do not, their masks placed in the whole frame."""
    x1, y1, x2, y2 = screen.layout.field
    clear: list[SeenPolyp] = []
    difficult: list[SeenPolyp] = []
    for i, polyp in enumerate(scene.polyps):
        part = picture.owner == i
        if part.sum() < MIN_FAINT_PX:
            continue
        mask = np.zeros((screen.layout.height_px, screen.layout.width_px), bool)
        mask[y1:y2, x1:x2] = part
        (clear if is_clear(part, picture.image) else difficult).append(SeenPolyp(polyp.id, tight_box(mask), mask))
    return clear, difficult


def render_frame(scene: Scene, screen: Screen, index: int, *, detail: float = 1.0, threads: int = 1) -> PhantomFrame:
    """Frame ``index`` of the clip with its truth. The same scene, screen size and detail give the same pixels."""
    x1, y1, x2, y2 = screen.layout.field
    picture = render_field(scene, index, x2 - x1, y2 - y1, detail=detail, threads=threads)
    image = compose(picture.image, screen, scene, index)
    pts_s = index * scene.fps[1] / scene.fps[0]
    clear, difficult = seen_polyps(scene, picture, screen)
    return PhantomFrame(index, pts_s, image, tuple(clear), tuple(difficult))


def render_frames(
    scene: Scene, screen: Screen, *, detail: float = 1.0, threads: int = 1, progress: bool = False
) -> Iterator[PhantomFrame]:
    """All frames of the clip in order."""
    for index in tqdm(range(frame_count(scene)), unit="frame", disable=not progress):
        yield render_frame(scene, screen, index, detail=detail, threads=threads)


def frame_truth(frame: PhantomFrame) -> dict[str, Any]:
    """A frame's entry in the truth file; masks as COCO run lengths."""
    polyps = []
    for polyp in frame.polyps:
        rle = coco_mask.encode(np.asfortranarray(polyp.mask, np.uint8))
        mask = {"size": [int(v) for v in rle["size"]], "counts": rle["counts"].decode("ascii")}
        polyps.append({"id": polyp.id, "box": list(polyp.box), "mask": mask})
    faint = [{"id": polyp.id, "box": list(polyp.box)} for polyp in frame.difficult]
    return {"index": frame.index, "pts_s": round(frame.pts_s, 6), "polyps": polyps, "faint": faint}


def clip_truth(scene: Scene, screen: Screen, file: str, frames: list[dict[str, Any]]) -> dict[str, Any]:
    """The truth file's content."""
    layout = screen.layout
    return {
        "video": {
            "file": file,
            "width": layout.width_px,
            "height": layout.height_px,
            "fps": list(scene.fps),
            "frames": len(frames),
        },
        "seed": scene.seed,
        "field": list(layout.field),
        "rule": VISIBLE_RULE,
        "polyps": [{"id": polyp.id, "kind": polyp.kind, "paris": polyp.paris} for polyp in scene.polyps],
        "frames": frames,
    }


def open_stream(container: av.container.OutputContainer, scene: Scene, screen: Screen, crf: int) -> av.VideoStream:
    """An H.264 stream whose colours are tagged BT.709, with a key frame at least every two seconds."""
    stream = container.add_stream(
        "libx264", rate=Fraction(*scene.fps), options={"crf": str(crf), "preset": "slow", "threads": "2"}
    )
    stream.width, stream.height, stream.pix_fmt = screen.layout.width_px, screen.layout.height_px, "yuv420p"
    codec = stream.codec_context
    codec.gop_size = max(1, round(2 * scene.fps[0] / scene.fps[1]))
    codec.colorspace, codec.color_primaries, codec.color_trc = Colorspace.ITU709, 1, 1
    codec.color_range = ColorRange.MPEG
    return stream


def to_video_frame(frame: PhantomFrame, fps: tuple[int, int]) -> av.VideoFrame:
    """The frame as limited-range BT.709 yuv420p with its time stamp."""
    picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    picture.pts, picture.time_base = frame.index, Fraction(fps[1], fps[0])
    return picture


def write_clip(
    scene: Scene,
    out: Path,
    truth: Path,
    *,
    size: tuple[int, int] = (1280, 720),
    crf: int = 23,
    detail: float = 1.0,
    threads: int = 1,
    progress: bool = False,
) -> None:
    """Render the clip and its truth. A file appears under its name only when it is complete."""
    screen = build_screen(scene, *size)
    partial, entries = out.with_name(out.stem + ".partial.mp4"), []
    out.parent.mkdir(parents=True, exist_ok=True)
    truth.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(partial), "w", options={"movflags": "+faststart"}) as container:
        stream = open_stream(container, scene, screen, crf)
        for frame in render_frames(scene, screen, detail=detail, threads=threads, progress=progress):
            container.mux(stream.encode(to_video_frame(frame, scene.fps)))
            entries.append(frame_truth(frame))
        container.mux(stream.encode())
    partial.replace(out)
    text = json.dumps(clip_truth(scene, screen, out.name, entries), separators=(",", ":"))
    truth.write_text(text.replace('{"index"', '\n{"index"') + "\n", encoding="ascii")
