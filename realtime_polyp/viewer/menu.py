"""The menu bar: every action of `keys.KEYS` with its key, and the list of recent sources."""

from collections.abc import Callable

from PyQt5.QtWidgets import QMenu, QMenuBar

from realtime_polyp.messages import printable, shorten
from realtime_polyp.recent import Recent
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.keys import KEYS, Action, Key

_MENUS: dict[str, tuple[str, ...]] = {
    "File": tuple(
        "open|open folder|open session|open address|devices|snapshot|report|settings|start page|quit".split("|")
    ),
    "Play": tuple(
        "pause|step|step back|forward|back|start|end|faster|slower|keep pace|loop start|loop end|replay".split("|")
    ),
    "Timeline": tuple("next alarm|previous alarm|zoom in|zoom out|pan left|pan right".split("|")),
    "Session": tuple(
        "record|keep|mark|withdrawal|accept|reject|two frames|outline tool|delete box|fields|undo|redo|blind".split("|")
    ),
    "View": tuple(
        "overlay|boxes|outline|labels|fill|field|stricter|looser|usual threshold|polyp list|full screen|leave".split(
            "|"
        )
    ),
    "Sound": ("sound", "louder", "quieter"),
    "Help": ("help", "legend"),
}
_USUAL = "View"  # of an action that no menu lists
_LONGEST_PLACE = 60


class MenuBar(QMenuBar):
    """The menu bar of a window.

    perform: carries out an action. live: leave out what does nothing with a live source. actions: those that the window
    has. recent: returns the recent sources. on_recent: opens one of them. on_forget: deletes the list.
    """

    def __init__(
        self,
        perform: Callable[[Action], None],
        *,
        live: bool,
        actions: set[Action],
        recent: Callable[[], list[Recent]],
        on_recent: Callable[[Recent], None],
        on_forget: Callable[[], None],
    ) -> None:
        super().__init__()
        self._recent, self._on_recent, self._on_forget = recent, on_recent, on_forget
        self.setStyleSheet(FORM_STYLE)
        self.setNativeMenuBar(False)  # hidden with the window's other controls, on every system alike
        menus = {name: self.addMenu(name) for name in _MENUS}
        for key in sorted(KEYS, key=lambda key: _place_of(key.action)):
            if key.action in actions and not (live and key.recordings_only):
                menu = menu_of(key.action)
                # Behind a tab, the key is shown and not registered: the window handles all keys itself.
                item = menus[menu].addAction(f"{_literal(line_of(key, menu))}\t{key.label}")
                item.triggered.connect(lambda _, action=key.action: perform(action))
        self._recent_menu = QMenu("Open recent")
        self._recent_menu.aboutToShow.connect(self._fill_recent)
        file = menus["File"]
        after = file.actions()[min(4, len(file.actions()) - 1)]
        file.insertMenu(after, self._recent_menu)
        for menu in menus.values():
            menu.menuAction().setVisible(bool(menu.actions()))

    def texts(self) -> list[str]:
        """Every line of the menus, as the user reads it."""
        return [item.text() for menu in self.actions() for item in menu.menu().actions()]

    def _fill_recent(self) -> None:
        self._recent_menu.clear()
        for one in self._recent():
            self._recent_menu.addAction(_literal(place_text(one))).triggered.connect(
                lambda _, one=one: self._on_recent(one)
            )
        if self._recent_menu.isEmpty():
            self._recent_menu.addAction("nothing yet").setEnabled(False)
            return
        self._recent_menu.addSeparator()
        self._recent_menu.addAction("Clear this list").triggered.connect(lambda _: self._on_forget())


def menu_of(action: str) -> str:
    """The menu that an action stands in."""
    return next((name for name, actions in _MENUS.items() if action in actions), _USUAL)


def line_of(key: Key, menu: str) -> str:
    """What an action does, as a line of this menu, whose name is not repeated."""
    text = key.description.removeprefix(f"{menu.lower()}: ")
    return f"{text[0].upper()}{text[1:]}"


def _place_of(action: str) -> int:
    """Where an action stands in its menu; what is not listed comes last."""
    listed = _MENUS[menu_of(action)]
    return listed.index(action) if action in listed else len(listed)


def place_text(recent: Recent) -> str:
    """A source as one short line, its end visible."""
    text = printable(hide_secrets(recent.place))
    shown = text if len(text) <= _LONGEST_PLACE else f"...{text[-_LONGEST_PLACE:]}"
    return f"{shorten(shown, _LONGEST_PLACE + 3)}  (session)" if recent.kind == "session" else shown


def _literal(text: str) -> str:
    """Qt underlines the letter behind an ampersand, and takes a tab for the start of the key."""
    return text.replace("&", "&&").replace("\t", " ")
