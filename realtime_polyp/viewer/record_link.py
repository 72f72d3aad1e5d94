"""The window's keys and button for recording a session: R starts and stops, K keeps what has just passed."""

from collections import deque
from collections.abc import Callable

from realtime_polyp.recording.control import RecordingControl
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.viewer.keys import Action

_NOT_HERE = "Nothing can be recorded here: this is a recorded session"


class RecordLink:
    """Acts on a control; None: what is shown is a recorded session. say: shows a message to the user."""

    def __init__(self, control: RecordingControl | None, say: Callable[[str], None]) -> None:
        self._control, self._say = control, say
        self._said: deque[str] = deque()  # by other threads
        if control:
            control.say = self._said.append

    def actions(self) -> dict[Action, Callable[[], None]]:
        control = self._control
        if control is None:
            return {"record": lambda: self._say(_NOT_HERE), "keep": lambda: self._say(_NOT_HERE)}
        return {"record": control.toggle, "keep": control.keep}

    @property
    def is_on(self) -> bool:
        return self._control is not None and self._control.is_on

    @property
    def recorder(self) -> SessionRecorder | None:
        """The session that is recorded now."""
        return self._control.recorder if self._control else None

    def show_news(self) -> None:
        """Show what the control has said since."""
        while self._said:
            self._say(self._said.popleft())
