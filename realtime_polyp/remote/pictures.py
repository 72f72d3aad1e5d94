"""The annotated picture as JPEG, drawn for the remote page only while somebody looks, and never by the line itself."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs.overlay import draw, shapes_of
from realtime_polyp.outputs.sharing import add_caption, blank_outside
from realtime_polyp.packets import Frame, Result
from realtime_polyp.telemetry.board import NO_SIGNAL_S, Condition, Stream
from realtime_polyp.telemetry.priority import lower_thread_priority

MOST_PER_S = 10.0
"""Pictures per second, whatever the source has."""

_WIDEST_PX, _JPEG_QUALITY = 1280, 80
_RESULT_LIMIT_S = 1.0  # a live result that is older is not shown: the picture is, without it
_WATCHED_S = 3.0  # nobody has asked for so long: nobody looks
_CARD = (720, 1280)  # height, width, px
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK = {"bad": (255, 96, 96), "warn": (255, 208, 64), "busy": (200, 200, 200), "good": (200, 200, 200)}
_FAILED = Condition("remote picture failed", "bad", blanks=True)
_NO_PICTURE = ("idle", "ready", "no signal", "reconnecting", "decoder failed", "source not answering")


@dataclass(frozen=True)
class Picture:
    """What the page shows.

    Attributes:
        number: rises with every picture.
        jpeg: the picture. made_s: time.monotonic() when it was drawn.
        frame_index: of the frame that is shown; None where a state is shown in its place.
    """

    number: int
    jpeg: bytes
    made_s: float
    frame_index: int | None


class PictureMaker:
    """Draws the newest picture of a stream on a thread of its own, at low priority, while `want` is called.

    publish: called with each new picture on that thread, and with None where no more are made: the last one is then no
    longer what is to be seen. blank: everything outside the field of view is black.
    """

    def __init__(self, stream: Stream, publish: Callable[[Picture | None], None], *, blank: bool) -> None:
        self._stream, self._publish, self._blank = stream, publish, blank
        self._wanted, self._closed, self._wanted_s = threading.Event(), False, 0.0
        self._number = 0
        self._shown: tuple[Condition, Frame | None, Result | None] | None = None
        self._thread = threading.Thread(target=self._run, name="remote pictures", daemon=True)
        self._thread.start()

    def want(self) -> None:
        """Somebody looks; for a few seconds."""
        self._wanted_s = time.monotonic()
        self._wanted.set()

    def close(self, within_s: float = 2.0) -> None:
        self._closed = True
        self._wanted.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        lower_thread_priority()
        while True:
            self._wanted.wait()
            if self._closed:
                return
            began_s = time.monotonic()
            if began_s - self._wanted_s > _WATCHED_S:
                self._wanted.clear()
                self._shown = None
                self._publish(None)
                continue
            try:
                self._make()
            except Exception:  # noqa: BLE001 - one picture that cannot be drawn must not end all later ones
                self._shown = None
                self._publish_image(card(_FAILED, 0.0), None)
            time.sleep(max(0.0, began_s + 1 / MOST_PER_S - time.monotonic()))

    def _make(self) -> None:
        condition = self._stream.condition()
        newest, picture = self._stream.newest, self._stream.picture
        is_lost = condition.tone == "bad" and self._stream.no_picture_s() > NO_SIGNAL_S
        frame, result = (None, None) if is_lost else choose(newest, picture, condition, time.monotonic())
        before, self._shown = self._shown, (condition, frame, result)
        is_same = before is not None and before[0] == condition and before[1] is frame and before[2] is result
        if is_same and frame is not None:  # of a state the seconds go on
            return
        if frame is None:
            self._publish_image(card(condition, self._stream.since_s()), None)
        else:
            image = annotate(frame, result, condition, self._blank, newest)
            self._publish_image(image, frame.index)

    def _publish_image(self, image: Image, frame_index: int | None) -> None:
        self._number += 1
        self._publish(Picture(self._number, encode(image), time.monotonic(), frame_index))


def choose(
    newest: Result | None, picture: Frame | None, condition: Condition, now_s: float
) -> tuple[Frame | None, Result | None]:
    """The frame to show, and the result to draw over it; no frame: the state is shown in its place.

    A result is drawn over its own frame only.
    """
    if condition.name in _NO_PICTURE:
        return None, None
    if condition.blanks and picture is not None:
        return picture, None
    is_late = newest is not None and condition.tone != "busy" and now_s - newest.analysed_s > _RESULT_LIMIT_S
    if newest is None or (is_late and picture is not None):
        return picture, None
    return newest.frame, None if condition.blanks else newest


def annotate(
    frame: Frame, result: Result | None, condition: Condition, blank: bool, newest: Result | None = None
) -> Image:
    """The picture (H, W, 3) with its overlay, the research-use notice, and the state unless all is well.

    newest: the newest result, which may be of an earlier frame: it knows the field of view.
    """
    image = blank_outside(frame.image, result, newest) if blank else frame.image
    image = draw(image, shapes_of(result)) if result else image.copy()
    scale = _WIDEST_PX / image.shape[1]
    if scale < 1:
        size = (_WIDEST_PX, max(1, round(image.shape[0] * scale)))
        how = cv2.INTER_AREA if scale <= 0.5 else cv2.INTER_LINEAR  # of 1080p, the area takes ten times as long
        image = cv2.resize(image, size, interpolation=how)  # type: ignore[assignment]
    add_caption(image)
    if condition.tone != "good":
        write(image, condition.name.capitalize(), _INK[condition.tone], 0.02, 0.08, image.shape[0] / 700)
    return image


def card(condition: Condition, since_s: float) -> Image:
    """A black picture that says what is wrong: an old picture in its place would be a lie."""
    image = np.zeros((*_CARD, 3), np.uint8)
    write(image, condition.name.capitalize(), _INK[condition.tone], 0.06, 0.5, 3.0)
    write(image, f"for {since_s:.0f} s", _INK["good"], 0.06, 0.62, 1.5)
    add_caption(image)
    return image


def write(image: Image, text: str, ink: tuple[int, int, int], left: float, bottom: float, scale: float) -> None:
    """Write on the image; left and bottom are shares of its size."""
    at = (round(image.shape[1] * left), round(image.shape[0] * bottom))
    for colour, pen in (((0, 0, 0), 6), (ink, 2)):
        cv2.putText(image, text, at, _FONT, scale, colour, max(1, round(pen * scale)), cv2.LINE_AA)


def encode(image: Image) -> bytes:
    """As JPEG."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return data.tobytes()
