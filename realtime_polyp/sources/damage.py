"""Records damaged and missing parts of a video with their times, and describes them in one sentence."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import av.error

from realtime_polyp.sources.gaps import Gap

EARLY_END_S = 0.5  # a file that ends this much before its stored duration is truncated; less may be rounding
_TS_PACKETS_BYTES = (188, 192, 204)  # plain, with timestamps, with error correction
_MOST_PLACES = 3
_OUT_OF_ORDER = 8  # losses; those of a packet may be found a few packets later


class Places:
    """Times of losses, s: how many there are, and the first few. A stream may lose something for hours.

    Attributes:
        count: how many losses.
        first_s: the first times of them that differ in hundredths of a second.
    """

    def __init__(self, times_s: Iterable[float] = ()) -> None:
        self.count, self.first_s = 0, list[float]()
        self._distinct = 0
        self._recent: deque[str] = deque(maxlen=_OUT_OF_ORDER)
        for at_s in times_s:
            self.append(at_s)

    def append(self, at_s: float) -> None:
        place = _seconds(at_s)
        if place not in self._recent:
            self._recent.append(place)
            if len(self.first_s) < _MOST_PLACES:
                self.first_s.append(at_s)
            self._distinct += 1
        self.count += 1  # last, because another thread describes it

    def __str__(self) -> str:
        return f"at {_listed([_seconds(at_s) for at_s in self.first_s], self._distinct)}"


class Gaps:
    """Spans without pictures: how many there are, and the first few.

    Attributes:
        count: how many spans.
        missing_s: how long they last together, s.
        first: the first spans.
    """

    def __init__(self, gaps: Iterable[Gap] = ()) -> None:
        self.count, self.missing_s, self.first = 0, 0.0, list[Gap]()
        for gap in gaps:
            self.append(gap)

    def append(self, gap: Gap) -> None:
        self.missing_s += gap.missing_s
        if len(self.first) < _MOST_PLACES:
            self.first.append(gap)
        self.count += 1

    def __str__(self) -> str:
        spans = [f"from {_seconds(gap.begin_s)} to {_seconds(gap.end_s)}" for gap in self.first]
        return f"{_seconds(self.missing_s)} are missing, {_listed(spans, self.count)}"


@dataclass
class Damage:
    """Damage found while reading a file or a stream. Times are those of the frames, s.

    Attributes:
        reason: why the first lost packet could not be decoded.
        lost_at_s: times of packets that could not be read or decoded.
        incomplete_at_s: times of pictures that were decoded with missing data.
        gaps: spans without pictures.
        jumps_at_s: of a live source, times at which its timestamps jumped.
        end_s: time of the end of a truncated file; None: not truncated.
        announced_s: stored duration of a file that ends earlier; None: it does not.
        cut: whether the file ends in the middle of a packet.
        late_s: how long after its own beginning the first picture of a file with a stored duration comes, s.
        undecoded: of a live source, packets since the last picture that gave none.
    """

    reason: str = ""
    lost_at_s: Places = field(default_factory=Places)
    incomplete_at_s: Places = field(default_factory=Places)
    gaps: Gaps = field(default_factory=Gaps)
    jumps_at_s: Places = field(default_factory=Places)
    end_s: float | None = None
    announced_s: float | None = None
    cut: bool = False
    late_s: float = 0.0
    undecoded: int = 0

    def add_lost_packet(self, at_s: float, error: av.error.FFmpegError | None = None) -> None:
        if error is not None:
            self.reason = self.reason or str(error.strerror).lower()
        self.lost_at_s.append(at_s)

    def add_incomplete_picture(self, at_s: float) -> None:
        self.incomplete_at_s.append(at_s)

    def check_begin(self, begin_s: float, announced_s: float | None) -> None:
        if announced_s is not None and begin_s > EARLY_END_S:
            self.late_s = begin_s

    def check_end(self, end_s: float, announced_s: float | None) -> None:
        if announced_s is not None and end_s < announced_s - EARLY_END_S:
            self.end_s, self.announced_s = end_s, announced_s

    def check_packets(self, end_s: float, container_name: str, size_bytes: int) -> None:
        """Detect a truncated MPEG transport stream: it stores no duration but consists of whole packets."""
        if container_name == "mpegts" and all(size_bytes % packet_bytes for packet_bytes in _TS_PACKETS_BYTES):
            self.end_s, self.cut = end_s, True

    def describe(self, name: str, count: int) -> str | None:
        """Describe a file's damage in one sentence; None without damage."""
        found = self._found()
        if not found:
            return None
        return f"{name} is damaged after {self._first_s():.2f} s ({_plural(count, 'frame')} could be read): {found}."

    def describe_live(self, name: str) -> str | None:
        """Describe the losses of a live stream and the jumps of its clock in one sentence each; None without any."""
        found = self._found()
        lost = f"{name} arrives incomplete: {found}." if found else ""
        jumps = f"The timestamps of {name} jumped {self.jumps_at_s}." if self.jumps_at_s.count else ""
        return f"{lost} {jumps}".strip() or None

    def _found(self) -> str:
        found = []
        if self.late_s:
            found.append(f"its first picture comes late, so the first {self.late_s:.2f} s are missing")
        if self.gaps.count:
            found.append(str(self.gaps))
        if self.lost_at_s.count:
            why = f" ({self.reason})" if self.reason else ""
            packets = _plural(self.lost_at_s.count, "packet")
            found.append(f"{packets} could not be decoded{why} {self.lost_at_s}")
        if self.incomplete_at_s.count:
            pictures = _plural(self.incomplete_at_s.count, "picture")
            found.append(f"{pictures} incomplete {self.incomplete_at_s}")
        if self.announced_s is not None and self.end_s is not None:
            missing_s = self.announced_s - self.end_s
            found.append(
                f"it should last {self.announced_s:.2f} s but ends early, so the last {missing_s:.2f} s are missing"
            )
        if self.cut and not found:
            found.append("it ends in the middle of a packet")
        return ", ".join(found)

    def _first_s(self) -> float:
        if self.late_s:
            return 0.0
        ends = [] if self.end_s is None else [self.end_s]
        losses_s = self.lost_at_s.first_s[:1] + self.incomplete_at_s.first_s[:1]
        return min(losses_s + [gap.begin_s for gap in self.gaps.first[:1]] + ends)


def _seconds(at_s: float) -> str:
    return f"{at_s:.2f} s"


def _listed(first: Sequence[str], count: int) -> str:
    more = f" and {count - len(first)} more" if count > len(first) else ""
    return f"{', '.join(first)}{more}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
