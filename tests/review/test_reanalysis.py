"""A second analysis of a recorded session."""

from collections.abc import Iterator
from pathlib import Path

from fakes import pipeline_of
from session_toys import CONFIG, record, results_for, write_source

from realtime_polyp.packets import Result
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
