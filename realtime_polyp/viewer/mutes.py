"""What keeps the overlay or the sound from the user, in words: permanent badges over the picture. No Qt."""

from dataclasses import dataclass

from realtime_polyp.outputs.overlay import OverlayStyle


@dataclass(frozen=True)
class Alerts:
    """How the user is told of polyps.

    Attributes:
        overlay_on: the overlay is drawn at all.
        style: how.
        usual_score: the threshold that the calibration gives, or the default.
        live: the source is live; there, the sound is expected.
        audible: a sound is played for each new alarm.
        sound_problem: why there can be none, in two or three words, or "".
    """

    overlay_on: bool
    style: OverlayStyle
    usual_score: float
    live: bool = False
    audible: bool = False
    sound_problem: str = ""


def mutes_of(alerts: Alerts) -> tuple[str, ...]:
    """One line for each way in which a polyp can go unnoticed, with the key that ends it."""
    found = hidden_of(alerts)
    if alerts.live and not alerts.audible:
        found.append(alerts.sound_problem or "Sound muted \u2013 press A")
    return tuple(found)


def hidden_of(alerts: Alerts) -> list[str]:
    """The lines for what is not drawn."""
    style, found = alerts.style, []
    if not alerts.overlay_on:
        found.append("Overlay off \u2013 press O")
    else:
        found += [] if style.boxes else ["Boxes hidden \u2013 press B"]
        found += [] if style.outline or style.fill else ["Outlines hidden \u2013 press U"]
        found += [] if style.labels else ["Labels hidden \u2013 press T"]
    if style.min_score > alerts.usual_score:
        found.append(f"Threshold {per_cent(style.min_score)}, usual {per_cent(alerts.usual_score)} \u2013 press D")
    return found


def threshold_message(score: float, usual_score: float) -> str:
    """The new threshold, and how to undo the change; short, to fit on a small window."""
    if score == usual_score:
        return f"Threshold {per_cent(score)}, the usual value"
    return f"Threshold {per_cent(score)}; D brings back {per_cent(usual_score)}"


def per_cent(share: float) -> str:
    """Such as "95 %"."""
    return f"{round(share * 100)} %"
