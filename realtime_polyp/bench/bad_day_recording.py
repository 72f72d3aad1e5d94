"""The session that is recorded on a bad day: what is left of it is opened and checked."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from realtime_polyp.outputs.base import OutputError
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.start import start_recorder
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.sources.base import Source


class DayRecording:
    """Records a live session as R does, until the disk is full."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._recorder: SessionRecorder | None = None
        self._is_full = self._has_ended = False
        self._taken = 0

    def start(self, source: Source, pipeline: Pipeline) -> None:
        """Begin, before the first frame of the source is read."""
        self._recorder = start_recorder(Path(self._folder.name), "bad day", source, pipeline)

    def capture(self, frame: Frame) -> None:
        """Take a captured frame, on the decode thread."""
        if self._recorder:
            self._taken += 1
            self._recorder.capture(frame)

    def write(self, result: Result) -> None:
        """Take a result, on the deliver thread."""
        if self._recorder:
            with suppress(OutputError):
                self._recorder.write(result)

    def fill_disk(self) -> None:
        """Let the session file grow no more: SQLite says then what it says of a full disk."""
        if recorder := self._recorder:
            self._is_full = True
            recorder.submit(lambda: recorder.database.execute("PRAGMA max_page_count = 1"))

    def failure(self) -> str:
        """Why nothing is recorded any more, one sentence; "" while all is well, and once the recording was ended."""
        recorder = self._recorder
        return str(recorder.error or "") if recorder and not self._has_ended else ""

    def recover(self) -> None:
        """A person has ended the recording that failed."""
        self._has_ended = self._is_full

    def close(self) -> list[str]:
        """End the recording; returns what is wrong with it."""
        problems: list[str] = []
        if recorder := self._recorder:
            try:
                recorder.close()
            except OutputError as error:
                problems += [] if self._is_full else [f"the recording failed: {error}"]
            if recorder.picture_lost and not self._is_full:
                problems.append(f"recording: {recorder.picture_lost}")
            assert recorder.folder
            problems += self._check(recorder.folder)
        self._folder.cleanup()
        return problems

    def _check(self, folder: Path) -> list[str]:
        """Open the session; its numbers and times must rise, and none of its frames may be missing."""
        session = RecordedSession(folder)
        broken, frames = verify_chain(session), session.frames
        numbers, times_s = frames.source_index, frames.session_s
        session.close()
        problems = [f"recording: {broken[0]}"] if broken else []
        if np.any(np.diff(numbers) <= 0) or np.any(np.diff(times_s) < 0):
            problems.append("recording: its numbers or times do not rise")
        if not self._is_full and len(numbers) != self._taken:
            problems.append(f"recording: of {self._taken} frames, {len(numbers)} are there")
        return problems
