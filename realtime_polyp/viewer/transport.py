"""What the transport keys do: speed, loop, steps and jumps to alarms."""

from collections.abc import Callable, Sequence
from typing import Protocol

from realtime_polyp.viewer.keys import REPLAY_S, SEEK_STEP_S, Action
from realtime_polyp.viewer.pacing import next_speed, speed_text
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.shown_alarms import Span

_SAME_START_S = 0.25  # an alarm is that of this moment if it starts so close to it
_JUST_BEGUN_S = 1.0  # within its first second, "previous" leaves an alarm; later it goes to its start
_SHORTEST_LOOP_S = 0.2
_LIVE = "A live source cannot go back: press \N{ERASE TO THE LEFT} to see the last seconds again"


class Replay(Protocol):
    """Shows the last seconds of a live source again."""

    def toggle(self) -> bool:
        """Start, or end; False where there is nothing to show."""
        ...

    def step(self, by: int) -> bool:
        """Go on by so many pictures; False while it is not shown."""
        ...


class Transport:
    """Acts on a player.

    seek: goes to a time of the recording, s. alarms: returns the alarms that are known. say: shows a message.
    replay: of a live source.
    """

    def __init__(
        self,
        player: Player,
        seek: Callable[[float], None],
        alarms: Callable[[], Sequence[Span]],
        say: Callable[[str], None],
        replay: "Replay | None" = None,
    ) -> None:
        self._player, self._seek, self._alarms, self._say = player, seek, alarms, say
        self._replay = replay
        self._loop_start_s: float | None = None

    def actions(self) -> dict[Action, Callable[[], None]]:
        """What each key does."""
        player = self._player
        return {
            "pause": player.toggle_pause,
            "step": self._step,
            "step back": self._step_back,
            "back": lambda: self._go(player.position_s - SEEK_STEP_S),
            "forward": lambda: self._go(player.position_s + SEEK_STEP_S),
            "start": lambda: self._go(player.info.start_s),
            "end": self._to_end,
            "slower": lambda: self._change_speed(-1),
            "faster": lambda: self._change_speed(+1),
            "loop start": self._start_loop,
            "loop end": self._end_loop,
            "next alarm": lambda: self._jump(next_alarm_s(self._alarms(), player.position_s), "later"),
            "previous alarm": lambda: self._jump(previous_alarm_s(self._alarms(), player.position_s), "earlier"),
            "replay": self._see_again,
        }

    @property
    def loop_s(self) -> tuple[float, float | None] | None:
        """The loop's start and end, s; the end is None until it was chosen; None where there is no loop."""
        if self._player.loop_s:
            return self._player.loop_s
        return None if self._loop_start_s is None else (self._loop_start_s, None)

    def loop(self, start_s: float, end_s: float) -> None:
        """Play a stretch again and again."""
        start_s, end_s = sorted((start_s, end_s))
        self._player.loop_s = (start_s, max(end_s, start_s + _SHORTEST_LOOP_S))
        self._loop_start_s = None
        if not start_s <= self._player.position_s <= end_s:
            self._seek(start_s)
        self._say("The stretch is played again and again: press ) to end the loop")

    def badges(self) -> tuple[str, ...]:
        """What stays on the picture: that pictures are left out, to keep a fast speed."""
        player = self._player
        note = speed_note(player.speed, player.step_s, player.info.rate_hz)
        is_thinned = player.feed is not None and player.feed.display == "synced" and not player.info.live
        return (note,) if note != speed_text(player.speed) and is_thinned else ()

    def _go(self, to_s: float) -> None:
        """Go to a time of a recording. A live source goes on, and no alarm of it ends: it would sound again."""
        if self._player.info.live:
            self._say(_LIVE)
        else:
            self._seek(to_s)

    def _see_again(self) -> None:
        """Of a recording, go back; of a live source, show the last seconds beside the picture, or end that."""
        if not self._player.info.live:
            self._seek(self._player.position_s - REPLAY_S)
        elif self._replay and not self._replay.toggle():
            self._say("There is nothing to see again yet")

    def _step(self) -> None:
        if not (self._replay and self._replay.step(+1)):
            self._player.step()

    def _step_back(self) -> None:
        if self._replay and self._replay.step(-1):
            return
        if self._player.info.live:
            self._say("Live pictures cannot be stepped back: press \N{ERASE TO THE LEFT} to see the last seconds again")
        else:
            self._player.step_back()

    def _to_end(self) -> None:
        if self._player.info.duration_s is not None:
            self._seek(self._player.info.duration_s)

    def _change_speed(self, steps: int) -> None:
        if self._player.info.live:
            self._say("The speed of a live picture cannot be changed")
            return
        if self._player.feed and self._player.feed.display == "immediate":
            self._say("With --display immediate a recording plays at its own rate")
            return
        speed = next_speed(self._player.speed, steps)
        self._player.set_speed(speed)
        self._say(f"Speed {speed_text(speed)}")

    def _start_loop(self) -> None:
        if self._player.info.live:
            self._say(_LIVE)
        else:
            self._player.loop_s, self._loop_start_s = None, self._player.position_s
            self._say("The loop starts here: press ) where it should end")

    def _end_loop(self) -> None:
        if self._player.info.live:
            self._say(_LIVE)
        elif self._player.loop_s:
            self._player.loop_s = None
            self._say("Loop off")
        elif self._loop_start_s is None:
            self._say("Press ( where the loop should start, then ) where it should end")
        else:
            self.loop(self._loop_start_s, self._player.position_s)

    def _jump(self, to_s: float | None, where: str) -> None:
        if self._player.info.live:
            self._say(_LIVE)
        elif to_s is None:
            self._say(f"No alarm is known {where} than here")
        else:
            self._seek(to_s)


def next_alarm_s(alarms: Sequence[Span], position_s: float) -> float | None:
    """Start of the first alarm after a position, s; None without one."""
    return min((start_s for start_s, _ in alarms if start_s > position_s + _SAME_START_S), default=None)


def previous_alarm_s(alarms: Sequence[Span], position_s: float) -> float | None:
    """Start of the alarm at or before a position, s; in its first second, of the one before. None without one."""
    return max((start_s for start_s, _ in alarms if start_s < position_s - _JUST_BEGUN_S), default=None)


def speed_note(speed: float, step_s: float, rate_hz: float | None) -> str:
    """Name a speed and how many pictures are left out, such as "4x: 1 of 5 pictures is shown"."""
    of = round(step_s * rate_hz) if rate_hz else 0
    return f"{speed_text(speed)}: 1 of {of} pictures is shown" if of > 1 else speed_text(speed)
