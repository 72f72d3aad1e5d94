"""What the window says while a session is being written: a light, a clock, and what could not be kept."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recording:
    """What is being written now.

    Attributes:
        names: of the outputs on disk that go on, such as "video to out.mp4".
        session_s: the session's clock: time since its start, s.
        pictures_dropped: pictures that the saved video lacks, because the disk or the encoder was too slow.
        results_dropped: the same of results.
        video_ended: the saved video ended before the session, because a part was left out.
    """

    names: tuple[str, ...]
    session_s: float
    pictures_dropped: int = 0
    results_dropped: int = 0
    video_ended: bool = False


def recording_text(recording: Recording | None) -> str:
    """Such as "REC 0:12:05" or "REC 0:00:09  3 pictures not saved"; "" where nothing is written."""
    if recording is None or not recording.names:
        return ""
    minutes, seconds = divmod(int(recording.session_s), 60)
    text = f"REC {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
    lost = [
        f"{count} {what}{'' if count == 1 else 's'} not saved"
        for count, what in ((recording.pictures_dropped, "picture"), (recording.results_dropped, "result"))
        if count
    ]
    return "  ".join([text, *lost, *(["saved video ended"] if recording.video_ended else [])])
