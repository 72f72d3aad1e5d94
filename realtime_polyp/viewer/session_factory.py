"""Show a source in the viewer: what the command line runs where there is a display."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime_polyp.cli.opening import open_named, print_return, print_trouble
from realtime_polyp.cli.options import Options
from realtime_polyp.cli.waiting import GRACE_S, finish
from realtime_polyp.console import EXIT_FAILED
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.folders import settings_folder
from realtime_polyp.outputs import Output, OutputError, alarm_figures, open_outputs
from realtime_polyp.outputs.jumps import Jump, JumpKind
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.control import RecordingControl, RecordSpec
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Display, Session
from realtime_polyp.sources import Paced, Source
from realtime_polyp.sources.continued import LastFrame
from realtime_polyp.sources.reconnecting import Reconnecting
from realtime_polyp.telemetry.board import Stream
from realtime_polyp.telemetry.summary import summarise, write_summary
from realtime_polyp.telemetry.totals import Totals
from realtime_polyp.viewer.ahead import file_of, job_of
from realtime_polyp.viewer.app import SourceInfo, run_viewer
from realtime_polyp.viewer.condition import Condition
from realtime_polyp.viewer.feed import SessionFeed
from realtime_polyp.viewer.field_control import FieldControl, place_of
from realtime_polyp.viewer.first_start import legend_is_new, remember_legend
from realtime_polyp.viewer.health import Watched
from realtime_polyp.viewer.host import Host
from realtime_polyp.viewer.recording import Recording
from realtime_polyp.watchdog import ANSWER_LIMIT_S, Stall, StalledError, StallReport, Trouble

_SESSIONS = "sessions"
_SAME_PLACE_S = 0.5  # playing on after a failure


@dataclass
class SessionFactory:
    """Opens the stretches of one session one after another on the same pipeline: after each seek, and when a live
    source is opened anew.

    Attributes:
        source: the source that was opened to check it, for the first stretch; later ones open their own.
        pipeline: reset before the first stretch.
        options: the command line.
        recorder: writes all stretches; None: nothing is recorded.
        session: the newest stretch; None before the first.
        report: remembers which stalls were reported.
        totals: the stretches before the newest.
        keep_pace: of a recording, analysis is skipped rather than time, from the next stretch on.
        control: records sessions.
        stream: tells whoever watches the program.
    """

    source: Source | None
    pipeline: Pipeline
    options: Options
    recorder: Recorder | None
    session: Session | None = None
    report: StallReport = field(default_factory=StallReport)
    totals: Totals = field(default_factory=Totals)
    keep_pace: bool = False
    control: RecordingControl | None = None
    stream: Stream = field(default_factory=lambda: Stream("1"))
    _feed: SessionFeed | None = None
    _last: LastFrame | None = None  # of a live source
    _changes_pace: bool = False
    _began_s: float = 0.0

    def open_feed(self, start_s: float) -> SessionFeed:
        """Open a stretch that starts at `start_s`, as a feed for the viewer."""
        source = self._open_source(start_s)
        display = self._display_of(source)
        if display == "immediate" and not source.live:
            source = Paced(source)
        if self.session is None:
            self.pipeline.reset()
            self._began_s = time.monotonic()
        else:
            self.pipeline.seek()
            self.totals.add(self.session)
        before, recorder = self._feed, self.recorder
        self._feed = SessionFeed(
            source,
            self.pipeline,
            display=display,
            on_start=lambda feed: self._begin_stretch(feed, before),
            on_result=self._take_result,
            on_frame=lambda frame: self._take_frame(frame, offers=display != "synced"),
            may_thin=not (recorder and recorder.on_disk),
        )
        self.session = self._feed.session
        self.stream.attach(self.session, self.totals if before else None)
        return self._feed

    def set_keep_pace(self, keep_pace: bool) -> None:
        """Choose for the stretches to come; the next one goes on at the same place."""
        self.keep_pace, self._changes_pace = keep_pace, True

    def recording(self) -> Recording | None:
        """What is being written now; None where nothing is."""
        recorder, session = self.recorder, self.control.recorder if self.control else None
        written = recorder.on_disk if recorder else ()
        if session and not session.error:  # of one that failed, the window says why
            dropped = (session.dropped_pictures, session.dropped)
            return Recording((*written, session.name), session.session_s, *dropped)
        if recorder is None or not written:
            return None
        session_s = time.monotonic() - self._began_s if self.session else 0.0
        ended = bool(recorder.notices)
        return Recording(written, session_s, recorder.dropped_pictures, recorder.dropped, ended)

    def _display_of(self, source: Source) -> Display:
        if self.keep_pace and not source.live:
            return "paced"
        return self.options.display or ("immediate" if source.live else "synced")

    def _begin_stretch(self, feed: SessionFeed, before: SessionFeed | None) -> None:
        """Note where the session goes on, before the first frame of the stretch is read."""
        every_picture, changes_pace = feed.display != "synced", self._changes_pace
        self._changes_pace = False
        if before is None:
            return
        from_s = before.shown_from_s if before.last_shown_s is None else before.last_shown_s
        to_s, kind = feed.shown_from_s, _kind_of(feed, before, self.options.start_s, changes_pace=changes_pace)
        if kind == "reconnect" and self._last:
            from_s, to_s = self._last.pts_s, self._last.pts_s + time.monotonic() - self._last.captured_s
        jump = Jump(kind, from_s, to_s, time.monotonic() - self._began_s, every_picture)
        self.totals.add_jump(jump)
        if self.control:
            self.control.seek(to_s)
        if self.recorder:
            self.recorder.live = every_picture or feed.session.source.live
            self.recorder.jump(jump)

    def _take_frame(self, frame: Frame, *, offers: bool) -> None:
        """On the decode thread: note a captured picture, and offer it to the outputs where the display does not wait
        for results."""
        self.stream.take_frame(frame)
        self._last = LastFrame(frame.index, frame.pts_s, frame.captured_s)
        if self.control:
            self.control.capture(frame)
        if self.recorder and offers:
            self.recorder.add_picture(frame)

    def _take_result(self, result: Result) -> None:
        """On the deliver thread."""
        self.stream.take_result(result)
        if self.control:
            self.control.write(result)
        if self.recorder:
            self.recorder.write(result)

    def note_field(self, field: FieldOfView | None) -> None:
        """Record that a person named the field of view, or lets it be found again."""
        if self.control:
            self.control.add_event("field of view", text=str(field) if field else "found")

    def watch(self) -> str | None:
        """Report a stage that hangs on standard error; return what is wrong with the recording, or None.

        The window calls it several times per second.
        """
        session = self.session.stalled(ANSWER_LIMIT_S) if self.session else None
        recording = self.recorder.stalled(ANSWER_LIMIT_S) if self.recorder else None
        if sentence := self.report.news(session or recording):
            print(f"realtime-polyp: {sentence}", file=sys.stderr)
        if self.recorder and self.recorder.error:
            return str(self.recorder.error)
        if self.control and self.control.problem:
            return self.control.problem
        if recording:
            return recording.warning
        notices = " ".join(self.recorder.notices) if self.recorder else ""
        return f"{notices[:1].upper()}{notices[1:]}" or None

    def recording_failure(self) -> str:
        """Why nothing is recorded any more, one sentence; "" while all is well. Called at every picture."""
        failed = (self.recorder and self.recorder.error) or (self.control and self.control.failure)
        return str(failed) if failed else ""

    def written_folders(self) -> list[Path]:
        """The folders that are written to now."""
        session = self.control.recorder if self.control else None
        files = (self.options.save, self.options.results, self.options.events)
        outputs = [path.parent for path in files if path] if self.recorder and self.recorder.on_disk else []
        return outputs + ([session.folder] if session and session.folder else [])

    def log(self, condition: Condition) -> None:
        """Record what the window said of picture, models or recording."""
        if self.control:
            self.control.add_event("condition", name=condition.name, detail=condition.detail)

    def close(self, outputs: Sequence[Output]) -> list[Stall]:
        """Close the outputs, then write the summary, also when a recording failed. Raises the first OutputError.

        Returns the stages that hang and were abandoned, after reporting them on standard error.
        """
        session, path = self.session, self.options.summary
        stalls = [stall] if session and (stall := session.left_behind()) else []
        try:
            stalls += self._close_control()
            if self.recorder:
                self.recorder.close(GRACE_S)
        except StalledError as error:
            stalls.append(error.stall)
        finally:
            if session and path:
                stall = finish(lambda: self._write_summary(session, path, outputs), session)
                stalls += [stall] if stall else []
            for stall in stalls:
                print(f"realtime-polyp: {stall}", file=sys.stderr)
        return stalls

    def _close_control(self) -> list[Stall]:
        """End the recording of the session. Its failure was shown; here it is printed, because the outputs go on."""
        if self.control is None:
            return []
        try:
            is_closed = self.control.close(GRACE_S, self.session.state if self.session else "ended")
        except OutputError as error:
            print(f"realtime-polyp: {error}", file=sys.stderr)
            return []
        return [] if is_closed else [Stall("output", self.session.last_delivered if self.session else 0, GRACE_S)]

    def summarise(self) -> dict[str, Any] | None:
        """What `--summary` would say now, without alarms; None before the first session."""
        return summarise(self.session, before=self.totals, recorder=self.recorder) if self.session else None

    def _write_summary(self, session: Session, path: Path, outputs: Sequence[Output]) -> None:
        write_summary(session, path, alarm_figures(outputs), before=self.totals, recorder=self.recorder)

    def _open_source(self, start_s: float) -> Source:
        first, self.source = self.source, None
        if first is not None and (first.live or start_s == self.options.start_s):
            self._attach(first)
            return first
        if first is not None:
            first.close()
        source = open_named(self.options, self.options.source, start_s=start_s, last=self._last)
        self._attach(source)
        return source

    def _attach(self, source: Source) -> None:
        if isinstance(source, Reconnecting):
            source.on_open, source.on_trouble, source.on_return = self._reattach, self._note_away, self._note_return
        self._reattach(source)

    def _reattach(self, source: Source) -> None:
        if self.control:
            self.control.attach(source)

    def _note_away(self, trouble: Trouble) -> None:
        """On the decode thread: the source stopped, and is opened again."""
        print_trouble(trouble)
        if self.control:
            self.control.add_event("source away", text=trouble.reason)

    def _note_return(self, frame: Frame, last: LastFrame, trouble: Trouble) -> None:
        """On the decode thread: the source was opened again; its index and clock go on."""
        print_return(frame, last, trouble)
        every_picture = self.session is not None and self.session.display != "synced"
        jump = Jump("reconnect", last.pts_s, frame.pts_s, time.monotonic() - self._began_s, every_picture)
        self.totals.add_jump(jump)
        if self.recorder:
            self.recorder.jump(jump)
        if self.control:
            away_s = round(frame.pts_s - last.pts_s, 3)
            self.control.add_event("source back", away_s=away_s, attempts=trouble.attempts)


def _kind_of(feed: SessionFeed, before: SessionFeed, start_s: float, *, changes_pace: bool) -> JumpKind:
    """Why a stretch was opened after another one."""
    if feed.session.source.live and not isinstance(feed.session.source, Paced):
        return "reconnect"
    is_over = before.session.state in ("ended", "failed")
    distance_s = math.inf if before.last_shown_s is None else abs(feed.shown_from_s - before.last_shown_s)
    if (changes_pace and distance_s < _SAME_PLACE_S) or (distance_s == 0 and not is_over):
        return "pace"
    return "again" if is_over and (distance_s < _SAME_PLACE_S or feed.shown_from_s <= start_s) else "seek"


def open_control(options: Options, pipeline: Pipeline, usual: Path | None = None) -> RecordingControl:
    """What records sessions in the window: to the folder of --record, else to the usual one, else to `sessions` in the
    current one."""
    folder, source = options.record or usual or Path(_SESSIONS), options.source
    spec = RecordSpec(folder, source, options.start_s, options.copy_source, options.pre_roll or 0.0)
    return RecordingControl(spec, pipeline)


def show_source(source: Source, runtime: Runtime, options: Options, host: Host | None = None) -> int:
    """Show the source until the window is closed; returns the exit code. Raises OutputError after that."""
    host = host or Host()
    pipeline = runtime.pipeline()  # warmed up before any output is begun
    outputs = open_outputs(options.output_specs[0], source.rate_hz)
    waits = not source.live and options.display != "immediate" and not options.keep_pace
    recorder = Recorder(outputs, live=not waits, every_picture=not waits) if outputs else None
    sessions = SessionFactory(source, pipeline, options, recorder, keep_pace=options.keep_pace)
    sessions.stream = host.board.stream()
    sessions.control = open_control(options, pipeline, host.settings.sessions)
    sessions.control.summary = sessions.summarise
    host.sessions = sessions.control.spec.folder
    ends_s = [one for one in (options.end_s, source.duration_s) if one is not None]
    duration_s = min(ends_s, default=None)
    rate_hz = float(source.rate_hz) if source.rate_hz else None
    path = file_of(options.source) if not source.live else None
    played = (duration_s, options.start_s, options.loop, rate_hz, path, options.deinterlace)
    info = SourceInfo(source.name, source.live, *played)
    field = FieldControl(pipeline, place_of(options.source), source.size, host.fields, sessions.note_field)
    host.set_times = lambda settings: pipeline.set_times(settings.confirm_s, settings.hold_s)
    try:
        if options.record:
            sessions.control.start()
        code = run_viewer(
            sessions.open_feed,
            title=source.name,
            style=options.style,
            info=info,
            full_screen=options.full_screen,
            recording_error=sessions.watch,
            watched=Watched(sessions.recording_failure, sessions.written_folders, sessions.log),
            recording=sessions.recording,
            record=sessions.control,
            set_keep_pace=None if source.live else sessions.set_keep_pace,
            keep_pace=options.keep_pace and not source.live,
            unverified=bool(runtime.unverified),
            sound=options.sound,
            usual_score=runtime.usual_score,
            legend=legend_is_new(settings_folder()),
            on_legend_closed=lambda: remember_legend(settings_folder()),
            ahead=job_of(runtime, options, duration_s, field.named) if path else None,
            host=host,
            field_control=field,
        )
    finally:
        stalls = sessions.close(outputs)
        sessions.stream.detach()
    return (code or EXIT_FAILED) if stalls else code
