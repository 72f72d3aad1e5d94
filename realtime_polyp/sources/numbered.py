"""Tells the frames of a video, stored as numbered pictures in a folder, from a collection of stills."""

import re
from collections.abc import Sequence
from functools import reduce
from math import gcd

LEAST_FRAMES = 5
"""Pictures that a folder needs to be taken for a video by its names alone."""
USUAL_RATE_HZ = 25
"""Of numbered pictures whose rate is not given."""
_LEAST_PRESENT = 0.5  # share of the numbers from first to last that must be there
_DIGITS = re.compile(r"(\d+)")


def frame_numbers(names: Sequence[str]) -> list[int] | None:
    """Return the number of each frame; None if the names are not those of the frames of one video.

    names: of files, in natural order, such as frame_0001.jpg, frame_0002.jpg, or case_M_1_0042.png. They are alike but
    for one number, which rises, and at least half of the numbers from the first to the last are there. A common step,
    as where every fifth frame was written, counts as 1.
    """
    pieces = [_DIGITS.split(name.lower()) for name in names]
    if len(names) < LEAST_FRAMES or len({len(one) for one in pieces}) != 1:
        return None
    changing = [place for place, column in enumerate(zip(*pieces, strict=True)) if len(set(column)) > 1]
    if len(changing) != 1 or changing[0] % 2 == 0:  # pieces at odd places are digits
        return None
    numbers = [int(one[changing[0]]) for one in pieces]
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    if min(steps) < 1:
        return None
    step = reduce(gcd, steps)
    if len(names) < _LEAST_PRESENT * ((numbers[-1] - numbers[0]) // step + 1):
        return None
    return [numbers[0] + (number - numbers[0]) // step for number in numbers]
