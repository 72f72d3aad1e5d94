"""The benchmark's contact sheets show missed polyps and false alarms where a person can judge them."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from realtime_polyp.field_of_view import whole
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.metrics.video import video_report
from realtime_polyp.outputs.results_reader import ShownFrame
from realtime_polyp.packets import Boxes, Detections, Frame, RawResult
from trainers.evaluation.contact_sheets import FOUND, MARKED, TRUE
from trainers.video.gallery import GalleryVideo, long_false_alarms, missed_polyps, write_video_gallery
from trainers.video.synthetic.replay import CachedFrame

SIZE = (200, 100)
POLYP = np.array([20, 20, 60, 60], np.float32)
LARGER = np.array([10, 10, 80, 80], np.float32)
ASTRAY = np.array([120, 20, 180, 80], np.float32)
RATE_HZ = 10


def seen(true: list[Boxes | None], shown: list[Boxes | None], *, without: tuple[int, ...] = ()) -> GalleryVideo:
    """Ten frames a second; one polyp at most, one shown box at most. without: frames that have no result."""
    frames = [TrueFrame({} if box is None else {1: box}, {}) for box in true]
    truth = VideoTruth("seed1-clip0-0123456789ab", SIZE, Fraction(RATE_HZ), frames)
    results = [
        ShownFrame(index, truth.pts_s(index))
        if box is None
        else ShownFrame(index, truth.pts_s(index), box[None], np.array([1]), np.array([0.8], np.float32))
        for index, box in enumerate(shown)
        if index not in without
    ]

    def again() -> Iterator[CachedFrame]:
        image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        weak = Detections(POLYP[None], np.array([0.2], np.float32))
        for one in results:
            frame = Frame(one.index, one.pts_s, 0.0, image)
            yield CachedFrame(RawResult(frame, whole(image), "ok", weak, None), None, frames[one.index])

    (record,) = video_report(truth, results, masks=False).records
    return GalleryVideo(truth, results, record, again)


def test_a_missed_polyp_is_looked_at_where_it_is_largest() -> None:
    (look,) = missed_polyps(seen([None, POLYP, LARGER, POLYP, None], [None] * 5))
    assert look.index == 2 and np.array_equal(look.marked, LARGER)
    assert look.caption == "seed1-clip0 at 0.2 s: in view for 0.3 s\nnever shown, box 24.5% of the picture"


def test_a_polyp_shown_late_is_missed_and_its_time_is_told() -> None:
    (look,) = missed_polyps(seen([POLYP] * 42, [None] * 35 + [POLYP] * 7))
    assert "first shown after 3.5 s" in look.caption
    assert not missed_polyps(seen([POLYP] * 42, [None] * 25 + [POLYP] * 17))


def test_a_long_false_alarm_is_looked_at_in_its_middle() -> None:
    video = seen([POLYP] * 12, [POLYP] * 3 + [ASTRAY] * 5 + [POLYP] * 4)
    (look,) = long_false_alarms(video)
    assert look.index == 5 and np.array_equal(look.marked, ASTRAY)
    assert look.caption == "seed1-clip0 at 0.5 s: for 0.5 s\nscore 0.80"
    assert not long_false_alarms(seen([POLYP] * 12, [POLYP] * 3 + [ASTRAY] * 4 + [POLYP] * 5))


def test_the_sheets_are_painted_and_an_old_one_goes_away(tmp_path: Path) -> None:
    both = seen([POLYP] * 20, [ASTRAY] * 20)
    written = write_video_gallery([both, replace(both)], tmp_path)
    assert [path.name for path in written] == ["missed.jpg", "false_alarms.jpg"]
    page = cv2.cvtColor(cv2.imread(str(written[0])), cv2.COLOR_BGR2RGB).astype(int)
    for colour in (TRUE, FOUND, MARKED):  # JPEG blurs thin lines
        assert (np.abs(page - colour).max(axis=2) < 60).sum() > 50
    assert write_video_gallery([seen([POLYP] * 20, [POLYP] * 20)], tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_the_largest_moment_of_a_polyp_may_have_been_dropped(tmp_path: Path) -> None:
    video = seen([POLYP, LARGER, POLYP, POLYP], [None] * 4, without=(1,))
    (look,) = missed_polyps(video)
    assert look.index == 1
    assert write_video_gallery([video], tmp_path) == [tmp_path / "missed.jpg"]


@pytest.mark.parametrize("max_tiles", [0, 3])
def test_the_longest_come_first(max_tiles: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.video.gallery._MAX_TILES", max_tiles)
    pages = []
    monkeypatch.setattr("trainers.video.gallery.write_pages", lambda given, folder: pages.extend(given) or [])
    write_video_gallery([seen([POLYP] * count, [None] * count) for count in (3, 9, 6, 12)], tmp_path)
    told = [caption.split("view for ")[1].split(" s")[0] for _, caption in pages[0].tiles]
    assert told == ["1.2", "0.9", "0.6"][:max_tiles]
