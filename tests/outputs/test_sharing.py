"""What pictures for others leave out and carry."""

import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from realtime_polyp.field_of_view import FieldOfView, Image, whole
from realtime_polyp.outputs import OutputSpec, open_outputs
from realtime_polyp.outputs.sharing import add_caption, blank_outside, caption_below
from realtime_polyp.outputs.video import VideoWriter
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result

FIELD = FieldOfView(100, 20, 300, 220)


def result_of(image: Image, field: FieldOfView) -> Result:
    return Result(Frame(0, 0.0, time.monotonic(), image), field, NO_DETECTIONS, (), None)


def endoscope_picture() -> Image:
    """A name in the banner at the left, and mucosa in the field."""
    image = np.zeros((240, 320, 3), np.uint8)
    image[100:110, 10:80] = 255
    FIELD.crop(image)[...] = (180, 90, 80)
    return image


def test_only_the_field_is_left() -> None:
    image = endoscope_picture()
    blanked = blank_outside(image, result_of(image, FIELD))
    assert not blanked[:, :100].any() and (FIELD.crop(blanked) == (180, 90, 80)).all() and image[100:110, 10:80].all()


def test_without_a_result_the_field_is_searched() -> None:
    blanked = blank_outside(endoscope_picture(), None)
    assert not blanked[:, :90].any() and FIELD.crop(blanked).any()


@pytest.mark.parametrize("with_result", [True, False])
def test_where_no_field_is_found_nothing_is_shown(with_result: bool) -> None:
    image = endoscope_picture()
    FIELD.crop(image)[...] = 0  # a dark picture, and the name beside it
    assert not blank_outside(image, result_of(image, whole(image)) if with_result else None).any()


@pytest.mark.parametrize("size", [(1080, 1920), (240, 320), (128, 60), (7, 500)])
def test_the_notice_fits_every_picture(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 200, np.uint8)
    below = caption_below(image)
    assert np.array_equal(below[: size[0]], image) and below.shape[1] == size[1] and below[size[0] :].any()
    add_caption(image)
    assert (image[-1, 0] == 0).all() and image.shape == (*size, 3)


@pytest.mark.parametrize("blank", [None, True])
def test_a_saved_video_carries_the_notice_and_leaves_out_what_was_asked(tmp_path: Path, blank: bool | None) -> None:
    image = endoscope_picture()
    (writer,) = open_outputs(OutputSpec(save=tmp_path / "out.mp4", blank_outside=blank), None)
    assert isinstance(writer, VideoWriter)
    writer.write(replace(result_of(image, FIELD)))
    writer.close()
    with av.open(str(tmp_path / "out.mp4")) as container:
        decoded = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert (decoded[105, 40].min() > 200) == (blank is None)
    assert decoded[225:, :150, 0].max() > 150  # the notice, in the corner
