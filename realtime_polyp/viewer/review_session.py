"""A recorded session in the viewer: opens its feeds, keeps its timeline up to date, and checks it in the background."""

import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from realtime_polyp.cli.options import Options
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.review.actions import judge, read_actions
from realtime_polyp.review.alarms import SessionAlarm, find_alarms
from realtime_polyp.review.reanalysis import list_analyses, reanalysed_tracks
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.review.session_tracks import SessionTracks
from realtime_polyp.review.timeline_data import TimelineData, timeline_of
from realtime_polyp.telemetry.priority import lower_thread_priority
from realtime_polyp.viewer.displayed import SourceInfo
from realtime_polyp.viewer.judging import Judging
from realtime_polyp.viewer.review_feed import ReviewFeed

if TYPE_CHECKING:
    from realtime_polyp.viewer.host import Host  # Qt


class ReviewSession:
    """A session that is open for review. All members but the check are used on the viewer's thread.

    source_at: the file with the picture, where it is not where it was. Raises SessionFileError.
    """

    def __init__(self, folder: Path, *, source_at: Path | None = None) -> None:
        self.session = RecordedSession(folder)
        if not len(self.session.frames):
            raise SessionFileError(f"{folder} holds no frame: {'; '.join(self.session.problems) or 'it is empty'}")
        self._of_pictures = self.session.again()
        self.pictures = SessionPictures(self._of_pictures, source_at)
        self.tracks = SessionTracks(self.session)
        self.chain_problem: str | None = None
        self._feed: ReviewFeed | None = None
        self._timeline: tuple[tuple[object, ...], TimelineData] | None = None
        self._other_alarms: tuple[SessionAlarm, ...] = ()  # of the last further analysis
        threading.Thread(target=self._read_rest, name="verify", daemon=True).start()

    @property
    def info(self) -> SourceInfo:
        """What the viewer knows before it plays."""
        name = str(self.session.facts.get("source", {}).get("name") or self.session.folder.name)
        return SourceInfo(
            name,
            live=False,
            duration_s=self.session.frames.duration_s,
            rate_hz=self._rate_hz,
            path=self.pictures.path,
            deinterlace=self.session.deinterlace,
            time_in_file=self.time_in_file,
        )

    @property
    def _rate_hz(self) -> float | None:
        """Usual number of frames per second; None for a single frame."""
        steps_s = np.diff(self.session.frames.session_s)
        usual_s = float(np.median(steps_s)) if len(steps_s) else 0.0
        return 1 / usual_s if usual_s > 0 else None

    @property
    def problem(self) -> str | None:
        """Everything that is wrong with the session, as far as it is known by now; None: nothing."""
        found = (self.chain_problem, self.tracks.error, self.pictures.problem, *self.session.problems)
        return "; ".join(one for one in found if one) or None

    def open_feed(self, start_s: float) -> ReviewFeed:
        """A feed that starts at a time of the session. The feed before it has ended."""
        self._feed = ReviewFeed(self.session.again(), self.pictures, self.tracks, start_s, warning=self.problem)
        return self._feed

    @property
    def _on_screen(self) -> int:
        """Number of the frame on the screen."""
        return self._feed.on_screen if self._feed else int(self.session.frames.number[0])

    def choose(self, options: Options) -> None:
        """Begin with the threshold and times of the command line, where there are any."""
        settings, temporal = self.tracks.recorded, self.tracks.recorded.temporal
        if options.score_threshold is not None:
            settings = settings.at(options.score_threshold)
        if temporal:
            names = ("confirm_s", "hold_s", "release_s")
            times_s = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
            settings = replace(settings, temporal=replace(temporal, **times_s))
        self.tracks.set(settings, int(self.session.frames.number[0]))

    def set_times(self, confirm_s: float | None, hold_s: float | None) -> None:
        """Filter again with other times, s; None: those of the recording."""
        usual, settings = self.tracks.recorded.temporal, self.tracks.state.settings
        if usual is None:
            return
        hold_s = usual.hold_s if hold_s is None else hold_s
        times_s = {"confirm_s": usual.confirm_s if confirm_s is None else confirm_s, "hold_s": hold_s}
        temporal = replace(usual, **times_s, release_s=max(hold_s, usual.release_s))
        self.tracks.set(replace(settings, temporal=temporal), self._on_screen)

    def timeline(self) -> TimelineData:
        """The timeline at the settings of the moment: the same object as long as nothing changes."""
        made_of = (self.tracks.state.alarms, self._said(), self._other_alarms)
        if self._timeline is None or self._timeline[0] != made_of:
            data = timeline_of(self.session.frames, made_of[0], self._marks(), made_of[2])
            self._timeline = (made_of, data)
        return self._timeline[1]

    def time_in_file(self, time_s: float) -> float | None:
        """The time of a moment's picture in the file; None where its picture was not recorded."""
        frames = self.session.frames
        row = max(0, int(np.searchsorted(frames.session_s, time_s + 1e-6, side="right")) - 1)
        picture_s = float(frames.picture_s[row])
        return None if np.isnan(picture_s) else picture_s

    def close(self) -> None:
        self.tracks.close()
        self.pictures.close()
        for session in (self._of_pictures, self.session):
            session.close()

    def _said(self) -> int:
        """Number of the last action of a person."""
        found = self.session.database.execute("SELECT COALESCE(MAX(action), 0) FROM actions").fetchone()
        return int(found[0])

    def _marks(self) -> list[tuple[float, str]]:
        judgement = judge(read_actions(self.session.database))
        marks = [(mark.session_s, "look at this later") for _, mark in judgement.marks]
        return [*marks, *((note.session_s, note.text) for _, note in judgement.notes)]

    def _read_rest(self) -> None:
        """On a thread: the alarms of a further analysis, and whether the audit log fits."""
        lower_thread_priority()
        for read in (self._read_other_alarms, self._verify):
            try:
                with closing(self.session.again()) as session:
                    read(session)
            except Exception as error:  # noqa: BLE001 - a session that cannot be checked must not seem to be right
                self._add_problem(f"the session cannot be read whole: {error}")

    def _read_other_alarms(self, session: RecordedSession) -> None:
        if analyses := list_analyses(session):
            tracks = reanalysed_tracks(session, analyses[-1].analysis)
            self._other_alarms = find_alarms(session.frames, tracks)

    def _verify(self, session: RecordedSession) -> None:
        if problems := verify_chain(session):
            self._add_problem(f"the audit log does not fit: {'; '.join(problems)}")

    def _add_problem(self, problem: str) -> None:
        self.chain_problem = f"{self.chain_problem}; {problem}" if self.chain_problem else problem


def show_session(folder: Path, options: Options, host: "Host | None" = None) -> int:
    """Show a recorded session until the window is closed; returns the exit code. Raises SessionFileError."""
    from realtime_polyp.viewer.app import run_viewer  # Qt is imported only where there is a screen

    review = ReviewSession(folder, source_at=options.source_at)
    review.choose(options)
    start_s = min(options.start_s, review.session.frames.duration_s)
    if host is not None:
        host.set_times = lambda settings: review.set_times(settings.confirm_s, settings.hold_s)
    try:
        return run_viewer(
            review.open_feed,
            title=review.info.name,
            info=replace(review.info, start_s=start_s, loop=options.loop),
            full_screen=options.full_screen,
            recording_error=lambda: review.problem,
            sound=options.sound or False,
            usual_score=review.tracks.recorded.score_threshold,
            timeline=review.timeline,
            judging=Judging(review.session, lambda: review.tracks.state, review.pictures.path),
            session=folder,
            host=host,
        )
    finally:
        if host is not None:
            host.set_times = lambda settings: None
        review.close()
