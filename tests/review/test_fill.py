"""Filling a polyp in between the frames in which a person drew it."""

from concurrent.futures import CancelledError

import numpy as np
import pytest
from recorded_toys import SIZE, make_session, picture, true_box

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.outputs.video_picture import fit
from realtime_polyp.review import fill as filling
from realtime_polyp.review.fill import fill
from realtime_polyp.review.recorded import RecordedSession

KEYS = {number: true_box(number) for number in (3, 38)}


def overlaps(filled: list[filling.FilledFrame]) -> np.ndarray:
    return np.array([float(iou_matrix(one.box[None], true_box(one.number)[None])[0, 0]) for one in filled])


def test_box_follows_what_the_models_saw(tmp_path):
    filled = fill(RecordedSession(make_session(tmp_path)), KEYS)
    assert [one.number for one in filled] == list(range(3, 39))
    assert [one.number for one in filled if one.drawn] == [3, 38]
    assert overlaps(filled).min() > 0.8
    middle = filled[len(filled) // 2]
    assert middle.outline is not None
    area = decode(middle.outline).sum() / np.prod(middle.box[2:] - middle.box[:2])
    assert area == pytest.approx(np.pi / 4, abs=0.1)


def test_box_follows_the_camera_where_the_models_saw_nothing(tmp_path):
    filled = fill(RecordedSession(make_session(tmp_path, unseen=range(1, 41))), KEYS)
    assert overlaps(filled).min() > 0.6 and all(one.outline is None for one in filled)


def test_box_follows_the_picture_where_not_even_the_camera_is_known(tmp_path):
    session = RecordedSession(make_session(tmp_path, unseen=range(1, 41), camera=False))
    assert overlaps(fill(session, KEYS, picture)).mean() > overlaps(fill(session, KEYS)).mean() + 0.1


def test_gap_in_what_the_models_saw_is_bridged(tmp_path):
    filled = fill(RecordedSession(make_session(tmp_path, unseen=range(15, 25))), KEYS)
    assert overlaps(filled).min() > 0.7


def test_box_of_one_frame_is_the_drawn_one(tmp_path):
    (only,) = fill(RecordedSession(make_session(tmp_path, 5)), {3: np.float32([1, 2, 30, 40])})
    assert only.drawn and only.box.tolist() == [1, 2, 30, 40]


def test_filled_boxes_stay_in_the_picture(tmp_path):
    keys = {1: np.float32([0, 0, 20, 20]), 20: np.float32([SIZE[0] - 9, SIZE[1] - 9, SIZE[0], SIZE[1]])}
    boxes = np.array([one.box for one in fill(RecordedSession(make_session(tmp_path, 20)), keys)])
    assert (boxes >= 0).all() and (boxes <= [*SIZE, *SIZE]).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_boxes_that_are_too_far_apart_are_named(tmp_path, monkeypatch):
    session = RecordedSession(make_session(tmp_path, 5))
    monkeypatch.setattr(filling, "MOST_FRAMES", 2)
    with pytest.raises(ValueError, match="frames 1 and 5 are too far apart: at most 2 frames are filled"):
        fill(session, {1: true_box(1), 5: true_box(5)})
    with pytest.raises(ValueError, match="the session has frames 1 to 5"):
        fill(session, {9: true_box(9)})


def test_filling_that_is_cancelled_asks_for_no_further_picture(tmp_path):
    session, asked = RecordedSession(make_session(tmp_path)), []

    def picture_of(number: int) -> np.ndarray:
        asked.append(number)
        return picture(number)

    with pytest.raises(CancelledError):
        fill(session, KEYS, picture_of, is_cancelled=lambda: len(asked) == 2)
    assert len(asked) == 2


def test_picture_that_was_fitted_into_a_recording_has_its_own_size_again(tmp_path):
    session = RecordedSession(make_session(tmp_path, 3))
    recorded = [filling._read(session, number) for number in (1, 2)]
    greys, _ = filling._look_at(recorded, filling._steps(recorded), lambda number: fit(picture(number), (256, 512)))
    assert [grey.shape for grey in greys if grey is not None] == [SIZE[::-1], SIZE[::-1]]
