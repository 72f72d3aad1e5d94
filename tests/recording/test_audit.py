"""The chain of hashes of a session file."""

import sqlite3

import pytest
from test_store import random_result

from realtime_polyp.packets import Result
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.temporal.alarms import Alarm, Best


def an_alarm(result: Result) -> Alarm:
    best = Best(1, 0.04, (1.0, 2.0, 3.0, 4.0), 0.75, result)
    return Alarm(1, 1, 0.0, 0.4, 0.4, 0.75, best, "gone")


@pytest.fixture
def folder(tmp_path):
    """A session of ten frames in two commits, with a row of every kind."""
    store = SessionStore(tmp_path)
    store.set_fact("source", {"name": "a.mp4"})
    store.set_fact("start_utc", "now")
    for index in range(10):
        result = random_result(index)
        if index % 3:
            store.add_result(result, session_s=index / 25, picture_s=index / 25)
        else:
            store.add_skipped(result.frame, session_s=index / 25, picture_s=None)
        if index == 4:
            store.commit()
    store.add_alarm(an_alarm(result), 2)
    store.add_event("state", session_s=0.1, state="frozen")
    store.add_event("drop", session_s=0.2, results=3)
    store.close()
    return tmp_path


def problems(folder):
    session = RecordedSession(folder)
    found = verify_chain(session)
    session.close()
    return found


def test_untouched_session_fits(folder):
    assert problems(folder) == ()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE frames SET signal = 'black' WHERE number = 7", "frame 7 was changed or removed"),
        ("UPDATE outputs SET raw = x'00' WHERE number = 2", "frame 2 was changed or removed"),
        ("UPDATE cues SET cut = 1 WHERE number = 9", "frame 9 was changed or removed"),
        ("UPDATE tracks SET score = 0.74 WHERE number = 3", "frame 3 was changed or removed"),
        ("DELETE FROM tracks WHERE number = 8", "frame 8 was changed or removed"),
        ("DELETE FROM frames WHERE number = 4", "frame 4 was changed or removed"),
        ("INSERT INTO frames SELECT 11, 9, pts_s, 1, 1, 1, 1, 9, 9, 'ok', 'clear', 0 FROM frames WHERE number = 1",
         "frame 11 was added (table frames)"),
        ("INSERT INTO cues VALUES (12, 0, x'', NULL, NULL)", "frame 12 was added (table cues)"),
        ("UPDATE alarms SET peak_score = 0.9", "alarm 1 was changed"),
        ("DELETE FROM events WHERE event = 1", "event 1 was removed"),
        ("INSERT INTO events VALUES (3, 0, 'now', 'drop', '{}')", "event 3 was added"),
        ("INSERT INTO actions VALUES (1, 'now', 'me', 'note', '{}')", "action 1 was added"),
        ("UPDATE facts SET value = '1' WHERE name = 'source'", "fact source was changed"),
        ("DELETE FROM facts WHERE name = 'start_utc'", "fact start_utc was removed"),
        ("INSERT INTO facts VALUES ('ended', 'true')", "fact ended was added"),
        ("UPDATE audit SET utc = 'then' WHERE entry = 3", "entry 3 of the audit log was changed (frames, then)"),
        ("DELETE FROM audit WHERE entry = 4", "entry 4 of the audit log was removed"),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_named(folder, change, found):
    database = sqlite3.connect(folder / "session.sqlite")
    database.execute(change)
    database.commit()
    database.close()
    assert problems(folder)[0] == found


@pytest.mark.parametrize("content", ["", "nothing", "a frames 1-999999999999", "a fact", b"\xff"])
@pytest.mark.parametrize("entry", range(1, 8))
def test_an_entry_that_says_nothing_is_named_too(folder, entry, content):
    database = sqlite3.connect(folder / "session.sqlite")
    (entries,) = database.execute("SELECT COUNT(*) FROM audit").fetchone()
    assert entries == 7, "one of each kind is changed"
    database.execute("UPDATE audit SET content = ? WHERE entry = ?", (content, entry))
    database.commit()
    database.close()
    assert problems(folder)[0].startswith(f"entry {entry} of the audit log was changed")


def test_fact_that_replaces_another_counts(tmp_path):
    store = SessionStore(tmp_path)
    store.set_fact("site", "cecum")
    store.set_fact("site", "rectum")
    store.close()
    assert problems(tmp_path) == ()


def test_file_and_log_that_were_copied_at_different_times_fit(tmp_path):
    """The worst copy: the file long before the log, while the log was folded into it in between."""
    (tmp_path / "s").mkdir()
    (tmp_path / "copy").mkdir()
    store = SessionStore(tmp_path / "s")
    store.checkpoint()
    for index in range(60):
        store.add_result(random_result(index), session_s=index / 25, picture_s=None)
        store.commit()
        if index % 10 == 9:
            store.fold()
        if index == 25:
            (tmp_path / "copy" / "session.sqlite").write_bytes((tmp_path / "s" / "session.sqlite").read_bytes())
    (tmp_path / "copy" / "session.sqlite-wal").write_bytes((tmp_path / "s" / "session.sqlite-wal").read_bytes())
    file = tmp_path / "s" / "session.sqlite"
    assert file.stat().st_size > 100_000  # it was folded
    store.close()
    assert not (tmp_path / "s" / "session.sqlite-wal").exists()
    for folder in ("s", "copy"):
        assert len(RecordedSession(tmp_path / folder).frames) == 60 and problems(tmp_path / folder) == ()


def test_one_state_is_verified_while_recording_goes_on(tmp_path):
    store = SessionStore(tmp_path)
    store.add_result(random_result(0), session_s=0.0, picture_s=0.0)
    store.commit()
    store.add_result(random_result(1), session_s=0.04, picture_s=0.04)
    assert problems(tmp_path) == ()
    store.close()
    assert problems(tmp_path) == ()
