"""A second picture shows a still, has a frame, and leaves no polyp under it."""

import numpy as np
import pytest

from trainers.data.second_picture import SecondPicture, draw_second_picture, paste_second_picture

SIZE = (160, 192)


def drawn(seed: int, index: int = 3) -> SecondPicture:
    one = draw_second_picture(index, 10, SIZE, probability=1.0, seed=seed)
    assert one is not None
    return one


def test_it_lies_at_an_edge_inside_the_image_and_has_a_fifth_to_a_third_of_its_sides() -> None:
    at_edge = 0
    for seed in range(200):
        one = drawn(seed)
        for inner, outer, length in zip(one.inner, one.outer, SIZE, strict=True):
            assert 0 <= outer.start < inner.start and inner.stop < outer.stop <= length
            assert length / 5 - 1 <= inner.stop - inner.start <= length / 3 + 1
        distances = [
            min(outer.start, length - outer.stop) / length for outer, length in zip(one.outer, SIZE, strict=True)
        ]
        assert min(distances) <= 0.04
        at_edge += max(distances) > 0.04
    assert 30 < at_edge < 80  # a third along an edge, now and then near its corner


def test_it_happens_as_often_as_said_and_shows_the_image_itself_now_and_then() -> None:
    found = [draw_second_picture(3, 10, SIZE, probability=0.1, seed=seed) for seed in range(2000)]
    assert np.mean([one is not None for one in found]) == pytest.approx(0.1, abs=0.03)
    same = np.mean([drawn(seed).donor == 3 for seed in range(500)])
    assert same == pytest.approx(0.3 + 0.7 / 10, abs=0.08)
    assert draw_second_picture(3, 10, SIZE, probability=0.0, seed=1) is None


def test_half_of_them_have_text_beside_them() -> None:
    with_text = 0
    for seed in range(200):
        ink = drawn(seed).ink.copy()
        ink[drawn(seed).outer] = 0
        with_text += bool(ink.any())
    assert 75 < with_text < 125


def test_labels_under_it_vanish_and_all_else_stays() -> None:
    rng = np.random.default_rng(0)
    image, donor = rng.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)
    labels = np.full(SIZE, 2, np.uint8)
    one = drawn(7)
    pasted, left = paste_second_picture((image, labels), donor, one)
    under = np.zeros(SIZE, bool)
    under[one.outer] = True
    assert not left[under].any() and (left[~under] == 2).all()
    seen = ~under & (one.ink == 0)
    assert np.array_equal(pasted[seen], image[seen])
    frame = under.copy()
    frame[one.inner] = False
    assert len(np.unique(pasted[frame])) == 1
    assert pasted[one.inner].mean() == pytest.approx(donor.mean(), abs=3)
    assert (labels == 2).all()  # the still itself is as before
