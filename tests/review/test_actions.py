"""What a person says about a session: rows, the chain, undo, and what it adds up to."""

import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.metrics.run_lengths import encode
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review import action_log, actions
from realtime_polyp.review.action_log import ActionLog
from realtime_polyp.review.actions import (
    NEW_POLYP,
    Action,
    ActionError,
    BlindDecision,
    DrawnBox,
    DrawnOutline,
    Mark,
    Note,
    PolypFields,
    SamePolyp,
    Stretch,
    Undo,
    Verdict,
    Withdrawal,
    judge,
    polyp_name,
)
from realtime_polyp.review.recorded import SessionFileError

BOX = (10.0, 20.0, 30.0, 40.0)
OTHER = (11.0, 20.0, 31.0, 40.0)


@pytest.fixture
def folder(tmp_path):
    SessionStore(tmp_path).close()
    return tmp_path


def stretch(first: int, last: int, *, polyp: int = -1) -> Stretch:
    return Stretch(polyp, (first, last), tuple((number, BOX) for number in range(first, last + 1)))


def said(*listed) -> list[Action]:
    return [Action(number, "2026", "anna", one) for number, one in enumerate(listed, 1)]


def test_every_kind_comes_back_as_it_was_said(folder):
    outline = dict(encode(np.eye(8, dtype=bool)))
    everything = (
        Verdict(1, accepted=False, first=3, last=9, at=4, box=BOX),
        DrawnBox(1, 4, OTHER),
        DrawnOutline(1, 4, outline),
        Stretch(-1, (5, 6), ((5, BOX), (6, OTHER)), ((5, outline),), clicks=4, seconds=3.5),
        SamePolyp(-1, 1),
        PolypFields(1, {"site": "sigmoid", "size_mm": "6"}),
        Note(1.5, "behind the fold", polyp=1),
        Mark(2.0),
        Withdrawal("start", 0.5),
        BlindDecision(7, polyp_seen=True, took_s=2.4),
    )
    with ActionLog(folder, author="anna") as log:
        for one in everything:
            log.add(one)
    with ActionLog(folder) as log:
        assert tuple(one.said for one in log.actions) == everything
        assert {one.author for one in log.actions} == {"anna"} and log.actions[0].utc.endswith("+00:00")


@pytest.mark.parametrize("keeps_edits", [False, True])
def test_a_stretch_filled_in_again_keeps_edits_where_it_says_so(keeps_edits):
    outline, other = dict(encode(np.eye(8, dtype=bool))), dict(encode(np.ones((8, 8), bool)))
    first = replace(stretch(1, 9), outlines=((2, outline), (3, outline), (4, outline)))
    again = replace(first, keys=(1, 5, 9), boxes=tuple((n, OTHER) for n in range(1, 10)), keeps_edits=keeps_edits)
    by_hand = (DrawnBox(-1, 4, None), DrawnBox(-1, 5, BOX), DrawnOutline(-1, 3, other))
    found = judge(said(first, *by_hand, again))
    assert found.boxes[-1] == {**{n: OTHER for n in range(1, 10)}, **({4: None} if keeps_edits else {})}
    drawn = {2: outline, 3: other} if keeps_edits else {2: outline, 3: outline, 4: outline}
    assert {n: line for n, line in found.outlines[-1].items() if line} == drawn


def test_each_action_enters_the_chain(folder):
    with ActionLog(folder) as log:
        log.add(Mark(1.0))
        log.undo()
    database = sqlite3.connect(folder / "session.sqlite")
    contents = [row[0] for row in database.execute("SELECT content FROM audit WHERE what = 'action' ORDER BY entry")]
    rows = database.execute("SELECT action, utc, author, kind, detail FROM actions ORDER BY action")
    assert contents == [actions.action_content(*row) for row in rows] and len(contents) == 2


def test_undo_and_redo_are_actions_of_their_author(folder):
    with ActionLog(folder, author="anna") as anna, ActionLog(folder, author="ben") as ben:
        anna.add(Mark(1.0))
        anna.add(Mark(2.0))
        ben.add(Mark(3.0))
        anna.refresh()
        anna.undo()
        anna.undo()
        assert [one.session_s for _, one in anna.judgement.marks] == [3.0] and anna.undo() is None
        anna.redo()
        assert [one.session_s for _, one in anna.judgement.marks] == [1.0, 3.0]
        anna.add(Mark(4.0))
        assert anna.redo() is None and len(anna.actions) == 7
        assert ben.refresh() and ben.judgement == anna.judgement


def test_last_verdict_on_a_frame_counts():
    judgement = judge(said(Verdict(1, True, 1, 9), Verdict(1, False, 20, 29), Verdict(1, False, 1, 9)))
    assert [judgement.accepts(1, number) for number in (5, 15, 25)] == [False, None, False]
    assert judgement.verdict(1) is False and judgement.verdict(2) is None


def test_polyp_is_accepted_where_one_of_its_alarms_is():
    assert judge(said(Verdict(1, True, 1, 9), Verdict(1, False, 20, 29))).verdict(1) is True
    assert judge(said(Verdict(1, True, 1, 9), Verdict(1, False))).verdict(1) is False
    assert judge(said(Verdict(2, True), SamePolyp(2, 1))).verdict(1) is True


def test_later_verdict_on_the_same_frames_counts_alone():
    accepted, rejected, all_rejected = Verdict(1, True, 1, 9), Verdict(1, False, 1, 12), Verdict(1, False)
    assert judge(said(accepted, all_rejected, accepted)).verdict(1) is True
    assert judge(said(all_rejected, accepted, all_rejected)).verdict(1) is False
    assert judge(said(accepted, rejected)).verdict(1) is False, "the alarm is longer at another threshold"


def test_stretch_replaces_what_it_overlaps():
    judgement = judge(said(DrawnBox(-1, 4, OTHER), stretch(3, 9), DrawnBox(-1, 5, None), stretch(20, 22)))
    assert judgement.boxes[-1][4] == BOX and judgement.boxes[-1][5] is None and len(judgement.boxes[-1]) == 10
    again = judge(said(stretch(3, 9), DrawnBox(-1, 5, None), stretch(5, 7)))
    assert list(again.boxes[-1]) == [5, 6, 7] and again.boxes[-1][5] == BOX and len(again.stretches[-1]) == 1
    assert again.verdict(-1) is True and again.next_marked() == -2 and polyp_name(-1) == "M1"


def test_two_numbers_become_one_polyp_without_a_circle():
    judgement = judge(said(SamePolyp(3, 2), SamePolyp(2, 1), SamePolyp(1, 3)))
    assert {judgement.number_of(one) for one in (1, 2, 3)} == {judgement.number_of(1)}


def test_fields_are_added_and_removed():
    judgement = judge(said(PolypFields(1, {"site": "caecum", "paris": "0-Is"}), PolypFields(1, {"site": ""})))
    assert judgement.fields == {1: {"paris": "0-Is"}}


def test_fields_of_all_numbers_of_a_polyp_are_kept():
    entered = (PolypFields(2, {"site": "caecum", "size_mm": "4"}), PolypFields(1, {"size_mm": "6"}), SamePolyp(2, 1))
    assert judge(said(*entered)).fields == {1: {"site": "caecum", "size_mm": "6"}}
    assert judge(said(*entered, PolypFields(1, {"site": ""}))).fields == {1: {"size_mm": "6"}}


def test_number_about_which_something_was_said_is_not_given_again():
    judgement = judge(said(stretch(3, 9), Note(1.0, "flat", polyp=-1), Undo(1)))
    assert not judgement.stretches and judgement.next_marked() == -2


def test_two_windows_never_give_two_marks_the_same_number(folder):
    marked = stretch(3, 9, polyp=NEW_POLYP)
    with ActionLog(folder, author="anna") as anna, ActionLog(folder, author="ben") as ben:
        first, second = anna.add(marked), ben.add(marked)  # Ben's window has read nothing since it was opened
        assert (first.said, second.said) == (stretch(3, 9, polyp=-1), stretch(3, 9, polyp=-2))
        anna.refresh()
        assert set(anna.judgement.stretches) == set(ben.judgement.stretches) == {-1, -2}


def test_number_that_somebody_else_may_redo_is_not_given_again(folder):
    marked = stretch(3, 9, polyp=NEW_POLYP)
    with ActionLog(folder, author="anna") as anna, ActionLog(folder, author="ben") as ben:
        anna.add(marked)
        anna.undo()
        assert ben.add(marked).said == stretch(3, 9, polyp=-2)
        anna.redo()
        assert set(anna.judgement.stretches) == {-1, -2}
        ben.undo()
        assert ben.add(marked).said == stretch(3, 9, polyp=-2), "one's own is free: it cannot be redone any more"


@pytest.mark.parametrize(
    "unreadable",
    [Note(1.0, "x" * 4001), Note(1.0, "half a pair: \ud83d"), Mark(float("nan")), DrawnBox(1, 1, (5.0, 5.0, 5.0, 9.0))],
    ids=["long", "surrogate", "not a number", "without area"],
)
def test_what_could_not_be_read_again_is_not_stored(folder, unreadable):
    with ActionLog(folder) as log:
        with pytest.raises(ActionError, match="nothing is stored"):
            log.add(unreadable)
        log.add(Mark(1.0))
    with ActionLog(folder) as log:
        assert [one.said for one in log.actions] == [Mark(1.0)]


def test_action_that_fails_leaves_the_session_unlocked(folder, monkeypatch):
    def fail(*_):
        raise RuntimeError("no chain")

    monkeypatch.setattr(actions, "add_to_chain", fail)
    with ActionLog(folder) as log:
        with pytest.raises(RuntimeError, match="no chain"):
            log.add(Mark(1.0))
        recorder = sqlite3.connect(folder / "session.sqlite", isolation_level=None, timeout=0.0)
        recorder.execute("BEGIN IMMEDIATE")
        assert recorder.execute("SELECT COUNT(*) FROM actions").fetchone() == (0,)
        recorder.close()


def test_account_without_a_name_can_judge(folder, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(action_log.getpass, "getuser", nameless)
    with ActionLog(folder) as log:
        assert log.add(Mark(1.0)).author == "unknown"


def test_session_that_is_still_recorded_can_be_judged(folder, tmp_path_factory):
    recorded = tmp_path_factory.mktemp("recorded")
    store = SessionStore(recorded)
    result = Result(Frame(0, 0.0, 0.0, np.zeros((8, 8, 3), np.uint8)), FieldOfView(0, 0, 8, 8), NO_DETECTIONS, (), None)
    store.add_result(result, session_s=0.0, picture_s=None)
    commit = threading.Timer(0.3, store.commit)
    commit.start()
    with ActionLog(recorded) as log:
        log.add(Mark(0.0))  # the recorder's transaction is open until its commit
    commit.join()
    assert store.add_result(result, session_s=0.04, picture_s=None) == 2
    store.close()
    whats = sqlite3.connect(recorded / "session.sqlite").execute("SELECT what FROM audit ORDER BY entry").fetchall()
    assert [what for (what,) in whats] == ["frames", "action", "frames"]


def test_medium_that_cannot_be_written_is_one_sentence(folder, monkeypatch):
    log = ActionLog(folder)

    def read_only(path, **_):  # as on such a medium; root may write anywhere
        return sqlite3.Connection(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(ActionError, match="cannot be written, so nothing is stored: copy the session to a disk"):
        log.add(Mark(1.0))
    assert not log.actions


def test_lock_that_is_never_released_is_one_sentence(folder, monkeypatch):
    monkeypatch.setattr(action_log, "_LOCK_S", 0.05)
    other = sqlite3.connect(folder / "session.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ActionLog(folder) as log, pytest.raises(ActionError, match="is being written by another program"):
        log.add(Mark(1.0))


@pytest.mark.parametrize(
    ("kind", "detail", "problem"),
    [
        ("teleport", "{}", "kind 'teleport', which this version does not know: update"),
        ("box", '{"polyp": 1, "number": 0, "box": null}', "at `number`"),
        ("box", '{"polyp": 1, "number": 1, "box": [5, 5, 5, 9]}', "x1 < x2"),
        ("outline", '{"polyp": 1, "number": 1, "outline": {"size": [4, 4], "counts": "zzz"}}', "mask"),
        ("stretch", '{"polyp": 1, "keys": [], "boxes": []}', "at least one"),
    ],
)
def test_row_that_cannot_be_read_is_named(folder, kind, detail, problem):
    database = sqlite3.connect(folder / "session.sqlite")
    database.execute("INSERT INTO actions (utc, author, kind, detail) VALUES ('', 'x', ?, ?)", (kind, detail))
    database.commit()
    with pytest.raises(SessionFileError, match=f"action 1 of the session.*{problem}"):
        ActionLog(folder)
