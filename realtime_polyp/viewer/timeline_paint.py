"""Paints the timeline: ruler, alarms, score, view and signal, marks. Everything but the playhead and the mouse."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QBrush, QColor, QFontMetricsF, QImage, QPainter, QPen, QPolygonF

from realtime_polyp.review.timeline_data import AlarmSpan
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.shown_alarms import Span
from realtime_polyp.viewer.theme import ACCENT, BACKGROUND, DIM, LINE, MARK, TEXT, TONES
from realtime_polyp.viewer.timeline_content import Level, TimelineContent, columns, fill_gaps, has_counterpart, runs
from realtime_polyp.viewer.timeline_view import TimelineView, ticks

_RULER, _BAR, _SCORE, _BAND, _GAP, _OVERVIEW = 15, 17, 22, 4, 2, 4  # heights at scale 1, px
_LABEL_PX, _GUTTER = 11, 57
_LEAST_BAR_PX = 3.0
_LEAST_LEVEL_PX, _LEAST_LETTERS_PX = 4.0, 9.0  # heights at scale 1: of a bar with its gap, of one with a number
_JOINED_S = 3.0  # samples of the score that are no farther apart are joined
_GROUND = 0x50424649  # premultiplied ARGB
_HATCH = QColor(138, 150, 162, 90)
_UNCLEAR = QColor("#a8812f")


@dataclass(frozen=True)
class Lanes:
    """Where everything lies on the widget, px. All lanes share left edge and width.

    Attributes:
        ruler, alarms, others, score, view, signal, overview: from top to bottom; others is None without a second
            analysis.
    """

    ruler: QRectF
    alarms: QRectF
    others: QRectF | None
    score: QRectF
    view: QRectF
    signal: QRectF
    overview: QRectF

    @property
    def left(self) -> float:
        return float(self.ruler.left())

    @property
    def width(self) -> float:
        return float(self.ruler.width())

    @property
    def top(self) -> float:
        return float(self.ruler.top())

    @property
    def bottom(self) -> float:
        return float(self.overview.bottom())


def height_px(scale: float, rows: tuple[int, ...]) -> int:
    """Height of the whole timeline, px. rows: see `TimelineContent.rows`."""
    bars = sum(_row_px(levels) + _GAP for levels in rows)
    return round((_RULER + bars + _SCORE + _GAP + 2 * (_BAND + 1) + _OVERVIEW + 2) * scale)


def _row_px(levels: int) -> float:
    """Height of a row of bars at scale 1: the usual one, unless so many levels could not be seen in it."""
    return max(_BAR, levels * _LEAST_LEVEL_PX)


def lanes_of(width: int, scale: float, rows: tuple[int, ...]) -> Lanes:
    """Lay out a timeline of this width, px. rows: see `TimelineContent.rows`."""
    left = _GUTTER * scale
    room = max(1.0, width - left - 6 * scale)
    y = 0.0

    def lane(height: float, gap: float) -> QRectF:
        nonlocal y
        rect = QRectF(left, y, room, height * scale)
        y += (height + gap) * scale
        return rect

    ruler, alarms = lane(_RULER, 0), lane(_row_px(rows[0]), _GAP)
    others = lane(_row_px(rows[1]), _GAP) if len(rows) > 1 else None
    return Lanes(ruler, alarms, others, lane(_SCORE, _GAP), lane(_BAND, 1), lane(_BAND, 1), lane(_OVERVIEW, 0))


def paint_timeline(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes, scale: float) -> None:
    """Paint everything that does not move while playing."""
    painter.setRenderHint(QPainter.Antialiasing)
    _paint_gutter(painter, content, lanes, scale)
    _paint_ruler(painter, view, lanes, scale)
    painter.save()
    painter.setClipRect(QRectF(lanes.left, 0, lanes.width, lanes.bottom + 1))
    for lane in (lanes.alarms, lanes.others, lanes.score):
        if lane is not None:
            painter.fillRect(lane, QColor(BACKGROUND))
    _paint_score(painter, content, view, lanes)
    _paint_not_analysed(painter, content, view, lanes)
    _paint_bands(painter, content, view, lanes)
    _paint_loop(painter, content, view, lanes, scale)
    alarms, others, compare = content.data.alarms, content.data.other_alarms, content.has_two_rows
    _paint_bars(painter, alarms, content.levels, others, view, lanes.alarms, scale, compare=compare)
    if lanes.others is not None:
        _paint_bars(painter, others, content.other_levels, alarms, view, lanes.others, scale, compare=True)
    for time_s, _ in content.data.marks:
        _paint_mark(painter, lanes.left + view.to_px(time_s, lanes.width), lanes, scale)
    painter.restore()
    _paint_overview(painter, content, view, lanes)


def _paint_gutter(painter: QPainter, content: TimelineContent, lanes: Lanes, scale: float) -> None:
    """Name the lanes."""
    names = [("Polyps A" if lanes.others else "Polyps", lanes.alarms), ("Score", lanes.score)]
    if lanes.others:
        names.insert(1, ("Polyps B", lanes.others))
    names.append(("View", lanes.view.united(lanes.signal)))
    painter.setFont(font_px(_LABEL_PX * scale))
    painter.setPen(QColor(DIM))
    for name, lane in names:
        area = QRectF(0, lane.top() - 4 * scale, lanes.left - 5 * scale, lane.height() + 8 * scale)
        painter.drawText(area, int(Qt.AlignRight | Qt.AlignVCenter), name)
    if content.progress is not None:
        area = QRectF(0, lanes.ruler.top(), lanes.left - 5 * scale, lanes.ruler.height())
        painter.setPen(QColor(TONES["busy"]))
        painter.drawText(area, int(Qt.AlignRight | Qt.AlignVCenter), f"{content.progress * 100:.0f} %")


def _paint_ruler(painter: QPainter, view: TimelineView, lanes: Lanes, scale: float) -> None:
    font = font_px(_LABEL_PX * scale)
    painter.setFont(font)
    metrics = QFontMetricsF(font)
    times_s = ticks(view, lanes.width, metrics.horizontalAdvance("0:00:00.0") + 24 * scale)
    tenths = len(times_s) > 1 and times_s[1] - times_s[0] < 1
    for time_s in times_s:
        x = lanes.left + view.to_px(time_s, lanes.width)
        painter.setPen(QColor(LINE))
        painter.drawLine(QPointF(x, lanes.ruler.bottom() - 4 * scale), QPointF(x, lanes.score.bottom()))
        text = clock_text(time_s, tenths=tenths)
        wide = metrics.horizontalAdvance(text)
        left = min(max(lanes.left, x - wide / 2), lanes.left + lanes.width - wide)
        painter.setPen(QColor(DIM))
        painter.drawText(QPointF(left, lanes.ruler.top() + metrics.ascent()), text)


def _paint_score(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes) -> None:
    """The highest score in each column of pixels, and the threshold as a line."""
    lane, ratio = lanes.score, painter.device().devicePixelRatioF()
    count, height = max(1, round(lane.width() * ratio)), max(1, round(lane.height() * ratio))
    edges_s = np.linspace(view.start_s, view.end_s, count + 1)
    best = columns(content.data.times_s, content.data.best_score, edges_s)
    pixels = curve(fill_gaps(best, _JOINED_S * count / max(view.length_s, 1e-9)), height, max(1, round(1.5 * ratio)))
    image = QImage(pixels.data, count, height, 4 * count, QImage.Format_ARGB32_Premultiplied)  # type: ignore[call-overload]  # accepts any buffer
    painter.drawImage(lane, image)
    y = lane.bottom() - content.threshold * lane.height()
    painter.setPen(QPen(QColor(DIM), 1, Qt.DashLine))
    painter.drawLine(QPointF(lane.left(), y), QPointF(lane.right(), y))


def curve(values: NDArray[np.float32], height: int, thick: int) -> NDArray[np.uint32]:
    """Draw values 0..1 as a line over a tinted ground: (height, n) premultiplied ARGB. Nothing where a value is NaN.

    A painted path would take 20 ms for an hour.
    """
    known = ~np.isnan(values)
    top = np.where(known, (1 - np.clip(np.nan_to_num(values), 0, 1)) * (height - thick), 0).round().astype(int)
    before = np.where(np.concatenate([[False], known[:-1]]), np.concatenate([top[:1], top[:-1]]), top)
    rows = np.arange(height)[:, None]
    pixels = np.where(known & (rows >= top), np.uint32(_GROUND), np.uint32(0))
    line = known & (rows >= np.minimum(top, before)) & (rows < np.maximum(top, before) + thick)
    pixels[line] = QColor(TEXT).rgba()
    return np.ascontiguousarray(pixels)


def _paint_not_analysed(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes) -> None:
    """Hatch what was not analysed: densely where nothing is known, sparsely where only some frames were."""
    if content.analysed is None:
        return
    area = lanes.alarms.united(lanes.score)
    known = [*content.analysed, *content.sampled]
    for spans, style in ((known, Qt.BDiagPattern), (list(content.analysed), Qt.Dense7Pattern)):
        for start_s, end_s in gaps_between(spans, view.duration_s):
            left, right = view.to_px(start_s, lanes.width), view.to_px(end_s, lanes.width)
            if right >= 0 and left <= lanes.width:
                rect = QRectF(lanes.left + left, area.top(), right - left, area.height())
                painter.fillRect(rect, QBrush(_HATCH, style))


def _paint_bands(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes) -> None:
    """What keeps the picture from showing mucosa, and where the signal was lost."""
    data = content.data
    for lane in (lanes.view, lanes.signal):
        painter.fillRect(lane, QColor(BACKGROUND))
    for lane, labels, usual, colour in (
        (lanes.view, data.quality, "clear", _UNCLEAR), (lanes.signal, data.signal, "ok", QColor(TONES["bad"])),
    ):  # fmt: skip
        for start_s, end_s, _ in runs(data.times_s, labels, usual):
            left, right = view.to_px(start_s, lanes.width), view.to_px(end_s, lanes.width)
            if right >= 0 and left <= lanes.width:
                painter.fillRect(QRectF(lane.left() + left, lane.top(), max(1.0, right - left), lane.height()), colour)


def _paint_bars(
    painter: QPainter,
    alarms: tuple[AlarmSpan, ...],
    levels: tuple[Level, ...],
    others: tuple[AlarmSpan, ...],
    view: TimelineView,
    lane: QRectF,
    scale: float,
    *,
    compare: bool,
) -> None:
    """Bars, each with the number of the polyp where it begins; bars at the same time lie below each other.

    compare: what the other analysis lacks is amber and hollow.
    """
    for alarm, (level, count) in zip(alarms, levels, strict=True):
        start_s, end_s, number = alarm
        left, right = view.to_px(start_s, lane.width()), view.to_px(end_s, lane.width())
        if right < 0 or left > lane.width():
            continue
        tall, gap = lane.height() / count, 1.0 if count == 1 else 0.5 * scale
        area = QRectF(lane.left() + left, lane.top() + level * tall, max(_LEAST_BAR_PX * scale, right - left), tall)
        bar = area.adjusted(0, gap, 0, -gap)
        painter.fillRect(area.adjusted(-1.5 * scale, 0, 1.5 * scale, 0), QColor(BACKGROUND))
        alone = compare and not has_counterpart(alarm, others)
        colour = QColor(TONES["warn"] if alone else ACCENT)
        painter.setPen(QPen(colour, 2 * scale) if alone else QPen(Qt.NoPen))
        painter.setBrush(Qt.NoBrush if alone else colour)
        edge = scale if alone else 0.0
        painter.drawRoundedRect(bar.adjusted(edge, edge, -edge, -edge), 2 * scale, 2 * scale)
        font = font_px(min((_LABEL_PX + 2) * scale, bar.height() + 1), bold=True)
        visible = bar.intersected(lane).adjusted(3 * scale, 0, 0, 0)
        has_room = visible.width() > QFontMetricsF(font).horizontalAdvance(str(number))
        if number and has_room and bar.height() >= _LEAST_LETTERS_PX * scale:
            painter.setFont(font)
            painter.setPen(colour if alone else Qt.black)
            painter.drawText(visible, int(Qt.AlignLeft | Qt.AlignVCenter), str(number))


def _paint_mark(painter: QPainter, x: float, lanes: Lanes, scale: float) -> None:
    """A tick through all lanes, with a flag at the top."""
    painter.setPen(QPen(QColor(MARK), 1.5 * scale))
    painter.drawLine(QPointF(x, lanes.alarms.top()), QPointF(x, lanes.signal.bottom()))
    painter.setPen(Qt.NoPen)
    painter.setBrush(QColor(MARK))
    top, size = lanes.alarms.top() - 1 * scale, 6 * scale
    painter.drawPolygon(QPolygonF([QPointF(x, top), QPointF(x + size, top + size / 2), QPointF(x, top + size)]))


def _paint_loop(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes, scale: float) -> None:
    if content.loop_s is None:
        return
    colour = QColor(TONES["busy"])
    start_s, end_s = content.loop_s
    left = lanes.left + view.to_px(start_s, lanes.width)
    right = left if end_s is None else lanes.left + view.to_px(end_s, lanes.width)
    area = QRectF(left, lanes.alarms.top(), right - left, lanes.signal.bottom() - lanes.alarms.top())
    shade = QColor(colour)
    shade.setAlpha(45)
    painter.fillRect(area, shade)
    painter.setPen(QPen(colour, 2 * scale))
    for x in {left, right}:
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))


def _paint_overview(painter: QPainter, content: TimelineContent, view: TimelineView, lanes: Lanes) -> None:
    """The whole recording in small, with the part that is shown above."""
    lane = lanes.overview
    painter.setRenderHint(QPainter.Antialiasing, on=False)
    if not view.is_zoomed:
        return
    painter.fillRect(lane, QColor(LINE))
    for start_s, end_s, _ in content.data.alarms:
        left, right = (time_s / view.duration_s * lane.width() for time_s in (start_s, end_s))
        painter.fillRect(QRectF(lane.left() + left, lane.top(), max(1.0, right - left), lane.height()), QColor(ACCENT))
    left, right = (time_s / view.duration_s * lane.width() for time_s in (view.start_s, view.end_s))
    painter.setPen(QPen(QColor(TEXT), 1))
    painter.setBrush(QColor(223, 229, 234, 70))
    painter.drawRect(QRectF(lane.left() + left, lane.top(), max(4.0, right - left), lane.height()))


def gaps_between(spans: list[Span], duration_s: float) -> list[Span]:
    """The parts of a recording that none of these spans covers."""
    gaps, at_s = [], 0.0
    for start_s, end_s in sorted(spans):
        if start_s > at_s:
            gaps.append((at_s, start_s))
        at_s = max(at_s, end_s)
    return [*gaps, (at_s, duration_s)] if at_s < duration_s else gaps
