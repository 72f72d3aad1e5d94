"""The models give way to the picture: of a live source, and only there."""

import os
import sys
import threading

import pytest
from fakes import FakeDetector, FakeSegmenter, ScriptedSource

from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session
from realtime_polyp.telemetry.priority import lower_thread_priority, with_low_priority

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Watched(FakeDetector):
    """Notes the priority it is called at."""

    found: int | None = None

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        self.found = nice()
        return super().__call__(pixels)


def test_a_thread_that_gives_way_passes_it_on_and_nobody_else_does() -> None:
    def work() -> tuple[int, int]:
        started: list[int] = []
        thread = threading.Thread(target=lambda: started.append(nice()))
        thread.start()
        thread.join()
        return nice(), started[0]

    before = nice()
    assert with_low_priority(work) == (19, 19) and nice() == before


def test_what_fails_on_such_a_thread_fails_here() -> None:
    def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        with_low_priority(work)


@pytest.mark.parametrize("live", [True, False])
def test_the_analysis_of_a_live_source_gives_way(live: bool) -> None:
    before, detector = nice(), Watched()
    source = ScriptedSource(10, live=live, rate_hz=200)
    session = Session(source, Pipeline(detector, FakeSegmenter()), lambda result: None)  # type: ignore[arg-type]
    session.start()
    session.wait()
    assert detector.found == (19 if live else before) and nice() == before


@pytest.mark.parametrize("reads_ahead", [True, False])
def test_a_decoder_that_reads_ahead_gives_way_to_the_picture_it_has_shown(reads_ahead: bool) -> None:
    class Source(ScriptedSource):
        def frames(self):  # type: ignore[no-untyped-def]
            self.found = nice()
            yield from super().frames()

    before, source = nice(), Source(3, live=True, rate_hz=200)
    source.reads_ahead = reads_ahead
    session = Session(source, Pipeline(FakeDetector(), FakeSegmenter()), lambda result: None)  # type: ignore[arg-type]
    session.start()
    session.wait()
    assert source.found == (19 if reads_ahead else before)


def test_giving_way_twice_is_no_error() -> None:
    with_low_priority(lambda: (lower_thread_priority(), lower_thread_priority()))
    assert with_low_priority(nice) == 19


def test_a_priority_that_is_low_already_is_not_raised() -> None:
    assert with_low_priority(lambda: (lower_thread_priority(5), nice())[1]) == 19
