"""One stretch of a clip: a camera's way over one still, with or without its polyps, and how it begins and ends."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainers.video.synthetic.camera import Camera, Room, aim_at, by_hand, camera_in
from trainers.video.synthetic.conditions import Conditions, some_conditions
from trainers.video.synthetic.random_curves import Curve, bell, eased, through, wander
from trainers.video.synthetic.scope import Scope
from trainers.video.synthetic.tissue import Tissue

Change = Literal["cut", "flick", "press"]  # to the next scene: at once, in a quick turn, or with the lens at the wall
_FITS = 0.72  # of the view, that a polyp may fill
_WELL_IN = 0.55  # of half a view: as near to its middle as this can a polyp be brought
_LEAST_HALF_PX = 110  # of a still in half a view: closer would be mush,
_LEAST_HALF = 0.36  # and closer than this share of its smaller side, no scope looks for long
_BEYOND = 0.2  # of the tissue beside a polyp, that is seen once more mirrored; more of it looks like a butterfly
_OUT = 1.6  # an aim as far as a room goes, and a little further
_TURNS = (0.05, 0.3)  # rad, that a scene's camera turns by at most
_FLICK_S, _PRESS_S = 0.2, 0.35


@dataclass(frozen=True)
class Scene:
    """ids: of the tissue's polyps, as its masks are; empty where none comes into view. cut: it continues nothing."""

    tissue: Tissue
    camera: Camera
    conditions: Conditions
    ids: tuple[int, ...] = ()
    cut: bool = False

    def __len__(self) -> int:
        return len(self.camera)


@dataclass(frozen=True)
class Setting:
    """What the scenes of a clip share."""

    scope: Scope
    rate_hz: float
    chance: np.random.Generator


def scene_with_polyps(tissue: Tissue, setting: Setting, count: int, *, enters: bool) -> Scene | None:
    """Polyps that come into view and perhaps leave it, or that are there all the time; None where the still has no room
    for that."""
    scope, chance = setting.scope, setting.chance
    room, most_angle = polyp_room(tissue), float(chance.uniform(*_TURNS))
    least = max(closest(tissue), closest_around(tissue, scope))
    widest = min(room.widest(scope, most_angle), widest_around(tissue, room, scope))
    sides = {side: most for side, most in ways_out(tissue, scope, most_angle).items() if most >= least}
    if least > widest or (enters and not sides):
        return None
    if enters:
        side = list(sides)[int(chance.integers(len(sides)))]
        widest = min(widest, sides[side])
        keys = keys_in_and_out(tissue, room, setting, count, half_width=widest, side=side)
    else:
        keys = keys_inside(tissue, room, setting, 0, count, half_width=widest)
    half_width = zoom(setting, count, max(least, 0.6 * widest), widest)
    return _scene(tissue, room, setting, through(keys, count), half_width, most_angle)


def scene_without(tissue: Tissue, setting: Setting, count: int) -> Scene | None:
    """Without a polyp: all of a still that has none, or what lies beside those of another; None if too little."""
    chance, room, least = setting.chance, clear_room(tissue), closest(tissue)
    most_angle = float(chance.uniform(*_TURNS))
    widest = room.widest(setting.scope, most_angle)
    if widest < least:
        return None
    aim = 0.65 * np.stack([wander(chance, count, 3.5 * setting.rate_hz) for _ in range(2)], axis=1)
    half_width = zoom(setting, count, max(least, 0.6 * widest), widest)
    return _scene(tissue, room, setting, aim, half_width, most_angle)


def _scene(
    tissue: Tissue,
    room: Room,
    setting: Setting,
    aim: NDArray[np.float64],
    half_width: Curve,
    most_angle: float,
) -> Scene:
    count, chance = len(half_width), setting.chance
    share = half_width[:, None] / free_px(room, setting.scope, half_width)
    aim = aim + share * by_hand(chance, count, setting.rate_hz) + flicks(setting, count)
    angle = most_angle * np.tanh(wander(chance, count, 3 * setting.rate_hz))
    camera = camera_in(room, setting.scope, aim, half_width, angle)
    return Scene(tissue, camera, some_conditions(chance, count, setting.rate_hz))


def free_px(room: Room, scope: Scope, half_width: Curve) -> NDArray[np.float64]:
    """Half of how far the middle of a view can move (n, 2) still px; a tenth of the view at least."""
    reach = half_width[:, None] * scope.reach(np.zeros(1))
    free = (np.array(room.high) - np.array(room.low)) / 2 - reach
    return np.asarray(np.maximum(free, 0.1 * half_width[:, None]))


def zoom(setting: Setting, count: int, closest: float, widest: float) -> Curve:
    """Half widths between two, as a scope goes in and draws back."""
    share = 0.5 + 0.5 * np.tanh(wander(setting.chance, count, 3 * setting.rate_hz))
    return np.asarray(closest * (widest / closest) ** share)


def flicks(setting: Setting, count: int) -> NDArray[np.float64]:
    """Now and then a jerk and back (n, 2), in a third of a second."""
    jerks = np.zeros((count, 2))
    for _ in range(setting.chance.poisson(6 * count / setting.rate_hz / 60)):
        middle, length_s = setting.chance.uniform(0, count), setting.chance.uniform(0.25, 0.5)
        jerks += bell(count, middle, length_s * setting.rate_hz)[:, None] * setting.chance.normal(0, 0.35, 2)
    return jerks


# Rooms


def polyp_room(tissue: Tissue) -> Room:
    """The still, and its mirror image as far as no polyp is in it."""
    size = np.array(tissue.size, np.float64)
    before, after = _margins(tissue)
    low, high = -_BEYOND * before, size + _BEYOND * after
    return Room((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))


def _margins(tissue: Tissue) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From the polyps to the still's left and top, and to its right and bottom, px; 0 where they touch it."""
    return np.maximum(0, tissue.polyps[:2]), np.maximum(0, np.array(tissue.size) - tissue.polyps[2:])


def ways_out(tissue: Tissue, scope: Scope, most_angle: float) -> dict[tuple[int, int], float]:
    """{(axis, direction): the widest half width with which a view can leave the polyps there}.

    A margin beside the polyps, with what is mirrored of it, is a stretch without any.
    """
    reach = scope.reach(np.linspace(-most_angle, most_angle, 9)).max(axis=0)
    before, after = _margins(tissue)
    return {
        (axis, direction): float((1 + _BEYOND) * margin[axis] / 2 / reach[axis])
        for axis in range(2)
        for direction, margin in ((-1, before), (1, after))
    }


def closest(tissue: Tissue) -> float:
    """The smallest half width, still px."""
    return max(_LEAST_HALF_PX, _LEAST_HALF * min(tissue.size))


def closest_around(tissue: Tissue, scope: Scope) -> float:
    """The smallest half width that the polyps fit into."""
    size = tissue.polyps[2:] - tissue.polyps[:2]
    return float((size / (2 * _FITS * scope.reach(np.zeros(1))[0])).max())


def widest_around(tissue: Tissue, room: Room, scope: Scope) -> float:
    """The largest half width with which the room still lets the polyps' middle come well into view."""
    middle = (tissue.polyps[:2] + tissue.polyps[2:]) / 2
    to_wall = np.minimum(middle - room.low, np.array(room.high) - middle)
    return float((to_wall / (1 - _WELL_IN) / scope.reach(np.zeros(1))[0]).min())


def clear_room(tissue: Tissue) -> Room:
    """Where a camera sees no polyp: all of a still without any, or the widest strip beside them and some mirrored."""
    size = np.array(tissue.size, np.float64)
    low, high = np.zeros(2), size.copy()
    if tissue.masks:
        before, after = _margins(tissue)
        axis = int(np.argmax(np.maximum(before, after) / size))
        if before[axis] >= after[axis]:
            low[axis], high[axis] = -_BEYOND * before[axis], before[axis]
        else:
            low[axis], high[axis] = size[axis] - after[axis], size[axis] + _BEYOND * after[axis]
    return Room((float(low[0]), float(low[1])), (float(high[0]), float(high[1])))


# Ways


def keys_inside(
    tissue: Tissue, room: Room, setting: Setting, begin: float, end: float, *, half_width: float
) -> list[tuple[float, tuple[float, float]]]:
    """Places near the polyps' middle, one to the next in a second or two."""
    chance = setting.chance
    middle = (tissue.polyps[:2] + tissue.polyps[2:]) / 2
    keys, now = [], begin
    while now < end or not keys:
        keys.append((now, aim_at(middle + chance.normal(0, 0.16 * half_width, 2), room, setting.scope, half_width)))
        now += chance.uniform(0.9, 2.2) * setting.rate_hz
    return [*keys, (max(end, keys[-1][0] + 1), keys[-1][1])]


def keys_in_and_out(
    tissue: Tissue, room: Room, setting: Setting, count: int, *, half_width: float, side: tuple[int, int]
) -> list[tuple[float, tuple[float, float]]]:
    """From where no polyp is to the polyps, perhaps away and back once, and perhaps away at the end."""
    chance, second = setting.chance, setting.rate_hz
    axis, direction = side

    def away(at: tuple[float, float]) -> tuple[float, float]:
        return (direction * _OUT, at[1]) if axis == 0 else (at[0], direction * _OUT)

    def travel() -> float:
        return float(chance.uniform(0.5, 1.5)) * second

    enters = float(chance.uniform(0.1, 0.9)) * second
    there = enters + travel()
    last = count - (travel() + 0.4 * second if chance.random() < 0.6 else 0)
    inside = keys_inside(tissue, room, setting, there, max(last, there + 1), half_width=half_width)
    keys = [(0.0, away(inside[0][1])), (enters, away(inside[0][1])), *inside]
    if len(inside) >= 4 and chance.random() < 0.4:  # the third place is one without a polyp
        keys[4] = (keys[4][0], away(keys[4][1]))
    if last < count:
        keys.append((max(keys[-1][0] + travel(), count - 0.4 * second), away(keys[-1][1])))
    return keys


# Beginnings and ends


def joined(before: Scene, after: Scene, change: Change, setting: Setting) -> tuple[Scene, Scene]:
    """Both scenes as they are with this change between them."""
    if change == "cut":
        return before, replace(after, cut=True)
    if change == "press":
        length = int(_PRESS_S * setting.rate_hz)
        ends, begins = _ramp(len(before), length)[::-1], _ramp(len(after), length)
        return _pressed(before, ends), _pressed(after, begins)
    length = int(_FLICK_S * setting.rate_hz)
    way = setting.chance.uniform(0, 2 * np.pi)
    ends, begins = (_ramp(len(one), length, power=2) for one in (before, after))
    return _swung(before, ends[::-1], way, setting.scope), _swung(after, -begins, way, setting.scope)


def _ramp(count: int, length: int, *, power: int = 1) -> Curve:
    """From 1 at the first frame to 0 (count,)."""
    return np.asarray(eased(np.clip(1 - np.arange(count) / length, 0, 1) ** power))


def _pressed(scene: Scene, strength: Curve) -> Scene:
    conditions = replace(scene.conditions, pressed=np.maximum(scene.conditions.pressed, strength))
    return replace(scene, conditions=conditions)


def _swung(scene: Scene, share: Curve, way: float, scope: Scope) -> Scene:
    """The view turned away by up to a view's width, as far as its room goes."""
    camera = scene.camera
    step = 2 * camera.half_width[:, None] * share[:, None] * np.array([np.cos(way), np.sin(way)])
    room = scene_room(scene)
    reach = camera.half_width[:, None] * scope.reach(camera.angle_rad)
    low, high = np.array(room.low) + reach, np.array(room.high) - reach
    middle = np.where(share[:, None] != 0, np.clip(camera.middle + step, low, high), camera.middle)
    return replace(scene, camera=replace(camera, middle=middle))


def scene_room(scene: Scene) -> Room:
    return polyp_room(scene.tissue) if scene.ids else clear_room(scene.tissue)
