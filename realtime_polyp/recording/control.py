"""Starts and stops recordings while a source plays: what the window's keys R and K do. Without Qt.

Files are opened and closed on a thread of its own, so that the picture never waits for them.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.messages import full_path
from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.facts import describe_session, source_file, states_of
from realtime_polyp.recording.folders import check_record, new_session_folder
from realtime_polyp.recording.live_original import FeedPlaces, LiveOriginal
from realtime_polyp.recording.original import FileOriginal, Original
from realtime_polyp.recording.packets import CopiedPackets, PacketFeed
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.start import discarding, is_away, open_feed, period_of, reader_of
from realtime_polyp.sources.base import Source
from realtime_polyp.sources.reader import Reader

USUAL_KEEP_S = 30.0
"""How much key K marks where there is no pre-roll, s."""

_ATTACH_S = 2.0  # a source waits no longer for what is just opened or closed


@dataclass(frozen=True)
class RecordSpec:
    """How sessions are recorded.

    Attributes:
        folder: of the sessions; each gets a folder in it.
        source: as the user typed it. start_s: where it begins.
        copies_source: a video file is copied into the session.
        pre_roll_s: how much of a live source's past is kept while nothing is recorded, s; 0: nothing.
    """

    folder: Path
    source: str
    start_s: float = 0.0
    copies_source: bool = False
    pre_roll_s: float = 0.0


class RecordingControl:
    """Owned by the window's thread; `capture` and `write` are called on the session's threads.

    say: shows a message to the user; called on any thread.
    summary: what `--summary` would say now, for the session's facts: its delays and drops; None: nothing yet.
    """

    def __init__(self, spec: RecordSpec, pipeline: Pipeline, say: Callable[[str], None] = lambda text: None) -> None:
        self.spec, self.say = spec, say
        self.error: OutputError | None = None
        self.summary: Callable[[], dict[str, Any] | None] = lambda: None
        self._pipeline = pipeline
        self._source: Source | None = None
        self._feed: PacketFeed | None = None
        self._recorder: SessionRecorder | None = None  # writes, or keeps what has just passed
        self._is_on = False
        self._is_recording = False  # a recorder writes; on the thread of the control alone
        self._is_closed = False
        self._works = ThreadPoolExecutor(1, thread_name_prefix="start recording")
        self._done: list[Future[None]] = []

    # The session's threads

    def attach(self, source: Source) -> None:
        """A source is about to be played, for the first time or again. source: not wrapped.

        The first one waits for a recording that was asked for before: it begins with the first frame. A later one waits
        only if it is live: packets that come before are lost.
        """
        if self._is_closed:
            return
        is_first = self._source is None
        limit_s = None if self._is_on and is_first else _ATTACH_S if source.live or is_first else 0.0
        self._source = source
        wait([self._submit(self._attach)], limit_s)

    def capture(self, frame: Frame) -> None:
        """Take a captured frame, on the decode thread. Never blocks."""
        if recorder := self._recorder:
            recorder.capture(frame)

    def write(self, result: Result) -> None:
        """Take a result, on the deliver thread. Never blocks."""
        if recorder := self._recorder:
            with suppress(OutputError):  # it stays in `problem`
                recorder.write(result)

    def add_event(self, kind: str, **detail: Any) -> None:
        """Record something that happened now, on any thread. detail: JSON types."""
        if recorder := self._recorder:
            recorder.add_event(kind, **detail)

    def seek(self, to_s: float) -> None:
        """The session goes on elsewhere; call it while no frame is captured."""
        if recorder := self._recorder:
            recorder.seek(to_s)

    # The window's thread

    @property
    def is_on(self) -> bool:
        """Whether a session is recorded, or about to be."""
        return self._is_on

    @property
    def recorder(self) -> SessionRecorder | None:
        """The session that is recorded now."""
        return self._recorder if self._is_on and self._recorder and self._recorder.folder else None

    @property
    def problem(self) -> str | None:
        """What is wrong with the recording, one sentence."""
        recorder = self._recorder if self._is_on else None
        found = (recorder and (recorder.error or recorder.warning)) or self.error
        return str(found) if found else None

    @property
    def failure(self) -> str | None:
        """Why nothing, or no picture, is recorded any more, one sentence, until the next recording begins."""
        recorder = self._recorder if self._is_on else None
        found = (recorder and (recorder.error or recorder.picture_lost)) or self.error
        return str(found) if found else None

    def toggle(self) -> None:
        """Start to record, or end the recording."""
        self.stop() if self._is_on else self.start()

    def start(self) -> None:
        """Record from now on; with a pre-roll, from before."""
        if not self._is_on:
            self._is_on, self.error = True, None
            if self._source:
                self._submit(self._start)

    def stop(self) -> None:
        if self._is_on:
            self._is_on = False
            self._submit(self._stop)

    def keep(self) -> None:
        """Mark what has just passed in the recording; without one, begin one with it."""
        back_s = self.spec.pre_roll_s or USUAL_KEEP_S
        began = not self._is_on
        self.start()
        self._submit(lambda: self._mark(back_s, began))

    def close(self, within_s: float, how: str = "ended") -> bool:
        """End the recording; False if that takes longer than `within_s`. Raises the OutputError of the recording."""
        if self._recorder:
            self._recorder.end = how
        self._is_closed = True
        self._submit(self._stop_all)
        self._works.shutdown(wait=False)
        _, late = wait(self._done, within_s)
        if self.error:
            raise self.error
        return not late

    # The control's own thread

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        future = self._works.submit(self._guard, work)
        self._done = [*(one for one in self._done if not one.done()), future]
        return future

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the light must not stay on where nothing is recorded
            said = error if isinstance(error, OutputError) else None
            self.error = said or OutputError(f"cannot record to {full_path(self.spec.folder)}: {reason_of(error)}")
            self._is_on = False
            self.say(str(self.error))

    def _attach(self) -> None:
        self._follow()
        if self._is_on:
            self._start()
        elif self._keeps_past:
            self._keep_past()

    def _follow(self) -> None:
        """Have the feed follow the source, which may send another format since it was opened again. A recording keeps
        its format; the next one has that of the source."""
        source = self._source
        reader = reader_of(source) if source else None
        if source is None or (reader is None and is_away(source)):
            return
        if not (self._is_recording or (self._feed and self._feed.fits(reader, source.size))):
            self._renew_feed(source, reader)
        elif isinstance(self._feed, CopiedPackets) and (told := self._feed.attach(reader)):
            self.say(told)
            self.add_event("format changed", text=told)

    def _renew_feed(self, source: Source, reader: Reader | None) -> None:
        """Forget what has just passed, and keep what comes now. Copied packets cost little, and a recording then begins
        with a whole picture at any moment; encoding costs more, and is done only for the pre-roll."""
        keeper, self._recorder = self._recorder, None
        if keeper:
            with suppress(OutputError):
                keeper.close()
        feed, self._feed = self._feed, None
        if feed:
            feed.finish()
        if reader or self._keeps_past:
            self._feed = self._open_feed(source)

    @property
    def _keeps_past(self) -> bool:
        return bool(self.spec.pre_roll_s) and self._source is not None and self._source.live

    def _keep_past(self) -> None:
        """Keep the last seconds in memory, to be recorded if the user says so."""
        source = self._source
        if source is None or self._recorder is not None:
            return
        self._feed = self._feed or self._open_feed(source)
        self._recorder = self._make(None, FeedPlaces(self._feed), source)

    def _open_feed(self, source: Source) -> PacketFeed:
        """Packets that may be kept for some time."""
        folder, keep_s = self.spec.folder, self.spec.pre_roll_s
        return open_feed(source, keep_s=keep_s, folder=folder if keep_s and folder.is_dir() else None)

    def _start(self) -> None:
        source = self._source
        if source is None or self._is_recording:
            return
        self._follow()
        check_record(self.spec.folder, [self.spec.source])
        folder = new_session_folder(self.spec.folder, source.name)
        if self._recorder is not None:  # it has kept what has just passed
            facts = describe_session(self.spec.source, source, self._pipeline, start_s=self.spec.start_s)
            self._recorder.begin(folder, lambda: self._open_original(source, folder), facts)
        else:
            with discarding(folder) as opened:
                opened += [original := self._open_original(source, folder)]
                self._recorder = self._make(folder, original, source)
        self._is_recording = True
        self.say(f"Recording to {full_path(folder)}")

    def _stop(self) -> None:
        recorder, self._recorder, self._is_recording = self._recorder, None, False
        if recorder:
            try:
                self._close(recorder)
                lost = f"; {recorder.picture_lost}" if recorder.picture_lost else ""
                self.say(f"Recorded in {full_path(recorder.folder or self.spec.folder)}{lost}")
            finally:
                self._follow()
                if self._keeps_past:
                    self._keep_past()

    def _stop_all(self) -> None:
        recorder, self._recorder, self._is_recording = self._recorder, None, False
        try:
            if recorder:
                self._close(recorder)
        finally:
            if self._feed:
                self._feed.finish()

    def _close(self, recorder: SessionRecorder) -> None:
        if summary := self.summary():
            recorder.set_fact("summary", summary)
        recorder.close()

    def _mark(self, back_s: float, began: bool) -> None:
        recorder = self._recorder
        if recorder is None or not self._is_on:
            return
        now_s = recorder.session_s
        recorder.add_event("keep", seconds=back_s)
        kept_s = min(back_s, now_s)
        if not began:
            self.say(f"Kept: the last {kept_s:.0f} s are marked")
        elif self.spec.pre_roll_s:
            self.say(f"Recording, with the last {back_s:g} s before now")
        else:
            self.say("Recording from now on: --pre-roll S keeps what passed before")

    def _make(self, folder: Path | None, original: Original, source: Source) -> SessionRecorder:
        spec, pipeline = self.spec, self._pipeline
        return SessionRecorder(
            folder,
            describe_session(spec.source, source, pipeline, start_s=spec.start_s),
            original,
            live=source.live,
            period_s=period_of(source),
            states=lambda: states_of(pipeline.config),
            keep_s=spec.pre_roll_s,
        )

    def _open_original(self, source: Source, folder: Path) -> Original:
        if path := source_file(self.spec.source, source):
            return FileOriginal(path, folder, copies=self.spec.copies_source)
        if self._feed is not None:
            return LiveOriginal(self._feed, folder, back_s=self.spec.pre_roll_s, owns_feed=False)
        return LiveOriginal(open_feed(source), folder)
