"""Marks the frames of a source that do not continue the frame before them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from realtime_polyp.packets import Frame

LONGEST_STEP_S = 1.0
"""A longer step of the video's clock is a cut or a seek."""


def mark_continuity(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Set `continues` to False for the first frame, for stills, and for frames after a cut.

    A cut is a step of the clock backwards or longer than LONGEST_STEP_S. The mark compares consecutive frames of the
    source: a consumer that skips frames must also check the marks and the steps of the skipped ones.
    """
    last_s: float | None = None
    for frame in frames:
        continues = not frame.is_still and last_s is not None and 0 <= frame.pts_s - last_s <= LONGEST_STEP_S
        last_s = frame.pts_s
        yield frame if frame.continues == continues else replace(frame, continues=continues)
