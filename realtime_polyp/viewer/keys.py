"""The keyboard shortcuts, in one table for the window, the tooltips and the help."""

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from PyQt5.QtCore import Qt
from PyQt5.QtGui import QKeyEvent

Action = Literal[
    "pause", "step", "back", "forward", "overlay", "boxes", "outline", "labels", "fill", "stricter", "looser",
    "usual threshold", "sound", "louder", "quieter", "legend", "snapshot", "full screen", "leave", "help", "quit",
    "step back", "start", "end", "slower", "faster", "loop start", "loop end", "next alarm", "previous alarm", "replay",
    "zoom in", "zoom out", "pan left", "pan right", "keep pace",
    "record", "keep", "mark", "withdrawal", "polyp list", "field",
    "accept", "reject", "two frames", "outline tool", "delete box", "fields", "undo", "redo", "blind",
    "open", "open folder", "open session", "open address", "devices", "start page", "settings", "report",
]  # fmt: skip
SEEK_STEP_S = 5.0
REPLAY_S = 10.0
SCORE_STEP = 0.05
VOLUME_STEP = 0.1
REPEATED: tuple[Action, ...] = (
    "step",
    "step back",
    "zoom in",
    "zoom out",
    "pan left",
    "pan right",
    "back",
    "forward",
    "stricter",
    "looser",
    "louder",
    "quieter",
)
"""Actions that go on while their key is held down."""


@dataclass(frozen=True)
class Key:
    """One shortcut.

    Attributes:
        action: what the window does.
        codes: the Qt.Key values, plus Qt.CTRL where Ctrl is held (on a Mac, Command) and Qt.SHIFT
            where Shift is held with it; any of them triggers it.
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
    Key("step back", (Qt.Key_Comma,), ",", "previous frame", recordings_only=True),
    Key("start", (Qt.Key_Home,), "Home", "go to the start", recordings_only=True),
    Key("end", (Qt.Key_End,), "End", "go to the end", recordings_only=True),
    Key("next alarm", (Qt.Key_N,), "N", "next alarm", recordings_only=True),
    Key("previous alarm", (Qt.Key_P,), "P", "previous alarm", recordings_only=True),
    Key("replay", (Qt.Key_Backspace,), "\u232b", f"see the last {REPLAY_S:g} seconds again"),
    Key("slower", (Qt.Key_BracketLeft, Qt.Key_Less), "[", "slower, down to 0.25x", recordings_only=True),
    Key("faster", (Qt.Key_BracketRight, Qt.Key_Greater), "]", "faster, up to 8x", recordings_only=True),
    Key("loop start", (Qt.Key_ParenLeft,), "(", "start of a loop", recordings_only=True),
    Key("loop end", (Qt.Key_ParenRight,), ")", "end of the loop; again: loop off", recordings_only=True),
    Key("zoom in", (Qt.Key_Z,), "Z", "timeline: zoom in", recordings_only=True),
    Key("zoom out", (Qt.Key_X,), "X", "timeline: zoom out", recordings_only=True),
    Key("pan left", (Qt.Key_PageUp,), "PgUp", "timeline: earlier part", recordings_only=True),
    Key("pan right", (Qt.Key_PageDown,), "PgDn", "timeline: later part", recordings_only=True),
    Key("keep pace", (Qt.Key_G,), "G", "keep pace: skip analysis rather than time, or not", recordings_only=True),
    Key("record", (Qt.Key_R,), "R", "record the session, or stop: picture, results, audit log"),
    Key("keep", (Qt.Key_K,), "K", "keep that: mark what has just passed, or record from it on"),
    Key("mark", (Qt.Key_M,), "M", "mark this moment: look at this later"),
    Key("withdrawal", (Qt.Key_W,), "W", "withdrawal starts here; again: it ends here"),
    Key("polyp list", (Qt.Key_C,), "C", "show or hide the polyp list"),
    Key("accept", (Qt.Key_Y, Qt.Key_Return, Qt.Key_Enter), "Y", "session: it is a polyp", recordings_only=True),
    Key("reject", (Qt.Key_Delete,), "Del", "session: it is a false alarm", recordings_only=True),
    Key("two frames", (Qt.Key_J,), "J", "session: mark a missed polyp by two frames", recordings_only=True),
    Key("outline tool", (Qt.Key_E,), "E", "session: correct the outline: brush, polygon", recordings_only=True),
    Key("delete box", (Qt.CTRL + Qt.Key_Delete,), "Ctrl+Del", "session: no polyp in this frame", recordings_only=True),
    Key("fields", (Qt.Key_F2,), "F2", "session: site, size, class, note, same polyp", recordings_only=True),
    Key("undo", (Qt.CTRL + Qt.Key_Z,), "Ctrl+Z", "session: take back what was said last", recordings_only=True),
    Key(
        "redo",
        (Qt.CTRL + Qt.SHIFT + Qt.Key_Z, Qt.CTRL + Qt.Key_Y),
        "Ctrl+Shift+Z",
        "session: say it again",
        recordings_only=True,
    ),
    Key("blind", (Qt.CTRL + Qt.Key_B,), "Ctrl+B", "session: blind mode, the program hidden", recordings_only=True),
    Key("overlay", (Qt.Key_O,), "O", "show or hide the overlay"),
    Key("boxes", (Qt.Key_B,), "B", "show or hide the boxes"),
    Key("outline", (Qt.Key_U,), "U", "show or hide the outlines"),
    Key("labels", (Qt.Key_T,), "T", "show or hide the labels"),
    Key("fill", (Qt.Key_I,), "I", "tint the inside of the outlines, or not"),
    Key("field", (Qt.Key_V,), "V", "draw the field of view; again: find it by itself"),
    Key("stricter", (Qt.Key_Plus, Qt.Key_Equal), "+", "raise the threshold: fewer boxes"),
    Key("looser", (Qt.Key_Minus, Qt.Key_Underscore), "\u2212", "lower the threshold: more boxes"),
    Key("usual threshold", (Qt.Key_D,), "D", "the usual threshold, and back to the last one"),
    Key("sound", (Qt.Key_A,), "A", "sound for each new alarm, on or off"),
    Key("louder", (Qt.Key_Up,), "\u2191", "louder"),
    Key("quieter", (Qt.Key_Down,), "\u2193", "quieter"),
    Key("legend", (Qt.Key_L,), "L", "show or hide the legend: what numbers and colours mean"),
    Key("snapshot", (Qt.Key_S,), "S", "save a snapshot, with and without overlay"),
    Key("open", (Qt.CTRL + Qt.Key_O,), "Ctrl+O", "open a video"),
    Key("open folder", (Qt.CTRL + Qt.Key_D,), "Ctrl+D", "open a folder of stills"),
    Key("open session", (Qt.CTRL + Qt.Key_R,), "Ctrl+R", "open a recorded session"),
    Key("report", (Qt.CTRL + Qt.Key_P,), "Ctrl+P", "write the report of a recorded session", recordings_only=True),
    Key("open address", (Qt.CTRL + Qt.Key_L,), "Ctrl+L", "open a stream or a device"),
    Key("devices", (Qt.CTRL + Qt.Key_I,), "Ctrl+I", "cards and cameras: inputs, formats, sizes, rates"),
    Key("start page", (Qt.CTRL + Qt.Key_W,), "Ctrl+W", "close, back to the start page"),
    Key("settings", (Qt.CTRL + Qt.Key_Comma,), "Ctrl+,", "settings"),
    Key("full screen", (Qt.Key_F, Qt.Key_F11), "F", "full screen"),
    Key("leave", (Qt.Key_Escape,), "Esc", "leave full screen"),
    Key("help", (Qt.Key_H, Qt.Key_Question, Qt.Key_F1), "H", "show or hide this list"),
    Key("quit", (Qt.Key_Q,), "Q", "quit"),
)
ACTION_OF: dict[int, Action] = {code: key.action for key in KEYS for code in key.codes}


def code_of(event: QKeyEvent) -> int:
    """The code of a key that is pressed, as `Key.codes` have it."""
    counted = Qt.ControlModifier | Qt.AltModifier | Qt.MetaModifier
    if event.modifiers() & Qt.ControlModifier:  # else it is part of the character: "(" or "?"
        counted |= Qt.ShiftModifier
    return int(event.key()) | int(event.modifiers() & counted)


def tooltip(action: Action) -> str:
    """Return the tooltip of a button: what it does, and its key."""
    key = next(key for key in KEYS if key.action == action)
    return f"{key.description[0].upper()}{key.description[1:]}  [{key.label}]"


def help_html(*, live: bool, size_px: int = 15) -> str:
    """Return the list of shortcuts; without those that do nothing with a live source. size_px: of the letters."""
    cells = [
        f"<td><b>{key.label}</b></td><td>{key.description}</td>" for key in KEYS if not (live and key.recordings_only)
    ]
    half = (len(cells) + 1) // 2  # two columns: one would be higher than a small screen
    pairs = zip_longest(cells[:half], cells[half:], fillvalue="")
    rows = "".join(f"<tr>{left}<td width='{size_px}'></td>{right}</tr>" for left, right in pairs)
    pad = size_px // 6
    return f"<p><b>Keys</b></p><table cellpadding='{pad}' cellspacing='{pad}'>{rows}</table>"
