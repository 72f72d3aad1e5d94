"""What a session leaves behind on disk."""

from collections.abc import Sequence
from fractions import Fraction

from realtime_polyp.outputs.alarms import AlarmFigures, AlarmsWriter
from realtime_polyp.outputs.base import Output, OutputError, OutputSpec
from realtime_polyp.outputs.recorder import OutputGroup
from realtime_polyp.outputs.results import ResultsWriter
from realtime_polyp.outputs.video import VideoWriter

__all__ = [
    "AlarmFigures",
    "AlarmsWriter",
    "Output",
    "OutputError",
    "OutputGroup",
    "OutputSpec",
    "ResultsWriter",
    "VideoWriter",
    "alarm_figures",
    "open_outputs",
]


def open_outputs(spec: OutputSpec, rate_hz: Fraction | None) -> list[Output]:
    """Open the outputs that were asked for. rate_hz: the video's, where known.

    Raises OutputError when one cannot be opened.
    """
    outputs: list[Output] = [ResultsWriter(spec.results)] if spec.results else []
    if spec.events or spec.count_alarms:
        period_s, blank = float(1 / (rate_hz or 30)), spec.blank_outside is not False
        outputs.append(AlarmsWriter(spec.events, pictures=spec.pictures, period_s=period_s, blank_outside=blank))
    if spec.save:
        blank = spec.blank_outside is True
        outputs.append(VideoWriter(spec.save, rate_hz=rate_hz, style=spec.style, blank_outside=blank))
    return outputs


def alarm_figures(outputs: Sequence[Output]) -> AlarmFigures | None:
    """The alarms that have ended; None where they were not followed."""
    return next((output.figures() for output in outputs if isinstance(output, AlarmsWriter)), None)
