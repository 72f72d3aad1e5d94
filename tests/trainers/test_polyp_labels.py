"""Which parts of a mask are polyps, and how many stills --limit leaves."""

from pathlib import Path

import numpy as np
import pytest

from trainers.data.stills import Still, first_stills, label_polyps


def test_components_are_numbered_from_1_and_specks_are_background() -> None:
    mask = np.zeros((60, 80), bool)
    mask[5:15, 5:15] = mask[30:50, 40:70] = mask[55, 75] = True
    labels = label_polyps(mask)
    assert set(labels[5:15, 5:15].ravel()) == {1} and set(labels[30:50, 40:70].ravel()) == {2}
    assert labels[55, 75] == 0 and np.count_nonzero(labels) == 10 * 10 + 20 * 30


@pytest.mark.parametrize("background_px", [0, 1, 24])
def test_a_polyp_that_fills_the_picture_is_one(background_px: int) -> None:
    mask = np.ones((60, 80), bool)
    mask[0, :background_px] = False
    assert np.array_equal(label_polyps(mask), mask.astype(np.uint8))


def test_a_limit_keeps_the_first_stills_and_none_below_1_is_taken() -> None:
    stills = [Still(number, Path(), Path(), 1, 1, "C1", np.zeros((0, 4), np.float32)) for number in range(3)]
    assert [still.id for still in first_stills(stills, 2)] == [0, 1]
    assert len(first_stills(stills, None)) == len(first_stills(stills, 9)) == 3
    for limit in (0, -1):  # as a slice, -1 would leave out the last one
        with pytest.raises(ValueError, match=f"--limit is {limit}: it must be 1 or more"):
            first_stills(stills, limit)
