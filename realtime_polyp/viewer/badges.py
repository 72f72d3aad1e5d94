"""Badges over the picture: the condition, and everything that keeps the overlay or the sound from the user."""

from dataclasses import dataclass

from PyQt5.QtCore import QPointF, QRectF, Qt
from PyQt5.QtGui import QColor, QFontMetricsF, QPainter, QPen, QPixmap

from realtime_polyp.outputs.labels import Rect
from realtime_polyp.viewer.condition import Condition, Tone
from realtime_polyp.viewer.elide import elided
from realtime_polyp.viewer.paint import font_px
from realtime_polyp.viewer.theme import BACKGROUND, TEXT, TONES

_SIZE_PER_AREA = 1 / 34  # height of the font, of the smaller side of the canvas
_LEAST_PX = 14.0
_LARGER: dict[Tone, float] = {"bad": 1.5, "warn": 1.2}  # to be seen from across the room
_NOT_ON_PICTURE = ("running", "seeking")  # conditions that only the status shows


@dataclass(frozen=True)
class Notes:
    """What is written over the picture besides the overlay.

    Attributes:
        mutes: badges that stay as long as something is hidden or silent.
        status: what the status line says, in full screen, where there is none; "" elsewhere.
        tone: of the status.
        corner: fixed notice beside the status.
        message: for a few seconds, where there is no status line.
        writing: what is written to disk, and the session's clock, beside a red light; "" while nothing is.
    """

    mutes: tuple[str, ...] = ()
    status: str = ""
    tone: Tone = "good"
    corner: str = ""
    message: str = ""
    writing: str = ""


@dataclass(frozen=True)
class _Badge:
    """One badge. ink, ground, dot: colours; dot "": none."""

    text: str
    ink: str
    ground: str
    dot: str = ""


class BadgeLayer:
    """Lays badges out and keeps them as pixmaps until something changes: text is slow to paint."""

    def __init__(self) -> None:
        self._key: object = None
        self._badges: list[tuple[QRectF, QPixmap]] = []

    def update(self, area: QRectF, picture: QRectF, ratio: float, condition: Condition, notes: Notes) -> list[Rect]:
        """Lay out for a canvas and its picture; returns the areas that are taken. ratio: device px per px."""
        key = (area, picture, ratio, condition, notes)
        if key != self._key:
            self._key = key
            self._badges = [
                (rect, _pixmap(badge, rect, ratio)) for rect, badge in _lay_out(area, picture, condition, notes)
            ]
        return [(rect.left(), rect.top(), rect.right(), rect.bottom()) for rect, _ in self._badges]

    @property
    def areas(self) -> list[QRectF]:
        """Where the badges lie, px of the canvas."""
        return [rect for rect, _ in self._badges]

    def paint(self, painter: QPainter) -> None:
        for rect, pixmap in self._badges:
            painter.drawPixmap(rect.topLeft(), pixmap)


def _lay_out(area: QRectF, picture: QRectF, condition: Condition, notes: Notes) -> list[tuple[QRectF, _Badge]]:
    """The condition at the top of the picture, mutes in the upper left corner, the rest at the foot."""
    size = badge_px(area)
    gap = size * 0.4
    laid: list[tuple[QRectF, _Badge]] = []
    top = max(area.top(), picture.top() - len(notes.mutes) * 2.1 * size) + gap  # close to the picture where it fits
    if condition.name not in _NOT_ON_PICTURE and not condition.covers:
        text = f"{condition.title}  \u2013  {condition.detail}" if condition.detail else condition.title
        badge = _Badge(text, TONES[condition.tone], BACKGROUND, dot=TONES[condition.tone])
        rect = _rect_of(badge, size * _LARGER.get(condition.tone, 1.0), area.width() * 0.92)
        rect.moveCenter(QPointF(picture.center().x(), max(area.top(), picture.top()) + gap + rect.height() / 2))
        laid.append((rect, badge))
    for text in notes.mutes:
        badge = _Badge(f"\u2716  {text}", BACKGROUND, TONES["warn"])
        rect = _rect_of(badge, size, area.width() * 0.92)
        rect.moveTopLeft(QPointF(area.left() + gap, top))
        if laid and laid[0][0].adjusted(-gap, -gap / 2, gap, gap / 2).intersects(rect):
            rect.moveTop(laid[0][0].bottom() + gap)
        laid.append((rect, badge))
        top = rect.bottom() + gap
    if notes.writing:
        laid.append(_lay_out_writing(area, notes.writing, [rect for rect, _ in laid], size, gap))
    return laid + _lay_out_foot(area, notes, size, gap)


def _lay_out_writing(area: QRectF, text: str, taken: list[QRectF], size: float, gap: float) -> tuple[QRectF, _Badge]:
    """The recording light, in the upper right corner or below what is there."""
    badge = _Badge(text, TEXT, BACKGROUND, dot=TONES["bad"])
    rect = _rect_of(badge, size, area.width() * 0.6)
    rect.moveTopRight(QPointF(area.right() - gap, area.top() + gap))
    for other in taken:
        if other.adjusted(-gap, -gap, gap, gap).intersects(rect):
            rect.moveTop(other.bottom() + gap)
    return rect, badge


def _lay_out_foot(area: QRectF, notes: Notes, size: float, gap: float) -> list[tuple[QRectF, _Badge]]:
    """Status at the left, fixed notice at the right, and the message above them."""
    laid: list[tuple[QRectF, _Badge]] = []
    foot = area.bottom() - gap
    if notes.status:
        badge = _Badge(notes.status, TONES[notes.tone], BACKGROUND, dot=TONES[notes.tone])
        rect = _rect_of(badge, size, area.width() * 0.6)
        rect.moveBottomLeft(QPointF(area.left() + gap, foot))
        laid.append((rect, badge))
    if notes.corner:
        badge = _Badge(notes.corner, TONES["warn"], BACKGROUND)
        rect = _rect_of(badge, size * 0.6, area.width() * 0.92)
        rect.moveBottomRight(QPointF(area.right() - gap, foot))
        if laid and laid[0][0].intersects(rect):
            rect.moveBottom(laid[0][0].top() - gap)
        laid.append((rect, badge))
    if notes.message:
        badge = _Badge(notes.message, TEXT, BACKGROUND)
        rect = _rect_of(badge, size * 0.8, area.width() * 0.92)
        above = min((other.top() for other, _ in laid), default=foot) - gap
        rect.moveCenter(QPointF(area.center().x(), above - rect.height() / 2))
        laid.append((rect, badge))
    return laid


def badge_px(area: QRectF) -> float:
    """The height of a badge's font for a canvas."""
    return max(_LEAST_PX, float(min(area.width(), area.height())) * _SIZE_PER_AREA)


def _rect_of(badge: _Badge, size: float, widest: float) -> QRectF:
    metrics = QFontMetricsF(font_px(size, bold=True))
    dot = size if badge.dot else 0.0
    return QRectF(0, 0, min(widest, metrics.horizontalAdvance(badge.text) + 1.3 * size + dot), 1.7 * size)


def _pixmap(badge: _Badge, rect: QRectF, ratio: float) -> QPixmap:
    """A pill with a light rim, so that it ends on any mucosa."""
    pixmap = QPixmap(int(rect.width() * ratio) + 2, int(rect.height() * ratio) + 2)
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.Antialiasing)
    size = rect.height() / 1.7
    font = font_px(size, bold=True)
    painter.setFont(font)
    ground = QColor(badge.ground)
    ground.setAlpha(225 if badge.ground == BACKGROUND else 255)
    painter.setBrush(ground)
    rim = max(1.0, size / 12)
    painter.setPen(QPen(QColor(BACKGROUND if badge.ground != BACKGROUND else badge.ink), rim))
    pill = QRectF(rim / 2, rim / 2, rect.width() - rim, rect.height() - rim)
    painter.drawRoundedRect(pill, size * 0.45, size * 0.45)
    left = size * 0.65
    if badge.dot:
        painter.setPen(Qt.NoPen)
        painter.setBrush(QColor(badge.dot))
        painter.drawEllipse(QPointF(left + size * 0.25, pill.center().y()), size / 4, size / 4)
        left += size
    painter.setPen(QColor(badge.ink))
    within = QRectF(left, 0, rect.width() - left - size * 0.3, rect.height())
    mode = Qt.ElideRight if badge.dot else Qt.ElideMiddle  # a condition begins with its title
    text = elided(badge.text, QFontMetricsF(font), within.width() + 1, mode)
    painter.drawText(within, int(Qt.AlignLeft | Qt.AlignVCenter), text)
    painter.end()
    return pixmap
