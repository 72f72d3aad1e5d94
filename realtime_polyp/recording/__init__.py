"""What a session leaves behind on disk."""

from fractions import Fraction
from pathlib import Path

from realtime_polyp.recording.base import Output, OutputError
from realtime_polyp.recording.results import ResultsWriter
from realtime_polyp.recording.video import VideoWriter

__all__ = ["Output", "OutputError", "ResultsWriter", "VideoWriter", "open_outputs"]


def open_outputs(results: Path | None, save: Path | None, rate_hz: Fraction | None) -> list[Output]:
    """The outputs that were asked for. Raises OutputError when one cannot be opened."""
    outputs: list[Output] = [ResultsWriter(results)] if results else []
    return outputs + ([VideoWriter(save, rate_hz=rate_hz)] if save else [])
