"""A session in figures over all of its stretches: each seek or reconnection opens another `Session`."""

from collections.abc import Sequence
from copy import deepcopy

from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.session import Session
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.ledger import NO_TALLY

MOST_STRETCHES = 1000
"""Of later stretches only the figures are kept, not where each began."""


class Totals:
    """Sums over sessions that have ended. A few hundred kB, however many are added.

    Attributes:
        pictures, analyses: tallies.
        video_delay_ms, annotation_delay_ms: histograms.
        stages_ms: histograms by stage.
        analysed_s: time from the first frame in to the last result out, over all stretches.
        warnings: of the sources, each once.
        jumps: what began each stretch but the first.
        unlisted: number of further jumps.
    """

    def __init__(self) -> None:
        self.pictures = self.analyses = NO_TALLY
        self.video_delay_ms, self.annotation_delay_ms = Histogram(), Histogram()
        self.stages_ms: dict[str, Histogram] = {}
        self.analysed_s = 0.0
        self.warnings: list[str] = []
        self.jumps: list[Jump] = []
        self.unlisted = 0

    def add(self, session: Session) -> None:
        """Add a session; one that still runs as it is now."""
        self.pictures += session.tally()
        self.analyses += session.analyses.tally()
        self.video_delay_ms.merge(session.video_delay_ms)
        self.annotation_delay_ms.merge(session.annotation_delay_ms)
        for stage, histogram in tuple(session.stages_ms.items()):
            self.stages_ms.setdefault(stage, Histogram()).merge(histogram)
        if session.last_analysed_s and session.first_captured_s:
            self.analysed_s += max(0.0, session.last_analysed_s - session.first_captured_s)
        if session.source.warning and session.source.warning not in self.warnings:
            self.warnings.append(session.source.warning)

    def add_jump(self, jump: Jump) -> None:
        """Note what begins the next stretch."""
        if len(self.jumps) < MOST_STRETCHES:
            self.jumps.append(jump)
        else:
            self.unlisted += 1

    @property
    def fps(self) -> float:
        """Frames analysed per second."""
        return round(self.analyses.shown / self.analysed_s, 2) if self.analyses.shown and self.analysed_s else 0.0


def totals_of(sessions: Sequence[Session], before: Totals | None = None) -> Totals:
    """Sum over these sessions and what was summed before, which stays as it is."""
    totals = deepcopy(before) if before else Totals()
    for session in sessions:
        totals.add(session)
    return totals
