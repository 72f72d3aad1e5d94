"""Options that say how a source's pictures are to be understood: as frames of a video, and where the endoscope's is."""

import argparse
import math

from realtime_polyp.field_of_view import FieldOfView, parse_field
from realtime_polyp.sources.numbered import USUAL_RATE_HZ


def add_picture_options(group: argparse._ArgumentGroup) -> None:
    """Add --rate and --field."""
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
