"""Whose pixels labels are in: those of the picture as it is shown, as results are, or those that the file stores."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from realtime_polyp.metrics.run_lengths import decode, encode
from realtime_polyp.sources.placement import Placement
from trainers.video.labels import Clock, Label


@dataclass(frozen=True)
class PixelSpace:
    """The pixels that labels are in.

    Attributes:
        size: (width, height) px of the labelled pictures.
        placement: where they are in the picture as shown; None: they are shown pixels.
    """

    size: tuple[int, int]
    placement: Placement | None = None

    def shown(self, label: Label) -> Label:
        """Return the label in shown pixels."""
        if self.placement is None:
            return label
        mask = None if label.mask is None else encode(self.placement.show_mask(decode(label.mask) > 0))
        return replace(label, box=self.placement.show_box(label.box), mask=mask)


def space_of(sizes: Collection[tuple[int, int]], clock: Clock) -> PixelSpace:
    """Return the pixels that labels are in. sizes: of the labelled pictures, as the labels say; empty: they do not.

    Raises:
        ValueError: a size is not the video's, or the video is not shown as it is stored and the sizes do not tell.
    """
    placement = clock.placement
    spaces = {"shown": PixelSpace(clock.size)}
    if placement is not None:
        spaces["stored"] = PixelSpace(placement.stored, placement)
    possible = [name for name in spaces if clock.pixels in (None, name)]
    fitting = [name for name in possible if all(size == spaces[name].size for size in sizes)]
    if not fitting:
        wrong = next((one for one in sizes if all(one != spaces[name].size for name in possible)), sizes)
        allowed = " or ".join(f"{spaces[name].size} px" for name in possible)
        raise ValueError(f"the labels are of pictures of {wrong} px, the video's are {allowed}: another video?")
    if len(fitting) > 1:
        raise ValueError(
            f"the video's picture is stored as {spaces['stored'].size} px and shown as {clock.size} px, and the labels "
            "do not tell which they are of: give --pixels stored or --pixels shown"
        )
    return spaces[fitting[0]]


def space_of_shares(clock: Clock) -> PixelSpace:
    """Return the pixels of labels that are shares of the picture: stretching it does not change them, turning does."""
    if clock.placement is None or not clock.placement.turned:
        return PixelSpace(clock.size)
    return space_of((), clock)
