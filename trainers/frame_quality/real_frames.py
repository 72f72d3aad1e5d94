"""Real frames of video for the frame quality classifier: PolypGen's negative sequences, as one person judged them.

Nearly all show mucosa well. The others are listed here, by sequence and number, as seen in full size beside
their neighbours. Those of training sequences are left out of the training; those that report show what is recognised.
"""

from collections.abc import Sequence
from pathlib import Path

from realtime_polyp.packets import FrameQuality
from trainers.data.negatives import Use, read_negatives, sequence_of
from trainers.data.stills import Still

_BLURRED: dict[str, tuple[int, ...]] = {
    "seq04": (22, 23, 24),
    "seq06": (0, 1, 34),
    "seq07": (22,),
    "seq14": (0, 16, 21),
    "seq15": (8, 26),
    "seq16": (0, 5, 6, 10, 16, 20, 21),
}
_GLARE: dict[str, tuple[int, ...]] = {"seq14": (15,)}


def read_real_frames(path: Path, root: Path, use: Use) -> tuple[list[Still], list[FrameQuality]]:
    """Return the frames for this use and their qualities. Raises as `read_negatives` does."""
    frames = read_negatives(path, root, use)
    return frames, [quality_of(frame) for frame in frames]


def clear_frames(path: Path, root: Path) -> list[Still]:
    """Return the frames of the training sequences that show mucosa well. Raises as `read_negatives` does."""
    frames, qualities = read_real_frames(path, root, "train")
    return [frame for frame, quality in zip(frames, qualities, strict=True) if quality == "clear"]


def quality_of(frame: Still) -> FrameQuality:
    """Return the quality of a frame of PolypGen's negative sequences."""
    kinds: Sequence[tuple[FrameQuality, dict[str, tuple[int, ...]]]] = (("blurred", _BLURRED), ("glare", _GLARE))
    number, sequence = int(frame.image_path.stem), sequence_of(frame)
    return next((quality for quality, listed in kinds if number in listed.get(sequence, ())), "clear")
