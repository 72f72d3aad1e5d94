"""The key that chooses between analysing every frame of a recording and playing it at its own rate."""

from collections.abc import Callable

from realtime_polyp.viewer.player import Player

SetKeepPace = Callable[[bool], None]
_LIVE = "A live source keeps its pace always: what cannot be analysed in time is skipped"
_RECORDED = "A recorded session was analysed before: no analysis can be skipped"
_ON = "Full speed: a frame that is not analysed in time may lack its overlay; G analyses every frame"
_IMMEDIATE = "Pictures are shown at once, with the newest result; G keeps pace"
_OFF = "Every frame is analysed, however long that takes; G keeps pace"


class KeepPace:
    """Acts on a player.

    set_keep_pace: chooses for the feeds that are opened next; None: the source cannot. on: how it starts. say: shows a
    message.
    """

    def __init__(
        self, player: Player, set_keep_pace: SetKeepPace | None, say: Callable[[str], None], *, on: bool
    ) -> None:
        self._player, self._set_keep_pace, self._say, self.on = player, set_keep_pace, say, on
        self._off = _OFF

    def toggle(self) -> None:
        """Go on at the same place, the other way."""
        if self._set_keep_pace is None:
            self._say(_LIVE if self._player.info.live else _RECORDED)
            return
        if not self.on and self._player.feed:
            self._off = _IMMEDIATE if self._player.feed.display == "immediate" else _OFF
        self.on = not self.on
        self._set_keep_pace(self.on)
        self._player.reopen()
        self._say(_ON if self.on else self._off)
