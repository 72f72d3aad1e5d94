"""Every way in which a polyp can go unnoticed has a badge, which names the key that ends it. No Qt."""

from pathlib import Path

import pytest

from realtime_polyp.outputs.overlay import OverlayStyle
from realtime_polyp.viewer.first_start import legend_is_new, remember_legend
from realtime_polyp.viewer.mutes import Alerts, mutes_of, threshold_message


def mutes(*, on: bool = True, live: bool = False, audible: bool = False, problem: str = "", **style: object):
    return mutes_of(Alerts(on, OverlayStyle(**style), 0.3, live, audible, problem))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "badges"),
    [
        (mutes(min_score=0.3), ()),
        (mutes(on=False), ("Overlay off \u2013 press O",)),
        (mutes(min_score=0.95), ("Threshold 95 %, usual 30 % \u2013 press D",)),
        (mutes(min_score=0.25), ()),
        (
            mutes(boxes=False, labels=False, outline=False),
            ("Boxes hidden \u2013 press B", "Outlines hidden \u2013 press U", "Labels hidden \u2013 press T"),
        ),
        (mutes(outline=False, fill=True), ()),
        (mutes(on=False, boxes=False, min_score=1.0)[1:], ("Threshold 100 %, usual 30 % \u2013 press D",)),
        (mutes(live=True), ("Sound muted \u2013 press A",)),
        (mutes(live=True, problem="No sound here"), ("No sound here",)),
        (mutes(live=True, audible=True), ()),
    ],
)
def test_badges(found: tuple[str, ...], badges: tuple[str, ...]) -> None:
    assert found == badges


def test_a_change_of_the_threshold_says_how_to_undo_it() -> None:
    assert threshold_message(0.95, 0.3) == "Threshold 95 %; D brings back 30 %"
    assert threshold_message(0.3, 0.3) == "Threshold 30 %, the usual value"


def test_the_legend_is_new_until_it_was_closed_once(tmp_path: Path) -> None:
    folder = tmp_path / "settings"
    assert legend_is_new(folder)
    remember_legend(folder)
    assert not legend_is_new(folder)
    remember_legend(Path("/proc/nowhere"))  # cannot be written: no error
    assert legend_is_new(Path("x" * 300))  # cannot be asked: no error
