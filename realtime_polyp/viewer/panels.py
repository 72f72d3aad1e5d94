"""The panels over the picture: the list of keys, the legend, and the replay of a live source."""

from collections.abc import Callable

from PyQt5.QtCore import QObject

from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.help_panel import HelpPanel
from realtime_polyp.viewer.judge_link import JudgeLink
from realtime_polyp.viewer.legend import Legend
from realtime_polyp.viewer.replay_panel import LiveReplay


class Panels(QObject):
    """Call `place` when the canvas has another size.

    judge: its list and prompt are placed too. replay: of a live source. on_legend_closed: called when the user closes
    the legend. live: leave out the keys that do nothing with a live source.
    """

    def __init__(
        self,
        canvas: Canvas,
        judge: JudgeLink,
        replay: LiveReplay | None,
        on_legend_closed: Callable[[], None],
        *,
        live: bool,
    ) -> None:
        super().__init__(canvas)
        self._canvas, self._judge, self._replay = canvas, judge, replay
        self.help = HelpPanel(canvas, live=live)
        self.legend = Legend(canvas, on_legend_closed, judges=judge.judging is not None)

    def toggle_help(self) -> None:
        """Show or hide the list of keys."""
        self.help.setVisible(not self.help.isVisible())
        self.place()

    def place(self) -> None:
        """Fit everything that lies over the picture, and the list beside it."""
        self._judge.fit()
        self.legend.fit()
        if self._replay:
            self._replay.panel.place()
        if self.help.isVisible():
            self.help.fit(self._canvas.width(), self._canvas.height())

    def leave(self) -> bool:
        """Esc: close the uppermost panel; False where none is open."""
        if self.help.isVisible():
            self.help.hide()
        elif self.legend.isVisible():
            self.legend.dismiss()
        else:
            return self._replay is not None and self._replay.leave()
        return True
