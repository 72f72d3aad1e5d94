"""Starts the recording of a session: makes its folder, and chooses how its picture is kept."""

from pathlib import Path

from realtime_polyp.outputs.base import OutputError, reason_of
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.facts import describe_session, source_file
from realtime_polyp.recording.folders import new_session_folder
from realtime_polyp.recording.original import FileOriginal, NoOriginal, Original
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.sources.base import Source

_LIKELY_RATE_HZ = 30


def start_recorder(
    folder: Path,
    text: str,
    source: Source,
    pipeline: Pipeline,
    *,
    start_s: float = 0.0,
    copies_source: bool = False,
    waits: bool = False,
) -> SessionRecorder:
    """Begin to record a session into a new folder in `folder`. Raises OutputError.

    Arguments:
        text: the source as the user typed it. start_s: where it begins.
        copies_source: a video file is copied into the folder; else it is referred to.
        waits: see `SessionRecorder`.
    """
    place = new_session_folder(folder, source.name)
    try:
        original = _choose_original(text, source, place, copies_source)
    except OSError as error:
        raise OutputError(f"cannot record to {place}: {reason_of(error)}") from error
    return SessionRecorder(
        place,
        describe_session(text, source, pipeline, start_s=start_s),
        original,
        live=source.live,
        period_s=float(1 / (source.rate_hz or _LIKELY_RATE_HZ)),
        waits=waits and not source.live,
        threshold=lambda: pipeline.config.score_threshold,
    )


def _choose_original(text: str, source: Source, place: Path, copies_source: bool) -> Original:
    path = source_file(text, source)
    return FileOriginal(path, place, copies=copies_source) if path else NoOriginal()
