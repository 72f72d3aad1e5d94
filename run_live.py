"""Find and outline polyps in colonoscopy video: python run_live.py --source video.mp4 (see --help)."""

import sys

from realtime_polyp.cli.headless import run_headless
from realtime_polyp.cli.multi import Stream, run_streams, together_lines
from realtime_polyp.cli.options import EXIT_BAD_INPUT, Options, parse
from realtime_polyp.engines import EngineError, decoding_device
from realtime_polyp.outputs import OutputError, alarms_of, open_outputs
from realtime_polyp.outputs.paths import check_folder, check_paths
from realtime_polyp.postprocess.fusion import FusionError
from realtime_polyp.postprocess.score_calibration import CalibrationError
from realtime_polyp.runtime import Line, open_line, say
from realtime_polyp.session import SessionError
from realtime_polyp.sources import Paced, Source, SourceError, open_source
from realtime_polyp.telemetry.summary import closing_lines, write_json, write_summary, write_trace
from realtime_polyp.telemetry.trace import Trace
from realtime_polyp.temporal.frame_quality import QualityError
from realtime_polyp.viewer.qt_setup import display_problem

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
MENDABLE = (SourceError, EngineError, OutputError, CalibrationError, FusionError, QualityError)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    trace = Trace() if options.trace else None
    try:
        code = run(options, trace)
        if options.trace and trace:
            write_trace(trace, options.trace)
        return code
    except MENDABLE as error:
        return report(error, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return report("interrupted before anything was analysed", EXIT_INTERRUPTED)
    except SessionError as error:
        mendable = isinstance(error.__cause__, MENDABLE)
        return report(error.__cause__ if mendable else error, EXIT_BAD_INPUT if mendable else EXIT_FAILED)


def run(options: Options, trace: Trace | None) -> int:
    for text in dict.fromkeys(options.sources):
        check_paths(text, options.outputs)
    for wanted in options.wanted:
        check_folder(wanted.pictures)
    several = len(options.sources) > 1
    problem = None if options.headless or several else display_problem()
    window = not options.headless and not several and problem is None
    loop = options.loop and not window  # a window begins again by itself, so that its slider does too
    sources = [
        open_source(
            text, start_s=options.start_s, end_s=options.end_s, loop=loop, hardware=decoding_device(options.device)
        )
        for text in options.sources
    ]
    line = open_line(options, live=sources[0].live, trace=trace)
    say(line)
    if window:
        from realtime_polyp.viewer.session_factory import watch  # Qt is imported only where there is a screen

        return watch(sources[0], line.pipeline(trace), options, unverified=bool(line.unverified))
    if problem:
        advice = "" if options.save or options.results else "; --save OUT.mp4 keeps the picture with its overlay"
        print(f"run_live.py: {problem}; going on headless{advice}", file=sys.stderr)
    if several:
        return run_together(sources, line, options, trace)
    return run_without_window(sources[0], line, options, trace)


def run_without_window(source: Source, line: Line, options: Options, trace: Trace | None) -> int:
    pipeline = line.pipeline(trace)
    paced = options.display == "immediate" and not source.live  # a recording to be taken as if it were live
    outputs = open_outputs(options.wanted[0], source.rate_hz)
    session = run_headless(Paced(source) if paced else source, pipeline, outputs)
    alarms = alarms_of(outputs)
    print(closing_lines(session, alarms))
    if options.summary:
        write_summary(session, options.summary, alarms)
    if session.error:
        raise session.error
    if source.warning:
        return report(source.warning, EXIT_BAD_INPUT)
    return EXIT_INTERRUPTED if session.state == "stopped" else 0


def run_together(sources: list[Source], line: Line, options: Options, trace: Trace | None) -> int:
    line.pipeline()  # warms the models up
    outputs = [open_outputs(wanted, source.rate_hz) for wanted, source in zip(options.wanted, sources, strict=True)]
    streams = [Stream(source, written) for source, written in zip(sources, outputs, strict=True)]
    went = run_streams(streams, line.inference, line.config, trace=trace)
    print(together_lines(went))
    if options.summary:
        write_json(went.summary(), options.summary, "the summary")
    if went.error:
        raise went.error
    warnings = [source.warning for source in sources if source.warning]
    if warnings:
        return report(" ".join(warnings), EXIT_BAD_INPUT)
    return EXIT_INTERRUPTED if went.stopped else 0


def report(problem: object, code: int) -> int:
    print(f"run_live.py: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
