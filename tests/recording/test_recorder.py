"""The recorder: what it takes, drops, and makes of a removed folder, a full disk and results that come late."""

import json
import shutil
import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from media import write_clip
from test_store import random_result

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Track
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.original import FileOriginal, NoOriginal
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.recorded import RecordedSession

PATIENCE_S = 30.0


def record(folder, results, **options):
    """A recorder that has been given frames and their results; not closed."""
    folder.mkdir(exist_ok=True)
    recorder = SessionRecorder(folder, {"source": {"name": "a", "path": None}}, **options)
    for result in results:
        recorder.capture(result.frame)
        recorder.write(result)
    return recorder


def wait_for(condition):
    until_s = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert condition()


def events_of(session):
    rows = session.database.execute("SELECT kind, detail FROM events ORDER BY event")
    return [(kind, json.loads(detail)) for kind, detail in rows]


def test_frames_without_a_result_keep_their_place(tmp_path):
    """Of a live source: each captured frame has a row, in order; times are those in the room."""
    recorder = record(tmp_path / "s", [], live=True)
    for index in range(10):
        result = random_result(index)
        recorder.capture(result.frame)
        if index in (3, 7):
            recorder.write(result)
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    assert session.frames.source_index.tolist() == list(range(10)) and verify_chain(session) == ()
    assert session.frames.analysed.nonzero()[0].tolist() == [3, 7]
    assert session.frames.session_s.tolist() == pytest.approx([index / 25 for index in range(10)])


def test_results_of_other_frames_are_ignored(tmp_path):
    recorder = record(tmp_path / "s", [random_result(0)])
    recorder.write(random_result(5))
    recorder.close()
    assert RecordedSession(tmp_path / "s").frames.source_index.tolist() == [0]


def test_seek_leaves_out_what_was_read_ahead_and_the_clock_goes_on(tmp_path):
    recorder = record(tmp_path / "s", [random_result(index) for index in range(3)], period_s=0.04)
    recorder.capture(random_result(3).frame)  # read ahead, not shown
    recorder.seek(1.0)
    for index in (25, 26):
        recorder.capture(random_result(index).frame)
        recorder.write(random_result(index))
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    assert session.frames.source_index.tolist() == [0, 1, 2, 25, 26]
    assert session.frames.session_s.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])
    assert events_of(session) == [("seek", {"to_s": 1.0})]


def test_states_and_alarms_are_recorded_as_they_change_and_end(tmp_path):
    threshold = iter([0.3] * 8 + [0.5] * 100)
    results = []
    for index in range(40):
        result = random_result(index)
        tracks = (Track(4, result.tracks[0].box, 0.5 + index / 100, "shown", 0.5, 0.0),) if 10 <= index < 20 else ()
        results.append(replace(result, tracks=tracks, signal="black" if index == 35 else "ok"))
    recorder = record(tmp_path / "s", results, states=lambda: {"threshold": next(threshold)}, period_s=0.04, waits=True)
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    (alarm,) = session.database.execute("SELECT * FROM alarms").fetchall()
    number, track, start_s, end_s, shown_s, peak_score, best, ended = alarm
    assert (number, track, ended) == (1, 4, "gone") and 11 <= best <= 20
    assert (start_s, end_s, shown_s, peak_score) == pytest.approx((0.4, 0.8, 0.4, 0.69))
    states = [(detail["state"], detail["value"]) for kind, detail in events_of(session) if kind == "state"]
    assert sorted(states) == [("signal", "black"), ("signal", "ok"), ("threshold", 0.5)]


def test_slow_disk_drops_results_and_says_how_many(tmp_path):
    """The one who hands over never waits."""
    recorder = record(tmp_path / "s", [], live=True)
    hold = threading.Event()
    recorder.submit(lambda: hold.wait(PATIENCE_S))
    for index in range(100):
        recorder.capture(random_result(index).frame)
        recorder.write(random_result(index))
    dropped = recorder.dropped
    hold.set()
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    assert 20 <= dropped < 100 and len(session.frames) == 100 and (~session.frames.analysed).sum() == dropped
    assert session.problems == (
        "the picture was not recorded",
        f"{dropped} results were not recorded: the disk was too slow",
    )
    assert session.facts["ended"]["dropped"]["results"] == dropped


def test_removed_folder_is_written_again(tmp_path):
    folder = tmp_path / "s"
    recorder = record(folder, [random_result(index) for index in range(5)], live=True)
    wait_for(lambda: len(RecordedSession(folder).frames) == 5)
    shutil.rmtree(folder)
    wait_for(lambda: recorder.warning)
    for index in range(5, 8):
        recorder.capture(random_result(index).frame)
        recorder.write(random_result(index))
    recorder.close()
    session = RecordedSession(folder)
    assert len(session.frames) == 8 and session.ended and verify_chain(session) == ()
    assert f"the folder {folder} was removed while recording" in recorder.warning
    assert recorder.warning in session.problems


def test_moved_folder_is_written_on(tmp_path):
    folder, moved = tmp_path / "s", tmp_path / "moved"
    recorder = record(folder, [random_result(0)], live=True)
    wait_for(lambda: len(RecordedSession(folder).frames) == 1)
    folder.rename(moved)
    wait_for(lambda: recorder.warning)
    recorder.capture(random_result(1).frame)
    recorder.write(random_result(1))
    recorder.close()
    session = RecordedSession(moved)
    assert len(session.frames) == 2 and session.ended and verify_chain(session) == () and not folder.exists()
    assert "was moved or unmounted while recording" in session.problems[1]


def test_full_disk_ends_the_session_and_keeps_what_was_committed(tmp_path):
    folder = tmp_path / "s"
    recorder = record(folder, [random_result(index) for index in range(5)], live=True)
    wait_for(lambda: len(RecordedSession(folder).frames) == 5)

    def fill():
        raise sqlite3.OperationalError("database or disk is full")

    recorder.submit(fill)
    wait_for(lambda: recorder.error)
    recorder.capture(random_result(5).frame)
    with pytest.raises(OutputError, match="cannot write session to .*: database or disk is full"):
        recorder.write(random_result(5))
    with pytest.raises(OutputError):
        recorder.close()
    session = RecordedSession(folder)
    assert len(session.frames) == 5 and not session.ended and verify_chain(session) == ()
    assert session.problems[0] == "recording ended early, after 0:00.2: database or disk is full"


def test_session_that_was_cut_off_says_so(tmp_path):
    """A copy of the folder while recording goes on."""
    folder = tmp_path / "s"
    recorder = record(folder, [random_result(index) for index in range(5)], live=True)
    wait_for(lambda: len(RecordedSession(folder).frames) == 5)
    shutil.copytree(folder, tmp_path / "copy")
    recorder.close()
    session = RecordedSession(tmp_path / "copy")
    assert len(session.frames) == 5 and not session.ended and verify_chain(session) == ()
    assert session.problems[0] == "recording was cut off after 0:00.2: up to one second after that is missing"
    assert np.isnan(session.frames.picture_s).all()


def live_result(index, *, age_s):
    """A result of a frame that was captured so long ago."""
    result = random_result(index)
    return replace(result, frame=replace(result.frame, captured_s=time.monotonic() - age_s))


def test_what_happens_while_no_result_comes_has_its_own_time(tmp_path):
    """The model of a live source is down for minutes: the clock goes on, and a mark lies where it was made."""
    recorder = record(tmp_path / "s", [live_result(0, age_s=300)], live=True)
    for index in range(1, 4):
        recorder.capture(live_result(index, age_s=300 - index).frame)
    recorder.add_event("keep", seconds=30)
    assert recorder.session_s == pytest.approx(300, abs=PATIENCE_S)
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    ((session_s,),) = session.database.execute("SELECT session_s FROM events WHERE kind = 'keep'").fetchall()
    assert session_s == pytest.approx(300, abs=PATIENCE_S)
    assert len(session.frames) == 4


def test_frames_are_written_although_no_result_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.recorder.ANSWER_S", 0.2)
    recorder = record(tmp_path / "s", [], live=True)
    for index in range(5):
        recorder.capture(random_result(index).frame)
    wait_for(lambda: len(RecordedSession(tmp_path / "s").frames) == 5)
    recorder.close()
    assert not RecordedSession(tmp_path / "s").frames.analysed.any()


class ClosedOriginal(NoOriginal):
    """One whose file was closed after an error."""

    def sync(self):
        raise OSError("it is closed already")


def test_log_is_folded_although_the_picture_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.recorder.FOLD_S", 0.0)
    monkeypatch.setattr("realtime_polyp.recording.recorder._SYNC_S", 0.01)
    folded = []
    monkeypatch.setattr(SessionStore, "fold", lambda store: folded.append(store))
    recorder = record(tmp_path / "s", [], original=ClosedOriginal(), live=True)
    wait_for(lambda: folded)
    recorder.close()
    assert recorder.error is None


def test_session_that_nobody_watches_waits_for_its_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.original._STEP_BYTES", 100)
    monkeypatch.setattr("realtime_polyp.recording.recorder._LAST_STEPS_S", 0.0)
    clip = write_clip(tmp_path / "a.mkv", count=5)
    for end, is_copied in (("ended", True), ("stopped", False)):
        folder = tmp_path / end
        folder.mkdir()
        recorder = SessionRecorder(folder, {}, FileOriginal(clip, folder, copies=True), waits=True)
        recorder.note_end(end)
        recorder.close()
        assert (folder / "original.mkv").exists() == is_copied
        assert (recorder.picture_lost is None) == is_copied


def test_session_that_ends_before_the_video_was_copied_shows_the_video(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime_polyp.recording.original._STEP_BYTES", 1)
    monkeypatch.setattr("realtime_polyp.recording.recorder._LAST_STEPS_S", 0.0)
    clip = write_clip(tmp_path / "a.mkv", count=5)
    (tmp_path / "s").mkdir()
    facts = {"source": {"name": "a.mkv", "path": str(clip), "size_bytes": clip.stat().st_size}}
    recorder = SessionRecorder(tmp_path / "s", facts, FileOriginal(clip, tmp_path / "s", copies=True))
    recorder.close()
    session = RecordedSession(tmp_path / "s")
    assert session.original == clip
    assert session.problems == ("the video was not copied: recording ended too early; the file itself is used",)
