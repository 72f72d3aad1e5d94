"""Pixels prepared by torch against those prepared by numpy and OpenCV, and NV12 against what the screen is fed."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from nv12_toys import nv12_frame, textured

from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.geometry import shrink as shrink_on_host
from realtime_polyp.nv12 import MATRICES, Matrix, Nv12, Picture, crop_planes, nv12_of
from realtime_polyp.preprocess.letterbox import fit_placement, prepare
from realtime_polyp.preprocess.letterbox_torch import field_of, letterbox, rgb_of, shrink

DEVICES = ["cpu", pytest.param("cuda", marks=needs("cuda"))]
RGB_TOLERANCE, NV12_TOLERANCE = 1, 4  # levels of 255; three of the four are the quick conversion of FFmpeg itself
SIZE = (64, 96)
FIELDS = {  # of a frame of 241 x 180 px
    "whole": FieldOfView(0, 0, 241, 180),
    "5:4": FieldOfView(30, 11, 230, 171),
    "odd": FieldOfView(17, 3, 200, 178),
    "tall": FieldOfView(90, 0, 131, 180),
    "small": FieldOfView(101, 57, 140, 80),
    "exactly half": FieldOfView(1, 1, 193, 129),
}


def on_device(
    images: Sequence[Picture], fields: Sequence[FieldOfView], size: tuple[int, int], device: str
) -> NDArray[np.uint8]:
    """The way that CudaInference goes: crop on the host, the rest there."""
    inner = [
        field_of([torch.from_numpy(np.array(part)).to(device) for part in crop_planes(image, field)], image, field)
        for image, field in zip(images, fields, strict=True)
    ]
    pixels = torch.full((len(images), 3, *size), 77, dtype=torch.uint8, device=device)
    letterbox(inner, [fit_placement(field, size) for field in fields], pixels)
    return pixels.cpu().numpy()


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape and one.dtype == other.dtype == np.uint8
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("size", [SIZE, (96, 96), (160, 64)])
def test_rgb_is_prepared_as_on_the_host(device: str, name: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (180, 241, 3), np.uint8)
    images, fields = [textured((241, 180)), noise], [FIELDS[name]] * 2
    expected = prepare(images, fields, size).pixels
    assert expected.std() > 20  # there is something to get wrong
    assert apart(on_device(images, fields, size, device), expected) <= RGB_TOLERANCE


@settings(max_examples=40)
@given(st.integers(4, 150), st.integers(4, 150), st.integers(1, 48), st.integers(1, 48), st.integers(0, 9))
def test_any_shape_shrinks_and_grows_as_on_the_host(
    height: int, width: int, to_height: int, to_width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    found = shrink(torch.from_numpy(image), (to_height, to_width)).permute(1, 2, 0).numpy()
    assert apart(found, shrink_on_host(image, (to_height, to_width))) <= RGB_TOLERANCE


def test_halving_alone_is_exact() -> None:
    image = np.random.default_rng(1).integers(0, 256, (257, 386, 3), np.uint8)  # the odd line and columns are left out
    found = shrink(torch.from_numpy(image), (64, 96)).permute(1, 2, 0).numpy()
    assert apart(found, shrink_on_host(image, (64, 96))) == 0


def test_pictures_of_different_sizes_share_a_batch_and_the_rest_of_it_is_black() -> None:
    images = [textured((120, 90), 1), textured((97, 141), 2)]
    fields = [whole(image) for image in images]
    pixels = torch.full((4, 3, *SIZE), 200, dtype=torch.uint8)
    letterbox([torch.from_numpy(image) for image in images], [fit_placement(field, SIZE) for field in fields], pixels)
    assert apart(pixels[:2].numpy(), prepare(images, fields, SIZE).pixels) <= RGB_TOLERANCE
    assert not pixels[2:].any()


def test_nothing_is_asked_of_the_device_on_the_way() -> None:
    """Tensors without contents: whatever read a value to decide something would fail."""
    pixels = torch.empty((1, 3, *SIZE), dtype=torch.uint8, device="meta")
    luma, chroma = (torch.empty(shape, dtype=torch.uint8, device="meta") for shape in ((181, 241), (91, 121, 2)))
    field = FIELDS["odd"]
    nv12 = Nv12(np.zeros((180, 241), np.uint8), np.zeros((90, 121, 2), np.uint8))
    letterbox(
        [field_of([luma, chroma], nv12, field)[: field.height, : field.width]], [fit_placement(field, SIZE)], pixels
    )
    assert pixels.shape == (1, 3, *SIZE)


# NV12


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("number", "colour_range"), [(1, 1), (1, 2), (5, 1), (5, 2), (6, 1)])
def test_nv12_is_prepared_as_the_rgb_that_the_screen_shows(
    device: str, name: str, number: int, colour_range: int
) -> None:
    frame = nv12_frame(textured((241, 180)), number, colour_range)
    from realtime_polyp.sources.picture import RgbConverter  # needs av

    nv12, rgb = nv12_of(frame, MATRICES[number]), RgbConverter()(frame)
    assert nv12.full_range == (colour_range == 2)
    expected = prepare([rgb], [FIELDS[name]], SIZE).pixels
    found = on_device([nv12], [FIELDS[name]], SIZE, device)
    assert apart(found, expected) <= NV12_TOLERANCE


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_grey_white_and_black_are_what_the_standard_says(matrix: Matrix, full_range: bool) -> None:
    levels = [0, 128, 255] if full_range else [16, 126, 235]
    luma = torch.tensor([levels], dtype=torch.uint8).repeat(2, 2)
    chroma = torch.full((1, 3, 2), 128, dtype=torch.uint8)
    rgb = rgb_of(luma, chroma, matrix=matrix, full_range=full_range)
    assert rgb.shape == (2, 6, 3)
    assert rgb[0, :3].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_colours_out_of_range_are_clipped_not_wrapped() -> None:
    luma, chroma = torch.full((2, 2), 255, dtype=torch.uint8), torch.tensor([[[255, 0]]], dtype=torch.uint8)
    rgb = rgb_of(luma, chroma, matrix="bt601", full_range=False)
    assert rgb[0, 0, 2] == 255 and rgb[0, 0, 0] == 74
