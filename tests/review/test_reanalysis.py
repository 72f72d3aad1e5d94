"""A second analysis of a recorded session."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from session_toys import record, results_for, write_source

from realtime_polyp.packets import Result
from realtime_polyp.review.reanalysis import SessionSource, analyse_again
from realtime_polyp.review.recorded import RecordedSession


def test_frames_that_were_recorded_twice_keep_their_own_numbers(tmp_path: Path) -> None:
    """A person went back a few frames while recording. All frames are read before the first result is taken."""
    seen = results_for(range(15))[10:]
    assert all(result.tracks for result in seen)
    folder = record(tmp_path / "session", [*seen, *seen], source=write_source(tmp_path / "scope.mp4", 15))
    session = RecordedSession(folder)

    def run(source: SessionSource) -> Iterator[Result]:
        for frame in list(source.frames()):
            yield replace(seen[0], frame=frame)

    tracks = analyse_again(session, SessionSource(session), run, {})
    assert sorted(set(tracks.number.tolist())) == list(range(1, 11))
