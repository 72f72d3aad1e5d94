"""Engines that answer rightly until a marked frame, and wrongly from then on: one value for each way to be wrong."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from fakes import FakeDetector, FakeSegmenter, picture
from numpy.typing import NDArray

BAD = 7  # the first marked frame
_MARK_PX, _MARK_LEVEL = 16, 245  # a corner whose green is brighter than anything else in `picture`
Answer = Any
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    Attributes:
        task: whose answer is wrong.
        spoil: (a right answer, the rows of the marked images) -> what is answered instead; it may raise.
        says: what the sentence must say, a regular expression.
        by_row: each image is wrong for itself, so that exactly the first marked frame is named.
    """

    task: str
    spoil: Callable[[Answer, NDArray[np.intp]], Answer]
    says: str
    by_row: bool = True


def marked_picture(index: int, size: tuple[int, int] = (96, 72)) -> Pixels:
    """As `picture`; marked from the frame BAD on."""
    image = picture(index, size)
    if index >= BAD:
        image[:_MARK_PX, :_MARK_PX] = (120, 255, 100)
    return image


class FaultyDetector(FakeDetector):
    def __init__(self, fault: Fault) -> None:
        super().__init__()
        self._fault = fault

    def __call__(self, pixels: Pixels) -> Answer:
        return _spoil(self._fault, super().__call__(pixels), pixels)


class FaultySegmenter(FakeSegmenter):
    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def __call__(self, pixels: Pixels) -> Answer:
        return _spoil(self._fault, super().__call__(pixels), pixels)


def engines_of(fault: Fault) -> tuple[FakeDetector, FakeSegmenter]:
    """A detector and a segmenter, one of which has the fault."""
    if fault.task == "detector":
        return FaultyDetector(fault), FakeSegmenter()
    return FakeDetector(), FaultySegmenter(fault)


def _spoil(fault: Fault, answer: Answer, pixels: Pixels) -> Answer:
    marked = np.flatnonzero((pixels[:, 1] > _MARK_LEVEL).any((1, 2)))
    return fault.spoil(answer, marked) if len(marked) else answer


def _score(value: float) -> Callable[[Answer, NDArray[np.intp]], Answer]:
    """The first candidate's score is `value`."""

    def spoil(answer: Answer, rows: NDArray[np.intp]) -> Answer:
        answer[1][rows, 0] = value
        return answer

    return spoil


def _box(*corners: float) -> Callable[[Answer, NDArray[np.intp]], Answer]:
    """The second candidate, which scores 0.2, has this box."""

    def spoil(answer: Answer, rows: NDArray[np.intp]) -> Answer:
        answer[0][rows, 1] = corners
        return answer

    return spoil


def _cell(value: float) -> Callable[[Answer, NDArray[np.intp]], Answer]:
    """One cell of the mask is `value`."""

    def spoil(answer: Answer, rows: NDArray[np.intp]) -> Answer:
        answer[rows, 20, 30] = value
        return answer

    return spoil


def _answers(change: Callable[[Answer], Answer]) -> Callable[[Answer, NDArray[np.intp]], Answer]:
    return lambda answer, rows: change(answer)


def _raises(error: BaseException) -> Callable[[Answer, NDArray[np.intp]], Answer]:
    def spoil(answer: Answer, rows: NDArray[np.intp]) -> Answer:
        raise error

    return spoil


class Interruption(BaseException):
    """Not an Exception: what catches those alone lets it pass."""


class Unspeakable(Exception):
    """An error whose message cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no message")


NAN, INFINITE = float("nan"), float("inf")
_HUGE = 10**10  # candidates, or cells in a row: without memory of their own, and 40 GB and more if they were copied


def _huge(*shape: int) -> NDArray[np.float32]:
    return np.broadcast_to(np.float32(0.5), shape)


_SCORES = r"its scores are not numbers in 0\.\.1 \(fake, fake: "
_PLACES = r"its boxes are not valid \(fake, fake: "
_MASK = r"its mask values are not numbers in 0\.\.1 \(fake, fake: "
FAULTS = {
    "raises": Fault("detector", _raises(RuntimeError("out of\n  memory")), "out of memory$", by_row=False),
    "raises without words": Fault("detector", _raises(MemoryError()), "MemoryError$", by_row=False),
    "raises no Exception": Fault("segmenter", _raises(Interruption("off")), "off$", by_row=False),
    "raises the unspeakable": Fault("detector", _raises(Unspeakable()), "Unspeakable$", by_row=False),
    "exits": Fault("detector", _raises(SystemExit(0)), "0$", by_row=False),
    "NaN score": Fault("detector", _score(NAN), _SCORES + r"1 NaN\)$"),
    "infinite score": Fault("detector", _score(INFINITE), _SCORES + r"1 infinite\)$"),
    "score of 1.5": Fault("detector", _score(1.5), _SCORES + r"1 above 1\)$"),
    "score of -0.5": Fault("detector", _score(-0.5), _SCORES + r"1 below 0\)$"),
    "NaN box": Fault("detector", _box(NAN, NAN, 14, 20), _PLACES + r"2 NaN\)$"),
    "infinite box": Fault("detector", _box(-INFINITE, 6, INFINITE, 20), _PLACES + r"2 infinite\)$"),
    "box of 1e30 px": Fault("detector", _box(2, 6, 1e30, 20), _PLACES + r"1 above 9600\)$"),
    "box turned round": Fault("detector", _box(14, 6, 2, 20), _PLACES + "a box has x2 < x1"),
    "no boxes, None": Fault("detector", _answers(lambda answer: None), r"not a pair of .*: None", by_row=False),
    "scores alone": Fault("detector", _answers(lambda answer: answer[1]), "not a pair of .*arr", by_row=False),
    "scores None": Fault(
        "detector", _answers(lambda answer: (answer[0], None)), r"scores are not an array of float32 .*: None\)$",
        by_row=False,
    ),
    "scores of int": Fault(
        "detector", _answers(lambda answer: (answer[0], answer[1].astype(int))), "scores are not .*: ndarray of int64",
        by_row=False,
    ),
    "no candidates": Fault(
        "detector", _answers(lambda answer: (answer[0][:, :0], answer[1][:, :0])), "scores have a wrong shape .* x 0 ",
        by_row=False,
    ),
    "fewer candidates": Fault(
        "detector", _answers(lambda answer: (answer[0][:, :1], answer[1][:, :1])), "scores have a wrong shape .* x 1 ",
        by_row=False,
    ),
    "boxes of 3": Fault(
        "detector", _answers(lambda answer: (answer[0][..., :3], answer[1])), "boxes have a wrong shape .* x 2 x 3 ",
        by_row=False,
    ),
    "an image too few": Fault(
        "detector", _answers(lambda answer: (answer[0][1:], answer[1][1:])), "scores have a wrong shape", by_row=False
    ),
    "huge boxes": Fault(
        "detector", _answers(lambda answer: (_huge(len(answer[0]), _HUGE, 4), _huge(len(answer[0]), _HUGE))),
        f"scores have a wrong shape .* x {_HUGE} ", by_row=False,
    ),
    "NaN mask": Fault("segmenter", _cell(NAN), _MASK + r"1 NaN\)$"),
    "infinite mask": Fault("segmenter", _cell(INFINITE), _MASK + r"1 infinite\)$"),
    "mask of 2": Fault("segmenter", _cell(2), _MASK + r"1 above 1\)$"),
    "no mask, None": Fault("segmenter", _answers(lambda answer: None), "mask is not an array .*: None", by_row=False),
    "mask of half a row": Fault(
        "segmenter", _answers(lambda answer: answer[..., :24]), "mask has a wrong shape .* 32 x 24 ", by_row=False
    ),
    "a mask too many": Fault(
        "segmenter", _answers(lambda answer: np.concatenate([answer, answer[:1]])), "wrong shape", by_row=False
    ),
    "huge mask": Fault(
        "segmenter", _answers(lambda answer: _huge(len(answer), 10**5, 10**5)), "mask has a wrong shape", by_row=False
    ),
}  # fmt: skip


class Hang:
    """A fault that never answers until it is released.

    reached: the engine hangs. fault: to make engines of.
    """

    def __init__(self) -> None:
        self.reached, self._released = threading.Event(), threading.Event()
        self.fault = Fault("detector", self._wait, "", by_row=False)

    def release(self) -> None:
        self._released.set()

    def _wait(self, answer: Answer, rows: NDArray[np.intp]) -> Answer:
        self.reached.set()
        self._released.wait()
        raise RuntimeError("released")
