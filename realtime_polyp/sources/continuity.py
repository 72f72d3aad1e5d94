"""Marks the frames of a source that do not continue the frame before them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from realtime_polyp.packets import Frame


def mark_continuity(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Set `continues` to False for the first frame, for stills, and for frames after a cut.

    A cut is a step of the clock backwards or longer than `packets.LONGEST_STEP_S`. The mark compares consecutive frames
    of the source: a consumer that skips frames must also check the marks and the steps of the skipped ones.
    """
    before: Frame | None = None
    for frame in frames:
        continues = frame.follows(before)
        before = frame
        yield frame if frame.continues == continues else replace(frame, continues=continues)
