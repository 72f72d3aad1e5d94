"""The keyboard shortcuts, in one table for the window, the tooltips and the help."""

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
    """One shortcut.

    Attributes:
        action: what the window does.
        codes: the Qt.Key values; any of them triggers it.
        label: the key as the user reads it.
        description: what it does, for the help and the tooltip.
        recordings_only: it does nothing with a live source.
    """

    action: Action
    codes: tuple[int, ...]
    label: str
    description: str
    recordings_only: bool = False


KEYS = (
    Key("pause", (Qt.Key_Space,), "Space", "pause or play"),
    Key("step", (Qt.Key_Period,), ".", "next frame"),
    Key("back", (Qt.Key_Left,), "\u2190", f"{SEEK_STEP_S:g} seconds back", recordings_only=True),
    Key("forward", (Qt.Key_Right,), "\u2192", f"{SEEK_STEP_S:g} seconds forward", recordings_only=True),
    Key("overlay", (Qt.Key_O,), "O", "show or hide the overlay"),
    Key("mask", (Qt.Key_M,), "M", "mask as outline, filled or hidden"),
    Key("stricter", (Qt.Key_Plus, Qt.Key_Equal), "+", "raise the threshold: fewer boxes"),
    Key("looser", (Qt.Key_Minus, Qt.Key_Underscore), "\u2212", "lower the threshold: more boxes"),
    Key("sound", (Qt.Key_A,), "A", "soft sound for each new alarm, on or off"),
    Key("snapshot", (Qt.Key_S,), "S", "save a snapshot, with and without overlay"),
    Key("full screen", (Qt.Key_F, Qt.Key_F11), "F", "full screen"),
    Key("leave", (Qt.Key_Escape,), "Esc", "leave full screen"),
    Key("help", (Qt.Key_H, Qt.Key_Question, Qt.Key_F1), "H", "show or hide this list"),
    Key("quit", (Qt.Key_Q,), "Q", "quit"),
)
ACTION_OF: dict[int, Action] = {code: key.action for key in KEYS for code in key.codes}


def tooltip(action: Action) -> str:
    """Return the tooltip of a button: what it does, and its key."""
    key = next(key for key in KEYS if key.action == action)
    return f"{key.description[0].upper()}{key.description[1:]}  [{key.label}]"


def help_html(*, live: bool) -> str:
    """Return the list of shortcuts; without those that do nothing with a live source."""
    rows = "".join(
        f"<tr><td><b>{key.label}</b></td><td>{key.description}</td></tr>"
        for key in KEYS
        if not (live and key.recordings_only)
    )
    return f"<p><b>Keys</b></p><table cellpadding='4' cellspacing='4'>{rows}</table>"
