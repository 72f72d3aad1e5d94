"""A number means one polyp: over seeks, over parts that are watched twice, and up to a cut."""

import numpy as np
import pytest
from fakes import SIZE, picture, pipeline_of

from realtime_polyp.packets import Frame, Result, Track
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.temporal.number_memory import NumberMemory

RATE_HZ = 25


def shown(results: list[Result]) -> set[int]:
    """The numbers that were on the screen."""
    return {track.id for result in results for track in result.tracks if track.visible}


def play(pipeline: Pipeline, indices: range) -> list[Result]:
    """The frames of the phantom at these indices, as a source that was opened there yields them."""
    return [
        pipeline.analyse([Frame(index, index / RATE_HZ, 0.0, picture(index), continues=index != indices[0])])[0]
        for index in indices
    ]


def test_a_polyp_that_is_watched_again_keeps_its_number() -> None:
    """Also where the part is entered in its middle."""
    pipeline = pipeline_of()
    first = shown(play(pipeline, range(20)))
    pipeline.seek()
    assert first == {1} and shown(play(pipeline, range(8, 24))) == {1}
    pipeline.seek()
    assert shown(play(pipeline, range(20))) == {1}


def test_another_polyp_after_a_seek_gets_the_next_number_and_the_first_one_is_found_again() -> None:
    pipeline = pipeline_of()
    assert shown(play(pipeline, range(20))) == {1}
    pipeline.seek()
    assert shown(play(pipeline, range(500, 520))) == {2}
    pipeline.seek()
    assert shown(play(pipeline, range(5, 20))) == {1}
    pipeline.seek()
    assert shown(play(pipeline, range(505, 525))) == {2}
    pipeline.seek()
    assert shown(play(pipeline, range(1000, 1020))) == {3}


def test_keys_of_tracks_that_were_never_shown_do_not_come_back() -> None:
    pipeline = pipeline_of()
    before = {track.id for track in play(pipeline, range(1))[0].tracks}
    pipeline.seek()
    after = {track.id for track in play(pipeline, range(500, 501))[0].tracks}
    assert before and after and not before & after


def test_another_video_counts_from_one_again() -> None:
    pipeline = pipeline_of()
    play(pipeline, range(20))
    pipeline.reset()
    assert shown(play(pipeline, range(500, 520))) == {1}


def test_without_a_seek_the_memory_changes_nothing() -> None:
    """The same times a second time, as a broken clock would give them: numbers go on as they always did."""
    pipeline = pipeline_of()
    assert shown(play(pipeline, range(20))) == {1} and shown(play(pipeline, range(20))) == {2}


@pytest.mark.parametrize("how", ["picture", "mark"])
def test_a_hard_cut_ends_a_number_and_nothing_of_the_scene_before_is_shown(how: str) -> None:
    """A cut in an edited video: the other scene has its polyp in the same place."""
    pipeline, rng = pipeline_of(), np.random.default_rng(0)
    scenes = [rng.integers(60, 190, (9, 12, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(2)]
    frames = []
    for index in range(24):
        image = scenes[0 if index < 12 else 1 if how == "picture" else 0].copy()
        if index != 12:  # in the first picture after the cut there is no polyp
            image[26:46, 36:60] = (30, 30, 230) if index < 12 else (255, 230, 230)
        continues = index != 0 and not (how == "mark" and index == 12)
        frames.append(Frame(index, index / RATE_HZ, 0.0, image, continues=continues))
    assert frames[0].image.shape == (SIZE[1], SIZE[0], 3)
    results = [pipeline.analyse([frame])[0] for frame in frames]
    assert shown(results[:12]) == {1} and shown(results[12:13]) == set()
    assert results[12].mask is not None and results[12].mask.probability.max() < 0.75
    assert shown(results[13:]) == {2}


def test_a_number_is_found_shortly_before_or_after_it_was_shown_and_not_twice_at_once() -> None:
    memory, box = NumberMemory(), np.float32([10, 10, 30, 30])
    far = box + 40
    memory.add(5.0, [Track(7, box, 0.9, "shown", 1.0, 0.0), Track(8, far, 0.9, "tentative", 1.0, 0.0)])
    assert memory.find(5.0, box, set()) is None, "before the first seek nothing is remembered"
    memory.seek()
    assert [memory.find(pts_s, box, set()) for pts_s in (4.3, 4.5, 5.05, 5.5, 5.8)] == [None, 7, 7, 7, None]
    assert memory.find(5.0, box, {7}) is None and memory.find(5.0, far, set()) is None
    memory.add(5.0, [Track(9, box, 0.9, "shown", 1.0, 0.0)])
    memory.seek()
    assert memory.find(5.0, box, set()) == 7, "the first time counts"


def test_the_memory_is_bounded_and_the_oldest_places_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime_polyp.temporal.number_memory._MOST_PLACES", 100)
    memory = NumberMemory()
    boxes = [np.float32([50 * (tenth % 20), 10, 50 * (tenth % 20) + 30, 30]) for tenth in range(260)]
    for tenth, box in enumerate(boxes):
        memory.add(tenth / 10 + 0.05, [Track(1 + tenth, box, 0.9, "shown", 1.0, 0.0)])
    memory.seek()
    found = {tenth: memory.find(tenth / 10 + 0.05, boxes[tenth], set()) for tenth in (0, 100, 250, 259)}
    assert found == {0: None, 100: None, 250: 251, 259: 260}
