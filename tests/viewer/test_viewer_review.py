"""The player on a recorded session."""

import shutil
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import RATE_HZ, picture, wait_until
from session_toys import record, results_for, write_source

from realtime_polyp.review.recorded import SessionFileError
from realtime_polyp.viewer.displayed import DisplayedFrame, Painted
from realtime_polyp.viewer.player import Player
from realtime_polyp.viewer.review_session import ReviewSession

COUNT = 50


class Clock:
    """Time passes as fast as the player plays."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("reviewed")
    return record(place / "session", results_for(range(COUNT)), source=write_source(place / "scope.mp4", COUNT))


def play_until(player: Player, clock: Clock, so: object) -> None:
    deadline_s = time.monotonic() + 30
    while not so() and time.monotonic() < deadline_s:  # type: ignore[operator]
        clock.now_s += min(0.01, player.tick())
        time.sleep(0.001)
    assert so()  # type: ignore[operator]


def test_session_plays_seeks_and_steps_with_its_own_pictures_and_tracks(folder: Path) -> None:
    review, clock, shown = ReviewSession(folder), Clock(), list[DisplayedFrame]()
    assert review.tracks.wait(30) and review.problem is None
    player = Player(review.open_feed, review.info, lambda one: shown.append(one) or Painted(True, True), clock=clock)
    player.open()
    play_until(player, clock, lambda: player.phase == "ended")
    assert [one.frame.index for one in shown] == list(range(1, COUNT + 1))
    for number in (1, 20, 45):
        one = shown[number - 1]
        assert one.result and one.frame.pts_s == (number - 1) / RATE_HZ
        np.testing.assert_array_equal(one.frame.image, picture(number - 1))
        assert [track.id for track in one.result.tracks] == [track.id for track in review.session.tracks(number)]
    player.pause(True)
    player.seek(19 / RATE_HZ)
    play_until(player, clock, lambda: player.displayed.frame.index == 20)
    player.step_back()
    play_until(player, clock, lambda: player.displayed.frame.index == 19)
    player.set_score_threshold(1.0)
    player.step_back()
    play_until(player, clock, lambda: player.displayed.frame.index == 18)
    assert player.displayed and player.displayed.result
    assert not any(track.visible for track in player.displayed.result.tracks), "shown before at another threshold"
    assert player.feed and player.feed.tally().balanced
    player.close()
    review.close()


def test_threshold_changes_the_picture_on_the_screen_both_ways(folder: Path) -> None:
    review, clock = ReviewSession(folder), Clock()
    player = Player(review.open_feed, review.info, lambda one: Painted(True, True), clock=clock)
    player.pause(True)
    player.seek(0.8)
    player.open()
    play_until(player, clock, lambda: player.displayed is not None)
    assert review.tracks.wait(30)
    wait_until(lambda: review.tracks.detections(1, 0.1) is not None)

    def visible() -> list[int]:
        result = player.displayed.result if player.displayed else None
        return [track.id for track in result.tracks if track.visible] if result else []

    player.set_score_threshold(0.3)
    before = visible()
    player.set_score_threshold(1.0)
    after = visible()
    player.set_score_threshold(0.3)
    assert before == visible() == [1] and after == []
    review.set_times(9.0, None)
    assert review.tracks.wait(30) and review.timeline().alarms == ()
    review.set_times(None, None)
    assert review.tracks.wait(30) and review.tracks.state.settings == review.tracks.recorded
    assert review.timeline().alarms and review.timeline() is review.timeline()
    player.close()
    review.close()


def test_changed_row_is_shown_as_a_problem(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    database = sqlite3.connect(copy / "session.sqlite")
    database.execute("UPDATE tracks SET score = 0.99 WHERE number = 20")
    database.commit()
    database.close()
    review = ReviewSession(copy)
    wait_until(lambda: review.chain_problem is not None)
    assert "the audit log does not fit" in (review.problem or "")
    review.close()


def test_a_part_that_cannot_be_read_is_a_problem_and_hides_no_other(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    database = sqlite3.connect(copy / "session.sqlite")
    database.execute("UPDATE tracks SET score = 0.99 WHERE number = 20")
    database.commit()
    database.close()

    def refuse(session: object) -> None:
        raise SessionFileError("a row of reanalyses is no JSON")

    monkeypatch.setattr("realtime_polyp.viewer.review_session.list_analyses", refuse)
    review = ReviewSession(copy)
    wait_until(lambda: "the audit log does not fit" in (review.chain_problem or ""))
    assert "cannot be read whole: a row of reanalyses is no JSON" in (review.problem or "")
    review.close()


def test_an_audit_log_that_cannot_be_checked_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("realtime_polyp.viewer.review_session.verify_chain", fail)
    review = ReviewSession(folder)
    wait_until(lambda: review.chain_problem is not None)
    assert "the session cannot be read whole: list index out of range" in (review.problem or "")
    review.close()


def test_folder_without_a_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="is no recorded session"):
        ReviewSession(tmp_path)
