from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import picture
from session_toys import CONFIG, record, results_for, write_source

from realtime_polyp.review import session_tracks
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures, find_original
from realtime_polyp.review.session_tracks import SessionTracks, TrackState
from realtime_polyp.review.tracks import recorded_tracks

COUNT = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of 60 frames beside its source."""
    place = tmp_path_factory.mktemp("recorded")
    return record(place / "session", results_for(range(COUNT)), source=write_source(place / "scope.mp4", COUNT))


def shown(state: TrackState, number: int) -> list[int]:
    return [track.id for track in state.at(number) if track.visible]


def test_tracks_are_the_recorded_ones_until_another_threshold_is_asked_for_and_again_after(folder: Path) -> None:
    session = RecordedSession(folder)
    tracks = SessionTracks(session)
    try:
        assert tracks.wait(30) and tracks.state.alarms == find_alarms(session.frames, recorded_tracks(session))
        recorded = tracks.state
        assert shown(recorded, 20) == [1]
        tracks.set(replace(tracks.recorded, score_threshold=1.0), 20)
        assert not shown(tracks.state, 20), "no box reaches this threshold"
        assert tracks.wait(30) and tracks.state.alarms == () and len(tracks.state.tracks) == 0
        tracks.set(tracks.recorded, 20)
        assert tracks.wait(30) and tracks.state.tracks is recorded.tracks and tracks.state.alarms == recorded.alarms
    finally:
        tracks.close()


def test_what_is_on_the_screen_is_filtered_at_once_under_the_known_number(folder: Path) -> None:
    tracks = SessionTracks(RecordedSession(folder))
    assert tracks.wait(30)
    before = shown(tracks.state, 50)
    while tracks.detections(50, 0.1) is None:
        pass
    tracks._asked, tracks._closing = None, True  # the thread ends: only the stretch is filtered
    tracks.close()
    tracks._thread.join(30)
    tracks.set(replace(tracks.recorded, score_threshold=0.2), 50)
    assert not tracks.state.is_complete and len(tracks.state.pieces) == 1
    assert shown(tracks.state, 50) == before == [1]
    tracks.set(replace(tracks.recorded, score_threshold=1.0), 50)
    assert not shown(tracks.state, 50)
    tracks.set(tracks.recorded, 50)
    assert shown(tracks.state, 50) == before, "the recorded ones are there at once, without the thread"


def test_pictures_of_a_session_are_those_that_were_analysed(folder: Path) -> None:
    pictures = SessionPictures(RecordedSession(folder))
    assert pictures.problem is None
    for number in (30, 1, 60, 31, 30):
        np.testing.assert_array_equal(pictures.image(number), picture(number - 1))
    pictures.close()


def test_where_the_picture_is_gone_it_is_grey_and_found_again_by_size_and_hash(tmp_path: Path) -> None:
    source = write_source(tmp_path / "scope.mp4", 5)
    folder = record(tmp_path / "sessions" / "one", results_for(range(5), CONFIG), source=source)
    moved = source.rename(tmp_path / "moved.mp4")
    gone = SessionPictures(RecordedSession(folder))
    assert gone.problem == f"The picture is not at {source} any more: give the file with --source-at"
    assert gone.image(3).shape == picture(0).shape and (gone.image(3)[:20] == 96).all()
    found = SessionPictures(RecordedSession(folder), moved)
    assert found.problem is None and (found.image(3) == picture(2)).all()
    other = write_source(tmp_path / "other.mp4", 9)
    path, problem = find_original(RecordedSession(folder), other)
    assert path is None and problem and "is not the video of this session: it has" in problem
    moved.rename(folder / "scope.mp4")
    assert find_original(RecordedSession(folder)) == (folder / "scope.mp4", None)


def test_session_that_cannot_be_filtered_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: RecordedSession) -> None:
        raise IndexError("no such row")

    monkeypatch.setattr(session_tracks, "recorded_tracks", fail)
    tracks = SessionTracks(RecordedSession(folder))
    assert tracks.wait(10) and tracks.error == "The session cannot be read: no such row"
