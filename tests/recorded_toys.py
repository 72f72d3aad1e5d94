"""Small recorded sessions, made with the store alone: a disc moves over tissue, and the models see most of it."""

from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import NO_DETECTIONS, Detections, FilterCues, Frame, Mask, RawResult, Result, Track
from realtime_polyp.recording.store import SessionStore

SIZE = (160, 128)
RATE_HZ = 25
FIELD = FieldOfView(0, 0, *SIZE)
_TEXTURE = cv2.GaussianBlur(np.random.default_rng(3).integers(60, 200, (400, 400, 3), np.uint8), (5, 5), 1.5)


def true_box(number: int) -> np.ndarray:
    """The disc's box in a frame, 1, 2, ...: it swings, and comes nearer."""
    angle, radius = number / 10, 12 + number / 5
    x, y = 80 + 35 * np.sin(angle), 64 + 20 * np.sin(angle / 2)
    return np.array([x - radius, y - radius, x + radius, y + radius], np.float32)


def picture(number: int) -> np.ndarray:
    """Tissue that moves with the disc (H, W, 3)."""
    x, y = (true_box(number)[:2] + true_box(number)[2:]) / 2
    width, height = SIZE
    image = cv2.warpAffine(_TEXTURE, np.float32([[1, 0, x - 200], [0, 1, y - 200]]), SIZE)
    radius = round(float(true_box(number)[2] - true_box(number)[0]) / 2)
    rows, columns = np.mgrid[:height, :width]
    disc = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    image[disc] = (0.5 * image[disc] + (110, 60, 40)).astype(np.uint8)
    return image


def result(number: int, *, seen: bool = True, camera: bool = True) -> Result:
    """The result of a frame; seen: the models find the disc."""
    box = true_box(number)
    frame = Frame(
        number - 1, (number - 1) / RATE_HZ, 0.0, np.broadcast_to(np.uint8(0), (*SIZE[::-1], 3)), continues=number > 1
    )
    found = Detections(box[None] + np.float32([1, -1, -1, 1]), np.float32([0.8])) if seen else NO_DETECTIONS
    rows, columns = np.mgrid[1 : SIZE[1] : 2, 1 : SIZE[0] : 2]
    x, y, radius = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2
    inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    mask = Mask((inside & seen).astype(np.float32), FIELD)
    step = (box[:2] + box[2:] - true_box(number - 1)[:2] - true_box(number - 1)[2:]) / 2
    motion = np.float32([[1, 0, step[0]], [0, 1, step[1]]]) if camera and number > 1 else None
    tracks = (Track(1, found.boxes[0], 0.8, "shown", number / RATE_HZ, 0.0),) if seen else ()
    raw = RawResult(frame, FIELD, "ok", found, mask)
    return Result(frame, FIELD, found, tracks, mask, raw=raw, cues=FilterCues(found, motion, False, ()))


def make_session(
    folder: Path, count: int = 40, *, unseen: range = range(0), camera: bool = True, video: Path | None = None
) -> Path:
    """Record a session of `count` frames in a folder. unseen: frames in which the models find nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    store = SessionStore(folder)
    if video:
        store.set_fact("source", {"path": str(video), "name": video.name})
    for number in range(1, count + 1):
        one = result(number, seen=number not in unseen, camera=camera)
        store.add_result(one, session_s=one.frame.pts_s, picture_s=one.frame.pts_s)
    store.set_fact("ended", True)
    store.close()
    return folder
