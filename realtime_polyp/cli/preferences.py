"""Settings take the place of what the command line leaves open."""

from dataclasses import replace
from typing import TypeVar

from realtime_polyp.cli.options import Options
from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.settings import Settings, rgb_of
from realtime_polyp.temporal.config import TemporalConfig

_Value = TypeVar("_Value")


def apply_settings(options: Options, settings: Settings) -> Options:
    """Return the options with the settings for everything that the command line does not name.

    A --calibration brings its own operating point, so the settings' threshold and times then have no effect.
    """
    chosen = settings if options.calibration is None else replace(settings, threshold=None, confirm_s=None, hold_s=None)
    hold_s, release_s = _hold_and_release(options, chosen.hold_s)
    return replace(
        options,
        score_threshold=_first(options.score_threshold, chosen.threshold),
        confirm_s=_first(options.confirm_s, chosen.confirm_s),
        hold_s=hold_s,
        release_s=release_s,
        sound=_first(options.sound, settings.sound_on if options.temporal and not options.headless else None),
        ahead=settings.analyse_ahead if options.ahead is None else options.ahead,
        blank_outside=_blank_outside(options.blank_outside, settings),
        style=coloured(options.style, settings),
    )


def coloured(style: OverlayStyle, settings: Settings) -> OverlayStyle:
    """Return the style in the settings' colours."""
    usual = OverlayStyle()
    return replace(
        style,
        shown_colour=rgb_of(settings.shown_colour) if settings.shown_colour else usual.shown_colour,
        held_colour=rgb_of(settings.held_colour) if settings.held_colour else usual.held_colour,
        outline_colour=rgb_of(settings.outline_colour) if settings.outline_colour else usual.outline_colour,
    )


def _hold_and_release(options: Options, setting_s: float | None) -> tuple[float | None, float | None]:
    """hold_s and release_s; with the setting they never disagree: a polyp must not be forgotten while it is shown."""
    if options.hold_s is not None or setting_s is None:
        return options.hold_s, options.release_s
    if options.release_s is not None:
        return min(setting_s, options.release_s), options.release_s
    return setting_s, setting_s if setting_s > TemporalConfig().release_s else None


def _blank_outside(given: bool | None, settings: Settings) -> bool | None:
    """True: video and pictures; None: pictures of alarms only; False: neither. The settings have two switches."""
    if given is not None:
        return given
    if settings.blank_outside:
        return True
    return None if settings.blank_outside_events else False


def _first(given: _Value | None, otherwise: _Value | None) -> _Value | None:
    return otherwise if given is None else given
