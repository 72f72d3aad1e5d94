"""What a session leaves behind on disk."""

from collections.abc import Sequence
from fractions import Fraction

from realtime_polyp.outputs.alarms import AlarmFigures, AlarmsWriter
from realtime_polyp.outputs.base import Output, OutputError, OutputSpec
from realtime_polyp.outputs.results import ResultsWriter
from realtime_polyp.outputs.video import VideoWriter

__all__ = [
    "AlarmFigures", "AlarmsWriter", "Output", "OutputError", "ResultsWriter", "VideoWriter", "OutputSpec", "alarms_of",
    "open_outputs",
]  # fmt: skip


def open_outputs(wanted: OutputSpec, rate_hz: Fraction | None) -> list[Output]:
    """The outputs that were asked for. rate_hz: the video's, where known. Raises OutputError when one cannot be
    opened."""
    outputs: list[Output] = [ResultsWriter(wanted.results)] if wanted.results else []
    if wanted.events or wanted.count_alarms:
        outputs.append(AlarmsWriter(wanted.events, pictures=wanted.pictures, period_s=float(1 / (rate_hz or 30))))
    return outputs + ([VideoWriter(wanted.save, rate_hz=rate_hz)] if wanted.save else [])


def alarms_of(outputs: Sequence[Output]) -> AlarmFigures | None:
    """How many alarms have ended, and how long they were; None where they were not followed."""
    return next((output.figures() for output in outputs if isinstance(output, AlarmsWriter)), None)
