"""Frames without a polyp, from PolypGen's negative sequences: which sequences may train, and which only report."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from realtime_polyp.packets import Frame
from trainers.data.stills import Still, read_image, read_stills

# The split of the negative sequences, by sequence and never by frame (docs/data.md). All others are held back too.
TRAINING_SEQUENCES = frozenset({"seq05", "seq07", "seq09", "seq11", "seq12", "seq15"})
REPORTED_SEQUENCES = frozenset({"seq04", "seq06", "seq08", "seq10", "seq14", "seq16"})

Use = Literal["train", "report", "all"]
"""What frames are read for: "all" reads every sequence of the file, of other data too."""

NEGATIVE_FILE = "negative.json"
NO_NEGATIVES = "none"
NEGATIVE_RATE_HZ = Fraction(25)
"""The rate at which frames without a polyp are played. The true one of PolypGen's sequences is unknown."""

_SEQUENCES: dict[Use, frozenset[str] | None] = {
    "train": TRAINING_SEQUENCES,
    "report": REPORTED_SEQUENCES,
    "all": None,
}


@dataclass(frozen=True)
class NegativeSet:
    """Frames that are evaluated beside a set of stills.

    Attributes:
        name: of their file; "" for no frames.
        frames: of the reporting sequences.
    """

    name: str = ""
    frames: tuple[Still, ...] = ()


def read_negatives(path: Path, root: Path, use: Use = "train") -> list[Still]:
    """Return the frames of the sequences for this use; frames of all other sequences are left out.

    Raises:
        FileNotFoundError, ValueError: a bad file, one that shows polyps, or one without a frame for this use.
    """
    frames = read_stills(path, root)
    with_polyp = [frame for frame in frames if len(frame.boxes)]
    if with_polyp:
        raise ValueError(
            f"{path} shows polyps in {len(with_polyp)} of its {len(frames)} images, such as "
            f"{with_polyp[0].image_path.name}: frames without a polyp are needed"
        )
    allowed = _select(frames, use)
    if not allowed:
        names = ", ".join(sorted(_SEQUENCES[use] or ()))
        why = f"has no frame that may {use}: its groups must end with {names}" if names else "has no images"
        raise ValueError(f"{path} {why}")
    return allowed


def find_reported(named: str | None, data: Path, root: Path) -> NegativeSet:
    """Return the frames of the reporting sequences, as an option --negatives names them.

    named: a file, NO_NEGATIVES, or None for NEGATIVE_FILE beside `data`. Without a name, a file that does not exist or
    has no reporting sequence gives no frames.

    Raises:
        FileNotFoundError, ValueError: as `read_negatives`.
    """
    beside = data.with_name(NEGATIVE_FILE)
    if named == NO_NEGATIVES or (named is None and not beside.is_file()):
        return NegativeSet()
    if named is None and not _select(read_stills(beside, root), "report"):
        return NegativeSet()  # such as the file that a GPU machine gets, which holds only what may train
    path = beside if named is None else Path(named)
    return NegativeSet(path.name, tuple(read_negatives(path, root, "report")))


def _select(frames: Iterable[Still], use: Use) -> list[Still]:
    names = _SEQUENCES[use]
    return [frame for frame in frames if names is None or sequence_of(frame) in names]


def sequence_of(frame: Still) -> str:
    """Return the name of a frame's sequence, the last part of its group: "polypgen_negative/seq05" -> "seq05"."""
    return frame.group.rsplit("/", 1)[-1]


def play(frames: Sequence[Still], rate_hz: float = float(NEGATIVE_RATE_HZ)) -> Iterator[Frame]:
    """Yield the frames of one sequence as those of a video. Raises FileNotFoundError for an image that is missing."""
    return (Frame(index, index / rate_hz, 0.0, read_image(one.image_path)) for index, one in enumerate(frames))


def split_sequences(frames: Iterable[Still]) -> dict[str, list[Still]]:
    """Return {name of a sequence: its frames}, both in the order of the file."""
    sequences: dict[str, list[Still]] = {}
    for frame in frames:
        sequences.setdefault(sequence_of(frame), []).append(frame)
    return sequences
