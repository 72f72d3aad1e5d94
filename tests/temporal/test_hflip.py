"""Every other frame is seen hflip: the same answers where the models are even-handed, and told apart where not."""

from collections.abc import Sequence

import numpy as np
import pytest
from fakes import FakeDetector, FakeSegmenter, frames_of, picture, textured_disc
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from realtime_polyp.cli.options import parse
from realtime_polyp.config import PipelineConfig, default_config
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.inference.host import HostInference
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.postprocess.nms import mask_of
from realtime_polyp.preprocess.letterbox import fit_placements, prepare
from realtime_polyp.runtime import open_runtime
from realtime_polyp.temporal.config import TemporalConfig
from realtime_polyp.temporal.filter import detections_at

SIZE = (64, 96)
MIRRORED = PipelineConfig(hflip=True)
SIDES = st.integers(16, 900)


def line(config: PipelineConfig, detector: FakeDetector | None = None) -> Pipeline:
    return Pipeline(detector or FakeDetector(), FakeSegmenter(), config)  # type: ignore[arg-type]


def shown(results: Sequence[Result]) -> list[list[int]]:
    return [[track.id for track in result.tracks if track.visible] for result in results]


class OneWay(FakeDetector):
    """Blind to what lies in the left half of its input, as the disc of frame 0 does."""

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = super().__call__(pixels)
        seen = (boxes[..., 0] + boxes[..., 2]) / 2 > SIZE[1] / 2
        return boxes, np.where(seen, scores, 0).astype(np.float32)


class Fancies(FakeDetector):
    """Sure of a polyp at the left of its input, whatever is there."""

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        boxes, scores = super().__call__(pixels)
        return boxes, np.full_like(scores, 0.9)


# The way there and back


def test_a_mirrored_field_lies_where_it_lay_and_its_padding_stays() -> None:
    image = np.random.default_rng(0).integers(1, 256, (90, 70, 3), np.uint8)
    field = FieldOfView(3, 5, 60, 88)
    plain, turned = (prepare([image], [field], SIZE, hflip=[one]) for one in (False, True))
    rows, columns = turned.placements[0].inner()
    assert np.array_equal(turned.pixels[0][:, rows, columns], plain.pixels[0][:, rows, columns][:, :, ::-1])
    padding = turned.pixels[0].copy()
    padding[:, rows, columns] = 0
    assert not padding.any() and turned.pixels[0].any()


@given(SIDES, SIDES, st.integers(0, 300), st.integers(0, 10_000))
def test_boxes_come_back_from_either_side(width: int, height: int, x: int, seed: int) -> None:
    field = FieldOfView(x, 7, x + width, 7 + height)
    plain, turned = fit_placements([field, field], SIZE, [False, True])
    corners = np.random.default_rng(seed).random((4, 2, 2)) * SIZE[::-1]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    middle = 2 * plain.left_px + plain.width_px
    across = np.stack([middle - boxes[:, 2], boxes[:, 1], middle - boxes[:, 0], boxes[:, 3]], 1)
    assert np.allclose(turned.boxes_to_source(across), plain.boxes_to_source(boxes), atol=0.01 * max(1, width / 64))


@pytest.mark.parametrize(
    "field", [FieldOfView(0, 0, 96, 72), FieldOfView(11, 3, 70, 130), FieldOfView(4, 60, 300, 160)]
)
def test_a_mask_comes_back_from_either_side(field: FieldOfView) -> None:
    probability = np.random.default_rng(1).random((32, 48)).astype(np.float32)
    plain, turned = fit_placements([field, field], SIZE, [False, True])
    rows, columns = turned.inner(2)
    hflip = probability.copy()
    hflip[rows, columns] = hflip[rows, columns][:, ::-1]
    there = mask_of(hflip, turned, SIZE)
    assert np.array_equal(there.probability, mask_of(probability, plain, SIZE).probability)
    assert there.field_of_view == field and there.probability.flags.c_contiguous


# The line


def test_of_even_handed_models_every_frame_is_the_same_as_without() -> None:
    frames = frames_of(40)
    with_mirror, without = (list(run_inline(frames, line(config))) for config in (MIRRORED, PipelineConfig()))
    for one, other in zip(with_mirror, without, strict=True):
        assert len(one.detections) == len(other.detections)
        assert np.abs(one.detections.boxes - other.detections.boxes).max(initial=0) < 1.5
        assert one.mask is not None and other.mask is not None
        assert np.abs(one.mask.probability - other.mask.probability).mean() < 0.02  # halved from other columns
    assert any(len(one.detections) for one in with_mirror)


@pytest.mark.parametrize("rate_hz", [12, 15, 20, 24_000 / 1001, 25, 30, 60])
def test_what_is_seen_one_way_round_only_is_seen_in_every_other_frame(rate_hz: float) -> None:
    frames = [Frame(index, index / rate_hz, 0.0, textured_disc(left=True)) for index in range(60)]
    results = list(run_inline(frames, line(MIRRORED, OneWay())))
    assert [len(result.detections) for result in results] == [0, 1] * 30
    assert not any(shown(list(run_inline(frames, line(PipelineConfig(), OneWay())))))
    assert any(shown(results)), "and shown, once both ways were asked for long enough"
    assert shown(results)[-1] == [1]


def test_what_is_fancied_at_one_place_of_the_input_goes_to_and_fro_and_comes_later() -> None:
    frames = [Frame(index, index / 25, 0.0, picture(39)) for index in range(60)]  # without the disc
    long = TemporalConfig(confirm_s=0.3, hold_s=0.3)
    lines = [line(PipelineConfig(temporal=long, hflip=one), Fancies()) for one in (True, False)]
    moving, standing = (shown(list(run_inline(frames, one))) for one in lines)
    first_moving, first_standing = (next(place for place, ids in enumerate(one) if ids) for one in (moving, standing))
    assert first_moving > 1.9 * first_standing > 0


def test_it_goes_by_the_frame_s_own_number() -> None:
    assert [MIRRORED.flips(frame) for frame in frames_of(4)] == [False, True, False, True]
    assert not any(PipelineConfig().flips(frame) for frame in frames_of(4))
    still = Frame(1, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8), is_still=True)
    assert not MIRRORED.flips(still), "a still that stands alone is judged as it is"


def test_a_frame_is_found_again_as_it_was_seen() -> None:
    frame = frames_of(2)[1]
    pipeline = line(MIRRORED)
    result = pipeline.analyse([frame])[0]
    again = detections_at(result.raw, pipeline.config, 0.1)
    assert len(again) == 2 and again.boxes[1, 0] > 48, "the rival of a mirrored input is at the right"


def test_who_shares_models_keeps_his_own_side() -> None:
    images = [frame.image for frame in frames_of(4)]
    fields, sides = [whole(image) for image in images], [False, True, True, False]
    models = FakeDetector(), FakeSegmenter()
    alone = HostInference(*models).submit(images, fields, hflip=sides).result()  # type: ignore[arg-type]
    with SharedInference(HostInference(*models)) as shared:  # type: ignore[arg-type]
        together = shared.submit(images, fields, hflip=sides).result()
        plain = shared.submit(images, fields).result()
    assert [one.hflip for one in together.detector_placements] == sides
    assert not any(one.hflip for one in plain.detector_placements)
    assert alone.predictions and together.predictions
    assert np.array_equal(together.predictions[0], alone.predictions[0])


@pytest.mark.usefixtures("fake_engines")
@pytest.mark.parametrize(
    ("more", "mirrors"), [([], True), (["--no-mirror"], False), (["--no-smooth"], False)], ids=["usual", "off", "raw"]
)
def test_the_line_mirrors_unless_told_otherwise(more: list[str], mirrors: bool) -> None:
    fakes = ["--detector", "fake", "--segmenter", "fake", "--engine", "eager"]
    options = parse(["--source", "a.mp4", "--headless", *fakes, *more])
    assert open_runtime(options.runtime_config(live=False)).pipeline_config.hflip == mirrors
    assert default_config(None, None).hflip
