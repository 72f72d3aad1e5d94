"""Frames without a polyp, from PolypGen's negative sequences: which sequences may train, and which only report."""

from pathlib import Path

from trainers.data.stills import Still, read_stills

# The split of the negative sequences, by sequence and never by frame (docs/data.md). All others are held back too.
TRAINING_SEQUENCES = frozenset({"seq05", "seq07", "seq09", "seq11", "seq12", "seq15"})
REPORTED_SEQUENCES = frozenset({"seq04", "seq06", "seq08", "seq10", "seq14", "seq16"})


def read_negatives(path: Path, root: Path) -> list[Still]:
    """Return the frames of the training sequences; frames of all other sequences are left out.

    Raises:
        FileNotFoundError, ValueError: a bad file, one that shows polyps, or one without a frame that may train.
    """
    frames = read_stills(path, root)
    with_polyp = [frame for frame in frames if len(frame.boxes)]
    if with_polyp:
        raise ValueError(
            f"{path} shows polyps in {len(with_polyp)} of its {len(frames)} images, such as "
            f"{with_polyp[0].image_path.name}: --negatives takes frames without a polyp"
        )
    allowed = [frame for frame in frames if sequence_of(frame) in TRAINING_SEQUENCES]
    if not allowed:
        raise ValueError(
            f"{path} has no frame that may train: its groups must end with {', '.join(sorted(TRAINING_SEQUENCES))}"
        )
    return allowed


def sequence_of(frame: Still) -> str:
    """Return the name of a frame's sequence, the last part of its group: "polypgen_negative/seq05" -> "seq05"."""
    return frame.group.rsplit("/", 1)[-1]
