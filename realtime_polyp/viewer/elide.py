"""Fits a sentence into a width: an address or a path in it loses its middle, and every word stays."""

import re

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QFontMetricsF

_ADDRESS = re.compile(r"\S*(?:://|[/\\])\S*")
_LEAST = 9  # letters that an address keeps: enough to tell which one it is
_ELLIPSIS = "\u2026"


def elided(text: str, metrics: QFontMetricsF, room_px: float, otherwise: Qt.TextElideMode = Qt.ElideMiddle) -> str:
    """Return a text as it fits into `room_px`. otherwise: where short addresses do not help, what the text loses."""
    shortened = text
    kept = max((len(address) for address in _ADDRESS.findall(text)), default=0)
    while metrics.horizontalAdvance(shortened) > room_px and kept > _LEAST:
        kept -= 1
        shortened = shorten_addresses(text, kept)
    return str(metrics.elidedText(shortened, otherwise, room_px))


def shorten_addresses(text: str, letters: int) -> str:
    """Return a text whose addresses and paths have at most so many letters: both ends, without what lies between."""

    def shorten(found: re.Match[str]) -> str:
        address, head = found[0], letters // 2
        tail = letters - head - len(_ELLIPSIS)
        return address if len(address) <= letters else f"{address[:head]}{_ELLIPSIS}{address[len(address) - tail :]}"

    return _ADDRESS.sub(shorten, text)
