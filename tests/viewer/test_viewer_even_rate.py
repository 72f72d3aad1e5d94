"""The window says where not every picture of a live source is analysed."""

from realtime_polyp.viewer.condition import PlayerState, pace_badges


def test_a_badge_says_how_many_pictures_are_analysed() -> None:
    def badges(**changes: object) -> tuple[str, ...]:
        return pace_badges(PlayerState(**({"phase": "playing", "live": True, "every": 2} | changes)))  # type: ignore[arg-type]

    assert badges() == ("Every 2nd picture is analysed",)
    assert badges(every=3) == ("Every 3rd picture is analysed",)
    assert badges(every=1) == badges(phase="failed") == ()
