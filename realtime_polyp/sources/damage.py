"""Records damaged and missing parts of a video with their times, and describes them in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import av.error

from realtime_polyp.sources.gaps import Gap

EARLY_END_S = 0.5  # a file that ends this much before its stored duration is truncated; less may be rounding
_TS_PACKETS_BYTES = (188, 192, 204)  # plain, with timestamps, with error correction
_MOST_PLACES = 3


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
    lost_at_s: list[float] = field(default_factory=list)
    incomplete_at_s: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    jumps_at_s: list[float] = field(default_factory=list)
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
        jumps = f"The timestamps of {name} jumped {_places(self.jumps_at_s)}." if self.jumps_at_s else ""
        return f"{lost} {jumps}".strip() or None

    def _found(self) -> str:
        found = []
        if self.late_s:
            found.append(f"its first picture comes late, so the first {self.late_s:.2f} s are missing")
        if self.gaps:
            found.append(_describe_gaps(self.gaps))
        if self.lost_at_s:
            why = f" ({self.reason})" if self.reason else ""
            found.append(
                f"{_plural(len(self.lost_at_s), 'packet')} could not be decoded{why} {_places(self.lost_at_s)}"
            )
        if self.incomplete_at_s:
            pictures = _plural(len(self.incomplete_at_s), "picture")
            found.append(f"{pictures} incomplete {_places(self.incomplete_at_s)}")
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
        return min(self.lost_at_s[:1] + self.incomplete_at_s[:1] + [gap.begin_s for gap in self.gaps[:1]] + ends)


def _describe_gaps(gaps: Sequence[Gap]) -> str:
    spans = [f"from {gap.begin_s:.2f} s to {gap.end_s:.2f} s" for gap in gaps[:_MOST_PLACES]]
    total_s = sum(gap.missing_s for gap in gaps)
    return f"{total_s:.2f} s are missing, {_listed(spans, len(gaps))}"


def _places(times_s: Sequence[float]) -> str:
    distinct = list(dict.fromkeys(f"{time_s:.2f} s" for time_s in times_s))
    return f"at {_listed(distinct[:_MOST_PLACES], len(distinct))}"


def _listed(first: Sequence[str], count: int) -> str:
    more = f" and {count - len(first)} more" if count > len(first) else ""
    return f"{', '.join(first)}{more}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
