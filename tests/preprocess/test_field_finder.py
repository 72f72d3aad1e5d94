"""What the picture says over time: a steady field, and whether there is a picture at all."""

import numpy as np
import pytest
from fakes import pipeline_of

from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.packets import Frame
from realtime_polyp.preprocess.field_finder import FieldFinder, doubt_text
from realtime_polyp.preprocess.signal import SignalMonitor


def lit(x1: int, y1: int, x2: int, y2: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[y1:y2, x1:x2] = 120
    return image


WIDE, NARROW = lit(20, 10, 300, 230), lit(80, 60, 240, 180)


def boxes(finder: FieldFinder, image: np.ndarray, times_s: list[float]) -> list[FieldOfView]:
    return [finder.update(image, time_s) for time_s in times_s]


def near(field: FieldOfView, box: list[int]) -> bool:
    return bool(np.abs(np.array(field.box) - box).max() <= 2)


def test_the_field_grows_at_once() -> None:
    finder = FieldFinder()
    assert near(finder.update(NARROW, 0.0), [80, 60, 240, 180])
    assert near(finder.update(WIDE, 0.6), [20, 10, 300, 230])


def test_a_dark_moment_does_not_shrink_it_and_a_new_layout_does() -> None:
    finder = FieldFinder()
    wide = finder.update(WIDE, 0.0)
    assert boxes(finder, NARROW, [0.5, 1.0, 1.5]) == [wide] * 3  # three searches agree: not yet
    assert finder.update(WIDE, 2.0) == wide
    assert boxes(finder, NARROW, [2.5, 3.0, 3.5]) == [wide] * 3  # the count began anew
    assert near(finder.update(NARROW, 4.0), [80, 60, 240, 180])


def test_searches_are_made_twice_a_second_of_video() -> None:
    finder = FieldFinder()
    narrow = finder.update(NARROW, 0.0)
    assert boxes(finder, WIDE, [0.04, 0.2, 0.48]) == [narrow] * 3
    assert finder.update(WIDE, 0.5) != narrow


def test_a_dark_start_is_the_whole_frame_until_light_comes() -> None:
    finder, dark = FieldFinder(), np.zeros((240, 320, 3), np.uint8)
    assert finder.update(dark, 0.0) == whole(dark)
    assert near(finder.update(NARROW, 0.04), [80, 60, 240, 180])  # looked for in every frame until then
    assert near(finder.update(dark, 10.0), [80, 60, 240, 180])


def test_another_size_begins_anew() -> None:
    finder = FieldFinder()
    finder.update(WIDE, 0.0)
    other = lit(10, 10, 90, 70, (80, 100))
    assert near(finder.update(other, 0.04), [10, 10, 90, 70])


def test_searches_at_another_size_do_not_count() -> None:
    finder = FieldFinder()
    wide = finder.update(WIDE, 0.0)
    assert boxes(finder, NARROW, [0.5, 1.0, 1.5]) == [wide] * 3
    assert near(finder.update(lit(10, 5, 95, 75, (80, 100)), 2.0), [10, 5, 95, 75])
    assert near(finder.update(lit(30, 20, 70, 60, (80, 100)), 2.5), [10, 5, 95, 75])


def test_another_size_has_no_rival_of_the_one_before() -> None:
    finder = FieldFinder()
    finder.update(two_pictures(), 0.0)
    assert finder.rival is not None
    finder.update(np.zeros((80, 100, 3), np.uint8), 0.1)
    assert finder.rival is None


@pytest.mark.parametrize("level", [0, 20, 23])
def test_black_is_told_at_once(level: int) -> None:
    assert SignalMonitor().update(np.full((64, 96, 3), level, np.uint8), 0.0) == "black"


def test_a_picture_is_frozen_after_a_second_and_lives_again_at_once() -> None:
    watch = SignalMonitor()
    assert [watch.update(WIDE, t) for t in (0.0, 0.5, 0.96, 1.0, 5.0)] == ["ok", "ok", "ok", "frozen", "frozen"]
    changed = WIDE.copy()
    changed[::16, ::16] += 5
    assert watch.update(changed, 5.04) == "ok"
    assert watch.update(changed, 5.9) == "ok" and watch.update(changed, 6.1) == "frozen"


@pytest.mark.parametrize("noise,expected", [(2, "frozen"), (8, "ok")])
def test_an_encoder_s_flicker_is_still_frozen_and_more_is_life(noise: int, expected: str) -> None:
    watch, random = SignalMonitor(), np.random.default_rng(0)
    for index in range(40):
        image = (WIDE + random.integers(0, noise + 1, WIDE.shape)).astype(np.uint8)
        signal = watch.update(image, index / 10)
    assert signal == expected


def test_slow_movement_adds_up_to_life() -> None:
    watch = SignalMonitor()
    signals = [watch.update((WIDE + index // 4).astype(np.uint8), index / 10) for index in range(60)]
    assert set(signals) == {"ok"}


def test_a_clock_that_goes_back_is_no_freeze() -> None:
    watch = SignalMonitor()
    watch.update(WIDE, 100.0)
    assert watch.update(WIDE, 2.0) == "ok"
    assert watch.update(WIDE, 2.9) == "ok" and watch.update(WIDE, 3.0) == "frozen"


def test_the_picture_is_not_kept() -> None:
    """A source may write its next picture into the same memory."""
    watch, image = SignalMonitor(), WIDE.copy()
    for index in range(30):
        image[:] = np.roll(image, 5, axis=0)
        assert watch.update(image, index / 10) == "ok"


def test_a_named_field_is_kept_inside_any_frame() -> None:
    finder = FieldFinder(FieldOfView(10, 20, 200, 180))
    assert finder.update(WIDE, 0.0) == finder.update(NARROW, 5.0) == FieldOfView(10, 20, 200, 180)
    assert finder.update(WIDE[:100, :150], 6.0) == FieldOfView(10, 20, 150, 100)
    assert finder.update(WIDE[:10, :10], 7.0) == FieldOfView(0, 0, 10, 10)


def test_where_a_strip_is_left_of_a_named_field_the_field_is_found() -> None:
    finder = FieldFinder(FieldOfView(100, 20, 300, 180))
    assert near(finder.update(WIDE[:, :131], 0.0), [20, 10, 131, 230])
    assert finder.update(WIDE[:, :132], 0.0) == FieldOfView(100, 20, 132, 180)


def test_a_picture_elsewhere_must_be_found_again_and_again() -> None:
    finder, left, right = FieldFinder(), lit(0, 20, 140, 220), lit(180, 20, 320, 220)
    first = finder.update(left, 0.0)
    assert boxes(finder, right, [0.5, 1.0, 1.5]) == [first] * 3
    assert near(finder.update(right, 2.0), [180, 20, 320, 220])


def two_pictures() -> np.ndarray:
    image = np.zeros((240, 320, 3), np.uint8)
    image[:, :150] = image[:, 170:] = (180, 110, 90)
    return image


def test_a_second_picture_that_may_be_the_endoscope_s_is_told() -> None:
    finder = FieldFinder()
    field = finder.update(two_pictures(), 0.0)
    assert finder.rival and {field.x1, finder.rival.x1} == {0, 169}
    finder.update(WIDE, 0.5)
    assert finder.rival is None
    sentence = doubt_text(FieldOfView(0, 0, 151, 240), FieldOfView(169, 0, 320, 240))
    assert "0,0,151,240 was analysed" in sentence and "--field 169,0,320,240" in sentence


def test_a_pipeline_takes_a_field_at_once_and_forgets_the_doubt() -> None:
    pipeline, image = pipeline_of(), two_pictures()
    frames = (Frame(number, number / 25, 0.0, image) for number in range(3))
    found = pipeline.analyse([next(frames)])[0].field_of_view
    assert pipeline.analyzer.field_doubt == (found, pipeline.analyzer.field_rival) and found.width < 160
    pipeline.set_field(FieldOfView(170, 0, 320, 240))
    assert pipeline.analyse([next(frames)])[0].field_of_view == FieldOfView(170, 0, 320, 240)
    assert pipeline.analyzer.field_doubt is pipeline.analyzer.field_rival is None
    pipeline.set_field(None)
    assert pipeline.analyse([next(frames)])[0].field_of_view == found
