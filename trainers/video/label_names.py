"""What the names and numbers in a file of labels mean: which classes are polyps, which polyp and which frame it is."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from realtime_polyp.messages import quoted, shorten
from trainers.video.labels import Clock

FAINT = "faint"  # a class, an attribute or a key: hardly visible
POLYP_CLASSES = ("polyp", "polyps", FAINT)  # in any case; other classes are left out
_MOST_DIGITS = 9  # of a frame's number in a file name
_MOST_NAMED = 12  # classes or polyps in a message
Key = int | str


@dataclass
class Classes:
    """Decides which classes of a file are polyps, and counts what is left out.

    Attributes:
        names: what polyps are called; empty: POLYP_CLASSES.
        left_out: {class: number of its labels}.
    """

    names: Sequence[str] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    _found: bool = False

    def declare(self, names: Iterable[str]) -> None:
        """Tell the classes that a file lists, with or without labels."""
        self._found = self._found or any(map(self._is_polyp, names))

    def takes(self, name: str) -> bool:
        """Whether a label of this class is a polyp's."""
        if self._is_polyp(name):
            self._found = True
            return True
        self.left_out[name] += 1
        return False

    def notes(self) -> list[str]:
        """Return what was left out. Raises ValueError if there were classes, and none is a polyp's."""
        if not self.left_out:
            return []
        if not (self._found or self.names):
            named = ", ".join(quoted(name) for name in list(self.left_out)[:_MOST_NAMED])
            raise ValueError(f"none of its classes ({named}) is called 'polyp': name the polyps' with --class")
        counts = ", ".join(f"{count} of {quoted(name)}" for name, count in self.left_out.most_common(_MOST_NAMED))
        return [f"left out, not polyps: {counts}"]

    def _is_polyp(self, name: str) -> bool:
        return name.strip().casefold() in {one.casefold() for one in self.names or POLYP_CLASSES}


def numbers_of(keys: Iterable[Key]) -> dict[Key, int]:
    """Number the polyps. Whole numbers, also as text, stay; other texts get the free numbers from 1, in order."""
    listed = list(dict.fromkeys(keys))
    numbers = {key: int(key) for key in listed if isinstance(key, int) or re.fullmatch(r"[0-9]{1,12}", key)}
    free = (number for number in itertools.count(1) if number not in set(numbers.values()))
    return {**numbers, **dict(zip([key for key in listed if key not in numbers], free, strict=False))}


def number_notes(numbers: Mapping[Key, int]) -> list[str]:
    """Return which numbers the polyps with other names were given."""
    named = [f"{shorten(str(key))} is {number}" for key, number in numbers.items() if str(key) != str(number)]
    return [f"polyps by number: {', '.join(named[:_MOST_NAMED])}"] if named else []


def number_in_name(name: str) -> int | None:
    """Return the last number in a file's name, as in frame_000012.PNG; None without one."""
    numbers = re.findall(r"[0-9]+", Path(name).stem)
    return int(numbers[-1]) if numbers and len(numbers[-1]) <= _MOST_DIGITS else None


def frames_by_name(names: Mapping[str, str], clock: Clock, *, counted: bool = False) -> dict[str, int] | None:
    """Return the frame of each labelled picture of a folder by its name; None where numbers have to tell.

    names: {place in the labels: the picture's file name}. counted: the labels give their pictures numbers of their own.

    Raises:
        ValueError: no picture of the folder has such a name, or two labels are of one picture.
    """
    if clock.names is None:
        return None
    if not any(Path(name).stem in clock.names for name in names.values()):
        if clock.numbered_from is None and names and not counted:
            place, name = next(iter(names.items()))
            raise ValueError(
                f"{place} is of {quoted(Path(name).stem)}, and no picture of the folder is called so: name labels as "
                "the pictures, whose names do not count frame by frame"
            )
        return None
    frames: dict[str, int] = {}
    for place, name in names.items():
        frame = _frame_named(Path(name).stem, clock)
        if frame is None:
            raise ValueError(f"{place} is of {quoted(Path(name).stem)}, and no picture of the folder is called so")
        if frame in frames.values():
            raise ValueError(f"{place} is of {quoted(Path(name).stem)}, as other labels are")
        frames[place] = frame
    return frames


def _frame_named(stem: str, clock: Clock) -> int | None:
    """The frame of a picture's name, also of one that is missing in the folder, if the names count frame by frame."""
    assert clock.names is not None
    number = number_in_name(stem)
    if stem in clock.names or number is None or clock.numbered_from is None:
        return clock.names.get(stem)
    frame = number - clock.numbered_from
    return frame if 0 <= frame < clock.count else None


def frames_of(numbers: Mapping[str, int], clock: Clock) -> dict[str, int]:
    """Return the frame of each labelled picture, from 0. numbers: {place in the labels: the frame's number there}.

    Raises:
        ValueError: two pictures have one frame, a frame lies beyond the video, or the numbers seem to begin at 1.
    """
    first = _first_number(numbers.values(), clock)
    places: dict[int, str] = {}
    for place, number in numbers.items():
        frame = number - first
        if not 0 <= frame < clock.count:
            raise ValueError(
                f"{place} is frame {number}, and the video has frames {first} to {first + clock.count - 1}: "
                "another video, or another --first-frame?"
            )
        if frame in places:
            raise ValueError(f"{places[frame]} and {place} are both frame {number}")
        places[frame] = place
    return {place: frame for frame, place in places.items()}


def _first_number(numbers: Iterable[int], clock: Clock) -> int:
    listed = set(numbers)
    if clock.first is None and 0 not in listed and 1 in listed:
        raise ValueError(
            "its pictures begin with number 1, and the video's first frame is 0: give --first-frame 1 if they count "
            "from 1, --first-frame 0 if frame 0 is not labelled"
        )
    return clock.first or 0
