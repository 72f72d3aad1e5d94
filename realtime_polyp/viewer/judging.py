"""What judging a recorded session needs of it: its alarms, what persons said, and the filling of marked polyps."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.packets import Track
from realtime_polyp.review.action_log import ActionLog
from realtime_polyp.review.actions import Action, Box, Judgement, Said, Stretch, polyp_name
from realtime_polyp.review.alarms import SessionAlarm
from realtime_polyp.review.fill import FilledFrame, fill
from realtime_polyp.review.labels import alarm_verdict
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_tracks import TrackState
from realtime_polyp.sources.base import SourceError


@dataclass(frozen=True)
class PolypBox:
    """One box of the frame on the screen.

    Attributes:
        polyp: its number. name: of the polyp that it counts as, as it is written on the screen.
        box: xyxy source px.
        drawn: a person drew it, or it was filled in between drawn boxes; else the filter shows it.
        verdict: of its alarm; None: nobody has judged it.
    """

    polyp: int
    name: str
    box: Box
    drawn: bool
    verdict: bool | None


class Judging:
    """Owned by the window's thread; filling runs on a thread of its own.

    session: the recorded session. tracks: its tracks and alarms at the settings of the moment. picture: the file with
    its picture; None: there is none. Raises SessionFileError.
    """

    def __init__(
        self,
        session: RecordedSession,
        tracks: Callable[[], TrackState],
        picture: Path | None,
        *,
        author: str | None = None,
    ) -> None:
        self.session, self._tracks, self._picture = session, tracks, picture
        self.log = ActionLog(session.folder, author=author)
        self._rulings: tuple[object, object, dict[int, bool | None]] | None = None

    @property
    def judgement(self) -> Judgement:
        return self.log.judgement

    @property
    def tracks(self) -> TrackState:
        """The session's tracks at the settings of the moment: another object whenever they change."""
        return self._tracks()

    @property
    def alarms(self) -> tuple[SessionAlarm, ...]:
        return self._tracks().alarms

    def add(self, said: Said) -> Action:
        """Store what the person said; see `ActionLog.add`. Raises ActionError."""
        return self.log.add(said)

    def rulings(self) -> Mapping[int, bool | None]:
        """{number of an alarm: its verdict}."""
        alarms, judgement = self.alarms, self.judgement
        if self._rulings is None or self._rulings[0] is not alarms or self._rulings[1] is not judgement:
            self._rulings = (alarms, judgement, {one.number: self._ruling(one) for one in alarms})
        return self._rulings[2]

    def alarm_of(self, track: int, number: int) -> SessionAlarm | None:
        """The alarm of a track that covers a frame."""
        return next((one for one in self.alarms if one.track == track and one.first <= number <= one.last), None)

    def boxes(self, number: int, tracks: tuple[Track, ...]) -> tuple[PolypBox, ...]:
        """The boxes of a frame: those that persons drew, and those of the visible tracks."""
        drawn = {polyp: frames[number] for polyp, frames in self.judgement.boxes.items() if number in frames}
        judgement = self.judgement
        found = [
            PolypBox(polyp, polyp_name(judgement.number_of(polyp)), box, True, judgement.accepts(polyp, number))
            for polyp, box in drawn.items()
            if box is not None
        ]
        replaced = self.replaced(number, tracks)
        for track in tracks:
            if track.visible and track.id not in replaced:
                alarm = self.alarm_of(track.id, number)
                verdict = self.rulings().get(alarm.number) if alarm else None
                name = polyp_name(judgement.number_of(track.id))
                found.append(PolypBox(track.id, name, box_of(track.box), False, verdict))
        return tuple(found)

    def replaced(self, number: int, tracks: tuple[Track, ...]) -> frozenset[int]:
        """The tracks of a frame whose polyp has a box that a person drew, or took away, there."""
        judgement = self.judgement
        drawn = {judgement.number_of(polyp) for polyp, frames in judgement.boxes.items() if number in frames}
        return frozenset(track.id for track in tracks if judgement.number_of(track.id) in drawn)

    def start_fill(self, keys: Mapping[int, Box]) -> "Future[list[FilledFrame]]":
        """Fill in between drawn boxes, {frame: box}, on another thread. Cancelling the future ends it."""
        future: Future[list[FilledFrame]] = Future()

        def work() -> None:
            with suppress(InvalidStateError):  # it was cancelled: nobody asks for the result
                try:
                    future.set_result(self._fill(dict(keys), future.cancelled))
                except Exception as error:  # noqa: BLE001 - it is raised where the result is taken
                    future.set_exception(error)

        threading.Thread(target=work, name="fill", daemon=True).start()  # closing the window does not wait for it
        return future

    def close(self) -> None:
        self.log.close()

    def _fill(self, keys: dict[int, Box], is_cancelled: Callable[[], bool]) -> list[FilledFrame]:
        session = self.session.again()
        file: PictureFile | None = None
        try:
            file = PictureFile(self._picture, deinterlace=session.deinterlace) if self._picture else None
        except SourceError:
            file = None  # the recorded camera motion has to do
        try:
            drawn = {number: np.array(box, np.float32) for number, box in keys.items()}
            pictures = _pictures_of(session, file) if file else None
            return fill(session, drawn, pictures, is_cancelled=is_cancelled)
        finally:
            session.close()
            if file:
                file.close()

    def _ruling(self, alarm: SessionAlarm) -> bool | None:
        def box_at(number: int) -> Box | None:
            found = self._tracks().tracks.at(number)
            return next((box_of(one.box) for one in found if one.id == alarm.track and one.visible), None)

        return alarm_verdict(self.judgement, alarm.track, alarm.first, alarm.last, box_at)


def _pictures_of(session: RecordedSession, file: PictureFile) -> Callable[[int], Image | None]:
    def picture_of(number: int) -> Image | None:
        picture_s = float(session.frames.picture_s[number - 1])
        try:
            picture = None if np.isnan(picture_s) else file.at(picture_s)
        except SourceError:
            return None
        return picture.image if picture else None

    return picture_of


def stretch_of(polyp: int, filled: list[FilledFrame], *, clicks: int, seconds: float) -> Stretch:
    """What is stored of a stretch that was filled in."""
    return Stretch(
        polyp,
        tuple(one.number for one in filled if one.drawn),
        tuple((one.number, box_of(one.box)) for one in filled),
        tuple((one.number, dict(one.outline)) for one in filled if one.outline),
        clicks,
        round(seconds, 2),
    )


def rounded_box(box: Box) -> Box:
    x1, y1, x2, y2 = (round(value, 2) for value in box)
    return x1, y1, x2, y2


def box_of(box: np.ndarray) -> Box:
    x1, y1, x2, y2 = (round(float(value), 2) for value in box)
    return x1, y1, x2, y2
