"""Several videos on one pair of models: equal to each alone, batches shared, one failure that stays alone."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeDetector, FakeSegmenter, ScriptedSource, assert_same_results, frames_of, pipeline_of, runtime_of

from realtime_polyp.cli.multi import MultiSession, analyse_together, format_multi_session
from realtime_polyp.cli.options import add_number
from realtime_polyp.field_of_view import FieldOfView, whole
from realtime_polyp.inference.base import ModelOutputs, Pending
from realtime_polyp.inference.host import HostInference
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import run_inline
from realtime_polyp.telemetry.trace import Trace


class Kept:
    """An output that keeps what it was given."""

    name, on_disk = "results to memory", True

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.closed = False

    def write(self, result: Result) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed = True


class Gate(HostInference):
    """Waits before its first batch until it is opened, so that callers pile up."""

    def __init__(self) -> None:
        super().__init__(FakeDetector(), FakeSegmenter())  # type: ignore[arg-type]
        self.open, self.begun = threading.Event(), threading.Event()

    def submit(
        self, images: Sequence[Any], fields: Sequence[FieldOfView], *, hflip: Sequence[bool] = ()
    ) -> Pending[ModelOutputs]:
        self.begun.set()
        assert self.open.wait(10)
        return super().submit(images, fields, hflip=hflip)


def run_together(
    sources: Sequence[ScriptedSource], outputs: Sequence[Sequence[Kept]] | None = None, **options: Any
) -> MultiSession:
    return analyse_together(sources, outputs or [()] * len(sources), runtime_of(**options))  # type: ignore[arg-type]


def test_each_stream_gets_what_it_would_have_got_alone() -> None:
    lengths = (23, 40, 31)
    kept = [Kept() for _ in lengths]
    went = run_together([ScriptedSource(length) for length in lengths], [[output] for output in kept])
    for length, output in zip(lengths, kept, strict=True):
        assert output.closed
        assert_same_results(output.results, list(run_inline(frames_of(length), pipeline_of())))
    assert sum(size * count for size, count in went.batch_sizes.items()) == sum(lengths)
    assert [one["frames_analysed"] for one in went.to_dict()["streams"]] == list(lengths)
    assert not any(session.error for session in went.sessions) and went.fps > 0
    assert "together" in format_multi_session(went)


def test_whoever_waits_shares_a_batch_no_larger_than_allowed() -> None:
    gate = Gate()
    answers: dict[int, ModelOutputs] = {}
    with SharedInference(gate, largest=4) as shared:

        def ask(number: int) -> None:
            image = np.full((72, 96, 3), 10 * number, np.uint8)
            count = 1 + number % 2
            answers[number] = shared.submit([image] * count, [whole(image)] * count).result()

        first = threading.Thread(target=ask, args=(0,))
        first.start()
        assert gate.begun.wait(10)
        others = [threading.Thread(target=ask, args=(number,)) for number in range(1, 7)]
        for thread in others:
            thread.start()
        while len(shared._waiting) < 6:
            pass
        gate.open.set()
        for thread in [first, *others]:
            thread.join(10)
    assert sum(size * count for size, count in shared.batch_sizes.items()) == 1 + 9
    assert set(shared.batch_sizes) <= {1, 2, 3, 4}  # who waits in which order is the threads' affair
    assert 4 in shared.batch_sizes or 3 in shared.batch_sizes
    for number, answer in answers.items():
        assert answer.probability is not None and len(answer.probability) == 1 + number % 2
        assert answer.probability.max() == pytest.approx((10 * number / 255) ** 2)  # its own pixels, nobody else's


def test_a_stream_that_fails_ends_alone() -> None:
    kept = [Kept(), Kept()]
    sources = [ScriptedSource(30, fails_at=5), ScriptedSource(30)]
    went = run_together(sources, [[output] for output in kept])
    assert "the decoder failed at frame 5" in str(went.sessions[0].error)
    assert went.sessions[1].error is None and len(kept[1].results) == 30


def test_a_model_that_fails_is_heard_by_every_stream() -> None:
    went = run_together([ScriptedSource(300) for _ in range(3)], detector=FakeDetector(fails_at=20))
    failed = [session for session in went.sessions if session.error]
    assert failed and all("out of memory" in str(session.error) for session in failed)


def test_the_trace_has_a_row_for_every_stream_s_threads() -> None:
    trace = Trace()
    run_together([ScriptedSource(5) for _ in range(2)], trace=trace)
    rows = {span.track for span in trace.spans()} - {"analyse"}  # the frame that warms the models up
    assert rows == {"1 decode", "1", "1 deliver", "2 decode", "2", "2 deliver"}


def test_each_stream_s_files_have_its_number() -> None:
    assert add_number(Path("a/out.jsonl"), 2) == Path("a/out-2.jsonl") and add_number(None, 2) is None
    assert add_number(Path("out.mp4"), 12) == Path("out-12.mp4")
