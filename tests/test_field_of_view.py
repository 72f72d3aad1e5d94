"""The field of view in frames such as recorders make them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView, FieldSearch, find_field, parse_field, search_field, whole

H, W = 720, 1280
SLACK_PX = 16  # a search cell (1280 / 240 rounds to 5 px) and what rounding a corner takes


def tissue(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Lit mucosa with grain."""
    rows, columns = np.mgrid[:height, :width]
    red = 150 + 40 * np.sin(columns / 90) + 20 * np.cos(rows / 70)
    image = np.stack([red, red * 0.55, red * 0.45], -1)
    return (image + np.random.default_rng(seed).normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)


def with_shape(mask: np.ndarray, *, surround: int = 0) -> np.ndarray:
    """Tissue where the mask is, a dark surround elsewhere."""
    return np.where(mask[..., None] > 0, tissue(*mask.shape), np.uint8(surround)).astype(np.uint8)


def octagon(x1: int, y1: int, x2: int, y2: int, cut: int) -> np.ndarray:
    mask = np.zeros((H, W), np.uint8)
    corners = [(x1 + cut, y1), (x2 - cut, y1), (x2, y1 + cut), (x2, y2 - cut),
               (x2 - cut, y2), (x1 + cut, y2), (x1, y2 - cut), (x1, y1 + cut)]  # fmt: skip
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 255)
    return mask


def write_banner(image: np.ndarray) -> None:
    for line in range(8):
        where = (20, 40 + 60 * line)
        cv2.putText(image, f"NAME {line} 12:3{line}", where, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)


def assert_near(found: FieldOfView | None, expected: list[int], slack_px: int = SLACK_PX) -> None:
    assert found is not None
    assert np.abs(np.array(found.box) - expected).max() <= slack_px, found


BOX = [340, 30, 1220, 690]


@pytest.mark.parametrize("surround", [0, 12, 20])
def test_an_octagon_on_a_dark_surround(surround: int) -> None:
    assert_near(find_field(with_shape(octagon(*BOX, 110), surround=surround)), BOX)


def test_a_circle_and_a_full_frame() -> None:
    mask = np.zeros((H, W), np.uint8)
    cv2.circle(mask, (700, 360), 330, 255, -1)
    # The rows and columns that just touch the circle hold almost none of it: a little is given away.
    assert_near(find_field(with_shape(mask)), [370, 30, 1030, 690], 24)
    assert find_field(tissue(H, W)) == whole(tissue(H, W))


def test_text_beside_the_picture_is_not_picture() -> None:
    image = with_shape(octagon(*BOX, 110))
    write_banner(image)
    assert_near(find_field(image), BOX)


def test_a_line_of_text_that_touches_the_picture_is_not_picture() -> None:
    image = with_shape(octagon(*BOX, 110))
    cv2.putText(image, "PATIENT 0815 WITHDRAWAL", (10, 380), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 4)
    assert_near(find_field(image), BOX)


def test_a_bar_that_touches_the_picture_is_not_picture() -> None:
    image = with_shape(octagon(*BOX, 110))
    image[340:380, :400] = 220
    assert_near(find_field(image), BOX)


@pytest.mark.parametrize("corner", [(20, 480), (20, 20)])
def test_a_picture_in_the_picture_is_not_the_picture(corner: tuple[int, int]) -> None:
    image = with_shape(octagon(*BOX, 110))
    x, y = corner
    image[y : y + 200, x : x + 260] = tissue(200, 260, seed=1)
    assert_near(find_field(image), BOX)


def test_a_dark_lumen_inside_changes_nothing() -> None:
    image = with_shape(octagon(*BOX, 110))
    cv2.circle(image, (760, 340), 200, (4, 2, 2), -1)
    assert_near(find_field(image), BOX)


@pytest.mark.parametrize("level", [0, 20])
def test_darkness_has_no_field(level: int) -> None:
    assert find_field(np.full((H, W, 3), level, np.uint8)) is None


def test_a_little_light_is_no_field() -> None:
    image = np.zeros((H, W, 3), np.uint8)
    image[300:400, 300:500] = 200
    write_banner(image)
    assert find_field(image) is None


@settings(max_examples=40)
@given(st.data())
def test_any_lit_rectangle_is_found_and_never_leaves_the_frame(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(64, 900)), data.draw(st.integers(64, 1500))
    x1, y1 = data.draw(st.integers(0, width // 4)), data.draw(st.integers(0, height // 4))
    x2, y2 = data.draw(st.integers(width * 3 // 4, width)), data.draw(st.integers(height * 3 // 4, height))
    image = np.zeros((height, width, 3), np.uint8)
    image[y1:y2, x1:x2] = 120
    found = find_field(image)
    step = max(1, width // 240)
    assert_near(found, [x1, y1, x2, y2], 2 * step)
    assert found is not None and whole(image).contains(found)


def test_cropping_unions_and_containment() -> None:
    image = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    field, other = FieldOfView(3, 4, 13, 10), FieldOfView(8, 2, 20, 9)
    assert field.crop(image).shape == (6, 10, 3) and np.shares_memory(field.crop(image), image)
    assert field.union(other) == FieldOfView(3, 2, 20, 10) == other.union(field)
    assert field.union(other).contains(field) and not field.contains(other)
    assert FieldOfView(4, 5, 12, 9).contains(field, slack_px=1) and not FieldOfView(4, 5, 12, 9).contains(field)


COLOURS = {"white": (238, 238, 238), "blue": (20, 40, 140), "grey": (128, 128, 128), "navy": (0, 0, 70)}


def encoded(image: np.ndarray) -> np.ndarray:
    """As JPEG leaves it."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("box", [BOX, [500, 120, 1000, 614], [640, 0, 1280, 720]])
def test_a_bright_surround_of_one_colour_is_not_picture(colour: str, box: list[int]) -> None:
    x1, y1, x2, y2 = box
    plain = np.full((H, W, 3), COLOURS[colour], np.uint8)
    boxed, shape = plain.copy(), octagon(*box, 110) > 0
    boxed[y1:y2, x1:x2] = 0
    boxed[shape] = tissue(H, W)[shape]
    plain[y1:y2, x1:x2] = tissue(H, W)[y1:y2, x1:x2]
    for image in (boxed, plain):
        found = search_field(encoded(image))
        assert found and found.rival is None
        assert_near(found.field, box)


def room(*, coloured: bool) -> np.ndarray:
    """What a camera in the room may see: soft shapes, grey or of all colours."""
    noise = np.random.default_rng(0).integers(0, 255, (H // 8, W // 8, 3), np.uint8)
    soft = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 3), (W, H))
    soft = cv2.normalize(soft, None, 40, 230, cv2.NORM_MINMAX)
    return np.asarray(soft if coloured else np.repeat(soft[..., :1], 3, axis=2))


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("gap_px", [0, 40])
@pytest.mark.parametrize("shape", ["octagon", "rectangle"])
def test_of_two_pictures_the_endoscope_s_is_chosen_by_its_content(coloured: bool, gap_px: int, shape: str) -> None:
    image = room(coloured=coloured)
    image[:, : 520 + gap_px] = 0
    box = [10, 150, 520, 570] if shape == "octagon" else [0, 0, 520, 720]
    x1, y1, x2, y2 = box
    mask = octagon(*box, 110) if shape == "octagon" else cv2.rectangle(image[..., 0] * 0, (x1, y1), (x2, y2), 255, -1)
    image[mask > 0] = tissue(H, W)[mask > 0]
    for mirrored in (False, True):
        found = search_field(encoded(image[:, ::-1] if mirrored else image))
        assert found and found.rival is None
        assert_near(found.field, [W - x2, y1, W - x1, y2] if mirrored else box)


def test_two_pictures_of_mucosa_are_doubtful_and_the_larger_is_taken() -> None:
    image = np.zeros((H, W, 3), np.uint8)
    image[:, :680], image[:, 720:] = tissue(H, W)[:, :680], tissue(H, W, seed=1)[:, 720:]
    found = search_field(image)
    assert found
    assert_near(found.field, [0, 0, 680, 720])
    assert_near(found.rival, [720, 0, 1280, 720])
    image[:, 980:] = 0
    found = search_field(image)
    assert found and found.rival is None  # a small one is a picture in the picture


@pytest.mark.parametrize("text, field", [("1,2,101,202", [1, 2, 101, 202]), (" 0, 0, 32 ,32", [0, 0, 32, 32])])
def test_a_field_is_read(text: str, field: list[int]) -> None:
    assert parse_field(text).box == field


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d", "0,0,640,480,1", "0.5,0,640,480", "-1,0,640,480", "9,0,40,99"]
)
def test_what_is_no_field_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no field of view"):
        parse_field(text)


def test_what_touches_stays_one_where_no_part_is_clearly_the_picture() -> None:
    image = np.full((H, W, 3), (90, 100, 110), np.uint8)
    image[:, W // 2 :] = (200, 200, 190)
    assert search_field(image) == FieldSearch(whole(image))
    both = tissue(H, W)
    both[:, W // 2 :] = both[:, W // 2 :] // 2
    assert search_field(both) == FieldSearch(whole(both))


def test_banners_and_tiny_pictures_are_no_rivals() -> None:
    image = np.zeros((H, W, 3), np.uint8)
    image[:300], image[420:] = tissue(300, W), tissue(300, W, seed=1)
    found = search_field(image)
    assert found and found.rival is None
    tiny = search_field(image[::12, ::24])
    assert tiny and tiny.rival is None


@pytest.mark.parametrize("corners_cut", [0, 110])
def test_panels_that_touch_the_picture_are_not_picture(corners_cut: int) -> None:
    """A program's bars and lists, and a map of the endoscope that overlaps the picture's black corner."""
    box = [300, 60, 1280, 720]
    x1, y1, x2, y2 = box
    image = np.full((H, W, 3), (60, 63, 65), np.uint8)
    image[:60], image[y1:y2, x1:x2] = (20, 20, 90), 0
    shape = octagon(*box, corners_cut) > 0
    image[shape] = tissue(H, W)[shape]
    if corners_cut:
        image[600:, 200:400] = (40, 190, 150)
    found = search_field(encoded(image))
    assert found and found.rival is None
    assert_near(found.field, box)
