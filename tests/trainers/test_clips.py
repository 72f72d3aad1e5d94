"""Clips of a virtual scope: its truth fits its pictures, no polyp is seen that is not in it, same seed same frames."""

import shutil
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import POLYP_LEVEL
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tissue_toys import write_tissue_stills

from realtime_polyp.metrics.motion import warp_mask
from realtime_polyp.metrics.run_lengths import decode
from trainers.data.stills import Still, read_stills
from trainers.video.synthetic.camera import Room, place_camera
from trainers.video.synthetic.clip import Clip, ClipSource, make_clip
from trainers.video.synthetic.compression import Decoder, compress
from trainers.video.synthetic.conditions import Conditions
from trainers.video.synthetic.ground_truth import true_frame
from trainers.video.synthetic.random_curves import bell, episodes, interpolate_path, wander
from trainers.video.synthetic.render import blur, motion_between, render_frame
from trainers.video.synthetic.scene import Scene, Setting, scene_with_polyps, scene_without
from trainers.video.synthetic.scope import Scope, draw_scope
from trainers.video.synthetic.tissue import cut_tissue, find_rectangle, is_tissue

SMALL = (240, 180)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> list[Still]:
    root = tmp_path_factory.mktemp("stills")
    return read_stills(write_tissue_stills(root), root)


@pytest.fixture(scope="module")
def clip(stills: list[Still]) -> Clip:
    return make_clip(stills, seed=3, number=0, seconds=24, frame_size=SMALL)


@pytest.fixture(scope="module")
def polyp_scenes(stills: list[Still]) -> list[tuple[Scene, Scope]]:
    """One of every still with a polyp, in calm conditions."""
    rng = np.random.default_rng(5)
    found = []
    for number, tissue in enumerate(map(cut_tissue, stills[:6])):
        setting = Setting(draw_scope(rng, SMALL), 30.0, rng)
        scene = scene_with_polyps(tissue, setting, 120, enters=False) if tissue else None
        if scene:
            found.append((replace(scene, ids=(number + 1,), conditions=calm(120)), setting.scope))
    assert len(found) == 6
    return found


def calm(count: int) -> Conditions:
    zero = np.zeros(count)
    return Conditions(np.ones(count), zero, zero, zero, zero, zero, seed=0)


# Chance


def test_wandering_is_the_same_for_the_same_seed_and_has_a_spread_of_one() -> None:
    curves = [wander(np.random.default_rng(7), 20_000, 30) for _ in range(2)]
    assert np.array_equal(*curves)
    assert abs(curves[0].std() - 1) < 0.1 and np.abs(np.diff(curves[0])).max() < 0.5


def test_a_bell_rises_to_one_in_its_middle_and_is_zero_beyond_its_length() -> None:
    curve = bell(41, 20, 20)
    assert curve[20] == 1 and curve[:11].max() == 0 == curve[30:].max() and np.allclose(curve, curve[::-1])


def test_episodes_stay_between_nothing_and_all() -> None:
    curve = episodes(np.random.default_rng(0), 900, rate_hz=30, per_minute=20, shortest_s=0.2, longest_s=1)
    assert 0 <= curve.min() and 0.4 < curve.max() <= 1 and (curve == 0).any()


def test_a_way_passes_its_points_at_their_times() -> None:
    way = interpolate_path([(0, (0.0, 1.0)), (10, (5.0, -1.0)), (30, (5.0, 2.0))], 40)
    assert way[[0, 10, 30, 39]].tolist() == [[0, 1], [5, -1], [5, 2], [5, 2]]


# Tissue


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=5, max_size=5))
def test_the_rectangle_is_the_largest_of_tissue_alone(cells: list[list[bool]]) -> None:
    """Against every rectangle there is, of cells of 10 px."""
    good = np.array(cells)
    rows, columns = find_rectangle(np.kron(good, np.ones((10, 10), bool)), np.zeros((50, 60), bool))
    areas = [
        (bottom - top) * (right - left)
        for top in range(5)
        for bottom in range(top + 1, 6)
        for left in range(6)
        for right in range(left + 1, 7)
        if good[top:bottom, left:right].all()
    ]
    assert (rows.stop - rows.start) * (columns.stop - columns.start) == 100 * max(areas, default=0)
    assert good[rows.start // 10 : rows.stop // 10, columns.start // 10 : columns.stop // 10].all()


def test_neither_the_surround_nor_a_guide_is_tissue_but_a_dark_lumen_is() -> None:
    image = np.full((200, 300, 3), (170, 90, 70), np.uint8)
    image[:, :40] = 5
    image[140:, 40:100] = (45, 185, 145)  # the scope guide's green
    cv2.circle(image, (200, 100), 30, (8, 4, 4), -1)
    tissue = is_tissue(image)
    assert not tissue[:, :40].any() and not tissue[145:, 45:95].any()
    assert tissue[100, 200] and tissue[20:120, 60:280].all()


def test_a_still_whose_polyp_lies_half_outside_is_not_used(stills: list[Still], tmp_path: Path) -> None:
    image = cv2.imread(str(stills[0].image_path))
    image[:, :75] = 0  # the polyp's left half
    cv2.imwrite(str(tmp_path / "half.png"), image)
    assert cut_tissue(replace(stills[0], image_path=tmp_path / "half.png")) is None


# Camera


@given(st.integers(0, 10_000))
def test_a_view_never_leaves_its_room(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scope = draw_scope(rng, SMALL)
    room = Room((-50.0, -20.0), (400.0, 330.0))
    half_width = rng.uniform(0.4, 1.0, 30) * room.widest(scope, 0.4)
    camera = place_camera(room, scope, rng.normal(0, 2, (30, 2)), half_width, rng.uniform(-0.4, 0.4, 30))
    corners = scope.outline * (scope.size[0] / 2) + scope.middle
    for place in range(30):
        matrix = camera.matrix(place, scope)
        seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        assert (seen >= np.array(room.low) - 1e-6).all() and (seen <= np.array(room.high) + 1e-6).all()


def test_a_view_wider_than_its_room_is_refused() -> None:
    scope = draw_scope(np.random.default_rng(0), SMALL)
    with pytest.raises(ValueError, match="too wide"):
        place_camera(Room((0, 0), (100, 100)), scope, np.zeros((1, 2)), np.array([80.0]), np.zeros(1))


# Truth


def test_the_masks_lie_exactly_on_the_pictures_polyps(polyp_scenes: list[tuple[Scene, Scope]]) -> None:
    """Nothing else of these stills is as bright in blue as their polyps."""
    compared = 0
    for scene, scope in polyp_scenes:
        for place in range(0, len(scene), 12):
            true = true_frame(scene, scope, place)
            if not true.masks:
                continue
            image = drawn_sharp(scene, scope, place)
            found = image[..., 2] > (POLYP_LEVEL + 30 + 100) / 2
            (mask,) = (decode(one) > 0 for one in true.masks.values())
            assert iou(mask, found) > 0.95
            (box,) = true.polyps.values()
            assert np.abs(box - box_of(found)).max() <= 3
            compared += 1
    assert compared > 20


def test_no_polyp_s_mirror_image_comes_into_view(stills: list[Still]) -> None:
    """The mask mirrored beyond the still as the picture is, against the mask alone, wherever a camera looks."""
    rng = np.random.default_rng(11)
    for tissue in filter(None, map(cut_tissue, stills[:6])):
        for _ in range(4):
            setting = Setting(draw_scope(rng, SMALL), 30.0, rng)
            for make in (
                partial(scene_with_polyps, enters=True),
                partial(scene_with_polyps, enters=False),
                scene_without,
            ):
                scene = make(tissue, setting, 40)
                for place in range(0, 40, 3) if scene else ():
                    plain, hflip = masks_seen(scene, setting.scope, place)
                    assert np.array_equal(plain, hflip)
                    assert make is not scene_without or not hflip.any()


def test_the_motion_takes_a_frame_s_mask_to_the_next_one(polyp_scenes: list[tuple[Scene, Scope]]) -> None:
    compared = 0
    for scene, scope in polyp_scenes:
        inner = (scope.corner[0] + 5, scope.corner[1] + 5, scope.corner[0] + 150, scope.corner[1] + 150)
        frames = [true_frame(scene, scope, place) for place in range(len(scene))]
        for before, after in pairwise(frames[10:60:1]):
            for identity in before.masks.keys() & after.masks.keys():
                x1, y1, x2, y2 = inner
                moved, known = warp_mask(decode(before.masks[identity]), after.motion, inner)
                now = decode(after.masks[identity])[y1:y2, x1:x2] > 0
                opening = np.zeros(SMALL[::-1], np.uint8)
                opening[scope.corner[1] : scope.corner[1] + scope.size[1], scope.corner[0] :][:, : scope.size[0]] = (
                    scope.opening
                )
                safe = known & (cv2.erode(opening, np.ones((31, 31), np.uint8))[y1:y2, x1:x2] > 0)
                if (now & safe).sum() > 200:
                    assert iou(moved & safe, now & safe) > 0.93
                    compared += 1
    assert compared > 50


def test_a_bad_picture_makes_a_polyp_faint(polyp_scenes: list[tuple[Scene, Scope]]) -> None:
    scene, scope = polyp_scenes[0]
    place = next(i for i in range(len(scene)) if true_frame(scene, scope, i).polyps)
    one = np.ones(len(scene))
    for spoilt in ({"defocus_px": 20 * one}, {"pressed": one}, {"gain": 0.1 * one}):
        true = true_frame(replace(scene, conditions=replace(scene.conditions, **spoilt)), scope, place)
        assert true.difficult and not true.polyps and not true.masks


def test_what_an_instrument_hides_is_not_in_the_mask(polyp_scenes: list[tuple[Scene, Scope]]) -> None:
    covered = 0
    for scene, scope in polyp_scenes:
        for place in range(0, len(scene), 20):
            conditions = replace(scene.conditions, instrument=np.ones(len(scene)))
            before = true_frame(scene, scope, place)
            after = true_frame(replace(scene, conditions=conditions), scope, place)
            for identity in after.masks.keys() & before.masks.keys():
                areas = [decode(true.masks[identity]).sum() for true in (after, before)]
                assert areas[0] <= areas[1]
                covered += int(areas[0] < areas[1])
    assert covered


# Clips


def test_the_same_seed_gives_the_same_frames_and_another_one_others(stills: list[Still], clip: Clip) -> None:
    again = make_clip(stills, seed=3, number=0, seconds=24, frame_size=SMALL)
    other = make_clip(stills, seed=3, number=1, seconds=24, frame_size=SMALL)
    chosen = [30, 200, 400]
    pictures = [[image for at, image in enumerate(islice(one.images(), 401)) if at in chosen] for one in (clip, again)]
    assert all(np.array_equal(*pair) for pair in zip(*pictures, strict=True))
    assert clip.dropped == again.dropped
    first = next(iter(other.images()))
    assert first.shape != pictures[0][0].shape or not np.array_equal(first, next(iter(clip.images())))


def test_a_clip_has_its_length_and_at_least_half_of_it_no_polyp(clip: Clip) -> None:
    frames = list(clip.true_frames())
    assert len(frames) == len(clip) == round(24 * clip.rate_hz)
    with_polyp = sum(bool(frame.polyps or frame.difficult) for frame in frames)
    assert 0 < with_polyp <= len(frames) / 2
    assert not clip.scenes[0].ids and not clip.scenes[-1].ids


def test_numbers_are_of_one_polyp_each_and_a_cut_is_the_first_frame_of_a_scene(clip: Clip) -> None:
    numbers = [identity for scene in clip.scenes for identity in scene.ids]
    assert numbers == list(range(1, len(numbers) + 1)) and numbers
    starts = np.cumsum([0, *(len(scene) for scene in clip.scenes)])
    for index, frame in enumerate(clip.true_frames()):
        assert not frame.cut or index in starts
        assert (frame.motion is None) == (index in starts)


def test_clips_of_few_stills_without_a_polyp_share_none_with_the_next(stills: list[Still], tmp_path: Path) -> None:
    """15 of them, as val has: a number that divides the step between the polyps' stills."""
    plain = []
    for number in range(15):
        shutil.copy(stills[6].image_path, tmp_path / f"plain{number}.png")
        plain.append(replace(stills[6], image_path=tmp_path / f"plain{number}.png"))
    mixed = [*stills[:6], *plain]
    used = [plain_names(make_clip(mixed, seed=5, number=n, seconds=24, frame_size=SMALL)) for n in range(4)]
    assert all(used) and not any(one & other for one, other in pairwise(used))


def plain_names(clip: Clip) -> set[str]:
    return {name for scene in clip.scenes if (name := scene.tissue.still.image_path.stem).startswith("plain")}


def test_stills_that_will_not_do_are_told(stills: list[Still]) -> None:
    with pytest.raises(ValueError, match="too few"):
        make_clip(stills[:1], seed=0, number=0, seconds=60, frame_size=SMALL)


# Compression and source


def test_every_picture_is_one_packet_that_a_decoder_reads_to_the_same_pixels() -> None:
    rng = np.random.default_rng(0)
    smooth = [blur(rng.integers(60, 200, (96, 128, 3), dtype=np.uint8), 4) for _ in range(5)]
    coded = list(compress(smooth, rate_hz=Fraction(30000, 1001)))
    decoder = Decoder()
    assert all(np.array_equal(decoder(one.packet), one.image) for one in coded)
    errors = [np.abs(one.image.astype(int) - image).mean() for one, image in zip(coded, smooth, strict=True)]
    assert max(errors) < 6


def test_half_a_packet_is_told() -> None:
    with pytest.raises(ValueError, match="instead of one"):
        Decoder()(b"")


def test_a_clip_is_a_source_like_any_other(clip: Clip) -> None:
    source = ClipSource(clip)
    assert (source.live, source.size, source.warning, source.frames_total) == (False, SMALL, None, len(clip))
    frames = source.frames()
    first = [next(frames) for _ in range(3)]
    assert [frame.index for frame in first] == [0, 1, 2]
    assert [frame.pts_s for frame in first] == [float(index / clip.rate_hz) for index in range(3)]
    assert first[0].image.shape == (SMALL[1], SMALL[0], 3)
    source.close()
    assert next(frames, None) is None
    truth = source.truth()
    assert truth.rate_hz == clip.rate_hz and len(truth.frames) == len(clip)


# Help


def drawn_sharp(scene: Scene, scope: Scope, place: int) -> NDArray[np.uint8]:
    """The picture at the frame's very moment, without the smear of a moving camera."""
    held = replace(
        scene.camera,
        middle=scene.camera.middle[[place] * len(scene)],
        half_width=scene.camera.half_width[[place] * len(scene)],
        angle_rad=scene.camera.angle_rad[[place] * len(scene)],
    )
    bright = replace(scope)
    bright.__dict__["light"] = np.repeat(scope.opening[..., None], 3, axis=2)  # no darker rim
    return render_frame(scene.tissue.image, held, scene.conditions, bright, place, 0)


def masks_seen(scene: Scene, scope: Scope, place: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """All polyps in the opening (h, w), without and with what is mirrored beyond the still."""
    whole = np.maximum.reduce(scene.tissue.masks)
    matrix = scene.camera.matrix(place, scope)
    modes = (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)
    seen = [cv2.warpAffine(whole, matrix, scope.size, flags=cv2.INTER_LINEAR, borderMode=mode) for mode in modes]
    plain, hflip = ((one > 127) & (scope.opening > 127) for one in seen)
    return plain, hflip


def iou(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((mask & other).sum() / max(1, (mask | other).sum()))


def box_of(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return np.array([x, y, x + width, y + height], np.float64)


def test_between_two_views_a_point_of_the_still_moves_as_told() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (2, 3))
    point = np.array([3.0, -2.0, 1.0])
    motion = motion_between(before, after)
    assert np.allclose(motion[:, :2] @ (before @ point) + motion[:, 2], after @ point)
