"""A second analysis of a recorded session."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes import pipeline_of
from session_toys import CONFIG, record, results_for, write_source

from realtime_polyp.packets import Result
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.review.reanalysis import SessionSource, analyse_again
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.session import Session


def test_frames_that_were_recorded_twice_keep_their_own_numbers(tmp_path: Path) -> None:
    """A person went back a few frames while recording. The line that analyses again has both in it at once."""
    seen = results_for(range(15))[10:]
    assert all(result.tracks for result in seen)
    folder = record(tmp_path / "session", [*seen, *seen], source=write_source(tmp_path / "scope.mp4", 15))
    session = RecordedSession(folder)
    flipped = []

    def run(source: SessionSource) -> Iterator[Result]:
        for result in Session(source, pipeline_of(config=CONFIG), lambda result: None).iterate():
            flipped.append(result.frame.flipped)
            yield result

    tracks = analyse_again(session, SessionSource(session), run, {})
    assert sorted(set(tracks.number.tolist())) == list(range(1, 11))
    assert flipped == 2 * [bool(result.frame.index % 2) for result in seen]  # as they were


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("SELECT 1", ()),
        ("DELETE FROM reanalysed_tracks WHERE number > 40", ("further analysis 1 was changed",)),
        ("UPDATE reanalyses SET detail = '{}'", ("further analysis 1 was changed",)),
        ("DELETE FROM reanalyses", ("further analysis 1 was removed",)),
        ("INSERT INTO reanalyses VALUES (2, 'now', '{}')", ("further analysis 2 was added",)),
        ("DROP TABLE reanalysed_tracks; DROP TABLE reanalyses", ("further analysis 1 was removed",)),
    ],
)
def test_the_audit_log_vouches_for_a_second_analysis(tmp_path: Path, change: str, found: tuple[str, ...]) -> None:
    folder = record(tmp_path / "session", results_for(range(50)), source=write_source(tmp_path / "scope.mp4", 50))
    session = RecordedSession(folder)
    analyse_again(session, SessionSource(session), lambda source: iter(results_for(range(1, 50))), {"models": {}})
    with closing(sqlite3.connect(session.path)) as database:
        database.executescript(change)
    assert verify_chain(RecordedSession(folder)) == found
