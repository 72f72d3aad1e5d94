"""Text for messages."""

import pytest

from realtime_polyp.messages import each_once


@pytest.mark.parametrize(
    ("names", "between", "text"),
    [
        (["polyp-lite2", "polyp-lite2"], " + ", "polyp-lite2"),
        (["boxes", "masks"], " and ", "boxes and masks"),
        (["b", None, "a", "", "b"], " + ", "b + a"),
        ([None], " + ", ""),
    ],
)
def test_a_name_stands_once_and_in_order(names: list[str | None], between: str, text: str) -> None:
    assert each_once(names, between) == text
