import hashlib

import numpy as np
import pytest

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import Detections, FilterCues, Frame, Mask, RawResult, Result, Track
from realtime_polyp.recording import blobs
from realtime_polyp.recording.store import GENESIS, SessionStore, chain_hash
from realtime_polyp.review.recorded import RecordedSession, SessionFileError

FIELD = FieldOfView(10, 20, 74, 84)


def random_result(index: int, *, seed: int = 0) -> Result:
    """A result in which every value that a session file keeps is set."""
    random = np.random.default_rng(seed + index)
    frame = Frame(index, index / 25, 100 + index / 25, np.zeros((96, 128, 3), np.uint8), continues=index > 0)
    found = Detections(
        random.uniform(0, 96, (3, 4)).astype(np.float32), np.sort(random.random(3).astype(np.float32))[::-1]
    )
    mask = Mask(random.random((16, 12)).astype(np.float32), FIELD)
    patch = random.normal(size=(12, 12, 3)).astype(np.float32)
    cues = FilterCues(found, random.random((2, 3)).astype(np.float32), False, ((found.boxes[0], patch),))
    track = Track(1, found.boxes[0], 0.75, "shown", 0.5, 0.0)
    raw = RawResult(frame, FIELD, "ok", found, mask)
    return Result(frame, FIELD, found, (track,), mask, frame_quality="glare", raw=raw, cues=cues)


def test_session_gives_back_what_was_recorded(tmp_path):
    results = [random_result(index) for index in range(5)]
    store = SessionStore(tmp_path)
    for result in results:
        store.add_result(result, session_s=result.frame.pts_s, picture_s=None)
    store.close()
    session = RecordedSession(tmp_path)
    assert len(session.frames) == 5 and list(session.frames.quality) == ["glare"] * 5
    assert np.isnan(session.frames.picture_s).all() and session.frames.continues.tolist() == [False] + [True] * 4
    for number, result in enumerate(results, 1):
        read = session.result(number)
        assert result.raw and result.cues and read.raw and read.cues and read.mask and result.mask
        assert read.frame.image.shape == result.frame.image.shape and read.frame.pts_s == result.frame.pts_s
        np.testing.assert_array_equal(read.raw.detections.boxes, result.raw.detections.boxes)
        np.testing.assert_array_equal(read.raw.detections.scores, result.raw.detections.scores)
        np.testing.assert_array_equal(blobs.to_8_bits(read.mask.probability), blobs.to_8_bits(result.mask.probability))
        np.testing.assert_array_equal(read.cues.camera, result.cues.camera)
        np.testing.assert_array_equal(read.cues.appearances[0][1], result.cues.appearances[0][1])
        assert read.tracks[0].id == 1 and (read.tracks[0].box == result.tracks[0].box).all()


def test_chain_links_each_entry_to_the_one_before(tmp_path):
    store = SessionStore(tmp_path)
    for index in range(3):
        store.add_result(random_result(index), session_s=index / 25, picture_s=None)
        store.commit()
    store.add_event("state", session_s=0.1, state="frozen")
    store.close()
    entries = RecordedSession(tmp_path).database.execute("SELECT * FROM audit ORDER BY entry").fetchall()
    assert [what for _, _, what, _, _ in entries] == ["frames", "frames", "frames", "event"]
    before = GENESIS
    for entry, utc, what, content, link in entries:
        assert link == chain_hash(before, entry, utc, what, content) and len(link) == hashlib.sha256().digest_size * 2
        before = link


def test_what_was_committed_is_read_while_recording_goes_on(tmp_path):
    store = SessionStore(tmp_path)
    store.add_result(random_result(0), session_s=0.0, picture_s=0.0)
    store.commit()
    store.add_result(random_result(1), session_s=0.04, picture_s=0.04)
    assert len(RecordedSession(tmp_path).frames) == 1
    store.close()
    assert len(RecordedSession(tmp_path).frames) == 2


def test_folder_without_a_session_is_named(tmp_path):
    with pytest.raises(SessionFileError, match="is no recorded session: it has no session.sqlite"):
        RecordedSession(tmp_path)
