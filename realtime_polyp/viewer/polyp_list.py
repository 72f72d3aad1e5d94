"""The polyp list beside the picture: number, time, peak, small picture and the person's verdict; a click goes there."""

from collections.abc import Callable

from PyQt5.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PyQt5.QtWidgets import QFrame, QScrollArea, QWidget

from realtime_polyp.field_of_view import Image
from realtime_polyp.viewer.canvas import as_qimage
from realtime_polyp.viewer.clock import clock_text
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.polyp_entries import Entry, MarkEntry, PolypEntry
from realtime_polyp.viewer.theme import BACKGROUND, BAR, DIM, LINE, MARK, TEXT, TONES

WIDEST = 0.22
"""The list takes at most this share of the window's width."""

_WIDTH_PX, _ROW_PX, _HEAD_PX, _PAD_PX = 230, 62, 34, 6
_EMPTY = "Polyps that are shown are listed here. M marks a moment to look at later."
_SIGNS = {True: "accepted", False: "rejected", None: "not judged"}
PictureOf = Callable[[PolypEntry], Image | None]


class PolypList(QScrollArea):
    """A column of rows. Give it entries with `show_entries`; it repaints only where something changed.

    on_jump: called with the time of a row that was clicked, s.
    """

    def __init__(self, on_jump: Callable[[float], None]) -> None:
        super().__init__()
        self.setObjectName("polyps")
        self.setFrameShape(QFrame.NoFrame)
        self.setFocusPolicy(Qt.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        self.setWidgetResizable(True)
        self.rows = _Rows(on_jump)
        self.setWidget(self.rows)

    def show_entries(self, entries: tuple[Entry, ...], picture_of: PictureOf, current: int | None = None) -> None:
        """Show these rows. current: the polyp on the screen, which is highlighted."""
        self.rows.show_entries(entries, picture_of, current)

    def fit(self, window_width: int, scale: float) -> None:
        """Take the width that fits a window of this width, px."""
        width = round(min(_WIDTH_PX * scale, WIDEST * window_width))
        self.setFixedWidth(width)
        self.rows.set_scale(min(scale, width / _WIDTH_PX))


class _Rows(QWidget):
    """Paints the rows that are in view, because a long procedure has hundreds. It is as high as all of them."""

    def __init__(self, on_jump: Callable[[float], None]) -> None:
        super().__init__()
        self._on_jump = on_jump
        self._entries: tuple[Entry, ...] = ()
        self._picture_of: PictureOf = lambda entry: None
        self._painted: dict[int, Image | None] = {}  # the small pictures of the rows in view
        self._current: int | None = None
        self._scale = 1.0
        self.setMouseTracking(True)
        self.setCursor(Qt.PointingHandCursor)

    def show_entries(self, entries: tuple[Entry, ...], picture_of: PictureOf, current: int | None) -> None:
        self._picture_of = picture_of
        if entries == self._entries and current == self._current and not self._has_news():
            return
        self._entries, self._current, self._painted = entries, current, {}
        self._resize()
        self.update()

    def _has_news(self) -> bool:
        """Whether a row in view has another picture than the one that was painted."""
        of_polyp = {one.polyp: one for one in self._entries if isinstance(one, PolypEntry)}
        return any(
            self._picture_of(of_polyp[key]) is not then for key, then in self._painted.items() if key in of_polyp
        )

    def set_scale(self, scale: float) -> None:
        if scale != self._scale:
            self._scale = scale
            self._resize()

    def sizeHint(self) -> QSize:
        return QSize(10, self.minimumHeight())

    def row_at(self, y: float) -> Entry | None:
        """The entry whose row is at a height of the widget, px."""
        place = int((y - _HEAD_PX * self._scale) // (_ROW_PX * self._scale))
        return self._entries[place] if 0 <= place < len(self._entries) and y >= _HEAD_PX * self._scale else None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        entry = self.row_at(event.localPos().y())
        if entry is not None and event.button() == Qt.LeftButton:
            self._on_jump(entry.at_s)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        entry = self.row_at(event.localPos().y())
        self.setToolTip("" if entry is None else tip_of(entry))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        painter.fillRect(event.rect(), QColor(BAR))
        scale = self._scale
        polyps = sum(isinstance(one, PolypEntry) for one in self._entries)
        head = QRectF(10 * scale, 0, self.width() - 20 * scale, _HEAD_PX * scale)
        _write(painter, f"Polyps  {polyps}" if polyps else "Polyps", head, 15 * scale, TEXT, bold=True)
        if not self._entries:
            below = QRectF(10 * scale, _HEAD_PX * scale, self.width() - 20 * scale, 120 * scale)
            painter.setFont(font_px(13 * scale))
            painter.setPen(QColor(DIM))
            painter.drawText(below, int(Qt.AlignLeft | Qt.AlignTop | Qt.TextWordWrap), _EMPTY)
        self._painted = {}
        first, last = self._rows_in(self.visibleRegion().boundingRect().united(event.rect()))
        for place in range(first, last):
            top = (_HEAD_PX + place * _ROW_PX) * scale
            self._paint_row(painter, self._entries[place], QRectF(0, top, self.width(), _ROW_PX * scale))
        painter.end()

    def _rows_in(self, area: QRect) -> tuple[int, int]:
        """Return the first row that an area of the widget touches, and the one after the last."""
        head, row = _HEAD_PX * self._scale, _ROW_PX * self._scale
        first = max(0, int((area.top() - head) // row))
        return first, max(first, min(len(self._entries), int((area.bottom() - head) // row) + 1))

    def _paint_row(self, painter: QPainter, entry: Entry, row: QRectF) -> None:
        scale, pad = self._scale, _PAD_PX * self._scale
        if isinstance(entry, PolypEntry) and entry.polyp == self._current:
            painter.fillRect(row, QColor(LINE))
        painter.fillRect(QRectF(row.left(), row.bottom() - 1, row.width(), 1), QColor(LINE))
        inner = row.adjusted(pad, pad, -pad, -pad)
        shown = QRectF(inner.left(), inner.top(), inner.height() * 4 / 3, inner.height())
        texts = QRectF(
            shown.right() + 1.5 * pad, inner.top(), inner.right() - shown.right() - 1.5 * pad, inner.height()
        )
        upper, lower = _halves(texts)
        if isinstance(entry, MarkEntry):
            paint_flag(painter, shown)
            _write(painter, clock_text(entry.at_s), upper, 15 * scale, MARK, bold=True)
            _write(painter, entry.text, lower, 12 * scale, DIM)
            return
        picture = self._painted[entry.polyp] = self._picture_of(entry)
        painter.fillRect(shown, QColor(BACKGROUND))
        if picture is not None:
            painter.drawImage(shown, as_qimage(picture))
        sign = min(texts.height() * 0.62, texts.width() * 0.3)
        _write(painter, title_of(entry), upper.adjusted(0, 0, -sign, 0), 15 * scale, _colour_of(entry), bold=True)
        _write(painter, times_of(entry), lower.adjusted(0, 0, -sign, 0), 12 * scale, DIM)
        paint_verdict(painter, entry.verdict, QPointF(inner.right() - sign / 2, inner.center().y()), sign / 2)

    def _resize(self) -> None:
        self.setMinimumHeight(round((_HEAD_PX + len(self._entries) * _ROW_PX + 6) * self._scale))


def title_of(entry: PolypEntry) -> str:
    """Number and peak, such as "3   89 %"; "M1   marked" for one that no model found."""
    return f"{entry.name}   {100 * entry.peak:.0f} %" if entry.peak is not None else f"{entry.name}   marked"


def times_of(entry: PolypEntry) -> str:
    """The first time span, and how many there are: "00:12\u201300:18  2x"."""
    start_s, end_s = entry.spans[0]
    first, last = clock_text(start_s), clock_text(end_s)
    more = f"  {len(entry.spans)}\u00d7" if len(entry.spans) > 1 else ""
    return f"{first}\u2013{last}{more}" if first != last else f"{first}{more}"


def tip_of(entry: Entry) -> str:
    """The tooltip of a row."""
    if isinstance(entry, MarkEntry):
        return f"{entry.text} at {clock_text(entry.at_s)}: click to go there"
    spans = ", ".join(f"{clock_text(start_s)}\u2013{clock_text(end_s)}" for start_s, end_s in entry.spans)
    return f"Polyp {title_of(entry)}, {_SIGNS[entry.verdict]}, {spans}: click to go there"


def paint_verdict(painter: QPainter, verdict: bool | None, centre: QPointF, radius: float) -> None:
    """Paint a tick on green, a cross on red, or an empty ring."""
    painter.save()
    tone = {True: TONES["good"], False: TONES["bad"], None: DIM}[verdict]
    painter.setPen(QPen(QColor(tone), max(1.5, radius / 7)))
    painter.setBrush(Qt.NoBrush if verdict is None else QColor(tone))
    painter.drawEllipse(centre, radius * 0.82, radius * 0.82)
    painter.setPen(QPen(QColor(BACKGROUND), max(2.0, radius / 4), Qt.SolidLine, Qt.RoundCap, Qt.RoundJoin))
    x, y, size = centre.x(), centre.y(), radius * 0.4
    painter.setBrush(Qt.NoBrush)
    if verdict is True:
        corners = [QPointF(x - size, y), QPointF(x - 0.3 * size, y + 0.75 * size), QPointF(x + size, y - 0.75 * size)]
        painter.drawPolyline(QPolygonF(corners))
    elif verdict is False:
        painter.drawLine(QPointF(x - size * 0.8, y - size * 0.8), QPointF(x + size * 0.8, y + size * 0.8))
        painter.drawLine(QPointF(x - size * 0.8, y + size * 0.8), QPointF(x + size * 0.8, y - size * 0.8))
    painter.restore()


def paint_flag(painter: QPainter, area: QRectF) -> None:
    """Paint the flag of a marked moment."""
    painter.save()
    painter.setPen(QPen(QColor(MARK), max(2.0, area.height() / 20)))
    x, top, bottom = area.center().x() - area.height() * 0.25, area.top() + area.height() * 0.12, area.bottom()
    painter.drawLine(QPointF(x, top), QPointF(x, bottom - area.height() * 0.08))
    painter.setBrush(QColor(MARK))
    painter.setPen(Qt.NoPen)
    high = area.height() * 0.42
    painter.drawPolygon(QPolygonF([QPointF(x, top), QPointF(x + high * 1.5, top + high / 2), QPointF(x, top + high)]))
    painter.restore()


def _colour_of(entry: PolypEntry) -> str:
    return DIM if entry.verdict is False else TEXT


def _halves(area: QRectF) -> tuple[QRectF, QRectF]:
    middle = area.height() * 0.55
    return area.adjusted(0, 0, 0, middle - area.height()), area.adjusted(0, middle, 0, 0)


def _write(painter: QPainter, text: str, area: QRectF, size: float, colour: str, *, bold: bool = False) -> None:
    font = font_px(size, bold=bold)
    painter.setFont(font)
    painter.setPen(QColor(colour))
    elided = QFontMetricsF(font).elidedText(text, Qt.ElideRight, max(0.0, area.width()))
    painter.drawText(area, int(Qt.AlignLeft | Qt.AlignVCenter), elided)
