"""Results as one JSON line a frame, written as they come."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Detections, Mask, Result, Track


class ResultsWriter:
    """Each line is whole on disk before the next frame: a crash or a full disk costs the last line at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write results to {path}: {error.strerror}") from error

    def write(self, result: Result) -> None:
        try:
            self._file.write(json.dumps(line_of(result), separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(f"cannot write results to {self._path}: {error.strerror}") from error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # the buffer's rest met the same full disk
            raise OutputError(f"cannot write results to {self._path}: {error.strerror}") from error


def line_of(result: Result) -> dict[str, Any]:
    """One frame's results, all coordinates in source px; the mask as COCO RLE of the source's size, or None."""
    return {
        "index": result.frame.index,
        "pts_s": round(result.frame.pts_s, 6),
        "field": result.field_of_view.box,
        "signal": result.signal,
        "view": result.frame_quality,
        "detecting": result.has_detector,
        "detections": _detections(result.detections),
        "tracks": [_track(track) for track in result.tracks],
        "mask": None if result.mask is None else encode_mask(result.mask, result.frame.image.shape),
    }


def encode_mask(mask: Mask, shape: tuple[int, ...]) -> dict[str, Any]:
    """The mask at the frame's size (H, W, ...) as COCO's compressed run lengths."""
    encoded = coco_mask.encode(np.asfortranarray(mask.to_source(*shape[:2]).view(np.uint8)))
    return {"size": [int(length) for length in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def _detections(detections: Detections) -> list[dict[str, Any]]:
    pairs = zip(detections.boxes, detections.scores, strict=True)
    return [{"box": _rounded(box), "score": round(float(score), 4)} for box, score in pairs]


def _track(track: Track) -> dict[str, Any]:
    return {"id": track.id, "box": _rounded(track.box), "score": round(track.score, 4), "state": track.state}


def _rounded(box: Any) -> list[float]:
    return [round(float(value), 2) for value in box]
