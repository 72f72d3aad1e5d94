"""Deadline misses: the share of frames whose own overlay came too late or never (docs/metrics.md, section 5)."""

from dataclasses import dataclass
from fractions import Fraction

from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import Tally

LIMIT_MS = 100.0
"""An overlay that is painted later than this is a miss at any frame rate."""

_INTENDED = ("pre-roll", "paused", "stopped", "window hidden")  # nobody was to see these


@dataclass(frozen=True)
class Misses:
    """How many frames of a session had no overlay of their own in time.

    Attributes:
        limit_ms: from capture to the painted overlay.
        due: frames that should have had one: captured, and neither in progress nor left out on purpose.
        in_time: of these, those that had one within the limit.
        painted: those that had one at all.
    """

    limit_ms: float
    due: int
    in_time: int
    painted: int

    @property
    def share(self) -> float | None:
        """Share of the frames that are due; None without any. A frame that was not analysed is a miss."""
        return (self.due - self.in_time) / self.due if self.due else None

    @property
    def share_of_painted(self) -> float | None:
        """Share of the overlays that were painted; None without any."""
        return (self.painted - self.in_time) / self.painted if self.painted else None

    def to_dict(self) -> dict[str, float | None]:
        """Convert to JSON types."""
        shares = {"share": self.share, "share_of_painted": self.share_of_painted}
        return {"limit_ms": round(self.limit_ms, 3)} | {
            name: None if value is None else round(value, 5) for name, value in shares.items()
        }


def misses_of(pictures: Tally, annotation_delay_ms: Histogram, limit_ms: float) -> Misses:
    """Count them. pictures: the session's account. annotation_delay_ms: of every overlay that was painted."""
    intended = sum(
        count for reasons in pictures.dropped.values() for reason, count in reasons.items() if reason in _INTENDED
    )
    painted = annotation_delay_ms.count
    due = max(pictures.captured - pictures.pending - intended, painted)
    return Misses(limit_ms, due, annotation_delay_ms.count_within(limit_ms), painted)


def limits_ms(rate_hz: Fraction | float | None) -> dict[str, float]:
    """The two deadlines by name: one frame period, where the rate is known, and LIMIT_MS."""
    period = {"period": 1000.0 / float(rate_hz)} if rate_hz else {}
    return {**period, "100 ms": LIMIT_MS}
