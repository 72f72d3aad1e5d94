"""Find and outline polyps in colonoscopy video: the command behind `cli/entry.py`."""

import sys
from pathlib import Path

from realtime_polyp.cli.headless import run_headless
from realtime_polyp.cli.multi import run_multi_session
from realtime_polyp.cli.opening import open_named
from realtime_polyp.cli.operating import check_log, operations_config
from realtime_polyp.cli.options import Options, parse
from realtime_polyp.cli.preferences import apply_settings
from realtime_polyp.console import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED
from realtime_polyp.engines.base import EngineError
from realtime_polyp.operations.errors import OperationsError
from realtime_polyp.operations.start import open_operations
from realtime_polyp.outputs import OutputError
from realtime_polyp.outputs.paths import check_outputs
from realtime_polyp.postprocess.fusion import FusionError
from realtime_polyp.postprocess.score_calibration import CalibrationError
from realtime_polyp.recording.folders import check_record
from realtime_polyp.review.recorded import SessionFileError
from realtime_polyp.runtime import Runtime, open_runtime
from realtime_polyp.session import SessionError
from realtime_polyp.settings import SettingsError, read_settings
from realtime_polyp.sources import SourceError
from realtime_polyp.sources.devices import describe_devices
from realtime_polyp.telemetry.board import Board
from realtime_polyp.telemetry.summary import write_trace
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.frame_quality import QualityError
from realtime_polyp.viewer.qt_setup import display_problem

USER_ERRORS = (
    SourceError,
    EngineError,
    OutputError,
    CalibrationError,
    FusionError,
    QualityError,
    SessionFileError,
    SettingsError,
)
PROGRAM = "realtime-polyp"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = parse(arguments)
    return _run_and_report(options, Trace() if options.trace else None)


def _run_and_report(options: Options, trace: Trace | None) -> int:
    """Run, watched by what was asked for, and print one sentence for what failed; returns the exit code."""
    try:
        check_log(options)
        with open_operations(operations_config(options)) as operations:
            code = _run_watched(options, trace, operations.board)
            operations.code = _write_trace(trace, options.trace, code)
            return operations.code
    except (OperationsError, OutputError) as error:
        return report(error, EXIT_BAD_INPUT)


def _run_watched(options: Options, trace: Trace | None, board: Board) -> int:
    try:
        return run(options, trace, board)
    except USER_ERRORS as error:
        return report(error, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return report("interrupted before any frame was analysed", EXIT_INTERRUPTED)
    except SessionError as error:
        if isinstance(error.__cause__, USER_ERRORS):
            return report(error.__cause__, EXIT_BAD_INPUT)
        return report(error, EXIT_FAILED)


def _write_trace(trace: Trace | None, path: Path | None, code: int) -> int:
    """Write the trace, if there is one; returns the exit code, which was `code` so far."""
    if trace is None or path is None or not (code == 0 or trace.spans()):  # a run that failed needs its trace most
        return code
    try:
        write_trace(trace, path)
    except OutputError as error:
        return report(error, EXIT_BAD_INPUT)
    return code


def run(options: Options, trace: Trace | None, board: Board) -> int:
    """Check the outputs, and choose window, headless or multi-session; open sources and runtime for the last two."""
    if options.list_devices:
        print(describe_devices())
        return 0
    check_outputs(options.sources, options.output_specs, options.files, overwrite=options.overwrite)
    if options.record:
        check_record(options.record, options.sources)
    several = len(options.sources) > 1
    problem = None if options.headless or several else display_problem()
    if not (options.headless or several or problem or options.reanalyse or options.report):
        from realtime_polyp.viewer.shell import run_windows  # Qt is imported only where there is a screen

        return run_windows(options, trace, board)
    if options.settings:
        options = apply_settings(options, read_settings(options.settings, required=True))
    if options.review:
        from realtime_polyp.cli.review import print_session, reanalyse, write_session_report

        if options.report:
            return write_session_report(options)

        return reanalyse(options) if options.reanalyse else print_session(options)
    if not options.sources:
        return report(
            f"{problem}; without a window, name a source: {PROGRAM} VIDEO --results OUT.jsonl", EXIT_BAD_INPUT
        )
    sources = [open_named(options, text, start_s=options.start_s, loop=options.loop) for text in options.sources]
    runtime = open_runtime(options.runtime_config(live=sources[0].live), trace=trace)
    warn(runtime)
    if problem:
        advice = "" if options.save or options.results else "; --save OUT.mp4 keeps the video with its overlay"
        print(f"{PROGRAM}: {problem}; running headless{advice}", file=sys.stderr)
    if several:
        return run_multi_session(sources, runtime, options, board)
    return run_headless(sources[0], runtime, options, board.stream())


def warn(runtime: Runtime) -> None:
    """Print on standard error what must not be overlooked."""
    for sentence in runtime.unverified:
        print(f"{PROGRAM}: UNVERIFIED: {sentence}", file=sys.stderr)
    for sentence in runtime.cautions:
        print(f"{PROGRAM}: {sentence}", file=sys.stderr)


def report(problem: object, code: int) -> int:
    """Print one sentence on standard error; returns the code."""
    print(f"{PROGRAM}: {problem}", file=sys.stderr)
    return code
