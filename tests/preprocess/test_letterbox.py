"""Into the model's input and back to the source's pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.geometry import shrink
from realtime_polyp.preprocess.letterbox import MAP_CELL_PX, fit_placement, prepare

CELL = MAP_CELL_PX
SIDES = st.integers(16, 4096)
SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda s: (32 * s[0], 32 * s[1]))


@given(SIDES, SIDES, st.integers(0, 500), st.integers(0, 500), SIZES, st.integers(0, 10_000))
def test_boxes_come_back_within_a_thousandth_of_a_pixel(
    width: int, height: int, x: int, y: int, size: tuple[int, int], seed: int
) -> None:
    field = FieldOfView(x, y, x + width, y + height)
    placement = fit_placement(field, size)
    corners = np.random.default_rng(seed).random((5, 2, 2)) * [width, height] + [x, y]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    offset = np.array([placement.left_px, placement.top_px] * 2)
    # Exact here: what is tested is the way back, which has only float32.
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    model = (boxes - np.array([x, y] * 2)) * scale + offset
    unit = max(1.0, np.abs(boxes).max() / 2048, (np.abs(model) / scale).max() / 2048)
    assert np.abs(placement.boxes_to_source(model.astype(np.float32)) - boxes).max() < 1e-3 * unit


@given(SIDES, SIDES, SIZES)
def test_the_field_fills_the_input_in_one_direction_centred_and_undistorted(
    width: int, height: int, size: tuple[int, int]
) -> None:
    placement = fit_placement(FieldOfView(7, 9, 7 + width, 9 + height), size)
    rows, columns = placement.inner()
    inner = (rows.stop - rows.start, columns.stop - columns.start)
    assert inner[0] == size[0] or inner[1] == size[1]
    assert 0 <= rows.start < rows.stop <= size[0] and 0 <= columns.start < columns.stop <= size[1]
    assert (
        abs(rows.start - (size[0] - rows.stop)) <= 2 * CELL
        and abs(columns.start - (size[1] - columns.stop)) <= 2 * CELL
    )
    scale = min(size[0] / height, size[1] / width)
    assert (
        abs(inner[0] - max(CELL, height * scale)) <= CELL / 2 and abs(inner[1] - max(CELL, width * scale)) <= CELL / 2
    )
    for edge in (rows.start, rows.stop, columns.start, columns.stop):
        assert edge % CELL == 0, "a mask's map could not be cut there"


@given(SIDES, SIDES, SIZES)
def test_the_field_s_own_corners_come_back_as_its_corners(width: int, height: int, size: tuple[int, int]) -> None:
    field = FieldOfView(3, 4, 3 + width, 4 + height)
    far = np.float32([[-1e5, -1e5, 1e5, 1e5]])
    assert fit_placement(field, size).boxes_to_source(far).tolist() == [[*field.box]]


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 96), st.integers(1, 96), st.integers(0, 255))
def test_a_constant_stays_constant(height: int, width: int, to_height: int, to_width: int, level: int) -> None:
    image = np.full((height, width, 3), level, np.uint8)
    small = shrink(image, (to_height, to_width))
    assert small.shape == (to_height, to_width, 3) and small.dtype == np.uint8 and (small == level).all()


@pytest.mark.parametrize("factor", [3, 4, 5, 7.3, 8])
def test_fine_stripes_become_grey_instead_of_moire(factor: float) -> None:
    """One pixel black, one white: whatever is larger than a few levels of ripple afterwards is aliasing."""
    side = round(64 * factor)
    stripes = np.where((np.arange(side) // 1 % 2)[None, :, None], 255, 0).astype(np.uint8).repeat(side, 0).repeat(3, 2)
    small = shrink(stripes, (64, 64)).astype(int)
    assert abs(small.mean() - 127.5) < 3 and small.std() < 4


def test_shrinking_agrees_with_the_mean_of_blocks() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 384, 3), np.uint8)
    blocks = image.reshape(64, 4, 96, 4, 3).mean((1, 3))
    assert np.abs(shrink(image, (64, 96)) - blocks).max() <= 1.5  # rounded twice


def test_a_batch_shows_each_field_and_black_around_it() -> None:
    bright = np.zeros((100, 200, 3), np.uint8)
    bright[20:80, 50:150] = (10, 200, 90)
    dim = np.full((50, 40, 3), 77, np.uint8)
    batch = prepare([bright, dim], [FieldOfView(50, 20, 150, 80), whole(dim)], (64, 96))
    assert batch.pixels.shape == (2, 3, 64, 96) and batch.pixels.dtype == np.uint8
    for pixels, placement, colour in zip(batch.pixels, batch.placements, [(10, 200, 90), (77, 77, 77)], strict=True):
        rows, columns = placement.inner()
        assert (pixels[:, rows, columns] == np.array(colour)[:, None, None]).all()
        padding = pixels.copy()
        padding[:, rows, columns] = 0
        assert not padding.any()
    assert batch.pixels.transpose(0, 2, 3, 1).flags.c_contiguous  # rows of RGB pixels, as engines read them


def test_each_image_is_prepared_as_if_alone() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (90 + i, 120, 3), np.uint8) for i in range(3)]
    fields = [whole(image) for image in images]
    together = prepare(images, fields, (64, 96))
    for index in range(3):
        alone = prepare(images[index : index + 1], fields[index : index + 1], (64, 96))
        assert np.array_equal(together.pixels[index], alone.pixels[0])
        assert together.placements[index] == alone.placements[0]
