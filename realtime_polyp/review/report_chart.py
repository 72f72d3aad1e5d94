"""The timeline of a session as SVG: score over time, quality and signal, polyps as bars, marks, withdrawal.

It uses lines, rectangles, polygons and text only, so that a browser and the PDF writer draw the same.
"""

from collections.abc import Iterator
from html import escape

import numpy as np

from realtime_polyp.review.report_data import Report
from realtime_polyp.telemetry.summary import clock

WIDTH, LEFT, RIGHT = 1000, 70, 10
_TOP, _CURVE, _ROW, _GAP = 8, 90, 14, 6
_POLYPS_TOP = _TOP + _CURVE + _GAP + _ROW + _GAP
_INK, _FAINT = "#334155", "#cbd5e1"
_VERDICT_COLOURS = {True: "#15803d", None: "#b45309", False: "#94a3b8"}
_QUALITY_COLOURS = {
    "clear": "#86efac", "blurred": "#fcd34d", "glare": "#fdba74", "water": "#93c5fd", "no mucosa": "#d8b4fe",
    "outside": "#e2e8f0", "black": "#0f172a", "frozen": "#64748b",
}  # fmt: skip
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MOST_TICKS = 10


def draw_timeline(report: Report) -> str:
    """Return the timeline as an SVG element, `WIDTH` wide and `timeline_height` high."""
    scale = (WIDTH - LEFT - RIGHT) / max(report.duration_s, 1e-3)
    curve_end, axis, height = _TOP + _CURVE, _axis_y(report), timeline_height(report)
    parts = [*_axis(report, scale, axis), *_curve(report, curve_end), *_band(report, scale, curve_end + _GAP)]
    for place, polyp in enumerate(report.polyps):
        top = _POLYPS_TOP + place * (_ROW + _GAP)
        parts.append(_text(LEFT - 8, top + 11, f"polyp {polyp.name}", "end"))
        for start_s, end_s in polyp.spans:
            width = max(2.0, (end_s - start_s) * scale)
            parts.append(_rect(LEFT + start_s * scale, top, width, _ROW, _VERDICT_COLOURS[polyp.verdict]))
    parts += _marks(report, scale, axis)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        + "".join(parts)
        + "</svg>"
    )


def timeline_height(report: Report) -> int:
    """Height of the timeline: a row for each polyp adds to it."""
    return _axis_y(report) + 22


def _axis_y(report: Report) -> int:
    return _POLYPS_TOP + len(report.polyps) * (_ROW + _GAP) + _GAP


def quality_legend(report: Report) -> tuple[tuple[str, str], ...]:
    """(name, colour) of what the band shows."""
    found = set(np.unique(report.frames.quality)) | set(np.unique(report.frames.signal))
    return tuple((name, colour) for name, colour in _QUALITY_COLOURS.items() if name in found)


def _axis(report: Report, scale: float, axis: float) -> Iterator[str]:
    step_s = next((step for step in _TICKS_S if report.duration_s / step <= _MOST_TICKS), _TICKS_S[-1])
    for tick in range(int(report.duration_s // step_s) + 1):
        x = LEFT + tick * step_s * scale
        yield _line(x, _TOP, x, axis, _FAINT)
        yield _text(x, axis + 15, clock(tick * step_s)[:-2], "middle")


def _curve(report: Report, bottom: float) -> Iterator[str]:
    """The highest score of each column of the picture."""
    yield _text(LEFT - 8, bottom - _CURVE + 10, "100 %", "end")
    yield _text(LEFT - 8, bottom, "score 0", "end")
    yield _line(LEFT, bottom, WIDTH - RIGHT, bottom, _INK)
    if not len(report.frames):
        return
    columns = WIDTH - LEFT - RIGHT
    place = np.minimum((report.frames.session_s / max(report.duration_s, 1e-3) * columns).astype(int), columns - 1)
    highest = np.full(columns, -1.0)  # columns without a frame stay below 0 and are left out
    np.maximum.at(highest, place, report.frames.best_score)
    points = " ".join(f"{LEFT + x},{bottom - highest[x] * _CURVE:.1f}" for x in np.flatnonzero(highest >= 0))
    yield f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1"/>'


def _band(report: Report, scale: float, top: float) -> Iterator[str]:
    """Runs of equal quality; a dead signal covers the quality."""
    yield _text(LEFT - 8, top + 11, "view", "end")
    frames = report.frames
    if not len(frames):
        return
    kinds = np.where(frames.signal == "ok", frames.quality, frames.signal)
    starts = np.flatnonzero(np.append(True, kinds[1:] != kinds[:-1]))
    ends_s = np.append(frames.session_s[starts[1:]], report.duration_s)
    for start, end_s in zip(starts, ends_s, strict=True):
        x, width = LEFT + frames.session_s[start] * scale, (end_s - frames.session_s[start]) * scale
        yield _rect(x, top, max(width, 0.3), _ROW, _QUALITY_COLOURS.get(str(kinds[start]), _FAINT))


def _marks(report: Report, scale: float, axis: float) -> Iterator[str]:
    for time_s, _ in report.marks:
        x = LEFT + time_s * scale
        yield _line(x, _TOP, x, axis, "#dc2626")
        yield f'<polygon points="{x - 4:.1f},{_TOP - 6} {x + 4:.1f},{_TOP - 6} {x:.1f},{_TOP}" fill="#dc2626"/>'
    for edge_s, name in zip(report.withdrawal_s, ("withdrawal", "end"), strict=True):
        if edge_s is not None:
            x = LEFT + edge_s * scale
            yield _line(x, _TOP, x, axis, "#7c3aed")
            yield _text(x + 3, _TOP + 8, name, "start")


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    style = f'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="{_INK}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
