"""A session without a window: as fast as the machine can, with a progress bar."""

import signal
import sys
import threading
from pathlib import Path

from tqdm import tqdm

from realtime_polyp.cli.options import EXIT_BAD_INPUT, EXIT_INTERRUPTED, Options
from realtime_polyp.outputs import Output, OutputError, OutputGroup, OutputSpec, alarm_figures, open_outputs
from realtime_polyp.packets import Result
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources import Paced, Source
from realtime_polyp.telemetry.summary import closing_text, write_summary

_JOIN_EVERY_S = 0.2  # so that Ctrl-C is handled while waiting


def run_headless(source: Source, runtime: Runtime, options: Options) -> int:
    """Analyse one source to its end and print what was found; returns the exit code.

    Raises SessionError when a stage failed, and OutputError when an output did; the others are complete then.
    """
    spec = options.output_specs[0]
    outputs = open_outputs(spec, source.rate_hz)
    paced = options.display == "immediate" and not source.live  # a recording treated as if it were live
    session, errors = analyse_to_outputs(Paced(source) if paced else source, runtime, outputs)
    alarms = alarm_figures(outputs)
    print(closing_text(session, alarms, written_files(spec, options), verbose=options.verbose))
    if options.summary:
        write_summary(session, options.summary, alarms)
    return exit_code([session], errors)


def analyse_to_outputs(source: Source, runtime: Runtime, outputs: list[Output]) -> tuple[Session, list[OutputError]]:
    """Run a session to its end, every result to every output, and close them whatever happens.

    Ctrl-C and SIGTERM end it early; everything written so far is kept. The session's `error` holds its failure.
    Returns the session and one error for each output that failed.
    """
    group = OutputGroup(outputs)
    # disable=None: on a terminal only; elsewhere standard error holds nothing but errors.
    bar = tqdm(total=source.frames_total, unit="frame", desc=source.name, dynamic_ncols=True, disable=None)

    def deliver(result: Result) -> None:
        group.write(result)
        bar.update()

    session = runtime.session(source, deliver)
    with stop_on_signals(session):
        session.start()
        try:
            while not session.wait(_JOIN_EVERY_S):
                continue
        except SessionError as error:
            assert session.error is error
        finally:
            bar.close()
            close_outputs(group)
    return session, group.errors


def close_outputs(group: OutputGroup) -> None:
    """Close them; failures stay in `group.errors`."""
    try:
        group.close()
    except OutputError as error:
        assert group.errors[0] is error


def exit_code(sessions: list[Session], errors: list[OutputError]) -> int:
    """The exit code of sessions that have ended.

    Raises the first SessionError, then the first OutputError; further output errors and warnings are printed.
    """
    for later in errors[1:]:
        print(f"realtime-polyp: {later}", file=sys.stderr)
    if failed := next((session.error for session in sessions if session.error), None):
        raise failed
    if errors:
        raise errors[0]
    warnings = [session.source.warning for session in sessions if session.source.warning]
    if warnings:
        print(f"realtime-polyp: {' '.join(warnings)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    return EXIT_INTERRUPTED if any(session.state == "stopped" for session in sessions) else 0


def written_files(spec: OutputSpec, options: Options) -> list[Path]:
    """What a person finds on disk afterwards."""
    paths = (spec.results, spec.save, spec.events, spec.pictures, options.summary, options.trace)
    return [path for path in paths if path is not None]


class stop_on_signals:  # noqa: N801 - reads as the statement it is
    """While inside, Ctrl-C and SIGTERM stop the sessions instead of raising."""

    def __init__(self, *sessions: Session) -> None:
        self._sessions = sessions
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda *_: self._stop())

    def _stop(self) -> None:
        for session in self._sessions:
            session.stop()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
