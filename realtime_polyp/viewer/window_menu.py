"""The menu of the viewer's window, and what it does beside playing: opening other sources, and settings."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from PyQt5.QtCore import QTimer

from realtime_polyp.cli.preferences import coloured
from realtime_polyp.settings import Settings
from realtime_polyp.viewer.host import Request
from realtime_polyp.viewer.keys import Action
from realtime_polyp.viewer.menu import MenuBar
from realtime_polyp.viewer.opening import Opener, curtain_text
from realtime_polyp.viewer.player import Player

if TYPE_CHECKING:
    from realtime_polyp.viewer.window import ViewerWindow


def make_opener(window: "ViewerWindow") -> Opener:
    """What opens other sources from this window; it closes the window for them."""
    host = window.options.host

    def leave(request: Request) -> None:
        host.raise_curtain(window, curtain_text(request))
        QTimer.singleShot(0, window.close)  # after the key or the menu's item, which refreshes the window at its end

    return Opener(
        window,
        host,
        say=window.show_message,
        leave=leave,
        question=lambda: question_before_leaving(window.player, writes=window.options.recording() is not None),
        on_settings=lambda before: apply_settings(window, before),
    )


def make_menu(window: "ViewerWindow", actions: Iterable[Action], *, live: bool) -> MenuBar:
    """The menu bar with these actions. live: without those that do nothing with a live source."""
    host = window.options.host
    return MenuBar(
        window.perform,
        live=live,
        actions=set(actions),
        recent=host.recent,
        on_recent=window.opener.open,
        on_forget=host.forget,
    )


def apply_settings(window: "ViewerWindow", before: Settings) -> None:
    """Apply the host's settings, which have just changed, to the window and its session."""
    settings = window.options.host.settings
    if settings.threshold != before.threshold:
        usual = window.alerting.alerts.usual_score  # a calibration brings its own
        window.alerting.set_threshold(usual if settings.threshold is None else settings.threshold)
    style = coloured(window.overlay_style, settings)
    window.alerting.restyle(
        shown_colour=style.shown_colour, held_colour=style.held_colour, outline_colour=style.outline_colour
    )
    if settings.sound_on not in (before.sound_on, None, window.alerting.sound.on):
        window.alerting.toggle_sound()
    if settings.sound_volume != before.sound_volume:
        window.alerting.set_volume(settings.sound_volume)
    window.options.host.set_times(settings)


def question_before_leaving(player: Player, *, writes: bool) -> str:
    """What a person must confirm before the window is left for another source; "" for nothing.

    writes: something is recorded or saved that ends with the window.
    """
    if player.phase in ("ready", "ended", "failed", "closed"):
        return ""
    if player.info.live:
        return f"End the live session of {player.info.name}?"
    return f"End the recording of {player.info.name}?" if writes else ""


def snapshot_folder(window: "ViewerWindow") -> Path:
    return window.options.host.settings.snapshots or window.options.snapshot_folder
