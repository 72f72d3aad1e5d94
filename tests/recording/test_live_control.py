"""Recordings that begin while a live source plays, goes away and comes back, in the same format or in another one."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from fakes import wait_until

from realtime_polyp.bench.loopback import OTHER_SIZE, SIZE, Scene, Server
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.control import RecordingControl, RecordSpec
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.session import Session
from realtime_polyp.sources import NetworkSource, open_source
from realtime_polyp.sources.reconnecting import Reconnecting, keep_open


class Live:
    """A loopback server, a session that plays it, and its control."""

    def __init__(self, folder: Path, pre_roll_s: float) -> None:
        self.folder, self.said, self.captured = folder, list[str](), list[Frame]()
        self.server = Server("tcp", Scene())
        self.server.start()
        self.source = keep_open(lambda: NetworkSource(self.server.url, silence_s=2, probe_s=0.5))
        assert isinstance(self.source, Reconnecting)
        pipeline = Pipeline(None, None)
        spec = RecordSpec(folder, self.server.url, pre_roll_s=pre_roll_s)
        self.control = RecordingControl(spec, pipeline, self.said.append)
        self.source.on_open = self.control.attach
        self.control.attach(self.source)
        self.session = Session(self.source, pipeline, self.control.write, on_frame=self._capture)
        self.session.start()
        self.play(20)

    def _capture(self, frame: Frame) -> None:
        self.captured.append(frame)
        self.control.capture(frame)

    def play(self, count: int) -> None:
        """Wait for so many frames of the size that is sent now."""
        first, size = len(self.captured), self.server.scene.size
        wait_until(lambda: sum(one.image.shape[1::-1] == size for one in self.captured[first:]) > count)

    def come_back(self, size: tuple[int, int] = SIZE) -> None:
        """The source goes away, and comes back with pictures of this size."""
        self.go_away()
        self.server.scene.size = size
        self.server.start()
        self.play(5)

    def go_away(self) -> None:
        self.server.kill()
        wait_until(lambda: self.source.trouble is not None)  # type: ignore[attr-defined]

    def record(self) -> None:
        self.control.start()
        wait_until(lambda: self.control.recorder is not None)

    def stop_recording(self) -> None:
        self.control.stop()
        wait_until(lambda: self.said[-1].startswith("Recorded in"))

    def close(self) -> None:
        threading.Thread(target=self.session.stop).start()
        self.session.wait()
        assert self.control.close(20.0)
        self.server.close()

    def recorded(self) -> list[RecordedSession]:
        return [RecordedSession(one) for one in sorted(self.folder.iterdir())]

    def exact_pictures(self, session: RecordedSession) -> int:
        """How many pictures of a session are those that were captured, to the bit; no other may be there."""
        by_index, pictures, count = {one.index: one.image for one in self.captured}, SessionPictures(session), 0
        for number, index in enumerate(session.frames.source_index, 1):
            if (image := pictures.find(number)) is not None:
                assert np.array_equal(image, by_index[index]), number
                count += 1
        pictures.close()
        return count


@pytest.fixture
def live(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Live]:
    made = Live(tmp_path / "sessions", getattr(request, "param", 0.0))
    yield made
    made.server.close()


def test_recording_begins_after_the_source_came_back(live: Live) -> None:
    live.come_back()
    live.record()
    live.play(20)
    live.close()
    (session,) = live.recorded()
    assert session.facts["original"]["how"] == "packets" and live.exact_pictures(session) > 10


def test_recording_begins_while_the_source_is_away(live: Live) -> None:
    live.go_away()
    live.record()
    live.server.start()
    live.play(20)
    live.close()
    (session,) = live.recorded()
    assert session.facts["original"]["how"] == "packets" and live.exact_pictures(session) > 10


@pytest.mark.parametrize("live", [0.0, 1.0], indirect=True, ids=["no pre-roll", "pre-roll"])
def test_recording_that_begins_after_a_change_of_format_has_the_new_one(live: Live) -> None:
    live.come_back(OTHER_SIZE)
    live.record()
    live.play(20)
    live.close()
    (session,) = live.recorded()
    assert size_of(session) == OTHER_SIZE and live.exact_pictures(session) > 10
    assert [text.split(" ")[0] for text in live.said] == ["Recording"]


def test_recording_anew_after_a_change_of_format_has_the_new_one(live: Live) -> None:
    live.record()
    live.play(10)
    live.come_back(OTHER_SIZE)
    live.play(5)
    live.stop_recording()
    live.record()
    live.play(20)
    live.close()
    first, second = live.recorded()
    assert "recorded as h264, 160 x 128" in live.said[1]
    assert (size_of(first), size_of(second)) == (SIZE, OTHER_SIZE) and live.exact_pictures(second) > 10


def size_of(session: RecordedSession) -> tuple[int, int]:
    assert session.original
    with av.open(str(session.original)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def test_recording_anew_after_the_encoder_failed_records_the_picture(tmp_path: Path) -> None:
    """It was told as a slow disk, for ever."""
    source = open_source("pattern:160x120@25:4")
    spec, said = RecordSpec(tmp_path / "sessions", "pattern", pre_roll_s=1.0), list[str]()
    control = RecordingControl(spec, Pipeline(None, None), said.append)
    control.attach(source)
    feed = control._feed
    assert feed
    feed.error = OSError("the encoder is gone")  # type: ignore[misc]
    control.start()
    until_s = time.monotonic() + 30
    while not control.recorder and time.monotonic() < until_s:
        time.sleep(0.01)
    assert control._feed is not feed and control._feed and control._feed.error is None and control.failure is None
    assert control.close(20.0)
    source.close()
