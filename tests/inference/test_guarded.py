"""Models that fail or hang while live pictures go on: they are started again, then replaced by the next engine."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from fakes import FakeDetector, FakeSegmenter, ScriptedSource, pipeline_of, wait_until
from numpy.typing import NDArray

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.fallback import engines_after
from realtime_polyp.field_of_view import whole
from realtime_polyp.inference import guarded
from realtime_polyp.inference.guarded import PER_S, RESTARTS, EngineFailure, GuardedInference, Ladder, unguarded
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session, SessionError

COUNT = 80
IMAGE = np.zeros((72, 96, 3), np.uint8)
Spoil = Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]


class Detector(FakeDetector):
    """Runs `spoil` over the answer of the call of this number, over each one where there is none."""

    def __init__(self, spoil: Spoil, at: int | None = None, name: str = "fake") -> None:
        super().__init__()
        self.name, self._spoil, self._at, self._calls = name, spoil, at, 0

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        answer, self._calls = super().__call__(pixels), self._calls + 1
        return self._spoil(*answer) if self._at in (None, self._calls) else answer


def fails(boxes: object, scores: object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    raise RuntimeError("CUDA out of memory")


def inference_of(detector: FakeDetector | None = None) -> HostInference:
    return HostInference(detector or FakeDetector(), FakeSegmenter())


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ask(guard: GuardedInference) -> None:
    guard.submit([IMAGE], [whole(IMAGE)]).result()
    guard.note_answer()


def test_a_model_is_started_again_and_answers() -> None:
    said: list[str] = []
    guard = GuardedInference(
        inference_of(Detector(fails)), Ladder(lambda level: inference_of(), ["cpu"]), say=said.append
    )
    with pytest.raises(EngineFailure, match="out of memory") as caught:
        ask(guard)
    assert guard.recover(caught.value)
    assert guard.trouble and guard.trouble.reason == "CUDA out of memory" and guard.trouble.attempts == 1
    ask(guard)
    assert guard.trouble is None and guard.has_answered and guard.level == 0
    assert [text.split(":")[0].split(" after")[0] for text in said] == ["the model failed", "the model answers again"]
    guard.close()


def test_after_five_starts_in_a_minute_the_next_engine_takes_over_and_the_last_one_waits() -> None:
    opened: list[int] = []
    clock = Clock()

    def open_level(level: int) -> HostInference:
        opened.append(level)
        return inference_of(Detector(fails, name=f"engine {level}"))

    ladder = Ladder(open_level, ["cuda", "cuda"])
    guard = GuardedInference(inference_of(Detector(fails)), ladder, clock=clock, say=lambda text: None)
    begun_s = []
    while clock.now_s < 10.0:
        if guard.recover(RuntimeError("it failed")):
            begun_s.append(clock.now_s)
        clock.now_s += 0.25
    assert opened == [0] * RESTARTS + [1] * RESTARTS
    waits = [0.25, 0.5, 1.0, 2.0]
    assert np.diff(begun_s[:RESTARTS]).tolist() == np.diff(begun_s[RESTARTS:]).tolist() == waits
    assert guard.trouble and guard.trouble.next_s == begun_s[RESTARTS] + PER_S
    with pytest.raises(EngineFailure, match="it failed"):
        ask(guard)
    clock.now_s = guard.trouble.next_s
    assert guard.recover(RuntimeError("it failed")) and opened[-1] == 1
    assert guard.detector and guard.detector.name == "engine 1" and not guard.has_answered
    guard.close()


@pytest.mark.parametrize("answers", [False, True])
def test_an_engine_that_starts_slowly_and_fails_is_replaced_too(answers: bool) -> None:
    opened: list[int] = []
    clock = Clock()

    def open_level(level: int) -> HostInference:
        opened.append(level)
        clock.now_s += 40.0
        return inference_of()

    guard = GuardedInference(inference_of(), Ladder(open_level, ["cuda"] * 2), clock=clock, say=lambda text: None)
    for _ in range(RESTARTS + 1):
        assert guard.recover(RuntimeError("scores are not finite"))
        if answers:
            ask(guard)
        clock.now_s += 5.0
    assert opened == [0] * RESTARTS + [1]
    guard.close()


@pytest.mark.parametrize("hangs_at", ["start", "first answer"])
def test_an_engine_that_hangs_after_it_was_started_again_is_passed_over(hangs_at: str) -> None:
    opened: list[int] = []
    clock, unblock = Clock(), threading.Event()

    def hangs(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[object, object]:
        unblock.wait()
        return boxes, scores

    def open_level(level: int) -> HostInference:
        opened.append(level)
        if level == 0 and hangs_at == "start":
            unblock.wait()
        return inference_of(Detector(hangs) if level == 0 else None)  # type: ignore[arg-type]

    ladder = Ladder(open_level, ["cuda", "cuda"])
    guard = GuardedInference(inference_of(), ladder, first_answer_s=0.5, clock=clock, say=lambda text: None)
    assert guard.recover(RuntimeError("no answer for 3.0 s")) == (hangs_at == "first answer")
    with pytest.raises(EngineFailure) as caught:
        ask(guard)
    clock.now_s += 120.0
    guard._first_answer_s = 30.0
    assert guard.recover(caught.value) and opened == [0, 1]
    ask(guard)
    unblock.set()
    guard.close()


def test_an_engine_that_cannot_be_used_is_passed_over_at_once() -> None:
    opened: list[int] = []
    clock = Clock()

    def open_level(level: int) -> HostInference:
        opened.append(level)
        if level == 1:
            raise EngineError("engine b was never compared with float32")
        return inference_of(FakeDetector() if level == 0 else Detector(nan, name="c"))

    guard = GuardedInference(
        inference_of(), Ladder(open_level, ["cpu"] * 3), clock=clock, say=lambda text: None, answer_s=30.0
    )
    for _ in range(40):
        guard.recover(RuntimeError("it failed"))
        clock.now_s += 0.25
        if opened[-1] == 2:
            break
    assert opened == [0] * RESTARTS + [1, 2]
    assert guard.detector and guard.detector.notes == ("another engine failed (it failed)",)
    guard.close()


def test_where_the_device_is_lost_the_next_engine_is_on_another_one() -> None:
    opened: list[int] = []
    ladder = Ladder(lambda level: opened.append(level) or inference_of(), ["cuda", "cuda", "cuda", "cpu", "cpu"])  # type: ignore[func-returns-value]
    guard = GuardedInference(inference_of(), ladder, say=lambda text: None)
    assert guard.recover(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert opened == [3]
    guard.close()


def test_after_the_gpu_was_lost_each_engine_of_the_cpu_is_tried() -> None:
    opened: list[int] = []

    def open_level(level: int) -> HostInference:
        opened.append(level)
        if level == 0:
            raise RuntimeError("CUDA error: unspecified launch failure")
        if level == 2:
            raise EngineError("it was never compared with float32")
        return inference_of()

    ladder = Ladder(open_level, ["cuda", "cuda", "cpu", "cpu"])
    guard = GuardedInference(inference_of(), ladder, say=lambda text: None, clock=Clock())
    assert not guard.recover(RuntimeError("CUDA out of memory"))
    for is_started in (False, True):
        with pytest.raises(EngineFailure, match="unspecified launch failure") as caught:
            ask(guard)
        assert guard.recover(caught.value) == is_started
    assert opened == [0, 2, 3]
    guard.close()


def test_an_engine_of_the_cpu_starts_while_the_gpu_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    unblock = threading.Event()
    monkeypatch.setattr(guarded, "_free_device_memory", unblock.wait)
    ladder = Ladder(lambda level: inference_of(), ["cuda", "cpu"])
    guard = GuardedInference(inference_of(), ladder, first_answer_s=5.0, say=lambda text: None)
    assert guard.recover(RuntimeError("CUDA error: the launch timed out and was terminated")) and guard.level == 1
    unblock.set()
    guard.close()


def test_a_model_that_hangs_is_left_behind() -> None:
    unblock, others = threading.Event(), set(threading.enumerate())  # of other tests in this process

    def hangs(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[object, object]:
        unblock.wait()
        return boxes, scores

    ladder = Ladder(lambda level: inference_of(), ["cpu"])
    hung = inference_of(Detector(hangs))  # type: ignore[arg-type]
    guard = GuardedInference(hung, ladder, first_answer_s=0.2, say=lambda text: None)
    with pytest.raises(EngineFailure, match=r"no answer for 0\.\d s") as caught:
        ask(guard)
    guard._first_answer_s = 30.0
    assert guard.recover(caught.value)
    ask(guard)
    unblock.set()
    guard.close()
    wait_until(lambda: not [one for one in set(threading.enumerate()) - others if one.name == "models"])


def test_starting_again_is_no_longer_waited_for_once_the_session_ends() -> None:
    unblock = threading.Event()
    ladder = Ladder(lambda level: unblock.wait() and inference_of() or inference_of(), ["cpu"])
    guard = GuardedInference(inference_of(), ladder, say=lambda text: None)
    begin_s = time.monotonic()
    assert not guard.recover(RuntimeError("it failed"), stops=lambda: True)
    assert time.monotonic() - begin_s < 10
    assert guard.may_start_again, "the engine did not fail"
    unblock.set()


def nan(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return boxes, np.full_like(scores, np.nan)


def cut(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return boxes[:, :, :3], scores


def more(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Another engine may give another number of candidates."""
    return np.concatenate([boxes, boxes], 1), np.concatenate([scores, scores * 0], 1)


@pytest.mark.parametrize("spoil", [fails, nan, cut])
@pytest.mark.parametrize("display", ["synced", "immediate"])
def test_the_picture_of_a_live_source_goes_on_while_its_model_fails(spoil: Spoil, display: str) -> None:
    guard = GuardedInference(
        inference_of(Detector(spoil, at=2)),
        Ladder(lambda level: inference_of(Detector(more)), ["cpu"]),
        say=lambda text: None,
    )
    pipeline = Pipeline(None, None, inference=guard)
    pipeline.warm_up()  # the first call
    results: list[Result] = []
    session = Session(
        ScriptedSource(COUNT, live=True, rate_hz=100),
        pipeline,
        results.append,
        display=display,  # type: ignore[arg-type]
        paints=display != "synced",
    )
    session.start()
    while not session.wait(0.01):
        if session.screen and (frame := session.screen.latest()):
            session.shown(frame)
    session.finish_pictures()
    assert session.state == "ended" and session.error is None and guard.trouble is None
    for ledger in (session.pictures, session.analyses):
        tally = ledger.tally()
        assert tally.balanced and tally.pending == 0 and tally.captured == COUNT
    assert session.analyses.tally().dropped["analysis"]["model failed"] == 1
    assert max(result.frame.index for result in results) > COUNT // 2, "results go on"
    assert all(np.isfinite(result.detections.scores).all() for result in results)
    guard.close()


def test_a_model_that_never_worked_ends_the_session() -> None:
    ladder = Ladder(lambda level: inference_of(Detector(fails)), ["cpu"])
    guard = GuardedInference(inference_of(Detector(fails)), ladder, say=lambda text: None)
    session = Session(ScriptedSource(200, live=True), Pipeline(None, None, inference=guard), lambda result: None)
    session.start()
    with pytest.raises(SessionError, match="the model failed at frame .*out of memory"):
        while not session.wait(0.01):
            pass
    guard.close()


def test_a_recording_ends_with_the_first_failure() -> None:
    guard = GuardedInference(
        inference_of(Detector(fails)), Ladder(lambda level: inference_of(), ["cpu"]), say=lambda text: None
    )
    session = Session(ScriptedSource(9), Pipeline(None, None, inference=guard), lambda result: None)
    session.start()
    with pytest.raises(SessionError, match="the model failed at frame 0: CUDA out of memory"):
        while not session.wait(0.01):
            pass
    assert session.error and isinstance(session.error.__cause__, RuntimeError)
    guard.close()


def test_ladders() -> None:
    cpu = [("openvino-int8-bf16", "cpu"), ("openvino-int8", "cpu"), ("openvino", "cpu"), ("eager", "cpu")]
    assert engines_after("openvino-int8-bf16", "cpu") == cpu[1:]
    assert engines_after("openvino-int8", "cpu") == cpu[2:]
    assert engines_after("eager", "cpu") == []
    assert engines_after("tensorrt-fp16", "cuda") == [("compiled-fp16", "cuda"), ("eager", "cuda"), *cpu]
    assert engines_after("eager", "cuda") == cpu
    assert engines_after("tensorrt-fp8", "cuda")[0] == ("tensorrt-fp16", "cuda")
    assert unguarded(inner := inference_of()) is inner and pipeline_of().detector is not None
