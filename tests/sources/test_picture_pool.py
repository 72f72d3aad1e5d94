"""Memory of pictures: used again after the last reference, never before."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from realtime_polyp.sources.picture_pool import PicturePool

SHAPE = (64, 48, 3)


def _picture(value: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def test_a_released_picture_gives_its_memory_to_the_next() -> None:
    pool = PicturePool()
    first = pool.copy(_picture(1))
    address = first.ctypes.data
    assert first.flags.c_contiguous and (first == 1).all()
    del first
    second = pool.copy(_picture(2))
    assert second.ctypes.data == address and (second == 2).all()


@pytest.mark.parametrize("look_at", [lambda p: p[10:20, ::2], lambda p: memoryview(p), lambda p: p.reshape(-1)[5:]])
def test_any_view_keeps_the_picture_as_it_was(look_at) -> None:
    pool = PicturePool()
    view = look_at(pool.copy(_picture(7)))
    others = [pool.copy(_picture(value)) for value in range(20)]
    assert (np.asarray(view) == 7).all()
    assert [int(other[0, 0, 0]) for other in others] == list(range(20))


def test_a_tensor_keeps_the_picture_too() -> None:
    torch = pytest.importorskip("torch")
    pool = PicturePool()
    tensor = torch.from_numpy(pool.copy(_picture(9)))
    for value in range(5):
        pool.copy(_picture(value))
    assert bool((tensor == 9).all())


def test_pictures_of_a_new_size_are_right_and_old_memory_leaves() -> None:
    pool = PicturePool()
    held = [pool.copy(_picture(value)) for value in range(10)]
    del held
    larger = pool.copy(_picture(3, (128, 96, 3)))
    assert larger.shape == (128, 96, 3) and (larger == 3).all()
    assert not pool._idle, "memory of the earlier size is still held"


def test_idle_memory_is_bounded() -> None:
    pool = PicturePool()
    held = [pool.copy(_picture(value)) for value in range(50)]
    assert len({picture.ctypes.data for picture in held}) == 50
    held.clear()
    assert 0 < len(pool._idle) <= 8


def test_a_picture_outlives_its_pool() -> None:
    picture = PicturePool().copy(_picture(5))
    assert (picture == 5).all()


def test_pictures_released_on_other_threads_never_mix() -> None:
    pool, wrong = PicturePool(), []
    start = threading.Barrier(4)

    def look(number: int) -> None:
        start.wait()
        for turn in range(300):
            value = (number * 61 + turn) % 251
            picture = pool.copy(_picture(value))
            if not (picture == value).all():
                wrong.append((number, turn))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(look, range(4)))
    assert not wrong
