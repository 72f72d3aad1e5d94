"""Labels lie outside the polyps, over no other label and no badge, and do not jump from frame to frame."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_polyp.outputs.labels import Label, LabelPlacer, Rect, place_labels

AREA: Rect = (0, 0, 1000, 600)


def label(box: Rect, number: int = 1) -> Label:
    return Label(number, box, 100, 30)


def overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def place(*boxes: Rect, taken: tuple[Rect, ...] = ()) -> list[Rect]:
    labels = [label(box, number) for number, box in enumerate(boxes)]
    places = place_labels(labels, AREA, polyps=boxes, taken=taken)
    return [places[number].rect for number in range(len(boxes))]


def test_above_the_box_or_below_it_where_the_picture_ends() -> None:
    (above,) = place((300, 300, 500, 400))
    assert above == (300, 265.5, 400, 295.5)
    (below,) = place((300, 10, 500, 100))
    assert below == (300, 104.5, 400, 134.5)


def test_beside_a_box_as_high_as_the_picture() -> None:
    (beside,) = place((300, 0, 500, 600))
    assert beside[0] >= 500 and beside[3] <= 600


def test_a_box_that_fills_the_picture_has_its_label_in_a_corner() -> None:
    (corner,) = place(AREA)
    assert corner in ((0, 0, 100, 30), (900, 0, 1000, 30), (0, 570, 100, 600), (900, 570, 1000, 600))


def test_a_badge_is_not_covered() -> None:
    badge: Rect = (280, 240, 420, 299)
    (found,) = place((300, 300, 500, 400), taken=(badge,))
    assert not overlap(found, badge) and not overlap(found, (300, 300, 500, 400))


sizes = st.integers(20, 200)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), st.integers(0, 900), st.integers(0, 550), sizes, sizes)


@settings(max_examples=60)
@given(st.lists(boxes, min_size=1, max_size=5))
def test_never_over_a_polyp_or_each_other(found: list[Rect]) -> None:
    rects = place(*found)
    assert not any(overlap(rect, box) for rect in rects for box in found)
    assert not any(overlap(one, other) for one, other in combinations(rects, 2))
    assert all(rect[0] >= 0 and rect[1] >= 0 and rect[2] <= 1000 and rect[3] <= 600 for rect in rects)
    assert rects == place(*found)


def sides(tops: list[float]) -> list[int]:
    """The slots of one label whose box has its upper edge there, frame by frame."""
    placer = LabelPlacer()
    found = []
    for top in tops:
        box = (300.0, top, 500.0, top + 100)
        found.append(placer.place([label(box)], AREA, polyps=[box])[1].slot)
    return found


def test_a_box_that_trembles_at_the_picture_s_edge_keeps_its_side() -> None:
    slots = sides([40, 33, 36, 33, 36, 33, 36, 33])  # 34.5 px are needed above it
    assert slots[0] == 0 and len(set(slots[1:])) == 1


def test_a_label_that_was_far_away_comes_back_only_where_there_is_ample_room() -> None:
    placer, box, wall = LabelPlacer(), (300.0, 300.0, 500.0, 400.0), (150.0, 200.0, 650.0, 480.0)
    far = placer.place([label(box)], AREA, polyps=[box], taken=[wall])[1]
    assert not far.touches
    tight = (150.0, 200.0, 650.0, 263.0)  # leaves the label's own height above the box, and little more
    assert placer.place([label(box)], AREA, polyps=[box], taken=[tight, (0, 402, 1000, 410)])[1].slot != 0
    slots = [placer.place([label(box)], AREA, polyps=[box])[1].touches for _ in range(20)]
    assert not slots[0] and slots[-1] and slots == sorted(slots)  # once, and not at the first chance


def test_a_label_over_a_polyp_that_fills_the_picture_stays_in_a_picture_that_becomes_smaller() -> None:
    placer, small = LabelPlacer(), (0.0, 0.0, 600.0, 400.0)
    before = placer.place([label(AREA)], AREA, polyps=[AREA], taken=[(0, 0, 200, 600)])[1]
    assert before.rect[0] > small[2]
    assert placer.place([label(small)], small, polyps=[small])[1].rect == (500, 0, 600, 30)
