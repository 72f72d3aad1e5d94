"""What a container says about its video before anything is read: length, number of pictures, an even rate."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import av.error
from av.container import InputContainer

from realtime_polyp.sources.fields import FieldPairs
from realtime_polyp.sources.reader import Reader

_DURATION_STORED = {"mov", "matroska", "avi", "asf", "flv"}  # others estimate it
_PICTURES_LISTED = {"mov", "avi"}


@dataclass(frozen=True)
class StoredIndex:
    """The index of a container, where it lists every picture.

    Attributes:
        count: number of pictures that are shown; None: not known.
        period_s: time from picture to picture, s; None: uneven, or not known.
    """

    count: int | None = None
    period_s: float | None = None


def read_index(reader: Reader) -> StoredIndex:
    """Read the index. Two fields of a picture may have an entry each."""
    entries = list(reader.stream.index_entries)
    if not _lists_all(reader, [entry.timestamp for entry in entries]):
        return StoredIndex(reader.stream.frames or None)
    step_s = _even_step_s([entry.timestamp for entry in entries], reader.time_base)
    per_picture = _entries_per_picture(step_s, reader)
    if per_picture is None:
        return StoredIndex()
    shown = sum(not entry.is_discard for entry in entries)
    return StoredIndex(shown // per_picture, step_s * per_picture if step_s else None)


def stored_duration_s(container: InputContainer, reader: Reader) -> float | None:
    """Return the video stream's stored duration, s; None if the container only estimates one."""
    if not _DURATION_STORED & set(container.format.name.split(",")):
        return None
    if reader.stream.duration is not None:
        return float(reader.stream.duration * reader.time_base)
    if len(container.streams) == 1 and container.duration:
        return container.duration / av.time_base - begin_s(reader)
    duration_s = _parse_duration_s(reader.stream.metadata.get("DURATION", ""))
    return None if duration_s is None else duration_s - begin_s(reader)


def sound_end_s(container: InputContainer, after_s: float) -> float:
    """Return when the last packet of sound after this time ends, s; 0.0 without one. Closes the container.

    ASF stores one duration for all of its streams, so a picture that ends before it is cut off only if the sound is.
    """
    end_s = 0.0
    with container:
        sounds = container.streams.audio
        if not sounds:  # `demux` of none gives the packets of all streams
            return end_s
        try:
            container.seek(int(after_s * av.time_base))
            for packet in container.demux(sounds):
                if packet.pts is not None and packet.time_base is not None:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        except (av.error.FFmpegError, IndexError):  # what could be read counts
            pass
    return end_s


def begin_s(reader: Reader) -> float:
    """Return when a Matroska file's first picture comes, s: its stored durations count from 0. 0.0 for any other."""
    if not reader.container_name.startswith("matroska"):
        return 0.0
    return max(0.0, float((reader.start_pts or 0) * reader.time_base))


def _lists_all(reader: Reader, times: list[int]) -> bool:
    """Whether the index has an entry for every picture that is shown. A fragmented MP4 counts none before it is read;
    AVI may announce empty frames that it does not list."""
    stream = reader.stream
    if not times or not stream.frames or not _PICTURES_LISTED & set(reader.container_name.split(",")):
        return False
    if reader.container_name != "avi" or len(times) == stream.frames:
        return True
    steps = sorted(after - before for before, after in pairwise(times))
    return bool(steps) and times[-1] + 2 * steps[len(steps) // 2] >= (stream.duration or 0)


def _even_step_s(times: list[int], time_base: Fraction) -> float | None:
    """Return the time between entries, s, if all are equal up to rounding, else None."""
    if len(times) < 2:
        return None
    mean = (times[-1] - times[0]) / (len(times) - 1)
    even = all(abs(after - before - mean) <= 1 for before, after in pairwise(times))
    return mean * float(time_base) if even else None


def _entries_per_picture(step_s: float | None, reader: Reader) -> int | None:
    """Return 2 where each field has an entry; None where some pictures have one and others two."""
    if not FieldPairs(reader.stream).may_occur:
        return 1
    if step_s is None:
        return None
    return 2 if step_s < 0.75 * reader.period_s else 1


def _parse_duration_s(text: str) -> float | None:
    """Parse Matroska's duration tag, such as "00:01:02.500000000", to seconds; None if it is malformed."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None
