"""The truth file: written and read again, and what is wrong with one."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from realtime_polyp.metrics.run_lengths import decode, dice, encode
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, read_truth, write_truth

SIZE = (40, 30)


def disc() -> np.ndarray:
    mask = np.zeros(SIZE[::-1], np.bool_)
    mask[5:15, 8:20] = True
    return mask


def full_truth() -> VideoTruth:
    box = np.array([8, 5, 20, 15], np.float32)
    motion = np.array([[1.0, 0.01, -2.5], [-0.01, 1.0, 0.125]])
    frames = [
        TrueFrame({3: box}, {4: box + 8}, masks={3: encode(disc())}),
        TrueFrame({3: box + 1}, {}, motion=motion),
        TrueFrame({}, {}, cut=True),
    ]
    return VideoTruth("t.json", SIZE, Fraction(30000, 1001), frames)


def test_a_truth_is_read_as_it_was_written(tmp_path: Path) -> None:
    known = full_truth()
    write_truth(known, tmp_path / "t.json", video="v.mp4")
    read = read_truth(tmp_path / "t.json")
    assert (read.name, read.size, read.rate_hz, len(read.frames)) == ("t.json", SIZE, Fraction(30000, 1001), 3)
    for one, other in zip(read.frames, known.frames, strict=True):
        assert {**one.polyps, **one.difficult}.keys() == {**other.polyps, **other.difficult}.keys()
        assert one.cut == other.cut
        assert all((one.polyps[identity] == box).all() for identity, box in other.polyps.items())
        assert one.masks == other.masks and one.box(9) is None
    assert (decode(read.frames[0].masks[3]) == disc()).all()
    assert np.allclose(read.frames[1].motion, known.frames[1].motion) and read.frames[0].motion is None  # type: ignore[arg-type]


def test_the_demo_s_truth_is_one() -> None:
    known = read_truth(ROOT / "assets" / "demo_truth.json")
    assert len(known.frames) == 900 and known.size == (1280, 720) and known.period_s == 1 / 30
    assert {identity for frame in known.frames for identity in frame.polyps} == {1, 2, 3, 4, 5, 6}
    assert all(set(frame.masks) == set(frame.polyps) for frame in known.frames)


def test_an_hour_at_2997_does_not_drift() -> None:
    index = 107892  # 3599.9964 s; at a rate rounded to 29.97 it would be 3.6 ms late, at 30 Hz 3.6 s early
    assert full_truth().pts_s(index) == float(Fraction(index * 1001, 30000)) == pytest.approx(3599.9964, abs=1e-9)


def every(step: int, *, rate_hz: Fraction = Fraction(10)) -> VideoTruth:
    """A hundred frames, of which every `step`-th is labelled."""
    return VideoTruth("t.json", SIZE, rate_hz, [TrueFrame({}, {}, labelled=at % step == 0) for at in range(100)])


def test_a_labelled_frame_lasts_until_the_next_one_and_for_a_second_at_most() -> None:
    assert [every(step).labelled_period_s for step in (1, 5, 25)] == [0.1, 0.5, 1.0]
    assert every(1, rate_hz=Fraction(1, 2)).labelled_period_s == 2.0, "of a video whose frames last longer"
    assert not any(frame.cut for frame in every(25).labelled_part().frames)


def test_labels_that_pause_for_longer_than_a_second_go_on_after_a_cut() -> None:
    frames = [TrueFrame({}, {}, labelled=not 5 <= at < 25) for at in range(30)]
    part = VideoTruth("t.json", SIZE, Fraction(10), frames).labelled_part()
    assert [frame.cut for frame in part.frames] == [False] * 5 + [True] + [False] * 4
    assert part.rate_hz == 10


def frame(**changes: Any) -> dict[str, Any]:
    return {"index": 0, "polyps": [{"id": 1, "box": [1, 2, 3, 4], **changes}]}


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (frame(box=[3, 2, 1, 4]), "the box of polyp 1 must be x1 < x2"),
        (frame(box=[1, 2, float("nan"), 4]), "NaN is not a valid number in line 1"),
        (frame(box=[1, 2, 2e9, 4]), r"at `frames\[0\].polyps\[0\].box\[2\]`: expected `float` <= 1000000.0"),
        (frame(id=10**18), r"at `frames\[0\].polyps\[0\].id`: expected `int` <="),
        (frame(mask=""), "in frame 0, a mask must be compressed COCO run lengths"),
        (frame(mask={"size": [40, 30], "counts": "x"}), r"a mask has the size \[40, 30\], the video's is \[30, 40\]"),
        (frame(mask=[[1, 2, 3]]), "must be compressed COCO run lengths"),
        ({**frame(), "motion": [1, 0, 0, 1]}, r"at `frames\[0\].motion`: expected `array` of length 2, got 4"),
        ({"index": 0, "polyps": frame()["polyps"] * 2}, "in frame 0, one polyp is listed twice"),
        ({"index": 1, "polyps": []}, "every frame once, in order from index 0"),
        ({"index": 0}, r"at `frames\[0\]`: `polyps` is missing"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, one: dict[str, Any], said: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"video": {"width": 40, "height": 30, "fps": [25, 1]}, "frames": [one]}))
    with pytest.raises(ValueError, match=said):
        read_truth(path)


def test_no_file_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such truth file: .*none.json"):
        read_truth(tmp_path / "none.json")


def test_dice_of_run_lengths_is_that_of_pixels() -> None:
    other = np.roll(disc(), 3, axis=1)
    third = np.roll(disc(), 6, axis=0)
    wanted = 2 * ((disc() | third) & other).sum() / ((disc() | third).sum() + other.sum())
    assert dice([encode(disc()), encode(third)], [encode(other)]) == pytest.approx(wanted)
    assert dice([encode(disc() & False)], [encode(disc() & False)]) == 1
