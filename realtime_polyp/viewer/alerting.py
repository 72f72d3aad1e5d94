"""How the user is told of polyps: overlay, threshold and sound, and what keys and buttons do to them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.canvas import Canvas
from realtime_polyp.viewer.controls import Controls
from realtime_polyp.viewer.keys import SCORE_STEP, VOLUME_STEP, Action
from realtime_polyp.viewer.mutes import Alerts, per_cent, threshold_message
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.sound import AlarmSound, SoundError

_SILENT = "Volume 0 \u2013 press \u2191"


class Alerting:
    """Holds what is switched on, and brings canvas, controls and player in line with every change.

    say: called after each change with what it means, or with "" where the picture says it.
    """

    def __init__(
        self, player: Player, canvas: Canvas, controls: Controls, style: OverlayStyle, say: Callable[[str], None]
    ) -> None:
        self._player, self._canvas, self._controls, self._say = player, canvas, controls, say
        self.style, self.overlay_on = style, True
        self.sound = AlarmSound()
        self._usual_score = self._other_score = 0.0
        self._no_sound = ""

    @property
    def alerts(self) -> Alerts:
        """What is switched on, for the badges."""
        problem = self._no_sound
        if self.sound.on:
            problem = "" if self.sound.audible else _SILENT
        live = self._player.info.live
        return Alerts(self.overlay_on, self.style, self._usual_score, live, self.sound.audible, problem)

    def start(self, score: float, usual_score: float | None, *, sound: bool | None) -> None:
        """Begin with a threshold; usual_score: the one that D brings back, None: the same. sound: None: if live."""
        self._usual_score = self._other_score = round(score if usual_score is None else usual_score, 2)
        self._set_score(score)
        if (self._player.info.live if sound is None else sound) and self._may_sound():
            self.sound.switch_on_later()
            self._show_sound()

    def open_sound(self) -> None:
        """Open the audio output that `start` asked for, once there is a picture: a sound server may let it wait.

        Call it several times per second. On a thread it would hold up the picture too: PyQt keeps Python's lock.
        """
        if self.sound.waits and self._player.displayed:
            try:
                self.sound.open()
            except SoundError as error:
                self._tell_silence(error)

    def actions(self) -> dict[Action, Callable[[], None]]:
        return {
            "overlay": self.toggle_overlay,
            "boxes": lambda: self.restyle(boxes=not self.style.boxes),
            "outline": lambda: self.restyle(outline=not self.style.outline),
            "labels": lambda: self.restyle(labels=not self.style.labels),
            "fill": lambda: self.restyle(fill=not self.style.fill),
            "stricter": lambda: self.set_threshold(self.style.min_score + SCORE_STEP),
            "looser": lambda: self.set_threshold(self.style.min_score - SCORE_STEP),
            "usual threshold": self.toggle_threshold,
            "sound": self.toggle_sound,
            "louder": lambda: self.set_volume(self.sound.volume + VOLUME_STEP),
            "quieter": lambda: self.set_volume(self.sound.volume - VOLUME_STEP),
        }

    def toggle_overlay(self) -> None:
        self.overlay_on = not self.overlay_on
        self.restyle()
        self._say("Overlay on" if self.overlay_on else "Overlay off; O brings it back")

    def restyle(self, **changes: Any) -> None:
        """Apply changes of the overlay's style at once. changes: fields of OverlayStyle."""
        self.style = replace(self.style, **changes)
        self._canvas.set_style(self.style, overlay_on=self.overlay_on)
        self._controls.show_overlay(on=self.overlay_on, style=self.style)
        self._say("")

    def set_threshold(self, score: float) -> None:
        """Hide boxes with a lower score at once, and show all others; a still picture is reanalysed for them."""
        self._set_score(score)
        self._say(threshold_message(self.style.min_score, self._usual_score))

    def toggle_threshold(self) -> None:
        """Go to the usual threshold, or from there to the last other one."""
        score = self.style.min_score
        if score != self._usual_score:
            self._other_score = score
        self.set_threshold(self._other_score if score == self._usual_score else self._usual_score)

    def toggle_sound(self) -> None:
        if not self._may_sound():
            return
        try:
            self.sound.switch(on=not self.sound.on)
        except SoundError as error:
            self._tell_silence(error)
            return
        self._no_sound = ""
        self._show_sound()
        heard = "Sound on" if self.sound.audible else f"Sound on. {_SILENT}"
        self._say(heard if self.sound.on else "Sound muted; A brings it back")

    def _may_sound(self) -> bool:
        """Whether an alarm can be heard at all. Says so where none can."""
        feed = self._player.feed
        if feed is None or feed.tracks_polyps:
            return True
        self._no_sound = "No sound with --no-smooth"
        self._show_sound()
        self._say("No sound: temporal filtering is off (--no-smooth), and every frame would be a new alarm")
        return False

    def _tell_silence(self, error: SoundError) -> None:
        self._no_sound = "No sound \u2013 press A to try again"
        self._show_sound()
        self._say(str(error))

    def set_volume(self, volume: float) -> None:
        """volume: 0..1; a sound is played, so that it can be judged."""
        self.sound.volume = volume
        self._show_sound()
        self.sound.play(1)
        off = "" if self.sound.on else "; the sound is off, A switches it on"
        self._say(f"Volume {per_cent(self.sound.volume)}{off}")

    def _set_score(self, score: float) -> None:
        score = round(min(1.0, max(0.0, score)), 2)
        self.restyle(min_score=score)
        self._controls.show_threshold(score)
        self._player.set_score_threshold(score)

    def _show_sound(self) -> None:
        self._controls.show_sound(on=self.sound.on, volume=self.sound.volume)
