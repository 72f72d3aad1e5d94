"""What goes wrong on a bad day: each fault with its length and what must be shown, and the sequences of them."""

import random
from dataclasses import dataclass

KINDS = ("device", "tcp", "udp", "rtsp")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: what it is.
        seconds: how long it lasts, shortest and longest, s.
        shows: conditions of which one must be shown while it lasts; none: it may pass unseen.
        within_s: so soon, s.
        goes_on: the picture goes on meanwhile without delay, and nothing else is shown.
    """

    name: str
    seconds: tuple[float, float]
    shows: tuple[str, ...] = ()
    within_s: float = 1.6
    goes_on: bool = False


_AWAY = ("reconnecting", "no signal", "decoder failed")
_MODEL = ("model failed", "model not answering")
_JUMP_BACK = Fault("clock jumps back", (0.5, 1.5))
FAULTS: dict[str, tuple[Fault, ...]] = {
    "device": (
        Fault("unplugged", (1.2, 4.0), ("reconnecting",)),
        Fault("silent", (1.6, 4.0), _AWAY),
        Fault("read blocks", (1.6, 4.0), _AWAY),
        _JUMP_BACK,
    ),
    "tcp": (Fault("server killed", (0.3, 3.0), ("reconnecting",)), Fault("silent", (1.6, 4.0), _AWAY)),
    "rtsp": (Fault("server killed", (0.3, 3.0), ("reconnecting",)), Fault("silent", (1.6, 4.0), _AWAY)),
    "udp": (
        Fault("server killed", (1.6, 3.0), _AWAY),
        Fault("corrupted", (0.3, 1.5)),
        Fault("silent", (1.6, 4.0), _AWAY),
        _JUMP_BACK,
    ),
}
ALWAYS = (
    Fault("frozen", (2.0, 3.0), ("frozen picture",), 2.0),
    Fault("black", (1.0, 2.0), ("black picture",)),
    Fault("other size", (1.0, 2.0)),
    Fault("60 frames/s", (1.0, 3.0), goes_on=True),
    Fault("clock jumps ahead", (0.5, 1.5), goes_on=True),
    Fault("slow consumer", (1.0, 3.0), goes_on=True),
    Fault("full disk", (1.0, 2.0), ("recording failed",), goes_on=True),
    Fault("model raises", (0.3, 1.0), _MODEL),
    Fault("model hangs", (1.5, 2.5), _MODEL, 2.0),
    Fault("model gives NaN", (0.3, 1.0), _MODEL),
    Fault("model gives a wrong shape", (0.3, 1.0), _MODEL),
)
STOPPED = Fault("process stopped", (1.0, 3.0))

Script = list[tuple[Fault, float]]
"""Faults that happen one after the other, each with its length, s."""

NAMED = {one.name: one for one in (*(fault for group in FAULTS.values() for fault in group), *ALWAYS, STOPPED)}


def script_of(*named: tuple[str, float]) -> Script:
    """Faults by their names, and their lengths, s."""
    return [(NAMED[name], length_s) for name, length_s in named]


FIXED: tuple[tuple[str, Script], ...] = (  # played before the random ones
    ("tcp", script_of(("silent", 10.0), ("server killed", 10.0), ("model hangs", 5.0))),
    ("device", script_of(("silent", 10.0), ("unplugged", 10.0), ("read blocks", 10.0))),
    ("rtsp", script_of(("silent", 10.0), *[("server killed", 1.0)] * 10)),
    ("udp", script_of(("corrupted", 5.0), ("frozen", 5.0), ("other size", 2.0))),
    ("device", script_of(("process stopped", 20.0), ("black", 5.0), ("model raises", 2.5))),
    ("udp", script_of(("clock jumps back", 2.0), ("clock jumps ahead", 2.0), ("slow consumer", 5.0))),
    ("device", script_of(("60 frames/s", 5.0), ("full disk", 5.0), ("clock jumps back", 2.0))),
)


def random_script(chance: random.Random, kind: str, *, stops: bool) -> Script:
    """Two to four faults with their lengths, s. kind: of KINDS. stops: the process may be stopped."""
    choice = [*FAULTS[kind], *FAULTS[kind], *ALWAYS, *([STOPPED] if stops else [])]
    return [(one, chance.uniform(*one.seconds)) for one in chance.choices(choice, k=chance.randint(2, 4))]
