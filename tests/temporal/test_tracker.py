"""Steadiness over time, in seconds of the video's own clock."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import NO_DETECTIONS, Boxes, Detections, Mask, Track
from realtime_polyp.temporal.appearance import Appearance, PictureAppearances
from realtime_polyp.temporal.association import match
from realtime_polyp.temporal.camera_motion import CUT, STILL, UNKNOWN, Motion
from realtime_polyp.temporal.config import Evidence, TemporalConfig
from realtime_polyp.temporal.tracker import Tracker, TrackerInput

CONFIG = TemporalConfig(confirm_s=0.1, hold_s=0.25, release_s=0.6, gap_s=0.15)
BOX = (100.0, 100.0, 200.0, 180.0)
FIELD = FieldOfView(0, 0, 384, 320)


def found(*boxes: tuple[float, ...], score: float = 0.8) -> Detections:
    return Detections(np.float32(boxes).reshape(-1, 4), np.full(len(boxes), score, np.float32))


def update(
    tracker: Tracker, detections: Detections, mask: Mask | None, pts_s: float, **cues: Any
) -> tuple[tuple[Track, ...], Mask | None]:
    return tracker.update(TrackerInput(detections, mask, pts_s, **cues))


def play(tracker: Tracker, frames: list[Detections], *, rate_hz: float = 25, start: int = 0) -> list[tuple[Track, ...]]:
    return [update(tracker, one, None, (start + index) / rate_hz)[0] for index, one in enumerate(frames)]


def states(history: list[tuple[Track, ...]]) -> str:
    """t(entative), s(hown), h(eld) or - for the only track of each frame."""
    assert all(len(tracks) <= 1 for tracks in history)
    return "".join(tracks[0].state[0] if tracks else "-" for tracks in history)


@pytest.mark.parametrize("rate_hz", [20, 25, 30, 50, 60])
def test_a_polyp_is_shown_held_and_released_by_the_clock_at_any_rate(rate_hz: int) -> None:
    history = play(Tracker(CONFIG), [found(BOX)] * rate_hz + [NO_DETECTIONS] * rate_hz, rate_hz=rate_hz)
    line = states(history)
    assert re.fullmatch("t+s+h+t+-+", line)
    frame_s = 1 / rate_hz
    assert line.index("s") * frame_s == pytest.approx(CONFIG.confirm_s, abs=frame_s)
    assert line.count("h") * frame_s == pytest.approx(CONFIG.hold_s, abs=frame_s)
    assert (line.index("-") - rate_hz) * frame_s == pytest.approx(CONFIG.release_s, abs=2 * frame_s)


def test_a_flash_is_never_shown() -> None:
    assert "s" not in states(play(Tracker(CONFIG), [found(BOX)] * 2 + [NO_DETECTIONS] * 20))


def test_a_gap_is_bridged_under_the_same_number() -> None:
    history = play(Tracker(CONFIG), [found(BOX)] * 10 + [NO_DETECTIONS] * 5 + [found(BOX)] * 5)
    assert states(history)[10:] == "h" * 5 + "s" * 5
    assert {tracks[0].id for tracks in history[5:]} == {1}


def test_a_polyp_unseen_for_longer_comes_back_once_confirmed_again_as_itself() -> None:
    """Between hold and release it is remembered, not drawn."""
    history = play(Tracker(CONFIG), [found(BOX)] * 10 + [NO_DETECTIONS] * 12 + [found(BOX)] * 5)
    assert states(history)[10:] == "h" * 6 + "t" * 6 + "t" * 2 + "s" * 3
    assert history[-1][0].id == 1


def test_what_is_found_in_every_other_frame_is_shown_but_later() -> None:
    """A polyp that the models see one way round only, while every other frame is mirrored."""
    config = replace(CONFIG, gap_s=0.1)
    often = states(play(Tracker(config), [found(BOX), NO_DETECTIONS] * 25))
    always = states(play(Tracker(config), [found(BOX)] * 50))
    assert 2 * always.index("s") < often.index("s") and "t" not in often[often.index("s") :]


def test_what_is_found_in_every_third_frame_only_is_never_shown() -> None:
    """What speaks for it runs out as fast as it comes."""
    config = replace(CONFIG, gap_s=0.2)
    assert "s" not in states(play(Tracker(config), [found(BOX), NO_DETECTIONS, NO_DETECTIONS] * 20))


EVEN = Evidence(scores=(0.2, 0.5, 0.8), weights=(0.0, 0.25, 1.0), penalty=0.5, miss_penalty=1.0)


def scored(tracker: Tracker, scores: list[float]) -> str:
    """States of one polyp found with these scores, shown from 0.2 on."""
    cues = {"start_score": 0.2, "evidence": EVEN}
    frames = enumerate(scores)
    return states([update(tracker, found(BOX, score=score), None, i / 25, **cues)[0] for i, score in frames])


@pytest.mark.parametrize("score, frames", [(0.99, 3), (0.8, 3), (0.5, 10)])
def test_a_weaker_polyp_takes_longer_to_be_shown(score: float, frames: int) -> None:
    assert scored(Tracker(CONFIG), [score] * 25).index("s") == frames


def test_what_barely_reaches_the_threshold_is_never_shown() -> None:
    assert "s" not in scored(Tracker(CONFIG), [0.2] * 100)


def test_a_weak_box_takes_back_what_spoke_for_it() -> None:
    """A sure box and three weak ones, over and over: more against it than for it."""
    assert "s" not in scored(Tracker(CONFIG), [0.9, *[0.1, 0.9, 0.1, 0.1] * 20])


def test_what_was_shown_is_believed_from_the_threshold_on() -> None:
    """Gone for longer than it is held, then found weakly: at once again, where a stranger would take seconds."""
    tracker, cues = Tracker(CONFIG), {"start_score": 0.2, "evidence": EVEN}
    frames = [found(BOX)] * 10 + [NO_DETECTIONS] * 10 + [found(BOX, score=0.25)] * 10
    line = states([update(tracker, one, None, i / 25, **cues)[0] for i, one in enumerate(frames)])
    assert line[20:] == "tt" + "s" * 8
    assert "s" not in scored(Tracker(CONFIG), [0.25] * 10)


def test_numbers_count_what_was_shown() -> None:
    """A hundred flashes on the way do not use numbers up; the tentative have negative ones."""
    random, tracker, seen = np.random.default_rng(0), Tracker(CONFIG), list[int]()
    for index in range(400):
        flash = found(*(random.uniform(250, 300, (1, 4)) + [0, 0, 30, 30]).tolist()) if index % 7 == 0 else None
        boxes = [BOX] if index % 100 < 50 else []
        one = Detections(
            np.concatenate([found(*boxes).boxes, flash.boxes if flash else np.zeros((0, 4), np.float32)]),
            np.full(len(boxes) + bool(flash), 0.8, np.float32),
        )
        for track in update(tracker, one, None, index / 25)[0]:
            assert track.id > 0 or not track.visible
            if track.visible and track.id not in seen:
                seen.append(track.id)
    assert seen == [1, 2, 3, 4]


def test_a_still_polyp_s_box_is_its_detection_s() -> None:
    last = play(Tracker(CONFIG), [found(BOX)] * 20)[-1][0]
    assert last.box.tolist() == pytest.approx(BOX) and last.score == pytest.approx(0.8)
    assert last.unseen_s == 0 and last.age_s == pytest.approx(19 / 25)


def test_jitter_is_reduced_and_motion_is_followed() -> None:
    random = np.random.default_rng(1)
    true = [np.array(BOX) + [4 * i, 2 * i, 4 * i, 2 * i] for i in range(60)]  # 100 px/s
    seen = [box + random.normal(0, 4, 4) for box in true]
    history = play(Tracker(CONFIG), [found(tuple(box)) for box in seen])
    errors = [np.abs(tracks[0].box - box).mean() for tracks, box in zip(history, true, strict=True)]
    raw = [np.abs(a - b).mean() for a, b in zip(seen, true, strict=True)]
    assert np.mean(errors[10:]) < 0.95 * np.mean(raw[10:]) and max(errors[10:]) < 12
    steps = np.diff([tracks[0].box for tracks in history[10:]], axis=0)
    assert np.std(steps) < 0.8 * np.std(np.diff(seen[10:], axis=0))
    assert {len(tracks) for tracks in history} == {1}


@settings(max_examples=20)
@given(st.permutations([0, 1, 2]), st.integers(0, 100))
def test_the_order_of_detections_does_not_matter(order: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    places = np.array([[10, 10, 60, 60], [150, 20, 220, 90], [40, 200, 120, 290]], float)
    frames = [places + random.normal(0, 3, (3, 4)) for _ in range(12)]
    first = play(Tracker(CONFIG), [found(*boxes.tolist()) for boxes in frames])[-1]
    second = play(Tracker(CONFIG), [found(*boxes[order].tolist()) for boxes in frames])[-1]
    assert {tuple(track.box.tolist()) for track in first} == {tuple(track.box.tolist()) for track in second}
    assert len(first) == 3 and {track.id for track in first} == {1, 2, 3}


@pytest.mark.parametrize("jump_s", [-0.5, 1.5, 3600.0])
def test_a_cut_or_a_seek_begins_anew_under_a_new_number(jump_s: float) -> None:
    tracker = Tracker(CONFIG)
    play(tracker, [found(BOX)] * 10)
    after = [update(tracker, found(BOX), None, 9 / 25 + jump_s + index / 25)[0][0] for index in range(10)]
    assert after[0].state == "tentative" and after[0].age_s == 0
    assert after[-1].state == "shown" and after[-1].id == 2


def test_forgetting_keeps_counting() -> None:
    """After a cut everything is confirmed anew, under the next number: 1 was another polyp."""
    tracker = Tracker(CONFIG)
    first = play(tracker, [found(BOX)] * 10)
    tracker.reset()
    again = play(tracker, [found(BOX)] * 10)
    assert [[t.state for t in tracks] for tracks in first] == [[t.state for t in tracks] for tracks in again]
    assert (first[-1][0].id, again[-1][0].id) == (1, 2)


def test_two_boxes_at_the_place_of_one_polyp_do_not_both_get_its_number() -> None:
    """After a seek, both halves of the place where 1 was shown are confirmed in the same frame."""
    tracker, halves = Tracker(CONFIG), found((100.0, 100.0, 150.0, 180.0), (150.0, 100.0, 200.0, 180.0))
    play(tracker, [found(BOX)] * 10)
    tracker.seek()
    tracks = play(tracker, [halves] * 10)[-1]
    assert [track.state for track in tracks] == ["shown", "shown"] and {track.id for track in tracks} == {1, 2}


def test_dropped_frames_change_little() -> None:
    """A live source gives every third frame: the clock decides, not the count."""
    tracker, times_s = Tracker(CONFIG), dict[str, float]()
    for index in range(0, 60, 3):
        tracks, _ = update(tracker, found(BOX) if index < 30 else NO_DETECTIONS, None, index / 30)
        times_s.setdefault(states([tracks]), index / 30)
    assert times_s["s"] == pytest.approx(CONFIG.confirm_s, abs=0.1)
    assert times_s["-"] == pytest.approx(0.9 + CONFIG.release_s, abs=0.11)


# association


@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.05, 0.2, 0.5]))
def test_matching_is_greedy_by_overlap(seed: int, tracks: int, detections: int, least: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 20, (tracks + detections, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 30, corners.shape)], 1).astype(np.float32)
    olds, news = list(boxes[:tracks]), boxes[tracks:]
    expected: dict[int, int] = {}
    overlaps = {(i, j): plain_iou(olds[i], news[j]) for i, j in itertools.product(range(tracks), range(detections))}
    for (i, j), overlap in sorted(overlaps.items(), key=lambda item: -item[1]):
        if overlap >= least and i not in expected and j not in expected.values():
            expected[i] = j
    assert match(olds, news, least) == expected


def plain_iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    return shared / float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


# the mask


def mask_of(box: tuple[float, ...], *, level: float = 0.9, noise: float = 0.0, seed: int = 0) -> Mask:
    """A map at a quarter of the field's size, `level` within the box."""
    probability = np.zeros((80, 96), np.float32)
    x1, y1, x2, y2 = (round(value / 4) for value in box)
    probability[y1:y2, x1:x2] = level
    probability += np.random.default_rng(seed).normal(0, noise, probability.shape).astype(np.float32)
    return Mask(probability.astype(np.float32), FIELD)


def masks(frames: list[tuple[Detections, Mask]], config: TemporalConfig = CONFIG, motion: Motion = STILL) -> list[Mask]:
    tracker = Tracker(config)
    return [update(tracker, *frame, index / 25, motion=motion)[1] for index, frame in enumerate(frames)]  # type: ignore[misc]


def test_a_still_mask_keeps_its_outline() -> None:
    still = mask_of(BOX)
    outline = still.to_source(384, 400)
    assert all((one.to_source(384, 400) == outline).mean() > 0.9995 for one in masks([(found(BOX), still)] * 10))


def test_an_edge_that_trembles_stays_where_it_was() -> None:
    """Hysteresis: a probability that wanders about 0.5 does not switch on and off."""
    inside, hovering = mask_of(BOX).probability.copy(), []
    for index in range(40):
        probability = inside.copy()
        probability[20:50, 20:30] = 0.8 if index < 5 else 0.5 + (-1) ** index * 0.05 - 0.02
        hovering.append((found(BOX), Mask(probability, FIELD)))
    raw = [(frame[1].probability[30:40, 27] >= 0.5).mean() for frame in hovering[5:]]
    steadied = [(one.probability[30:40, 27] >= 0.5).mean() for one in masks(hovering)[5:]]
    assert np.abs(np.diff(raw)).sum() > 30 and np.abs(np.diff(steadied)).sum() == 0


def test_nothing_stays_behind_when_a_polyp_has_left() -> None:
    empty = Mask(np.zeros_like(mask_of(BOX).probability), FIELD)
    history = masks([(found(BOX), mask_of(BOX))] * 10 + [(NO_DETECTIONS, empty)] * 20)
    gone_after = [(one.probability >= 0.5).any() for one in history[10:]]
    assert sum(gone_after) <= 8 and not any(gone_after[8:])


def test_flicker_within_a_track_is_damped_and_outside_the_present_alone_counts() -> None:
    frames = [(found(BOX), mask_of(BOX, noise=0.1, seed=index)) for index in range(40)]
    steadied = masks(frames)
    inside, outside = np.s_[26:44, 27:48], np.s_[60:, 70:]
    raw = np.std([frame[1].probability[inside] for frame in frames[10:]], axis=0).mean()
    assert np.std([one.probability[inside] for one in steadied[10:]], axis=0).mean() < 0.7 * raw
    assert all(
        np.array_equal(a.probability[outside], b[1].probability[outside]) for a, b in zip(steadied, frames, strict=True)
    )


def test_the_mask_s_past_moves_with_the_polyp() -> None:
    """Left where it was, the past would drag a tail behind: 0.026 of the map, at 1.6 of its size a second."""
    moving = [tuple(np.array(BOX) + 4 * index) for index in range(20)]
    frames = [(found(box), mask_of(box)) for box in moving]
    true = mask_of(moving[-1]).probability >= 0.5
    step = np.array([[1, 0, 4], [0, 1, 4]], np.float32)
    least = {"as the camera moves": (Motion(step), 0.001), "camera unknown": (UNKNOWN, 0.01), "alone": (STILL, 0.02)}
    for name, (motion, most) in least.items():
        last = masks(frames, motion=motion)[-1].probability
        assert ((last >= 0.5) != true).mean() < most, name


def test_without_tracks_the_mask_is_the_model_s() -> None:
    frames = [(NO_DETECTIONS, mask_of(BOX, noise=0.1, seed=index)) for index in range(5)]
    assert all(np.array_equal(a.probability, b[1].probability) for a, b in zip(masks(frames), frames, strict=True))


def test_averages_of_no_length_change_nothing() -> None:
    plain = TemporalConfig(confirm_s=0.0, measurement_noise=0.0, mask_s=0.0)
    frames = [(found(tuple(np.array(BOX) + index)), mask_of(BOX, noise=0.1, seed=index)) for index in range(8)]
    tracker = Tracker(plain)
    for index, (one, mask) in enumerate(frames):
        tracks, steadied = update(tracker, one, mask, index / 25)
        assert tracks[0].box.tolist() == one.boxes[0].tolist() and tracks[0].state == "shown"
        assert steadied is not None and np.array_equal(steadied.probability, mask.probability)


def test_a_field_that_changed_is_not_blended_with_its_past() -> None:
    tracker, other = Tracker(CONFIG), Mask(np.full((80, 96), 0.3, np.float32), FieldOfView(10, 10, 200, 200))
    update(tracker, found(BOX), mask_of(BOX), 0.0)
    assert np.array_equal(update(tracker, found(BOX), other, 0.04)[1].probability, other.probability)  # type: ignore[union-attr]


def test_boxes_at_and_beyond_the_rim_are_no_trouble() -> None:
    for box in [(-50.0, -50.0, 20.0, 20.0), (350.0, 300.0, 500.0, 400.0), (500.0, 500.0, 600.0, 600.0)]:
        result = masks([(found(box), mask_of(BOX))] * 4)[-1].probability
        assert np.isfinite(result).all() and result.shape == (80, 96)


def test_the_answer_given_is_not_written_into_later() -> None:
    tracker = Tracker(CONFIG)
    kept = []
    for index in range(6):
        tracks, mask = update(
            tracker, found(tuple(np.array(BOX) + 3 * index)), mask_of(BOX, noise=0.1, seed=index), index / 25
        )
        assert mask is not None
        kept.append((tracks[0].box, tracks[0].box.copy(), mask.probability, mask.probability.copy()))
    for box, box_then, probability, probability_then in kept:
        assert np.array_equal(box, box_then) and np.array_equal(probability, probability_then)


def test_how_the_camera_moved_matters_only_where_something_is_followed() -> None:
    """So that it need not be worked out in the long stretches without a polyp."""
    moving = Motion(np.array([[1, 0, 30], [0, 1, -20]], np.float32))
    still, moved = Tracker(CONFIG), Tracker(CONFIG)
    frames = [NO_DETECTIONS] * 5 + [found(BOX)] + [found(BOX)] * 8
    for index, one in enumerate(frames):
        assert moved.idle == (index <= 5)
        motion = moving if moved.idle else STILL
        a, _ = update(still, one, None, index / 25)
        b, _ = update(moved, one, None, index / 25, motion=motion)
        assert [track.box.tolist() for track in a] == [track.box.tolist() for track in b]


def test_a_box_is_carried_along_with_the_camera() -> None:
    """A shake of more than the box's size: without the camera's movement it would be another polyp."""
    tracker, jump = Tracker(CONFIG), np.array([150, -60], np.float32)
    play(tracker, [found(BOX)] * 10)
    there = tuple((np.array(BOX).reshape(2, 2) + jump).ravel())
    motion = Motion(np.array([[1, 0, jump[0]], [0, 1, jump[1]]], np.float32))
    (track,), _ = update(tracker, found(there), None, 10 / 25, motion=motion)
    assert track.id == 1 and track.state == "shown" and track.box.tolist() == pytest.approx(there, abs=1)


def shifted(across: float, down: float = 0.0) -> tuple[float, ...]:
    return tuple(np.float64(BOX) + np.tile([across, down], 2))


@pytest.mark.parametrize(
    ("motion", "across", "number"),
    [(UNKNOWN, 90, 1), (STILL, 90, 2), (UNKNOWN, 150, 2)],
    ids=["the camera jolts", "the camera is still", "too far away"],
)
def test_a_shown_polyp_is_followed_through_a_jolt_of_the_camera(motion: Motion, across: float, number: int) -> None:
    """The camera moved, and it is not known how: what is found almost a box size away is the polyp that was there. It
    is shown once it is confirmed, because pictures are poor in a jolt."""
    tracker, there = Tracker(CONFIG), shifted(across)
    play(tracker, [found(BOX)] * 10)
    first, _ = update(tracker, found(there), None, 10 / 25, motion=motion)
    later = play(tracker, [found(there)] * 5, start=11)
    assert [track.id for track in later[-1] if track.state == "shown"] == [number]
    if number == 1:
        assert [track.state for track in first] == ["tentative"] and first[0].box.tolist() == pytest.approx(there)


def test_what_was_never_shown_is_not_followed_through_a_jolt() -> None:
    tracker = Tracker(CONFIG)
    play(tracker, [found(BOX)] * 2)
    tracks, _ = update(tracker, found(shifted(90)), None, 2 / 25, motion=UNKNOWN)
    assert len(tracks) == 2


def looks_of(*polyps: tuple[float, ...]) -> Callable[[Boxes], Appearance]:
    """Appearances of polyps at these places: each has its own."""

    def extract(box: Boxes) -> Appearance:
        nearest = int(np.argmin([abs(polyp[0] - box[0]) for polyp in polyps]))
        return np.random.default_rng(nearest).normal(size=(12, 12, 3)).astype(np.float32)

    return extract


@pytest.mark.parametrize(
    ("apart", "jolt", "leaves"), [(160, 90, False), (160, 90, True), (170, 95, False)],
    ids=["nearer to the other's place", "the other has left", "further apart"],
)  # fmt: skip
def test_two_polyps_do_not_exchange_numbers_in_a_jolt(apart: float, jolt: float, leaves: bool) -> None:
    """Each lands nearer to where the other was; what they look like tells which is which."""
    tracker, before, after = Tracker(), (BOX, shifted(apart)), (shifted(jolt), shifted(apart + jolt))
    for index in range(10):
        update(tracker, found(*before), None, index / 25, extract=looks_of(*before))
    assert [track.id for track in update(tracker, found(*before), None, 0.4, extract=looks_of(*before))[0]] == [1, 2]
    for index in range(11, 20):
        boxes, motion = found(*after[: 1 if leaves else 2]), UNKNOWN if index == 11 else STILL
        tracks, _ = update(tracker, boxes, None, index / 25, motion=motion, extract=looks_of(*after))
    shown = {track.id: float(track.box[0]) for track in tracks if track.state == "shown"}
    expected = {1: after[0][0]} if leaves else {1: after[0][0], 2: after[1][0]}
    assert shown == pytest.approx(expected, abs=5)


@pytest.mark.parametrize("rate_hz", [25, 30, 50, 60])
def test_one_false_box_in_a_jolt_is_not_shown_and_takes_no_number(rate_hz: int) -> None:
    tracker, looks = Tracker(), looks_of(BOX, shifted(90))
    cues = {"extract": looks}
    for index in range(rate_hz):
        update(tracker, found(BOX), None, index / rate_hz, **cues)
    tracks, _ = update(tracker, found(shifted(90)), None, 1.0, motion=UNKNOWN, **cues)
    assert not any(track.state == "shown" for track in tracks)
    for index in range(1, rate_hz // 2):
        tracks, _ = update(tracker, found(BOX), None, 1 + index / rate_hz, **cues)
    assert [(track.id, track.state) for track in tracks] == [(1, "shown")]


@pytest.mark.parametrize(("across", "more"), [(30, True), (15, False)], ids=["a jolt", "jitter"])
def test_a_box_that_was_jolted_counts_more(across: float, more: bool) -> None:
    def gap_px(motion: Motion) -> float:
        tracker = Tracker(CONFIG)
        play(tracker, [found(BOX)] * 10)
        return float(there[0] - update(tracker, found(there), None, 10 / 25, motion=motion)[0][0].box[0])

    there = shifted(across)
    assert (gap_px(UNKNOWN) < 0.5 * gap_px(STILL)) == more
    assert more or gap_px(UNKNOWN) == gap_px(STILL)


def test_a_weak_box_keeps_a_track_alive_and_never_starts_one() -> None:
    tracker, weak = Tracker(CONFIG), found(BOX, score=0.2)
    cues = {"start_score": 0.3}
    assert not any(update(tracker, weak, None, index / 25, **cues)[0] for index in range(10))
    for index in range(10, 20):
        update(tracker, found(BOX), None, index / 25, **cues)
    tracks = [update(tracker, weak, None, index / 25, **cues)[0] for index in range(20, 45)]
    assert all(one[0].state == "shown" and one[0].id == 1 for one in tracks)


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.25])
def test_an_unclear_view_holds_an_alarm_back_for_longer(weight: float) -> None:
    """Nothing is certain there, least of all that the view is unclear: what is seen for long enough is told."""
    tracker = Tracker(replace(CONFIG, unclear_weight=weight))
    tracks = [update(tracker, found(BOX), None, index / 100, is_clear=False)[0] for index in range(200)]
    first = next(index for index, one in enumerate(tracks) if one[0].state == "shown")
    assert first / 100 == pytest.approx(CONFIG.confirm_s / weight, abs=0.011)


def test_with_no_weight_an_unclear_view_confirms_nothing() -> None:
    tracker = Tracker(replace(CONFIG, unclear_weight=0.0))
    tracks = [update(tracker, found(BOX), None, index / 25, is_clear=False)[0] for index in range(25)]
    assert all(one[0].state == "tentative" for one in tracks)


def test_a_cut_in_the_picture_ends_what_was_followed() -> None:
    tracker = Tracker(CONFIG)
    play(tracker, [found(BOX)] * 10)
    assert update(tracker, NO_DETECTIONS, None, 10 / 25, motion=CUT) == ((), None)
    assert update(tracker, found(BOX), None, 11 / 25)[0][0].state == "tentative"


def picture_with(patch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = np.full((320, 384, 3), 90, np.uint8)
    image[100:180, 100:200] = patch
    return image


@pytest.mark.parametrize("same", [True, False])
def test_a_polyp_is_known_again_by_its_looks(same: bool) -> None:
    """Out of sight for longer than release_s: the same looks in about the same place are the same polyp."""
    random = np.random.default_rng(0)
    patches = [cv2.resize(random.integers(0, 255, (4, 5, 3), dtype=np.uint8), (100, 80)) for _ in range(2)]
    tracker = Tracker(CONFIG)
    for index in range(15):
        update(tracker, found(BOX), None, index / 25, extract=PictureAppearances(picture_with(patches[0])).extract)
    for index in range(15, 45):
        update(tracker, NO_DETECTIONS, None, index / 25, extract=PictureAppearances(picture_with(patches[0])).extract)
    later = picture_with(patches[0] if same else patches[1])
    history = [
        update(tracker, found(BOX), None, index / 25, extract=PictureAppearances(later).extract)[0]
        for index in range(45, 60)
    ]
    assert history[0][0].state == "tentative" and history[-1][0].state == "shown"
    assert history[-1][0].id == (1 if same else 2)


def test_the_looks_of_a_polyp_are_those_of_when_it_is_shown() -> None:
    """Between its return and the frame that shows it again, its box may lie beside it."""
    tracker, taken = Tracker(CONFIG), list[float]()

    def play_on(frames: list[Detections], start: int) -> None:
        for index, one in enumerate(frames):
            pts_s = (start + index) / 25
            update(tracker, one, None, pts_s, extract=lambda box, pts_s=pts_s: take(box, pts_s))  # type: ignore[misc]

    def take(box: Boxes, pts_s: float) -> Appearance:
        taken.append(pts_s)
        return looks_of(BOX)(box)

    play_on([found(BOX)] * 10 + [NO_DETECTIONS] * 12, 0)
    assert taken
    taken.clear()
    play_on([found(BOX)] * 5, 22)
    assert taken and taken[0] == 24 / 25  # shown again in the third frame
