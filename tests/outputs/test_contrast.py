"""Lines and labels stand out from mucosa of any colour: WCAG asks for 3."""

import numpy as np
import pytest

from realtime_polyp.metrics.contrast import ENOUGH, contrasts_of, luminance, ratio
from realtime_polyp.outputs.overlay import BoxShape, Shapes, draw
from realtime_polyp.outputs.overlay_lines import look_of

MUCOSA = {
    "pink": (226, 142, 132), "bright": (255, 214, 196), "glare": (255, 255, 255), "yellow": (226, 190, 92),
    "dark red": (74, 18, 16), "green bile": (122, 150, 60), "black": (4, 2, 2),
}  # fmt: skip
BOX = (140.0, 120.0, 320.0, 240.0)
TURN = np.linspace(0, 2 * np.pi, 80)
OUTLINE = np.stack([230 + 70 * np.cos(TURN), 180 + 40 * np.sin(TURN)], axis=1).astype(np.float32)
DRAWINGS = {
    "shown": Shapes((BoxShape(BOX, "2  89 %", held=False),), (), fill=False),
    "held": Shapes((BoxShape(BOX, "2  89 %", held=True),), (), fill=False),
    "outline": Shapes((), (OUTLINE,), fill=False),
    "filled": Shapes((), (OUTLINE,), fill=True),
}


def test_the_ratio_is_wcags() -> None:
    white, black, grey = (luminance(np.full((1, 1, 3), level, np.uint8)) for level in (255, 0, 118))
    assert float(ratio(white, black)[0, 0]) == pytest.approx(21, abs=0.01)
    assert float(ratio(white, grey)[0, 0]) == pytest.approx(4.6, abs=0.1)


@pytest.mark.parametrize("height", [288, 720])
@pytest.mark.parametrize("drawing", DRAWINGS)
@pytest.mark.parametrize("colour", MUCOSA)
def test_every_px_of_an_edge_contrasts_with_what_it_lies_on(colour: str, drawing: str, height: int) -> None:
    picture = np.full((height, 512, 3), MUCOSA[colour], np.uint8)
    look = look_of(512, height)
    found = contrasts_of(picture, draw(picture, DRAWINGS[drawing]), int(np.ceil(look.line + 2 * look.edge)))
    assert len(found.best) > 200 and found.best.min() >= ENOUGH


def test_a_line_without_a_dark_edge_would_not() -> None:
    """The measure sees what was wrong: on bright mucosa the line alone has no contrast."""
    picture = np.full((288, 512, 3), MUCOSA["bright"], np.uint8)
    found = contrasts_of(picture, draw(picture, DRAWINGS["shown"]), 6)
    assert np.median(found.line) < 1.5
