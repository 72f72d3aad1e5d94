"""`--review` without a window: what a session holds, and a second analysis of it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Run
from fakes import wait_until
from session_toys import record, results_for, write_source

from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.filter_settings import FACT
from realtime_polyp.review.compare import compare_alarms
from realtime_polyp.review.reanalysis import list_analyses, reanalysed_tracks
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.tracks import recorded_tracks
from realtime_polyp.viewer.review_session import ReviewSession

COUNT = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sessions")
    return record(place / "session", results_for(range(COUNT)), source=write_source(place / "scope.mp4", COUNT))


def test_session_is_described(folder: Path, run: Run) -> None:
    code, out, err = run("--review", folder)
    assert (code, err) == (0, "")
    assert "scope.mp4, recorded at an unknown time" in out
    assert (
        "duration 0:01.6, 40 frames, 40 analysed with fake\nalarms 2, polyps 2" in out
    )  # the rival stays at 0.45 for longer than a second
    assert f"picture {folder.parent / 'scope.mp4'}\naudit log: complete and unchanged" in out


def test_what_is_missing_is_said(folder: Path, tmp_path: Path, run: Run) -> None:
    cut = record(tmp_path / "cut", results_for(range(5)), ended=False)
    code, out, err = run("--review", cut)
    assert code == 2 and "5 frames" in out
    assert "The picture of this session was not recorded" in err and "cut off after 0:00.2" in err


def test_session_of_another_format_is_refused_in_one_sentence(tmp_path: Path, run: Run) -> None:
    other = record(tmp_path / "other", results_for(range(3)))
    with closing(sqlite3.connect(other / "session.sqlite")) as database:
        database.execute("PRAGMA user_version = 9")
    code, out, err = run("--review", other)
    assert code == 2 and not out and "has format 9, and this version reads format 1" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--review", "nowhere"], "nowhere is no recorded session: it has no session.sqlite"),
        (["--review", "x", "--source", "a.mp4"], "shows a session as it was recorded: leave out --source"),
        (["--source", "a.mp4", "--source-at", "b.mp4"], "--source-at needs --review DIR"),
        (["--review", "x", "--start-s", "5"], "shows a session as it was recorded: leave out --start-s"),
        (["--review", "x", "--loop"], "shows a session as it was recorded: leave out --loop"),
        (["--review", "x", "a.mp4"], "shows a session as it was recorded: leave out the source"),
        (["--review", "x", "--reanalyse", "--report"], "--reanalyse and --report are two runs: leave one of them out"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(run: Run, arguments: list[str], problem: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2 and problem in err and err.count("\n") == 1


def test_second_analysis_is_stored_beside_the_first_and_compared(folder: Path, run: Run) -> None:
    before = recorded_tracks(RecordedSession(folder))
    code, out, err = run("--review", folder, "--reanalyse", "--no-fusion", "--no-hflip")
    assert (code, err) == (0, "")
    assert "A: as recorded, fake\nB: fake\n" in out and "in both: 1 of A, 1 of B" in out
    session = RecordedSession(folder)
    (one,) = list_analyses(session)
    tracks = reanalysed_tracks(session, one.analysis)
    assert len(tracks) and one.detail["models"] == {"detector": "fake", "segmenter": "fake"}
    assert len(recorded_tracks(session)) == len(before) and verify_chain(session) == ()
    assert compare_alarms((), before, (), tracks).both == ()
    window = ReviewSession(folder)
    # Without fusion the rival scores 0.2 and is not shown.
    wait_until(lambda: (len(window.timeline().alarms), len(window.timeline().other_alarms)) == (2, 1))
    window.close()


def test_a_second_analysis_follows_the_settings_file(tmp_path: Path, run: Run) -> None:
    folder = record(tmp_path / "session", results_for(range(10)), source=write_source(tmp_path / "scope.mp4", 10))
    settings = tmp_path / "settings.toml"
    settings.write_text("[detection]\nthreshold = 0.85\n")
    assert run("--review", folder, "--reanalyse", "--no-fusion", "--no-hflip", "--settings", settings)[0] == 0
    (one,) = list_analyses(RecordedSession(folder))
    assert one.detail[FACT]["score_threshold"] == 0.85
