"""Find and outline polyps in colonoscopy video: python run_live.py --source video.mp4 (see --help)."""
import sys

from realtime_polyp.engines import EngineError, open_detector, open_segmenter
from realtime_polyp.headless import run_headless
from realtime_polyp.options import EXIT_BAD_INPUT, Options, parse
from realtime_polyp.pipeline import Pipeline, PipelineConfig
from realtime_polyp.recording import Output, OutputError
from realtime_polyp.recording.results import ResultsWriter
from realtime_polyp.recording.video import VideoWriter
from realtime_polyp.session import Session, SessionError
from realtime_polyp.smooth import SmoothConfig
from realtime_polyp.sources import Paced, Source, SourceError, open_source
from realtime_polyp.summary import closing_lines, write_summary

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        return run(options)
    except (SourceError, EngineError, OutputError) as error:
        return report(error, EXIT_BAD_INPUT)
    except SessionError as error:
        mendable = isinstance(error.__cause__, SourceError | EngineError | OutputError)
        return report(error.__cause__ if mendable else error, EXIT_BAD_INPUT if mendable else EXIT_FAILED)


def run(options: Options) -> int:
    source = open_source(options.source, start_s=options.start_s, end_s=options.end_s, loop=options.loop)
    pipeline = build_pipeline(options)
    session = run_headless(as_asked(source, options), pipeline, open_outputs(options, source))
    print(closing_lines(session))
    if options.summary:
        write_summary(session, options.summary)
    if source.warning:
        return report(source.warning, EXIT_BAD_INPUT)
    return EXIT_INTERRUPTED if session.state == "stopped" else 0


def build_pipeline(options: Options) -> Pipeline:
    detector = open_detector(options.detector, options.engine, options.device) if options.detector else None
    segmenter = open_segmenter(options.segmenter, options.engine, options.device) if options.segmenter else None
    smooth = SmoothConfig() if options.smooth else None
    pipeline = Pipeline(detector, segmenter, PipelineConfig(options.score_threshold, options.nms_iou, smooth))
    pipeline.warm_up()
    return pipeline


def as_asked(source: Source, options: Options) -> Source:
    """A recording that is to be shown as if live comes at its own pace."""
    return Paced(source) if options.display == "immediate" and not source.live else source


def open_outputs(options: Options, source: Source) -> list[Output]:
    outputs: list[Output] = [ResultsWriter(options.results)] if options.results else []
    return outputs + ([VideoWriter(options.save, rate_hz=source.rate_hz)] if options.save else [])


def report(problem: object, code: int) -> int:
    print(f"run_live.py: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
