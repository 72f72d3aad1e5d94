"""Scenes of a clip: a camera path over one still, with or without its polyps, and the transitions between scenes."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainers.video.synthetic.camera import Camera, Room, aim_at, draw_hand_motion, place_camera
from trainers.video.synthetic.conditions import Conditions, draw_conditions
from trainers.video.synthetic.random_curves import Curve, bell, ease, interpolate_path, wander
from trainers.video.synthetic.scope import Scope
from trainers.video.synthetic.tissue import Tissue

Change = Literal["cut", "flick", "press"]  # to the next scene: at once, by a quick turn, or with the lens at the wall
_MAX_FILL = 0.72  # fraction of the view that the polyps may fill
_CENTRING = 0.55  # polyps can be brought within this fraction of half a view of its centre
_MIN_HALF_PX = 110  # still px in half a view: a closer view would be blurry
_MIN_HALF_SHARE = 0.36  # of the still's smaller side: no scope stays closer for long
_MIRRORED_SHARE = 0.2  # of the tissue beside a polyp that may be seen mirrored; more looks symmetrical
_OUTSIDE_AIM = 1.6  # an aim at the room's limit and a little beyond
_MAX_ANGLES_RAD = (0.05, 0.3)  # range of the largest rotation in a scene
_FLICK_S, _PRESS_S = 0.2, 0.35


@dataclass(frozen=True)
class Scene:
    """A continuous stretch of a clip over one still.

    Attributes:
        tissue: what the camera sees.
        camera: its path.
        conditions: what degrades the picture.
        ids: identities of the polyps, in the order of `tissue.masks`; empty if none comes into view.
        cut: the scene starts with a cut.
    """

    tissue: Tissue
    camera: Camera
    conditions: Conditions
    ids: tuple[int, ...] = ()
    cut: bool = False

    def __len__(self) -> int:
        return len(self.camera)


@dataclass(frozen=True)
class Setting:
    """What the scenes of a clip share.

    Attributes:
        scope: the screen layout.
        rate_hz: frame rate, Hz.
        rng: the clip's random generator.
    """

    scope: Scope
    rate_hz: float
    rng: np.random.Generator


def scene_with_polyps(tissue: Tissue, setting: Setting, count: int, *, enters: bool) -> Scene | None:
    """Draw a scene with polyps; None if the still has no room for it.

    count: number of frames. enters: the polyps come into view and may leave it; else they are in view all the time.
    """
    scope, rng = setting.scope, setting.rng
    room, max_angle = polyp_room(tissue), float(rng.uniform(*_MAX_ANGLES_RAD))
    least = max(min_half_width(tissue), min_half_width_around(tissue, scope))
    widest = min(room.widest(scope, max_angle), max_half_width_around(tissue, room, scope))
    sides = {side: most for side, most in exits(tissue, scope, max_angle).items() if most >= least}
    if least > widest or (enters and not sides):
        return None
    if enters:
        side = list(sides)[int(rng.integers(len(sides)))]
        widest = min(widest, sides[side])
        keys = draw_keys_in_and_out(tissue, room, setting, count, half_width=widest, side=side)
    else:
        keys = draw_keys_inside(tissue, room, setting, 0, count, half_width=widest)
    half_width = draw_zoom(setting, count, max(least, 0.6 * widest), widest)
    return _scene(tissue, room, setting, interpolate_path(keys, count), half_width, max_angle)


def scene_without(tissue: Tissue, setting: Setting, count: int) -> Scene | None:
    """Draw a scene without polyps: over a still that has none, or beside those of another; None if too small."""
    rng, room, least = setting.rng, clear_room(tissue), min_half_width(tissue)
    max_angle = float(rng.uniform(*_MAX_ANGLES_RAD))
    widest = room.widest(setting.scope, max_angle)
    if widest < least:
        return None
    aim = 0.65 * np.stack([wander(rng, count, 3.5 * setting.rate_hz) for _ in range(2)], axis=1)
    half_width = draw_zoom(setting, count, max(least, 0.6 * widest), widest)
    return _scene(tissue, room, setting, aim, half_width, max_angle)


def _scene(
    tissue: Tissue,
    room: Room,
    setting: Setting,
    aim: NDArray[np.float64],
    half_width: Curve,
    max_angle: float,
) -> Scene:
    count, rng = len(half_width), setting.rng
    share = half_width[:, None] / free_px(room, setting.scope, half_width)
    aim = aim + share * draw_hand_motion(rng, count, setting.rate_hz) + draw_flicks(setting, count)
    angle = max_angle * np.tanh(wander(rng, count, 3 * setting.rate_hz))
    camera = place_camera(room, setting.scope, aim, half_width, angle)
    return Scene(tissue, camera, draw_conditions(rng, count, setting.rate_hz))


def free_px(room: Room, scope: Scope, half_width: Curve) -> NDArray[np.float64]:
    """Return half the range of the view's centre (n, 2), still px; at least a tenth of the view."""
    reach = half_width[:, None] * scope.reach(np.zeros(1))
    free = (np.array(room.high) - np.array(room.low)) / 2 - reach
    return np.asarray(np.maximum(free, 0.1 * half_width[:, None]))


def draw_zoom(setting: Setting, count: int, closest: float, widest: float) -> Curve:
    """Draw half widths (count,) of a scope that moves closer and draws back, still px."""
    share = 0.5 + 0.5 * np.tanh(wander(setting.rng, count, 3 * setting.rate_hz))
    return np.asarray(closest * (widest / closest) ** share)


def draw_flicks(setting: Setting, count: int) -> NDArray[np.float64]:
    """Draw occasional jerks away and back (n, 2), each about a third of a second long."""
    jerks = np.zeros((count, 2))
    for _ in range(setting.rng.poisson(6 * count / setting.rate_hz / 60)):
        middle, length_s = setting.rng.uniform(0, count), setting.rng.uniform(0.25, 0.5)
        jerks += bell(count, middle, length_s * setting.rate_hz)[:, None] * setting.rng.normal(0, 0.35, 2)
    return jerks


# Rooms


def polyp_room(tissue: Tissue) -> Room:
    """Return the still and the part of its mirror image that holds no polyp."""
    size = np.array(tissue.size, np.float64)
    before, after = _margins(tissue)
    low, high = -_MIRRORED_SHARE * before, size + _MIRRORED_SHARE * after
    return Room((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))


def _margins(tissue: Tissue) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of the polyps to the still's left and top, and to its right and bottom, px; 0 where they touch."""
    return np.maximum(0, tissue.polyps[:2]), np.maximum(0, np.array(tissue.size) - tissue.polyps[2:])


def exits(tissue: Tissue, scope: Scope, max_angle: float) -> dict[tuple[int, int], float]:
    """Return the widest half width with which a view can leave the polyps, for each (axis, direction).

    The margin beside the polyps holds none, nor does its mirrored part.
    """
    reach = scope.reach(np.linspace(-max_angle, max_angle, 9)).max(axis=0)
    before, after = _margins(tissue)
    return {
        (axis, direction): float((1 + _MIRRORED_SHARE) * margin[axis] / 2 / reach[axis])
        for axis in range(2)
        for direction, margin in ((-1, before), (1, after))
    }


def min_half_width(tissue: Tissue) -> float:
    """Return the smallest half width of a view of this still, still px."""
    return max(_MIN_HALF_PX, _MIN_HALF_SHARE * min(tissue.size))


def min_half_width_around(tissue: Tissue, scope: Scope) -> float:
    """Return the smallest half width that the polyps fit into, still px."""
    size = tissue.polyps[2:] - tissue.polyps[:2]
    return float((size / (2 * _MAX_FILL * scope.reach(np.zeros(1))[0])).max())


def max_half_width_around(tissue: Tissue, room: Room, scope: Scope) -> float:
    """Return the largest half width at which the room lets the polyps come near the view's centre, still px."""
    middle = (tissue.polyps[:2] + tissue.polyps[2:]) / 2
    to_wall = np.minimum(middle - room.low, np.array(room.high) - middle)
    return float((to_wall / (1 - _CENTRING) / scope.reach(np.zeros(1))[0]).min())


def clear_room(tissue: Tissue) -> Room:
    """Return where a camera sees no polyp: all of a still without any, or the widest strip beside them."""
    size = np.array(tissue.size, np.float64)
    low, high = np.zeros(2), size.copy()
    if tissue.masks:
        before, after = _margins(tissue)
        axis = int(np.argmax(np.maximum(before, after) / size))
        if before[axis] >= after[axis]:
            low[axis], high[axis] = -_MIRRORED_SHARE * before[axis], before[axis]
        else:
            low[axis], high[axis] = size[axis] - after[axis], size[axis] + _MIRRORED_SHARE * after[axis]
    return Room((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))


# Paths


def draw_keys_inside(
    tissue: Tissue, room: Room, setting: Setting, begin: float, end: float, *, half_width: float
) -> list[tuple[float, tuple[float, float]]]:
    """Draw key points of a path near the polyps' centre, one every second or two.

    begin, end: in frames.
    """
    rng = setting.rng
    middle = (tissue.polyps[:2] + tissue.polyps[2:]) / 2
    keys: list[tuple[float, tuple[float, float]]] = []
    now = begin
    while now < end or not keys:
        keys.append((now, aim_at(middle + rng.normal(0, 0.16 * half_width, 2), room, setting.scope, half_width)))
        now += rng.uniform(0.9, 2.2) * setting.rate_hz
    return [*keys, (max(end, keys[-1][0] + 1), keys[-1][1])]


def draw_keys_in_and_out(
    tissue: Tissue, room: Room, setting: Setting, count: int, *, half_width: float, side: tuple[int, int]
) -> list[tuple[float, tuple[float, float]]]:
    """Draw key points of a path from outside to the polyps, sometimes away and back once, and away at the end.

    side: (axis, direction) of outside.
    """
    rng, second = setting.rng, setting.rate_hz
    axis, direction = side

    def away(at: tuple[float, float]) -> tuple[float, float]:
        return (direction * _OUTSIDE_AIM, at[1]) if axis == 0 else (at[0], direction * _OUTSIDE_AIM)

    def travel() -> float:
        return float(rng.uniform(0.5, 1.5)) * second

    enters = float(rng.uniform(0.1, 0.9)) * second
    there = enters + travel()
    last = count - (travel() + 0.4 * second if rng.random() < 0.6 else 0)
    inside = draw_keys_inside(tissue, room, setting, there, max(last, there + 1), half_width=half_width)
    keys = [(0.0, away(inside[0][1])), (enters, away(inside[0][1])), *inside]
    if len(inside) >= 4 and rng.random() < 0.4:  # the third key point has no polyp in view
        keys[4] = (keys[4][0], away(keys[4][1]))
    if last < count:
        keys.append((max(keys[-1][0] + travel(), count - 0.4 * second), away(keys[-1][1])))
    return keys


# Transitions


def join_scenes(before: Scene, after: Scene, change: Change, setting: Setting) -> tuple[Scene, Scene]:
    """Return both scenes with this change between them."""
    if change == "cut":
        return before, replace(after, cut=True)
    if change == "press":
        length = int(_PRESS_S * setting.rate_hz)
        ends, begins = _ramp(len(before), length)[::-1], _ramp(len(after), length)
        return _press(before, ends), _press(after, begins)
    length = int(_FLICK_S * setting.rate_hz)
    way = setting.rng.uniform(0, 2 * np.pi)
    ends, begins = (_ramp(len(one), length, power=2) for one in (before, after))
    return _swing(before, ends[::-1], way, setting.scope), _swing(after, -begins, way, setting.scope)


def _ramp(count: int, length: int, *, power: int = 1) -> Curve:
    """Return a curve (count,) that falls from 1 at the first frame to 0."""
    return np.asarray(ease(np.clip(1 - np.arange(count) / length, 0, 1) ** power))


def _press(scene: Scene, strength: Curve) -> Scene:
    conditions = replace(scene.conditions, pressed=np.maximum(scene.conditions.pressed, strength))
    return replace(scene, conditions=conditions)


def _swing(scene: Scene, share: Curve, way: float, scope: Scope) -> Scene:
    """Turn the view away by up to its width, within its room."""
    camera = scene.camera
    step = 2 * camera.half_width[:, None] * share[:, None] * np.array([np.cos(way), np.sin(way)])
    room = scene_room(scene)
    reach = camera.half_width[:, None] * scope.reach(camera.angle_rad)
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    middle = np.where(share[:, None] != 0, np.clip(camera.middle + step, low, high), camera.middle)
    return replace(scene, camera=replace(camera, middle=middle))


def scene_room(scene: Scene) -> Room:
    return polyp_room(scene.tissue) if scene.ids else clear_room(scene.tissue)
