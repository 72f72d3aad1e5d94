"""The menu bar: every action of `keys.KEYS` with its key, and the list of recent sources."""

from collections.abc import Callable

from PyQt5.QtWidgets import QMenu, QMenuBar

from realtime_polyp.messages import printable, shorten
from realtime_polyp.recent import Recent
from realtime_polyp.sources.addresses import hide_secrets
from realtime_polyp.viewer.forms import FORM_STYLE
from realtime_polyp.viewer.keys import KEYS, Action

_FILE = ("open", "open folder", "open session", "open address", "snapshot", "report", "settings", "start page", "quit")
_VIEW = ("overlay", "mask", "stricter", "looser", "full screen", "leave")
_MENUS: dict[str, tuple[str, ...]] = {"File": _FILE, "Play": (), "View": _VIEW, "Help": ("help",)}
_USUAL = "Play"  # of an action that no other menu lists
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
        for key in KEYS:
            if key.action in actions and not (live and key.recordings_only):
                text = f"{key.description[0].upper()}{key.description[1:]}"
                # Behind a tab, the key is shown and not registered: the window handles all keys itself.
                item = menus[menu_of(key.action)].addAction(f"{_literal(text)}\t{key.label}")
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


def place_text(recent: Recent) -> str:
    """A source as one short line, its end visible."""
    text = printable(hide_secrets(recent.place))
    shown = text if len(text) <= _LONGEST_PLACE else f"...{text[-_LONGEST_PLACE:]}"
    return f"{shorten(shown, _LONGEST_PLACE + 3)}  (session)" if recent.kind == "session" else shown


def _literal(text: str) -> str:
    """Qt underlines the letter behind an ampersand, and takes a tab for the start of the key."""
    return text.replace("&", "&&").replace("\t", " ")
