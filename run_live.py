"""Find and outline polyps in colonoscopy video: python run_live.py --source video.mp4 (see --help)."""

import sys

from realtime_polyp.engines import EngineError, open_detector, open_segmenter
from realtime_polyp.headless import run_headless
from realtime_polyp.options import EXIT_BAD_INPUT, Options, parse
from realtime_polyp.pipeline import Pipeline, PipelineConfig
from realtime_polyp.recording import OutputError, open_outputs
from realtime_polyp.recording.paths import check_paths
from realtime_polyp.session import SessionError
from realtime_polyp.smooth import SmoothConfig
from realtime_polyp.sources import Paced, Source, SourceError, open_source
from realtime_polyp.summary import closing_lines, write_summary
from realtime_polyp.viewer.qt_setup import display_problem

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
MENDABLE = (SourceError, EngineError, OutputError)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return run(options)
    except MENDABLE as error:
        return report(error, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return report("interrupted before anything was analysed", EXIT_INTERRUPTED)
    except SessionError as error:
        mendable = isinstance(error.__cause__, MENDABLE)
        return report(error.__cause__ if mendable else error, EXIT_BAD_INPUT if mendable else EXIT_FAILED)


def run(options: Options) -> int:
    check_paths(options.source, (options.results, options.save, options.summary))
    problem = None if options.headless else display_problem()
    window = not options.headless and problem is None
    loop = options.loop and not window  # a window begins again by itself, so that its slider does too
    source = open_source(options.source, start_s=options.start_s, end_s=options.end_s, loop=loop)
    pipeline = build_pipeline(options)
    if window:
        from realtime_polyp.viewer.watch import watch  # Qt is imported only where there is a screen

        return watch(source, pipeline, options)
    if problem:
        advice = "" if options.save or options.results else "; --save OUT.mp4 keeps the picture with its overlay"
        print(f"run_live.py: {problem}; going on headless{advice}", file=sys.stderr)
    return run_without_window(source, pipeline, options)


def build_pipeline(options: Options) -> Pipeline:
    detector = open_detector(options.detector, options.engine, options.device) if options.detector else None
    segmenter = open_segmenter(options.segmenter, options.engine, options.device) if options.segmenter else None
    smooth = SmoothConfig() if options.smooth else None
    pipeline = Pipeline(detector, segmenter, PipelineConfig(options.score_threshold, options.nms_iou, smooth))
    pipeline.warm_up()
    return pipeline


def run_without_window(source: Source, pipeline: Pipeline, options: Options) -> int:
    paced = options.display == "immediate" and not source.live  # a recording to be taken as if it were live
    outputs = open_outputs(options.results, options.save, source.rate_hz)
    session = run_headless(Paced(source) if paced else source, pipeline, outputs)
    print(closing_lines(session))
    if options.summary:
        write_summary(session, options.summary)
    if session.error:
        raise session.error
    if source.warning:
        return report(source.warning, EXIT_BAD_INPUT)
    return EXIT_INTERRUPTED if session.state == "stopped" else 0


def report(problem: object, code: int) -> int:
    print(f"run_live.py: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
