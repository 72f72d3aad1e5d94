"""Compares the alarms of two analyses of the same session, A and B: only in A, only in B, in both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.review.alarms import SessionAlarm
from realtime_polyp.review.polyps import iou_of_pairs, same_frame_pairs
from realtime_polyp.review.tracks import TrackTable
from realtime_polyp.telemetry.summary import clock
from realtime_polyp.telemetry.text_table import format_table

SAME_IOU = 0.3
"""Two alarms are the same if their boxes overlap this much in some frame."""


@dataclass(frozen=True)
class Comparison:
    """Alarms of A and B, in order of time.

    Attributes:
        only_a, only_b: alarms that overlap none of the other analysis.
        both: pairs of alarms that overlap; one alarm may be in several.
    """

    only_a: tuple[SessionAlarm, ...]
    only_b: tuple[SessionAlarm, ...]
    both: tuple[tuple[SessionAlarm, SessionAlarm], ...]


def compare_alarms(
    a: Sequence[SessionAlarm], tracks_a: TrackTable, b: Sequence[SessionAlarm], tracks_b: TrackTable
) -> Comparison:
    """Match alarms by time and place: they are the same where their boxes overlap in the same frame."""
    tracks_a, tracks_b = tracks_a.take(tracks_a.visible), tracks_b.take(tracks_b.visible)
    rows_a, rows_b = same_frame_pairs(tracks_a, tracks_b)
    same = iou_of_pairs(tracks_a.box[rows_a], tracks_b.box[rows_b]) >= SAME_IOU
    of_a, of_b = _alarm_of_rows(a, tracks_a)[rows_a[same]], _alarm_of_rows(b, tracks_b)[rows_b[same]]
    known = (of_a >= 0) & (of_b >= 0)
    pairs = sorted({(int(one), int(other)) for one, other in zip(of_a[known], of_b[known], strict=True)})
    in_a, in_b = {one for one, _ in pairs}, {other for _, other in pairs}
    return Comparison(
        tuple(alarm for place, alarm in enumerate(a) if place not in in_a),
        tuple(alarm for place, alarm in enumerate(b) if place not in in_b),
        tuple((a[one], b[other]) for one, other in pairs),
    )


def comparison_table(comparison: Comparison) -> str:
    """Return the comparison as text: one line per alarm or pair, in order of time, and the counts."""
    rows: list[tuple[str, SessionAlarm | None, SessionAlarm | None]] = [("both", *pair) for pair in comparison.both]
    rows += [("only A", alarm, None) for alarm in comparison.only_a]
    rows += [("only B", None, alarm) for alarm in comparison.only_b]
    rows.sort(key=lambda row: min(alarm.start_s for alarm in row[1:] if alarm))
    cells = [[what, *_cells(one), *_cells(other)] for what, one, other in rows]
    header = ["alarms", "A: start", "length", "peak", "B: start", "length", "peak"]
    of_a, of_b = ({pair[side].number for pair in comparison.both} for side in (0, 1))
    apart = f"only in A: {len(comparison.only_a)}   only in B: {len(comparison.only_b)}"
    counts = f"{apart}   in both: {len(of_a)} of A, {len(of_b)} of B"
    return f"{format_table(header, cells)}\n{counts}" if cells else f"no alarms\n{counts}"


def _cells(alarm: SessionAlarm | None) -> list[str]:
    if alarm is None:
        return ["", "", ""]
    return [clock(alarm.start_s), f"{alarm.shown_s:.1f} s", f"{alarm.peak_score:.2f}"]


def _alarm_of_rows(alarms: Sequence[SessionAlarm], tracks: TrackTable) -> NDArray[np.int64]:
    """Return for each row the place of its alarm in the list; -1: it belongs to none."""
    found = np.full(len(tracks), -1, np.int64)
    for place, alarm in enumerate(alarms):
        rows = slice(*np.searchsorted(tracks.number, (alarm.first, alarm.last + 1)))
        found[rows][tracks.id[rows] == alarm.track] = place
    return found
