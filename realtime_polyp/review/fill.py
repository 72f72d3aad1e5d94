"""Fills a polyp's box and outline in between frames in which a person drew its box.

The path of the box is a Kalman filter with a Rauch-Tung-Striebel smoother (1965) over its centre and the logarithm of
its size. From one frame to the next the box moves with the tissue around it (optical flow, where pictures are at hand)
or with the recorded camera motion. A tracker first follows the recorded raw detections and regions of the mask
from each drawn box, forward and backward; then those near the path pull at it.

The figures were chosen on the demo clip (7 stretches of 742 frames between two boxes of its truth: mean IoU of 0.78
without pictures, of 0.10 by linear interpolation) and on `one_polyp.mp4` of the data (docs/review.md).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.run_lengths import RunLengths
from realtime_polyp.outputs.video_picture import unfit
from realtime_polyp.packets import Boxes, Mask
from realtime_polyp.review.labels import mask_region, regions_of
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.temporal.camera_motion import camera_motion, thumbnail

Pictures = Callable[[int], Image | None]
"""Returns the picture (H, W, 3) of a frame by its number in the session; None where there is none."""
Matrix = NDArray[np.float64]
IsCancelled = Callable[[], bool]
_Grey = NDArray[np.uint8]
_T = TypeVar("_T")

MOST_FRAMES = 1800
"""The longest stretch between two drawn boxes: a minute at 30 frames per second."""

_PASSES = 3
_MIN_SCORE = 0.05
_MIN_IOU = 0.35
_MOST_MISSED = 12  # frames without a recorded box, after which a tracker gives up
_REACH, _MOST_GROWTH = 0.5, 0.7  # how far the next recorded box may be, in sides, and by how much (log) it may differ
# Standard deviations as shares of the box's sides: of a step with flow, with camera motion, and with neither; of sizes.
_FLOW_STEP, _CAMERA_STEP, _BLIND_STEP, _SIZE_STEP = 0.06, 0.08, 0.15, 0.06
_KEY_SD, _BEST_SD, _WORST_SD = 0.004, 0.05, 0.25
_MOST_GREY_BYTES = 256 << 20
_FLOW_LONG_PX, _GRID, _MIN_POINTS = 640, 9, 8
_FLOW = {"winSize": (15, 15), "maxLevel": 3, "criteria": (3, 12, 0.03)}
_BACKWARD_PX, _INLIER_PX, _ZOOM = 1.5, 1.5, (0.75, 1.33)
_HIGHLIGHT, _DARK = 245, 20


@dataclass(frozen=True)
class FilledFrame:
    """One frame of a stretch.

    Attributes:
        number: of the frame in the session.
        box: (4,) xyxy source px.
        drawn: a person drew the box.
        outline: the recorded mask's region in the box, run lengths of the picture's size; None where there is none.
    """

    number: int
    box: Boxes
    drawn: bool
    outline: RunLengths | None = None


@dataclass(frozen=True)
class _Recorded:
    """What was recorded of one frame. detections, regions: (n, 5) xyxy and score. camera: since the frame before."""

    number: int
    size: tuple[int, int]
    field: FieldOfView
    detections: Matrix
    regions: Matrix
    mask: Mask | None
    camera: Matrix | None


@dataclass(frozen=True)
class _Step:
    """From one frame to the next: matrix (2, 3), and its standard deviation as a share of the box's sides."""

    matrix: Matrix
    sd: float


_NO_BOXES = np.zeros((0, 5))
_STILL = np.eye(2, 3)


def _never() -> bool:
    return False


def fill(
    session: RecordedSession,
    keys: Mapping[int, Boxes],
    pictures: Pictures | None = None,
    *,
    is_cancelled: IsCancelled = _never,
) -> list[FilledFrame]:
    """Return every frame from the first to the last drawn box.

    keys: {number of a frame: box (4,) that the person drew}, at least one. pictures: for optical flow; None: the
    recorded camera motion has to do. is_cancelled: asked before each frame.

    Raises:
        ValueError: two drawn boxes are more than `MOST_FRAMES` apart, or a frame is not in the session.
        CancelledError: it was cancelled.
    """
    numbers = sorted(keys)
    if not numbers or numbers[0] < 1 or numbers[-1] > len(session.frames):
        raise ValueError(f"boxes are drawn in frames {numbers}, and the session has frames 1 to {len(session.frames)}")
    for before, after in pairwise(numbers):
        if after - before > MOST_FRAMES:
            raise ValueError(
                f"frames {before} and {after} are too far apart: at most {MOST_FRAMES} frames are filled; "
                "draw a box in between"
            )
    frames = _until_cancelled(range(numbers[0], numbers[-1] + 1), is_cancelled)
    recorded = [_read(session, number) for number in frames]
    drawn = {number: np.asarray(keys[number], np.float64) for number in numbers}
    steps = _steps(recorded)
    greys: list[_Grey | None] = []
    if pictures is not None and len(recorded) > 2:
        greys, steps = _look_at(recorded, steps, pictures, is_cancelled)
    path = _path(recorded, drawn, steps)
    if greys:
        path = _path(recorded, drawn, _flow_steps(recorded, path, steps, greys, is_cancelled))
    return [_filled(one, box, one.number in drawn) for one, box in zip(recorded, path, strict=True)]


def _until_cancelled(items: Iterable[_T], is_cancelled: IsCancelled) -> Iterator[_T]:
    """Yield the items. Raises CancelledError before the next one once it is cancelled."""
    for item in items:
        if is_cancelled():
            raise CancelledError
        yield item


# What was recorded


def _read(session: RecordedSession, number: int) -> _Recorded:
    height, width = size = session.frame(number).image.shape[:2]
    try:
        raw, cues = session.raw(number), session.cues(number)
    except KeyError:  # it was not analysed
        return _Recorded(number, size, FieldOfView(0, 0, width, height), _NO_BOXES, _NO_BOXES, None, None)
    detections = np.column_stack([raw.detections.boxes, raw.detections.scores]).astype(np.float64)
    camera = None if cues.camera is None else cues.camera.astype(np.float64)
    kept = detections[detections[:, 4] >= _MIN_SCORE]
    regions = _NO_BOXES if raw.mask is None else regions_of(raw.mask)[1][:, :5]
    return _Recorded(number, size, raw.field_of_view, kept, regions, raw.mask, camera)


# How the box moves from frame to frame


def _steps(recorded: Sequence[_Recorded]) -> list[_Step]:
    """Return the steps to each frame but the first, from the recorded camera motion."""
    return [
        _Step(one.camera, _CAMERA_STEP) if one.camera is not None else _Step(_STILL, _BLIND_STEP)
        for one in recorded[1:]
    ]


def _look_at(
    recorded: Sequence[_Recorded], steps: Sequence[_Step], pictures: Pictures, is_cancelled: IsCancelled = _never
) -> tuple[list[_Grey | None], list[_Step]]:
    """Return the small grey pictures, and the steps with the camera motion of the pictures where none was recorded."""
    height, width = recorded[0].size
    scale = min(1.0, _FLOW_LONG_PX / max(height, width), math.sqrt(_MOST_GREY_BYTES / (len(recorded) * height * width)))
    greys: list[_Grey | None] = []
    found, before = list(steps), None
    for place, one in _until_cancelled(enumerate(recorded), is_cancelled):
        stored = pictures(one.number)
        picture = None if stored is None else unfit(stored, one.size)  # boxes are of the size that was analysed
        now = None if picture is None else thumbnail(picture, one.field)
        if place and now is not None and steps[place - 1].sd == _BLIND_STEP:
            motion = camera_motion(before, now)
            if motion.known:
                found[place - 1] = _Step(motion.matrix.astype(np.float64), _CAMERA_STEP)
        greys.append(None if picture is None else _grey(picture, scale))
        before = now
    return greys, found


def _flow_steps(
    recorded: Sequence[_Recorded],
    path: Sequence[Matrix],
    steps: Sequence[_Step],
    greys: Sequence[_Grey | None],
    is_cancelled: IsCancelled,
) -> list[_Step]:
    """Return the steps by optical flow around the box where it can be had, else the given ones."""
    found = list(steps)
    for place in _until_cancelled(range(1, len(recorded)), is_cancelled):
        before, now = greys[place - 1], greys[place]
        if before is not None and now is not None and before.shape == now.shape:
            scale = now.shape[1] / recorded[place].size[1]
            matrix = _flow(before, now, path[place - 1], steps[place - 1].matrix, scale)
            if matrix is not None:
                found[place - 1] = _Step(matrix, _FLOW_STEP)
    return found


def _grey(picture: Image, scale: float) -> _Grey:
    """The green channel, in which vessels stand out, small."""
    green = np.ascontiguousarray(picture[..., 1])
    if scale == 1.0:
        return green
    return np.asarray(cv2.resize(green, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _flow(before: _Grey, now: _Grey, box: Matrix, guess: Matrix, scale: float) -> Matrix | None:
    """Return the similarity (2, 3), source px, that most points in the box follow; None where too few agree."""
    points = _grid(before, box * scale)
    if len(points) < _MIN_POINTS:
        return None
    start = (points / scale) @ guess[:, :2].T + guess[:, 2]
    start = (start * scale).astype(np.float32)
    use_start = {**_FLOW, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, start.copy(), **use_start)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(now, before, moved, points.copy(), **use_start)  # type: ignore[call-overload]
    good = (found.ravel() == 1) & (found_back.ravel() == 1) & (np.abs(back - points).max(1) < _BACKWARD_PX)
    if good.sum() < _MIN_POINTS:
        return None
    matrix, inliers = cv2.estimateAffinePartial2D(
        points[good], moved[good], method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX
    )
    if matrix is None or inliers.sum() < _MIN_POINTS or not _ZOOM[0] <= math.hypot(*matrix[:, 0]) <= _ZOOM[1]:
        return None
    return np.column_stack([matrix[:, :2], matrix[:, 2] / scale])


def _grid(grey: _Grey, box: Matrix) -> NDArray[np.float32]:
    """Return points (n, 2) in a box, without those on highlights and in the dark."""
    xs, ys = np.linspace(box[0], box[2], _GRID), np.linspace(box[1], box[3], _GRID)
    points = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    height, width = grey.shape
    points = points[(points >= 1).all(1) & (points[:, 0] < width - 1) & (points[:, 1] < height - 1)]
    level = grey[points[:, 1].astype(int), points[:, 0].astype(int)]
    return np.asarray(points[(level < _HIGHLIGHT) & (level > _DARK)], np.float32)


# The path


def _path(recorded: Sequence[_Recorded], drawn: Mapping[int, Matrix], steps: Sequence[_Step]) -> list[Matrix]:
    """Return the boxes (4,) of all frames: first with what a tracker follows, then with what lies near the path."""
    keys = {place: drawn[one.number] for place, one in enumerate(recorded) if one.number in drawn}
    path = _smooth(len(recorded), keys, _followed(recorded, keys, steps), steps)
    for _ in range(_PASSES):
        path = _smooth(len(recorded), keys, _observations(recorded, path), steps)
    return path


def _smooth(
    count: int,
    keys: Mapping[int, Matrix],
    seen: Mapping[int, Sequence[tuple[Matrix, float]]],
    steps: Sequence[_Step],
) -> list[Matrix]:
    """Filter forward and smooth backward. seen: {place: (box, standard deviation as a share of its sides)}."""
    state, spread = _state_of(keys[0]), np.eye(4) * _KEY_SD**2
    filtered, predicted = [], []
    for place in range(count):
        if place:
            state, spread = _predict(state, spread, steps[place - 1])
        predicted.append((state, spread))
        observed = [(keys[place], _KEY_SD)] if place in keys else seen.get(place, ())
        for box, sd in observed:
            state, spread = _correct(state, spread, _state_of(box), sd)
        filtered.append((state, spread))
    smoothed = [filtered[-1]]
    for place in range(count - 2, -1, -1):
        state, spread = filtered[place]
        ahead, ahead_spread = predicted[place + 1]
        gain = spread @ _transition(steps[place])[0].T @ np.linalg.inv(ahead_spread)
        later, later_spread = smoothed[-1]
        smoothed.append((state + gain @ (later - ahead), spread + gain @ (later_spread - ahead_spread) @ gain.T))
    path = [_box_of(state) for state, _ in reversed(smoothed)]
    return [keys.get(place, box) for place, box in enumerate(path)]


def _transition(step: _Step) -> tuple[Matrix, Matrix]:
    """Return matrix (4, 4) and shift (4,) of a state (centre x, centre y, log width, log height)."""
    matrix = np.eye(4)
    matrix[:2, :2] = step.matrix[:, :2]
    zoom = math.log(max(1e-3, math.sqrt(abs(float(np.linalg.det(step.matrix[:, :2]))))))
    return matrix, np.array([step.matrix[0, 2], step.matrix[1, 2], zoom, zoom])


def _predict(state: Matrix, spread: Matrix, step: _Step) -> tuple[Matrix, Matrix]:
    matrix, shift = _transition(step)
    moved = matrix @ state + shift
    width, height = np.exp(moved[2:])
    noise = np.diag([(step.sd * width) ** 2, (step.sd * height) ** 2, _SIZE_STEP**2, _SIZE_STEP**2])
    return moved, matrix @ spread @ matrix.T + noise


def _correct(state: Matrix, spread: Matrix, seen: Matrix, sd: float) -> tuple[Matrix, Matrix]:
    width, height = np.exp(state[2:])
    noise = np.diag([(sd * width) ** 2, (sd * height) ** 2, sd**2, sd**2])
    gain = spread @ np.linalg.inv(spread + noise)
    return state + gain @ (seen - state), (np.eye(4) - gain) @ spread


def _state_of(box: Matrix) -> Matrix:
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, math.log(max(1.0, x2 - x1)), math.log(max(1.0, y2 - y1))])


def _box_of(state: Matrix) -> Matrix:
    x, y, width, height = state[0], state[1], *np.exp(state[2:])
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])


# What a tracker follows from each drawn box, forward and backward


def _followed(
    recorded: Sequence[_Recorded], keys: Mapping[int, Matrix], steps: Sequence[_Step]
) -> dict[int, list[tuple[Matrix, float]]]:
    """Return for each frame the recorded box that a tracker follows from the drawn boxes around it.

    Where the trackers from both sides disagree, the one with the nearer drawn box is right.
    """
    seen: dict[int, list[tuple[Matrix, float]]] = {}
    for first, last in pairwise(sorted(keys)):
        ahead = [_Step(_inverse(one.matrix), one.sd) for one in steps[first:last]]
        forward = _follow(recorded[first : last + 1], keys[first], steps[first:last])
        backward = _follow(recorded[first : last + 1][::-1], keys[last], ahead[::-1])
        length = last - first
        for place in range(1, length):
            found = forward.get(place), backward.get(length - place)
            near = found if 2 * place <= length else found[::-1]
            best = near[0] if near[0] is not None else near[1]
            if best is not None:
                seen[first + place] = [(best[:4], 2 * _sd_of(best))]
    return seen


def _follow(recorded: Sequence[_Recorded], box: Matrix, steps: Sequence[_Step]) -> dict[int, Matrix]:
    """Track a box from the first frame on; returns {place: xyxy and score of the recorded box}."""
    state, spread, missed = _state_of(box), np.eye(4) * _KEY_SD**2, 0
    followed: dict[int, Matrix] = {}
    for place in range(1, len(recorded)):
        state, spread = _predict(state, spread, steps[place - 1])
        found = _match(recorded[place], state, spread)
        missed = 0 if found is not None else missed + 1
        if found is not None:
            followed[place] = found
            state, spread = _correct(state, spread, _state_of(found[:4]), _sd_of(found))
        if missed > _MOST_MISSED:
            break
    return followed


def _match(one: _Recorded, state: Matrix, spread: Matrix) -> Matrix | None:
    """Return the recorded box that continues a track: near enough for its uncertainty, of a similar size."""
    listed = np.concatenate([one.detections, one.regions])
    best, best_merit = None, 0.0
    for found in listed:
        seen = _state_of(found[:4])
        sides = np.exp((state[2:] + seen[2:]) / 2)
        reach = _REACH + 2 * np.sqrt(np.diag(spread)[:2]) / sides
        away = float(np.max(np.abs(seen[:2] - state[:2]) / sides / reach))
        grown = float(np.max(np.abs(seen[2:] - state[2:])) / (_MOST_GROWTH + 2 * math.sqrt(spread[2, 2])))
        merit = (1 - away) * (1 - grown / 2) * (0.3 + found[4]) if away < 1 and grown < 1 else 0.0
        if merit > best_merit:
            best, best_merit = found, merit
    return best


def _inverse(matrix: Matrix) -> Matrix:
    inverse = np.linalg.inv(matrix[:, :2])
    return np.column_stack([inverse, -inverse @ matrix[:, 2]])


def _sd_of(found: Matrix) -> float:
    """Standard deviation of a recorded box (xyxy, score), as a share of its sides."""
    return _WORST_SD + (_BEST_SD - _WORST_SD) * float(found[4])


# What lies near the path


def _observations(recorded: Sequence[_Recorded], path: Sequence[Matrix]) -> dict[int, list[tuple[Matrix, float]]]:
    """Return for each frame the recorded boxes near the path, and their standard deviations as shares of the sides."""
    seen: dict[int, list[tuple[Matrix, float]]] = {}
    for kind in ("detections", "regions"):
        for place, found in _nearest(recorded, path, kind):
            seen.setdefault(place, []).append((found[:4], 2 * _sd_of(found)))
    return seen


def _nearest(recorded: Sequence[_Recorded], path: Sequence[Matrix], kind: str) -> Iterator[tuple[int, Matrix]]:
    """Yield (place, xyxy and score) of the recorded box that fits the path best, where one does."""
    for place, (one, box) in enumerate(zip(recorded, path, strict=True)):
        found: Matrix = getattr(one, kind)
        if len(found):
            overlap = iou_matrix(box[None], found[:, :4])[0]
            best = int(np.argmax(overlap * (0.5 + found[:, 4])))
            if overlap[best] >= _MIN_IOU:
                yield place, found[best]


def _filled(one: _Recorded, box: Matrix, drawn: bool) -> FilledFrame:
    height, width = one.size
    inside = np.clip(box, 0, [width, height, width, height])
    if not drawn:  # never without area, also where the polyp leaves the picture
        inside[2:] = np.maximum(inside[2:], inside[:2] + 1)
        inside -= np.maximum(inside - [width, height, width, height], 0).max(initial=0) * np.array([1, 1, 1, 1])
    return FilledFrame(one.number, inside.astype(np.float32), drawn, mask_region(one.mask, inside, one.size))
