"""Options that say how a source's pictures are to be understood: as frames of a video, and where the endoscope's is."""

import argparse
import math
import sys
from functools import cache

from realtime_polyp.field_of_view import FieldOfView, parse_field
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.preprocess.field_finder import doubt_text
from realtime_polyp.sources.base import Source, SourceError
from realtime_polyp.sources.deinterlace import MODES
from realtime_polyp.sources.file import FileSource
from realtime_polyp.sources.images import ImageFolderSource
from realtime_polyp.sources.numbered import USUAL_RATE_HZ


def add_picture_options(group: argparse._ArgumentGroup) -> None:
    """Add --rate, --field and --deinterlace."""
    group.add_argument(
        "--rate",
        type=_rate,
        metavar="HZ",
        help="the source is a folder with the frames of a video, so many per second; 0: with stills "
        f"(default: numbered names are a video of {USUAL_RATE_HZ} frames per second)",
    )
    group.add_argument(
        "--field",
        type=_field,
        metavar="X1,Y1,X2,Y2",
        help="rectangle of the frame that holds the endoscope's picture, px (default: it is found)",
    )
    group.add_argument(
        "--deinterlace",
        choices=MODES,
        default=MODES[0],
        help="auto: make whole pictures of interlaced ones (default); field-rate: of a file, two of each, half a "
        "period apart; off: leave them combed",
    )


def check_pictures(source: Source, *, rate_hz: float | None, field: FieldOfView | None) -> None:
    """Say how a folder, or a file without times, is read where nobody said it. Raises SourceError for a field that the
    picture does not hold."""
    if isinstance(source, FileSource) and source.explanation:
        _say_once(f"{source.name}: {source.explanation}")
    if isinstance(source, ImageFolderSource) and source.is_video and rate_hz is None:
        _say_once(f"{source.name}: {source.explanation}")
    width, height = source.size
    if field and field.inside(width, height) != field:
        source.close()
        raise SourceError(f"--field {field} reaches beyond the picture of {source.name}, {width} x {height} px.")


@cache
def _say_once(sentence: str) -> None:
    """Not again after each seek in a window."""
    print(f"realtime-polyp: {sentence}", file=sys.stderr)


def print_doubt(pipeline: Pipeline) -> None:
    """Say on standard error that another picture of the frame may be the endoscope's."""
    if pipeline.analyzer.field_doubt:
        print(f"realtime-polyp: {doubt_text(*pipeline.analyzer.field_doubt)}", file=sys.stderr)


def _rate(text: str) -> float:
    try:
        rate_hz = float(text)
    except ValueError:
        rate_hz = math.nan
    if not 0 <= rate_hz <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate: give frames per second, up to 1000, or 0 for stills")
    return rate_hz


def _field(text: str) -> FieldOfView:
    try:
        return parse_field(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
