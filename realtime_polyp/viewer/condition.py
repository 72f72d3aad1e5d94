"""What a person must see at a glance: one condition at a time, the most serious first."""

from dataclasses import dataclass
from typing import Literal

from realtime_polyp.packets import FrameQuality, Signal

Phase = Literal["ready", "playing", "seeking", "ended", "failed", "closed"]
Tone = Literal["good", "busy", "warn", "bad"]
Name = Literal[
    "ready",
    "running",
    "paused",
    "seeking",
    "ended",
    "no signal",
    "black picture",
    "frozen picture",
    "view not clear",
    "format changed",
    "overlay late",
    "decoder failed",
    "model failed",
    "output failed",
    "stopped",
]

NO_SIGNAL_S = 1.0
_LATE_S = 1.0
_SAY_CHANGE_S = 4.0


@dataclass(frozen=True)
class Failure:
    """stage: decoder, model, output; signal: a live source gave up; viewer: a session could not be opened or left."""

    stage: str
    message: str


@dataclass(frozen=True)
class PlayerState:
    """What the player knows. silent_s: since the last picture of a live source. overlay_age_s: since the capture of
    the newest analysed frame, where pictures do not wait for it. changed: the sizes (W, H) px before and after, and
    how long ago."""

    phase: Phase
    live: bool
    paused: bool = False
    has_picture: bool = False
    silent_s: float = 0.0
    overlay_age_s: float | None = None
    signal: Signal = "ok"
    frame_quality: FrameQuality = "clear"
    changed: tuple[tuple[int, int], tuple[int, int], float] | None = None
    failure: Failure | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Condition:
    """title: two words. detail: a sentence, or "". covers: said large, over a dimmed picture. blanks: no overlay may
    be seen."""

    name: Name
    title: str
    detail: str = ""
    tone: Tone = "good"
    covers: bool = False
    blanks: bool = False


READY = Condition("ready", "Ready", "Waiting for the first picture", "busy", covers=True, blanks=True)
RUNNING = Condition("running", "Running")
_SIGNALS = {
    "black": Condition("black picture", "Black picture", "Check the light source and the cable", "warn", blanks=True),
    "frozen": Condition("frozen picture", "Frozen picture", "The picture has stopped changing", "warn", blanks=True),
}
_HELD_BACK = "Alarms come later while the view is not clear"
_VIEWS: dict[FrameQuality, str] = {
    "blurred": "Blurred",
    "glare": "Glare",
    "water": "Water",
    "no mucosa": "No mucosa",
    "outside": "Outside",
}
_FAILURES: dict[str, tuple[Name, str]] = {
    "decoder": ("decoder failed", "Decoder failed"),
    "model": ("model failed", "Model failed"),
    "output": ("output failed", "Output failed"),
    "signal": ("no signal", "No signal"),
    "viewer": ("stopped", "Stopped"),
}


def condition_of(facts: PlayerState) -> Condition:
    """The one condition to show."""
    if facts.failure:
        return _failed(facts.failure)
    if facts.phase == "ended":
        return _ended(facts)
    if facts.phase == "seeking":
        return Condition("seeking", "Seeking", tone="busy")
    if facts.paused and facts.has_picture:
        return Condition("paused", "Paused", tone="busy")
    if facts.live and facts.silent_s > NO_SIGNAL_S:
        detail = f"No picture for {facts.silent_s:.0f} s: check the scope and the cable"
        return Condition("no signal", "No signal", detail, "bad", covers=True, blanks=True)
    if not facts.has_picture:
        return READY
    return _running(facts)


def _failed(failure: Failure) -> Condition:
    name, title = _FAILURES.get(failure.stage, _FAILURES["viewer"])
    detail = f"{failure.message[:1].upper()}{failure.message[1:]}\nPress Space to try again"
    return Condition(name, title, detail, "bad", covers=True, blanks=True)


def _ended(facts: PlayerState) -> Condition:
    if not facts.has_picture:
        detail = facts.warning or "The video has no pictures"
        return Condition("ended", "End of video", detail, "warn", covers=True, blanks=True)
    return Condition("ended", "End of video", facts.warning or "", "warn" if facts.warning else "busy")


def _running(facts: PlayerState) -> Condition:
    if facts.signal != "ok":
        return _SIGNALS[facts.signal]
    if facts.changed and facts.changed[2] < _SAY_CHANGE_S:
        (old_width, old_height), (width, height), _ = facts.changed
        detail = f"from {old_width} x {old_height} to {width} x {height}"
        return Condition("format changed", "Format changed", detail, "warn")
    if facts.overlay_age_s is not None and facts.overlay_age_s > _LATE_S:
        detail = f"The newest analysis is {facts.overlay_age_s:.0f} s old and hidden"
        return Condition("overlay late", "Overlay late", detail, "warn")
    if facts.frame_quality != "clear":
        return Condition("view not clear", _VIEWS[facts.frame_quality], _HELD_BACK, "warn")
    return RUNNING
