"""Show a source in the viewer: what the command line runs where there is a display."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from realtime_polyp.cli.options import Options
from realtime_polyp.cli.waiting import GRACE_S, finish
from realtime_polyp.console import EXIT_FAILED
from realtime_polyp.engines import decoding_device
from realtime_polyp.outputs import Output, alarm_figures, open_outputs
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Display, Session
from realtime_polyp.sources import Paced, Source, open_source
from realtime_polyp.telemetry.summary import write_summary
from realtime_polyp.viewer.app import SourceInfo, run_viewer
from realtime_polyp.viewer.feed import SessionFeed
from realtime_polyp.watchdog import ANSWER_LIMIT_S, Stall, StalledError, StallReport


@dataclass
class SessionFactory:
    """Opens sessions one after another on the same pipeline.

    Attributes:
        source: the source that was opened to check it, for the first session; later ones, after a seek, open their own.
        pipeline: reset before each session.
        options: the command line.
        recorder: writes the results of all sessions; None: nothing is recorded.
        session: the newest session; None before the first.
        report: remembers which stalls were reported.
    """

    source: Source | None
    pipeline: Pipeline
    options: Options
    recorder: Recorder | None
    session: Session | None = None
    report: StallReport = field(default_factory=StallReport)

    def open_feed(self, start_s: float) -> SessionFeed:
        """Open a session that starts at `start_s`, as a feed for the viewer."""
        source = self._open_source(start_s)
        self.pipeline.reset()
        display: Display = self.options.display or ("immediate" if source.live else "synced")
        if display == "immediate" and not source.live:
            source = Paced(source)
        record = self.recorder.write if self.recorder else None
        feed = SessionFeed(source, self.pipeline, display=display, on_result=record, may_thin=record is None)
        self.session = feed.session
        return feed

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
        return recording.warning if recording else None

    def close(self, outputs: Sequence[Output]) -> list[Stall]:
        """Close the outputs, then write the summary, also when a recording failed. Raises the first OutputError.

        Returns the stages that hang and were abandoned, after reporting them on standard error.
        """
        session, path = self.session, self.options.summary
        stalls = [stall] if session and (stall := session.left_behind()) else []
        try:
            if self.recorder:
                self.recorder.close(GRACE_S)
        except StalledError as error:
            stalls.append(error.stall)
        finally:
            if session and path:
                stall = finish(lambda: write_summary(session, path, alarm_figures(outputs)), session)
                stalls += [stall] if stall else []
            for stall in stalls:
                print(f"realtime-polyp: {stall}", file=sys.stderr)
        return stalls

    def _open_source(self, start_s: float) -> Source:
        first, self.source = self.source, None
        if first is not None and (first.live or start_s == self.options.start_s):
            return first
        if first is not None:
            first.close()
        return open_source(
            self.options.source,
            start_s=start_s,
            end_s=self.options.end_s,
            hardware=decoding_device(self.options.device),
            allow_playlists=self.options.allow_playlists,
        )


def show_source(source: Source, runtime: Runtime, options: Options) -> int:
    """Show the source until the window is closed; returns the exit code. Raises OutputError after that."""
    pipeline = runtime.pipeline()  # warmed up before any output is begun
    outputs = open_outputs(options.output_specs[0], source.rate_hz)
    recorder = Recorder(outputs, live=source.live) if outputs else None
    sessions = SessionFactory(source, pipeline, options, recorder)
    duration_s = options.end_s or source.duration_s
    info = SourceInfo(source.name, source.live, duration_s, options.start_s, options.loop)
    try:
        code = run_viewer(
            sessions.open_feed,
            title=source.name,
            info=info,
            full_screen=options.full_screen,
            recording_error=sessions.watch,
            unverified=bool(runtime.unverified),
            sound=options.sound,
        )
    finally:
        stalls = sessions.close(outputs)
    return (code or EXIT_FAILED) if stalls else code
