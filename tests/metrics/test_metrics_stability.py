"""Steadiness: numbers worked out by hand, and what must hold for every movement."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.mask_stability import mask_stability
from realtime_polyp.metrics.motion import box_motion, warp_box
from realtime_polyp.metrics.overlaps import matches, pairs
from realtime_polyp.metrics.run_lengths import encode
from realtime_polyp.metrics.stability import Stability, match_frames, stability
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.outputs.results_reader import ShownFrame

HERE, THERE = (10, 10, 50, 50), (100, 100, 140, 140)
SIZE = (200, 160)


def box(corners: Sequence[float]) -> np.ndarray:
    return np.array(corners, np.float32)


def shown(*numbered: tuple[int, Sequence[float]]) -> ShownFrame:
    boxes = np.array([corners for _, corners in numbered], np.float32).reshape(-1, 4)
    return ShownFrame(0, 0.0, boxes, np.array([number for number, _ in numbered], np.int64))


def truth(frames: Sequence[TrueFrame], rate_hz: Fraction = Fraction(10)) -> VideoTruth:
    return VideoTruth("t.json", SIZE, rate_hz, list(frames))


def story(letters: str, *, cuts: tuple[int, ...] = ()) -> Stability:
    """One frame a letter, 10 Hz. A digit: the polyp is there and shown under it. M there and missed, x gone, f
    difficult and not shown."""
    frames = [
        TrueFrame({} if one in "xf" else {1: box(HERE)}, {1: box(HERE)} if one == "f" else {}, place in cuts)
        for place, one in enumerate(letters)
    ]
    return stability(truth(frames), [shown((int(one), HERE)) if one.isdigit() else shown() for one in letters])


# numbers


@pytest.mark.parametrize(
    ("letters", "cuts", "switches"),
    [
        ("1111", (), 0),
        ("1122", (), 1),
        ("1212", (), 3),
        ("11MM22", (), 1),  # lost and found under another number
        ("11" + 10 * "x" + "22", (), 1),  # away for a second: the same visit
        ("11" + 11 * "x" + "22", (), 0),  # longer: another one
        ("11" + 30 * "f" + "22", (), 1),  # difficult is not away
        ("1122", (2,), 0),
        ("11xx22", (3,), 0),  # a cut while it was away
        ("xx", (), 0),
    ],
)
def test_a_switch_is_another_number_within_a_visit(letters: str, cuts: tuple[int, ...], switches: int) -> None:
    assert story(letters, cuts=cuts).switches == switches


def test_labels_that_pause_for_longer_than_a_second_part_two_visits() -> None:
    frames = [TrueFrame({1: box(HERE)}, {}, labelled=not 2 <= at < 22) for at in range(24)]
    found = stability(truth(frames).labelled_part(), [shown((1, HERE))] * 2 + [shown((2, HERE))] * 2)
    assert (found.switches, found.steps) == (0, 2)


def test_a_box_that_stays_on_its_polyp_keeps_it_though_another_is_nearer() -> None:
    """Two polyps pass each other: no number changes hands while its box still overlaps its own polyp."""
    left, right = (0, 0, 40, 40), (10, 0, 50, 40)
    frames = [TrueFrame({1: box(left), 2: box(THERE)}, {}), TrueFrame({1: box(left), 2: box(right)}, {})]
    screen = [shown((7, left), (8, THERE)), shown((7, right), (8, left))]
    assert match_frames(frames, screen) == [{1: 0, 2: 1}, {1: 0, 2: 1}]
    assert match_frames([frames[0], TrueFrame(frames[1].polyps, {}, True)], screen)[1] == {1: 1, 2: 0}
    assert stability(truth(frames), screen).switches == 0


@given(arrays(np.float32, st.tuples(st.integers(0, 4), st.just(4)), elements=st.integers(0, 12)), st.data())
def test_pairs_are_the_best_of_all_ways_to_pair(boxes: np.ndarray, data: st.DataObject) -> None:
    others = data.draw(arrays(np.float32, st.tuples(st.integers(0, 4), st.just(4)), elements=st.integers(0, 12)))
    overlap = np.where(matches(boxes, others), iou_matrix(boxes, others), 0)
    found = pairs(boxes, others)
    assert len({row for row, _ in found}) == len({column for _, column in found}) == len(found)
    assert all(matches(boxes, others)[row, column] for row, column in found)
    wide = overlap if len(boxes) <= len(others) else overlap.T
    ways = itertools.permutations(range(wide.shape[1]), wide.shape[0])
    best = max(sum(wide[row, column] for row, column in enumerate(way)) for way in ways)
    assert sum(overlap[row, column] for row, column in found) == pytest.approx(best)


# gaps and toggles


@pytest.mark.parametrize(
    ("letters", "gaps", "gap_s", "toggles"),
    [
        ("MM111", 0, 0.0, 0),  # the first time shown is no flicker
        ("11M11", 1, 0.1, 2),
        ("1MM1M1", 2, 0.3, 4),
        ("111MM", 0, 0.0, 1),
        ("11ff11", 0, 0.0, 0),  # difficult: not demanded
        ("11fM11", 1, 0.1, 2),
        ("11xx11", 0, 0.0, 0),
        ("MMMM", 0, 0.0, 0),
    ],
)
def test_gaps_and_toggles(letters: str, gaps: int, gap_s: float, toggles: int) -> None:
    found = story(letters)
    assert (found.gaps, found.toggles) == (gaps, toggles) and found.gap_s == pytest.approx(gap_s)


def test_a_cut_is_no_gap_and_rates_are_of_time_in_view() -> None:
    assert story("11MM11", cuts=(3,)).gaps == 0
    found = story("1M1Mxxxx1M1M")
    assert found.toggles_per_minute == pytest.approx(60 * 7 / 0.8) and found.gaps_per_polyp == 3
    assert found.mean_gap_s == pytest.approx(0.1)
    at_2997 = stability(truth([TrueFrame({1: box(HERE)}, {})] * 30, Fraction(30000, 1001)), [shown((1, HERE))] * 30)
    assert at_2997.view_s == pytest.approx(1.001)


# boxes from frame to frame


def walk(corners: Sequence[tuple[float, float, float, float]]) -> list[TrueFrame]:
    return [TrueFrame({1: box(one)}, {}) for one in corners]


places = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(20, 60), st.integers(20, 60))


@given(st.lists(places, min_size=2, max_size=8))
def test_a_box_that_follows_its_polyp_is_perfectly_steady(path: list[tuple[int, int, int, int]]) -> None:
    corners = [(x, y, x + w, y + h) for x, y, w, h in path]
    found = stability(truth(walk(corners)), [shown((1, one)) for one in corners])
    assert found.step_iou == pytest.approx(1, abs=1e-3) and found.box_iou == pytest.approx(1)
    assert found.position_jitter == found.size_jitter == 0 and found.switches == 0


@given(st.lists(places, min_size=2, max_size=8))
def test_a_box_wrong_in_the_same_way_all_along_is_steady_too(path: list[tuple[int, int, int, int]]) -> None:
    corners = [(x, y, x + w, y + h) for x, y, w, h in path]
    wrong = [(x + w / 8, y, x + w, y + h / 2) for x, y, w, h in path]
    found = stability(truth(walk(corners)), [shown((1, one)) for one in wrong])
    assert found.step_iou == pytest.approx(1, abs=1e-3) and found.box_iou == pytest.approx(7 / 16, abs=1e-3)
    assert found.position_jitter == pytest.approx(0, abs=1e-5) and found.size_jitter == pytest.approx(0, abs=1e-5)


def test_jitter_is_the_rms_of_what_the_error_changes_by() -> None:
    wide = [(0, 0, 40, 20), (4, 0, 44, 20), (0, 0, 40, 20)]  # to and fro by a tenth of the width
    found = stability(truth(walk([(0, 0, 40, 20)] * 3)), [shown((1, one)) for one in wide])
    assert found.position_jitter == pytest.approx(0.1) and found.size_jitter == 0
    assert found.step_iou == pytest.approx(36 / 44)
    tall = [(0, 0, 40, 20), (0, 0, 40, 30), (0, 0, 40, 30)]  # half as tall again, once in two steps
    found = stability(truth(walk([(0, 0, 40, 20)] * 3)), [shown((1, one)) for one in tall])
    assert found.size_jitter == pytest.approx(0.5 / np.sqrt(2))
    assert found.position_jitter == pytest.approx(0.25 / np.sqrt(2))


def test_a_box_that_stays_while_its_polyp_moves_is_not_steady() -> None:
    frames = walk([(0, 0, 40, 40), (10, 0, 50, 40)])
    found = stability(truth(frames), [shown((1, (0, 0, 40, 40)))] * 2)
    assert found.position_jitter == pytest.approx(0.25) and found.step_iou == pytest.approx(0.6)


def test_no_step_is_counted_across_a_cut_a_gap_or_faintness() -> None:
    assert story("1111").steps == 3 and story("1111", cuts=(2,)).steps == 2
    assert story("11M11").steps == 2 and story("11f11").steps == 2
    assert story("M").step_iou is None and story("M").box_iou is None and story("x").switches_per_polyp is None


def test_the_truth_s_own_motion_goes_before_the_box_s() -> None:
    """Of a polyp that the edge of the picture cuts off, the box tells another movement than the picture."""
    motion = np.array([[1.0, 0, 5], [0, 1, 0]])
    frames = [TrueFrame({1: box(HERE)}, {}), TrueFrame({1: box((15, 10, 50, 50))}, {}, motion=motion)]
    found = stability(truth(frames), [shown((1, HERE)), shown((1, (15, 10, 55, 50)))])
    assert found.step_iou == pytest.approx(1)


def test_a_turn_to_and_fro_does_not_make_a_box_grow() -> None:
    angle = np.radians(3)
    turn = np.array([[np.cos(angle), -np.sin(angle), 2], [np.sin(angle), np.cos(angle), -1]])
    circle = warp_box(box(HERE), turn)
    assert circle[2] - circle[0] == pytest.approx(40, abs=1e-3) and circle[3] - circle[1] == pytest.approx(40, abs=1e-3)
    assert warp_box(box(HERE), box_motion(box(HERE), box(THERE))) == pytest.approx(box(THERE), abs=1e-3)


# masks


def disc(x: float, y: float, radius: float = 20) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def disc_frame(x: float, y: float, **options: object) -> TrueFrame:
    corners = (x - 20, y - 20, x + 21, y + 21)
    return TrueFrame({1: box(corners)}, {}, masks={1: encode(disc(x, y))}, **options)  # type: ignore[arg-type]


def masked(mask: np.ndarray | None) -> ShownFrame:
    return ShownFrame(0, 0.0, mask=None if mask is None else encode(mask))


def test_a_mask_that_follows_its_polyp_is_steady_and_one_that_goes_out_is_not() -> None:
    path = [(60, 60), (65, 61), (72, 66)]
    frames = [disc_frame(*one) for one in path]
    following = mask_stability(truth(frames), [masked(disc(*one)) for one in path])
    assert following.step_iou == pytest.approx(1) and following.dice == pytest.approx(1) and following.steps == 2
    flicker = mask_stability(
        truth(frames), [masked(disc(*path[0])), masked(disc(0, 0) & False), masked(disc(*path[2]))]
    )
    assert flicker.step_iou == 0 and flicker.dice == pytest.approx(2 / 3)
    left = mask_stability(truth(frames), [masked(disc(*path[0]))] * 3)
    assert left.step_iou is not None and 0.5 < left.step_iou < 0.8


def test_a_mask_is_moved_as_the_truth_says_and_what_comes_in_from_outside_is_left_out() -> None:
    motion = np.array([[1.0, 0, 8], [0, 1, 0]])
    frames = [disc_frame(4, 60), disc_frame(12, 60, motion=motion)]
    clipped = [TrueFrame({1: np.maximum(one.polyps[1], 0)}, {}, motion=one.motion) for one in frames]
    found = mask_stability(truth(clipped), [masked(disc(4, 60)), masked(disc(12, 60))])
    assert found.step_iou == pytest.approx(1) and found.frames == 0 and found.dice is None


def test_only_the_mask_on_the_polyp_counts_for_its_steadiness() -> None:
    far = disc(170, 120, 10)
    frames = [disc_frame(60, 60)] * 3
    found = mask_stability(truth(frames), [masked(disc(60, 60) | (far & (place == 1))) for place in range(3)])
    assert found.step_iou == 1 and found.dice is not None and found.dice < 1


def test_frames_with_a_faint_polyp_have_no_dice_because_its_outline_is_not_wrong() -> None:
    both = disc(60, 60) | disc(170, 120, 10)
    plain, faint = disc_frame(60, 60), replace(disc_frame(60, 60), difficult={2: box((160, 110, 180, 130))})
    found = mask_stability(truth([plain, faint]), [masked(disc(60, 60)), masked(both)])
    assert (found.frames, found.dice) == (1, 1.0)


def test_masks_have_no_figure_without_a_segmenter_or_a_polyp() -> None:
    assert mask_stability(truth([disc_frame(60, 60)] * 2), [masked(None)] * 2).steps == 0
    empty = mask_stability(truth([TrueFrame({}, {})] * 2), [masked(disc(60, 60))] * 2)
    assert (empty.step_iou, empty.dice) == (None, None)
    dark = mask_stability(truth([disc_frame(60, 60)] * 2), [masked(disc(60, 60)), masked(None)])
    assert (dark.step_iou, dark.dice) == (0, 0.5)


@given(st.integers(-6, 6), st.integers(-6, 6), st.floats(-4, 4), st.floats(0.95, 1.05))
def test_any_small_affine_movement_leaves_a_following_mask_steady(x: int, y: int, degrees: float, scale: float) -> None:
    motion = cv2.getRotationMatrix2D((100, 80), degrees, scale) + np.array([[0, 0, x], [0, 0, y]])
    before = disc(80, 70)
    after = cv2.warpAffine(before.astype(np.uint8) * 255, motion, SIZE) >= 128
    frames = [TrueFrame({1: box((60, 50, 101, 91))}, {}), TrueFrame({1: box((55, 45, 106, 96))}, {}, motion=motion)]
    found = mask_stability(truth(frames), [masked(before), masked(after)])
    assert found.step_iou is not None and found.step_iou > 0.97
