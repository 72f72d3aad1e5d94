"""The pictures of a recorded session, by frame number. Where they are gone, the results stay: the picture is grey."""

import textwrap
from pathlib import Path

import cv2
import numpy as np

from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.field_of_view import Image
from realtime_polyp.review.pictures import MEMORY_BYTES, PictureFile
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.sources.base import SourceError

GREY = 96


class SessionPictures:
    """Returns the picture of any frame of a session. Use it on one thread.

    at: the file with the picture, where it is neither in the session's folder nor where it was.

    Attributes:
        path: the file with the pictures; None where it is missing.
        problem: why pictures are missing, in one sentence; None where they are there.
    """

    def __init__(self, session: RecordedSession, at: Path | None = None, *, memory_bytes: int = MEMORY_BYTES) -> None:
        self._session = session
        self._file: PictureFile | None = None
        self._grey: Image | None = None
        self.path, self.problem = find_original(session, at)
        if self.path is not None:
            try:
                self._file = PictureFile(self.path, memory_bytes=memory_bytes, deinterlace=session.deinterlace)
            except SourceError as error:
                self.path = None
                self.problem = f"The picture cannot be shown: {error}"

    def image(self, number: int) -> Image:
        """Return the picture (H, W, 3) of a frame, or a grey one where it is missing. Raises KeyError."""
        found = self.find(number)
        return self.grey(number) if found is None else found

    def find(self, number: int) -> Image | None:
        """Return the picture of a frame, None where it is missing."""
        picture_s = float(self._session.frames.picture_s[number - 1])
        if self._file is None or np.isnan(picture_s):
            return None
        picture = self._file.at(picture_s)
        return picture.image if picture else None

    def before(self, number: int) -> None:
        """Decode what lies before a frame, so that steps back are fast."""
        picture_s = float(self._session.frames.picture_s[number - 1])
        if self._file is not None and not np.isnan(picture_s):
            self._file.before(picture_s)

    def grey(self, number: int) -> Image:
        """Return a grey picture (H, W, 3) of the frame's size that says why there is none."""
        height, width = self._session.frame(number).image.shape[:2]
        if self._grey is None or self._grey.shape[:2] != (height, width):
            self._grey = _write_on_grey(height, width, self.problem or "No picture of this moment was recorded")
        return self._grey

    def close(self) -> None:
        if self._file:
            self._file.close()


def _write_on_grey(height: int, width: int, sentence: str) -> Image:
    """Return a grey picture (height, width, 3) with a sentence at its lower edge, where it hides few boxes."""
    image = np.full((height, width, 3), GREY, np.uint8)
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, width / 1600, max(1, width // 900)
    letters = max(20, int(width * 0.9 / cv2.getTextSize("m", font, scale, thickness)[0][0] * 1.4))
    lines = textwrap.wrap(sentence.encode("ascii", "replace").decode(), letters)
    step = round(40 * scale)
    for place, line in enumerate(lines):
        at = (width // 20, height - step * (len(lines) - place) - step // 2)
        cv2.putText(image, line, at, font, scale, (225, 225, 225), thickness, cv2.LINE_AA)
    return image


def find_original(session: RecordedSession, at: Path | None = None) -> tuple[Path | None, str | None]:
    """Return the file with a session's picture; or None, and why it cannot be used, in one sentence.

    It is searched in the session's folder, at its recorded place, and beside the session under its recorded name. A
    file elsewhere than at its recorded place must have the recorded size and, where it is known, SHA-256.
    """
    source = session.facts.get("source", {})
    recorded = session.original
    if at is not None:
        problem = _mismatch(at, session)
        return (None, f"{at} is not the video of this session: {problem}") if problem else (at, None)
    if recorded is not None:
        own = recorded.parent == session.folder
        size, known = recorded.stat().st_size, source.get("size_bytes")
        if own or known is None or size == known:
            return recorded, None
        return None, (
            f"The picture is not shown: {recorded} has {size} bytes and had {known} when it was analysed; "
            "give the right file with --source-at"
        )
    name = source.get("name")
    beside = [folder / Path(name).name for folder in (session.folder, session.folder.parent)] if name else []
    for path in beside:
        if path.is_file() and _mismatch(path, session) is None:
            return path, None
    if not source.get("path"):
        return None, "The picture of this session was not recorded; its results are complete"
    return None, f"The picture is not at {source['path']} any more: give the file with --source-at"


def _mismatch(path: Path, session: RecordedSession) -> str | None:
    """Return why a file is not the one that was analysed; None where it is."""
    try:
        size = path.stat().st_size
        known = session.facts.get("source", {}).get("size_bytes")
        if known is not None and size != known:
            return f"it has {size} bytes, not {known}"
        expected = session.facts.get("source_sha256")
        if expected is not None and sha256_of(path) != expected:
            return "its content is another (SHA-256)"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return None
