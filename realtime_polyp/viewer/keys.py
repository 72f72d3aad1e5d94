"""The keys, in one table: what the window obeys, the tooltips name and the help lists."""

from dataclasses import dataclass
from typing import Literal

from PyQt5.QtCore import Qt

Action = Literal[
    "pause", "step", "back", "forward", "overlay", "mask", "stricter", "looser", "sound", "snapshot",
    "full screen", "leave", "help", "quit",
]  # fmt: skip
SEEK_STEP_S = 5.0
SCORE_STEP = 0.05


@dataclass(frozen=True)
class Key:
    """codes: any of these Qt.Key values. shown: how a person reads them. does: after "press ... to"."""

    action: Action
    codes: tuple[int, ...]
    shown: str
    does: str
    recordings_only: bool = False


KEYS = (
    Key("pause", (Qt.Key_Space,), "Space", "pause or play"),
    Key("step", (Qt.Key_Period,), ".", "one picture on"),
    Key("back", (Qt.Key_Left,), "\u2190", f"{SEEK_STEP_S:g} seconds back", recordings_only=True),
    Key("forward", (Qt.Key_Right,), "\u2192", f"{SEEK_STEP_S:g} seconds on", recordings_only=True),
    Key("overlay", (Qt.Key_O,), "O", "overlay on or off"),
    Key("mask", (Qt.Key_M,), "M", "mask as outline, filled, or none"),
    Key("stricter", (Qt.Key_Plus, Qt.Key_Equal), "+", "raise the threshold: fewer boxes"),
    Key("looser", (Qt.Key_Minus, Qt.Key_Underscore), "\u2212", "lower the threshold: more boxes"),
    Key("sound", (Qt.Key_A,), "A", "a soft sound for each new alarm, on or off"),
    Key("snapshot", (Qt.Key_S,), "S", "save the picture, with and without overlay"),
    Key("full screen", (Qt.Key_F, Qt.Key_F11), "F", "full screen"),
    Key("leave", (Qt.Key_Escape,), "Esc", "leave full screen"),
    Key("help", (Qt.Key_H, Qt.Key_Question, Qt.Key_F1), "H", "this help"),
    Key("quit", (Qt.Key_Q,), "Q", "quit"),
)
ACTION_OF: dict[int, Action] = {code: key.action for key in KEYS for code in key.codes}


def hint(action: Action) -> str:
    """A tooltip: what it does, and its key."""
    key = next(key for key in KEYS if key.action == action)
    return f"{key.does[0].upper()}{key.does[1:]}  [{key.shown}]"


def help_html(*, live: bool) -> str:
    rows = "".join(
        f"<tr><td><b>{key.shown}</b></td><td>{key.does}</td></tr>" for key in KEYS if not (live and key.recordings_only)
    )
    return f"<p><b>Keys</b></p><table cellpadding='4' cellspacing='4'>{rows}</table>"
