"""The list of keys over the picture, in columns and letters that fit."""

from PyQt5.QtWidgets import QLabel, QWidget

from realtime_polyp.viewer.keys import help_html

_SIZES_PX = (30, 26, 22, 19, 17, 15, 14, 13, 12, 11, 10, 9, 8)
_SHARE = 0.8  # of the picture's height; larger letters would cover all of it


class HelpPanel(QLabel):
    """live: leave out the keys that do nothing with a live source."""

    def __init__(self, parent: QWidget, *, live: bool) -> None:
        super().__init__(parent)
        self._live = live
        self._fitted = (0, 0)
        self.setObjectName("help")
        self.setText(help_html(live=live))
        self.hide()

    def fit(self, width: int, height: int) -> None:
        """Take the largest letters that a canvas of this size, px, has room for, and its middle."""
        if (width, height) != self._fitted:
            self._fitted = (width, height)
            for size_px in _SIZES_PX:
                self.setText(help_html(live=self._live, size_px=size_px))
                pad = size_px
                self.setStyleSheet(f"#help {{ padding: {pad}px {2 * pad}px; font-size: {size_px}px; }}")
                hint = self.sizeHint()
                is_calm = hint.height() <= _SHARE * height or size_px <= _SIZES_PX[5]
                if is_calm and hint.width() <= width and hint.height() <= height:
                    break
        self.adjustSize()
        self.move(max(0, (width - self.width()) // 2), max(0, (height - self.height()) // 2))
