"""A source on the screen: what `run_live.py` does when there is a display."""

from collections.abc import Callable
from dataclasses import dataclass

from realtime_polyp.cli.options import Options
from realtime_polyp.engines import decoding_device
from realtime_polyp.outputs import alarm_figures, open_outputs
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Display, Session
from realtime_polyp.sources import Paced, Source, open_source
from realtime_polyp.telemetry.summary import write_summary
from realtime_polyp.viewer.app import SourceInfo, run_viewer


@dataclass
class SessionFactory:
    """Opens one session after the other on the same engines: the first with the source that was opened to check it,
    later ones, after a seek, with a new one."""

    source: Source | None
    pipeline: Pipeline
    options: Options
    recorder: Recorder | None
    session: Session | None = None

    def open_session(self, start_s: float, show: Callable[[Result], None]) -> Session:
        source = self._source_at(start_s)
        self.pipeline.reset()
        display: Display = self.options.display or ("immediate" if source.live else "synced")
        if display == "immediate" and not source.live:
            source = Paced(source)
        session = Session(source, self.pipeline, self._recorded(show), display=display, paints=True)
        self.session = session
        return session

    def _source_at(self, start_s: float) -> Source:
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
        )

    def _recorded(self, show: Callable[[Result], None]) -> Callable[[Result], None]:
        recorder = self.recorder
        if recorder is None:
            return show

        def show_and_record(result: Result) -> None:
            recorder.write(result)
            show(result)

        return show_and_record

    def trouble(self) -> str | None:
        """What went wrong with the recording, if anything did."""
        return str(self.recorder.error) if self.recorder and self.recorder.error else None


def show_source(source: Source, runtime: Runtime, options: Options) -> int:
    """Show the source until the window is closed; the exit code.

    unverified: the strip above the picture says so. Raises OutputError once the window is closed.
    """
    outputs = open_outputs(options.output_specs[0], source.rate_hz)
    recorder = Recorder(outputs, live=source.live) if outputs else None
    watching = SessionFactory(source, runtime.pipeline(), options, recorder)
    info = SourceInfo(source.name, source.live, _duration_s(source, options), options.start_s, options.loop)
    try:
        code = run_viewer(
            watching.open_session,
            title=source.name,
            info=info,
            full_screen=options.full_screen,
            trouble=watching.trouble,
            unverified=bool(runtime.unverified),
            sound=options.sound,
        )
    finally:
        if recorder:
            recorder.close()
    if options.summary and watching.session:
        write_summary(watching.session, options.summary, alarm_figures(outputs))
    return code


def _duration_s(source: Source, options: Options) -> float | None:
    """Where the recording ends, as far as the file tells."""
    return options.end_s or getattr(source, "duration_s", None)
