"""The camera's movement, against pictures that were moved by a known one."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView, Image
from realtime_polyp.temporal.camera_motion import Camera

SIZE = (960, 720)
FIELD = FieldOfView(120, 40, 880, 700)


def tissue(seed: int = 0) -> Image:
    """A picture (720, 960, 3) with detail at every scale, as mucosa has."""
    random = np.random.default_rng(seed)
    layers = [cv2.resize(random.random((step, step)).astype(np.float32), SIZE, interpolation=2) for step in (6, 18, 54)]
    grey = sum(layers) / 3 * 200 + 20
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def movement(shift: tuple[float, float], turn_deg: float, zoom: float) -> np.ndarray:  # type: ignore[type-arg]
    matrix = cv2.getRotationMatrix2D((500, 370), turn_deg, zoom)
    matrix[:, 2] += shift
    return matrix


def moved(image: Image, matrix: np.ndarray) -> Image:  # type: ignore[type-arg]
    return cv2.warpAffine(image, matrix, SIZE, borderMode=cv2.BORDER_REFLECT)  # type: ignore[return-value]


def worst_error_px(found: np.ndarray, true: np.ndarray) -> float:  # type: ignore[type-arg]
    corners = np.array([[300, 200, 1], [700, 200, 1], [300, 550, 1], [700, 550, 1]], np.float64).T
    return float(np.linalg.norm(found @ corners - true @ corners, axis=0).max())


@settings(max_examples=25, deadline=None)
@given(
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    turn_deg=st.floats(-6, 6),
    zoom=st.floats(0.94, 1.06),
    seed=st.integers(0, 3),
)
def test_a_known_movement_is_found(shift: tuple[float, float], turn_deg: float, zoom: float, seed: int) -> None:
    camera, true = Camera(), movement(shift, turn_deg, zoom)
    image = tissue(seed)
    camera.update(image, FIELD)
    found = camera.update(moved(image, true), FIELD)
    assert found.known and not found.cut
    assert worst_error_px(found.matrix, true) < 6  # one px of the small picture


@pytest.mark.parametrize("spoil", ["blur", "dim", "glare"])
def test_a_spoilt_picture_is_no_cut(spoil: str) -> None:
    camera, image = Camera(), tissue()
    camera.update(image, FIELD)
    after = image.copy()
    if spoil == "blur":
        after = cv2.GaussianBlur(image, (0, 0), 15)  # type: ignore[assignment]
    elif spoil == "dim":
        after = (image * 0.5).astype(np.uint8)
    else:
        cv2.circle(after, (500, 300), 90, (255, 255, 255), -1)
    assert not camera.update(after, FIELD).cut


def test_another_scene_is_a_cut() -> None:
    camera = Camera()
    camera.update(tissue(1), FIELD)
    found = camera.update(tissue(2), FIELD)
    assert found.cut and not found.known and np.array_equal(found.matrix, np.eye(2, 3))


def test_a_black_picture_says_nothing() -> None:
    camera, black = Camera(), np.zeros((720, 960, 3), np.uint8)
    assert not camera.update(black, FIELD).known
    assert not camera.update(black, FIELD).known


def test_a_field_found_anew_elsewhere_is_not_compared() -> None:
    camera, image = Camera(), tissue()
    camera.update(image, FIELD)
    found = camera.update(image, FieldOfView(0, 0, 900, 700))
    assert not found.known and not found.cut


def test_what_is_still_is_found_still() -> None:
    camera, image = Camera(), tissue()
    camera.update(image, FIELD)
    found = camera.update(image, FIELD)
    assert found.known and worst_error_px(found.matrix, np.eye(2, 3)) < 0.5 and found.zoom == pytest.approx(1, abs=1e-3)
