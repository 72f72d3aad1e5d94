"""What the user must know at a glance: one condition at a time, the most serious first."""

from dataclasses import dataclass, replace
from typing import Literal

from realtime_polyp.analysis_rate import ordinal
from realtime_polyp.packets import FrameQuality, Signal
from realtime_polyp.watchdog import ANSWER_LIMIT_S, Stall, Trouble

Phase = Literal["ready", "playing", "seeking", "ended", "failed", "closed"]
Tone = Literal["good", "busy", "warn", "bad"]
Name = Literal[
    "ready",
    "running",
    "paused",
    "seeking",
    "ended",
    "model not answering",
    "source not answering",
    "no signal",
    "reconnecting",
    "black picture",
    "frozen picture",
    "view not clear",
    "format changed",
    "picture late",
    "model slow",
    "playing slowly",
    "decoder failed",
    "model failed",
    "output failed",
    "recording failed",
    "disk low",
    "stopped",
]

NO_SIGNAL_S = 1.0
"""A live source that delivers no picture for longer than this has no signal."""

PICTURE_LATE_S = 0.3
"""A live picture that is shown later than this is reported."""

_OVERLAY_LATE_S = 0.8  # for so long without an overlay that is recent enough, the model is slow
_FORMAT_CHANGE_SHOWN_S = 4.0
_MOSTLY_ANALYSED = 0.95
_SLOWEST_IN_TENTHS = 0.095

Size = tuple[int, int]  # width, height, px


@dataclass(frozen=True)
class Failure:
    """Why playing failed.

    Attributes:
        stage: decoder, model or output; signal: a live source gave up; viewer: the source could not be opened or left.
        message: one sentence.
    """

    stage: str
    message: str


@dataclass(frozen=True)
class FormatChange:
    """The pictures of a live source changed their size.

    Attributes:
        before, after: the sizes.
        age_s: time since the change, s.
    """

    before: Size
    after: Size
    age_s: float


@dataclass(frozen=True)
class PlayerState:
    """Everything that the condition on the screen depends on.

    Attributes:
        phase: what the player is doing.
        live: the source is live.
        paused: the user paused it.
        has_picture: there is a picture on the screen; with a live source, one that came since it was opened.
        no_picture_s: time since the last picture arrived, s.
        late_s: how late a live picture was when it was shown, s.
        overlay_age_s: where pictures do not wait for results: time since a picture had a result recent enough to be
            drawn over it (where pace is kept: distance of the newest one on the video's clock), s; else None.
        speed: seconds of a recording per second, over the last moments; None where it is not known.
        is_slow: that has been too little for a while.
        keeps_pace: analysis is skipped rather than time.
        is_recorded: a recorded session is shown, whose frames were analysed before.
        analysed: share of the last pictures that were shown with their own result, where pace is kept; else None.
        every: every n-th frame is analysed: more than 1 where the models cannot keep up and pictures do not wait.
        signal, frame_quality: of the newest analysed frame.
        format_change: the last change of the picture's size.
        failure: why playing failed.
        warning: why a recording ended early, in one sentence.
        stall: the stage that has worked on one frame for longer than NO_SIGNAL_S, if any.
        troubles: what failed and is started again by itself.
        recording_failed: why nothing is recorded any more, one sentence; "" while all is well.
        disk_low: how little room the disk that is written to has, one sentence; "" while it has enough.
    """

    phase: Phase
    live: bool
    paused: bool = False
    has_picture: bool = False
    no_picture_s: float = 0.0
    late_s: float = 0.0
    overlay_age_s: float | None = None
    speed: float | None = None
    is_slow: bool = False
    keeps_pace: bool = False
    is_recorded: bool = False
    analysed: float | None = None
    every: int = 1
    signal: Signal = "ok"
    frame_quality: FrameQuality = "clear"
    format_change: FormatChange | None = None
    failure: Failure | None = None
    warning: str | None = None
    stall: Stall | None = None
    troubles: tuple[Trouble, ...] = ()
    recording_failed: str = ""
    disk_low: str = ""


@dataclass(frozen=True)
class Condition:
    """What the window reports about the picture.

    Attributes:
        name: which condition it is.
        title: two words.
        detail: one sentence, or "".
        tone: how serious it is.
        covers: written large over a dimmed picture.
        blanks: no overlay is shown.
    """

    name: Name
    title: str
    detail: str = ""
    tone: Tone = "good"
    covers: bool = False
    blanks: bool = False


READY = Condition("ready", "Ready", "Waiting for the first picture", "busy", covers=True, blanks=True)
RUNNING = Condition("running", "Running")
_SIGNALS = {
    "black": Condition(
        "black picture", "Black picture", "Check the light source and the video cable", "warn", blanks=True
    ),
    "frozen": Condition("frozen picture", "Frozen picture", "The picture no longer changes", "warn", blanks=True),
}
_PAUSED_LIVE = Condition("paused", "Paused", "The live picture stands still: press Space to go on", "warn")
_UNCLEAR_VIEW = "Alarms are delayed while the view is not clear"
_QUALITY_TITLES: dict[FrameQuality, str] = {
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


def condition_of(state: PlayerState) -> Condition:
    """The most serious condition of a player."""
    if state.failure:
        return _failed(state.failure)
    if state.phase == "ended":
        return _ended(state)
    if state.phase == "seeking":
        return Condition("seeking", "Seeking", tone="busy")
    if state.paused and state.has_picture:
        return _paused(state)
    is_without_picture = state.live and state.no_picture_s > NO_SIGNAL_S
    if found := next((_without_source(one, state) for one in state.troubles if one.part != "model"), None):
        return found
    if state.stall and (is_without_picture or state.live or state.stall.seconds >= ANSWER_LIMIT_S):
        return _stalled(state.stall, covers=is_without_picture or not state.live)
    if is_without_picture:
        detail = f"No picture for {state.no_picture_s:.0f} s: check the endoscope and the video cable"
        return Condition("no signal", "No signal", detail, "bad", covers=True, blanks=True)
    if not state.has_picture:
        return READY
    return _running(state)


def _paused(state: PlayerState) -> Condition:
    """A recording may stand still; a live picture that does is no longer what the endoscope sees."""
    if not state.live:
        return Condition("paused", "Paused", tone="busy")
    if state.recording_failed:
        return replace(_PAUSED_LIVE, detail=f"{_PAUSED_LIVE.detail}\n{state.recording_failed}", tone="bad")
    return _PAUSED_LIVE


def _slow(speed: float, *, can_skip: bool) -> Condition:
    """A recording that plays slower than chosen. can_skip: full speed is possible, with frames not analysed."""
    detail = (
        "press G for full speed, with gaps in the analysis"
        if can_skip
        else "This machine cannot show every picture in time"
    )
    return Condition("playing slowly", f"{measured_text(speed)} speed", detail, "warn")


def measured_text(speed: float) -> str:
    """Such as "0.4x", or "0.04x" where that would be nothing."""
    return f"{speed:.{1 if speed >= _SLOWEST_IN_TENTHS else 2}f}\N{MULTIPLICATION SIGN}"


def pace_badges(state: PlayerState) -> tuple[str, ...]:
    """What stays on the picture while frames are shown without analysis of their own."""
    if state.every > 1 and state.phase == "playing":
        return (f"Every {ordinal(state.every)} picture is analysed",)
    if not state.keeps_pace or state.analysed is None or state.analysed > _MOSTLY_ANALYSED:
        return ()
    return ("Analysis skipped \u2013 press G",)


def _failed(failure: Failure) -> Condition:
    name, title = _FAILURES.get(failure.stage, _FAILURES["viewer"])
    detail = f"{failure.message[:1].upper()}{failure.message[1:]}\nPress Space to try again"
    return Condition(name, title, detail, "bad", covers=True, blanks=True)


def _stalled(stall: Stall, *, covers: bool) -> Condition:
    """Return the condition of a stage that hangs. covers: the message covers the picture, which stands still."""
    detail = stall.warning[:1].upper() + stall.warning[1:]
    if stall.stage == "model":
        return Condition("model not answering", "Model not answering", detail, "bad", covers=covers, blanks=True)
    return Condition("source not answering", "Source not answering", detail, "bad", covers=covers, blanks=True)


def _without_source(trouble: Trouble, state: PlayerState) -> Condition:
    """The condition of a source that is opened again, or whose data cannot be decoded."""
    is_address = "://" in trouble.reason.split(" ")[0]
    reason = trouble.reason if is_address else trouble.reason[:1].upper() + trouble.reason[1:]
    since = f"No picture for {state.no_picture_s:.0f} s"
    if trouble.part == "decoder":
        return Condition("decoder failed", "Decoder failed", f"{reason}\n{since}", "bad", covers=True, blanks=True)
    attempts = f"{since}; trying again, attempt {trouble.attempts + (trouble.next_s is not None)}"
    return Condition("reconnecting", "Reconnecting", f"{reason}\n{attempts}", "bad", covers=True, blanks=True)


def _without_model(trouble: Trouble) -> Condition:
    """The condition of models that are started again while the picture goes on."""
    tried = "starting it again" if trouble.next_s is None else f"started {trouble.attempts} times without success"
    return Condition("model failed", "Model failed", f"{trouble.reason} \u2013 {tried}", "bad", blanks=True)


def _ended(state: PlayerState) -> Condition:
    if not state.has_picture:
        detail = state.warning or "The video contains no pictures"
        return Condition("ended", "End of video", detail, "warn", covers=True, blanks=True)
    return Condition("ended", "End of video", state.warning or "", "warn" if state.warning else "busy")


def _running(state: PlayerState) -> Condition:
    if model := next((one for one in state.troubles if one.part == "model"), None):
        return _without_model(model)
    if state.signal != "ok":
        return _SIGNALS[state.signal]
    if state.recording_failed:
        return Condition("recording failed", "Recording failed", state.recording_failed, "bad")
    if state.live and state.late_s > PICTURE_LATE_S:
        return Condition("picture late", "Picture late", f"The picture is {state.late_s:.1f} s late", "bad")
    change = state.format_change
    if change and change.age_s < _FORMAT_CHANGE_SHOWN_S:
        (old_width, old_height), (width, height) = change.before, change.after
        detail = f"from {old_width} x {old_height} to {width} x {height} pixels"
        return Condition("format changed", "Format changed", detail, "warn")
    if state.disk_low:
        return Condition("disk low", "Disk low", state.disk_low, "bad")
    if state.overlay_age_s is not None and state.overlay_age_s > _OVERLAY_LATE_S:
        detail = f"No result was recent enough to be shown for {state.overlay_age_s:.0f} s"
        return Condition("model slow", "Model slow", detail, "warn")
    if state.is_slow and state.speed is not None:
        return _slow(state.speed, can_skip=not (state.keeps_pace or state.is_recorded))
    if state.frame_quality != "clear":
        return Condition("view not clear", _QUALITY_TITLES[state.frame_quality], _UNCLEAR_VIEW, "warn")
    return RUNNING
