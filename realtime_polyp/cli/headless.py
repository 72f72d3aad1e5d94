"""A session without a window: as fast as the machine can, with a progress bar."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from realtime_polyp.cli.options import Options
from realtime_polyp.cli.source_options import print_doubt
from realtime_polyp.cli.waiting import finish, run_to_end
from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from realtime_polyp.outputs import Output, OutputError, OutputGroup, OutputSpec, alarm_figures, open_outputs
from realtime_polyp.outputs.base import PictureOutput
from realtime_polyp.outputs.jumps import Jump
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.recording.start import start_recorder
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import Paced, Source
from realtime_polyp.sources.reconnecting import Reconnecting
from realtime_polyp.telemetry.board import Stream
from realtime_polyp.telemetry.summary import closing_text, summarise, write_summary
from realtime_polyp.telemetry.totals import Totals
from realtime_polyp.watchdog import Stall


def run_headless(source: Source, runtime: Runtime, options: Options, stream: Stream | None = None) -> int:
    """Analyse one source to its end and print what was found; returns the exit code.

    stream: tells whoever watches the program. Raises SessionError when a stage failed, and OutputError when an output
    did; the others are complete then.
    """
    spec, pipeline = options.output_specs[0], runtime.pipeline()  # warmed up before any output is begun
    outputs = open_outputs(spec, source.rate_hz)
    paced = options.display == "immediate" and not source.live  # a recording treated as if it were live
    recorder = open_recorder(source, options.source, pipeline, options)
    session, errors, stalls = analyse_to_outputs(
        Paced(source) if paced else source, pipeline, outputs, recorder, stream
    )
    alarms = alarm_figures(outputs)
    summary, troubles = options.summary, len(errors) + len(stalls)
    if (path := summary) is not None:
        stalls += finish_output(
            lambda: write_summary(session, path, alarms, before=returns_of(session)), session, errors
        )
        summary = path if len(errors) + len(stalls) == troubles else None  # an older one may still be there
    # Files are written first, because printing may fail.
    written = written_files(spec, summary, options.trace) + ([recorder.folder] if recorder and recorder.folder else [])
    print(closing_text(session, alarms, written, verbose=options.verbose))
    print_doubt(pipeline)
    return exit_code([session], errors, stalls)


def analyse_to_outputs(
    source: Source,
    pipeline: Pipeline,
    outputs: list[Output],
    recorder: SessionRecorder | None = None,
    stream: Stream | None = None,
) -> tuple[Session, list[OutputError], list[Stall]]:
    """Run a session to its end, every result to every output, and close them whatever happens.

    A saved video of a live source keeps every captured picture, also those that are not analysed.

    recorder: records the session as well. stream: tells whoever watches the program. Ctrl-C and SIGTERM end it early;
    everything written so far is kept. The session's `error` holds its failure. Returns the session, one error for each
    output that failed, and the stages that hang and were abandoned.
    """
    group = open_group(source, [*outputs, recorder] if recorder else outputs)
    # disable=None: on a terminal only; elsewhere standard error holds nothing but errors.
    bar = tqdm(total=source.frames_total, unit="frame", desc=source.name, dynamic_ncols=True, disable=None)
    session = followed_session(source, pipeline, deliver_to(group, bar), capture_to(group, recorder), stream)
    try:
        stalls = run_to_end([session])
    finally:
        bar.close()
        note_end(recorder, session)
        stalls_at_end = close_outputs(group, session, recorder)
    return session, group.errors, stalls + stalls_at_end


def followed_session(
    source: Source,
    pipeline: Pipeline,
    show: Callable[[Result], None],
    on_frame: Callable[[Frame], None] | None,
    stream: Stream | None,
) -> Session:
    """A session that has not been started; `stream` tells whoever watches the program how it goes."""
    stream = stream or Stream("1")
    session = Session(source, pipeline, stream.results_to(show), on_frame=stream.frames_to(on_frame))
    stream.attach(session)
    return session


def open_group(source: Source, outputs: Sequence[Output]) -> OutputGroup | Recorder:
    """What writes the results of a source; on a thread of its own where a live source's pictures are all saved."""
    if source.live and any(isinstance(output, PictureOutput) for output in outputs):
        return Recorder(outputs, live=True, every_picture=True)
    return OutputGroup(outputs)


def deliver_to(group: OutputGroup | Recorder, bar: "tqdm[Any]") -> Callable[[Result], None]:
    """The `show` of a session that writes each result. Raises OutputError once nothing can be written."""

    def deliver(result: Result) -> None:
        group.write(result)
        if group.errors and not group.on_disk:  # a recorder does not raise
            raise group.errors[0]
        bar.update()

    return deliver


def capture_to(group: OutputGroup | Recorder, recorder: SessionRecorder | None) -> Callable[[Frame], None] | None:
    """The `on_frame` of a session; None where nobody takes captured pictures."""
    if not recorder and not isinstance(group, Recorder):
        return None

    def capture(frame: Frame) -> None:
        if recorder:
            recorder.capture(frame)
        if isinstance(group, Recorder):
            group.add_picture(frame)

    return capture


def open_recorder(source: Source, text: str, pipeline: Pipeline, options: Options) -> SessionRecorder | None:
    """Begin to record a session, if that was asked for. text: the source as typed. Raises OutputError."""
    if options.record is None:
        return None
    start_s, copies = options.start_s, options.copy_source
    return start_recorder(options.record, text, source, pipeline, start_s=start_s, copies_source=copies, waits=True)


def note_end(recorder: SessionRecorder | None, session: Session) -> None:
    """Tell the recorder how the session ended, before it is closed."""
    if recorder:
        recorder.set_fact("summary", summarise(session, before=returns_of(session)))
        recorder.note_end(session.state, session.source.warning)


def returns_of(session: Session) -> Totals:
    """How often a live source was opened again, as jumps; everything else is of the one session."""
    totals, source = Totals(), session.source
    for one in source.returns if isinstance(source, Reconnecting) else ():
        totals.add_jump(Jump("reconnect", one.from_s, one.to_s, one.session_s))
    return totals


def close_outputs(
    group: OutputGroup | Recorder, session: Session, recorder: SessionRecorder | None = None
) -> list[Stall]:
    """Close them, and print how many pictures could not be saved and what happened to the recording; failures stay in
    `group.errors`. Returns the one that hangs."""
    stalls = finish_output(group.close, session, [])
    if isinstance(group, Recorder) and group.dropped_pictures:
        lost = f"{group.dropped_pictures} of {session.tally().captured} captured pictures are not in the saved video"
        print(f"realtime-polyp: {lost}: the disk or the encoder was too slow", file=sys.stderr)
    if isinstance(group, Recorder) and group.dropped:
        lost = f"{group.dropped} of {session.analyses.tally().shown} results were not written"
        print(f"realtime-polyp: {lost}: the disk or the encoder was too slow", file=sys.stderr)
    if recorder and recorder.picture_lost:
        group.errors.append(OutputError(recorder.picture_lost))
    if recorder and recorder.warning and recorder.warning != recorder.picture_lost:
        print(f"realtime-polyp: {recorder.warning}", file=sys.stderr)
    return stalls


def finish_output(work: Callable[[], None], session: Session, errors: list[OutputError]) -> list[Stall]:
    """`finish`; an OutputError is added to the errors."""
    try:
        stall = finish(work, session)
    except OutputError as error:
        errors.append(error)
        return []
    return [stall] if stall else []


def exit_code(sessions: list[Session], errors: list[OutputError], stalls: list[Stall]) -> int:
    """The exit code of sessions that have ended.

    Raises the first SessionError, then the first OutputError; further output errors, what hangs, and warnings are
    printed.
    """
    for stall in stalls:
        print(f"realtime-polyp: {stall}", file=sys.stderr)
    failures = [*(session.error for session in sessions if session.error), *errors]
    for later in errors:
        if later not in (failures[0], failures[0].__cause__):
            print(f"realtime-polyp: {later}", file=sys.stderr)
    if failures:
        raise failures[0]
    stopped = any(session.state == "stopped" for session in sessions)
    warnings = [session.source.warning for session in sessions if session.source.warning]
    if warnings:
        print(f"realtime-polyp: {' '.join(warnings)}", file=sys.stderr)
        return EXIT_INTERRUPTED if stalls else EXIT_BAD_INPUT
    return EXIT_INTERRUPTED if stopped or stalls else 0


def written_files(spec: OutputSpec, summary: Path | None, trace: Path | None) -> list[Path]:
    """What a person finds on disk afterwards."""
    paths = (spec.results, spec.save, spec.events, spec.pictures, summary)
    found = [path for path in paths if path is not None and os.path.lexists(path)]  # not what was deleted meanwhile
    return [*found, trace] if trace else found  # the trace is written last
