"""A live source that comes back in another format: its pictures are recorded all the same, and the person is told."""

import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import pipeline_of, wait_until

from realtime_polyp.bench.loopback import OTHER_SIZE, SIZE, Scene, Server
from realtime_polyp.outputs.video_picture import fit, unfit
from realtime_polyp.packets import Frame
from realtime_polyp.recording.packets import _with_lengths
from realtime_polyp.recording.start import start_recorder
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.session import Session
from realtime_polyp.sources import NetworkSource
from realtime_polyp.sources.reconnecting import keep_open


def test_pictures_of_another_format_are_in_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tissue: np.ndarray
) -> None:
    server = Server("tcp", Scene())
    server.start()
    source, pipeline = keep_open(lambda: NetworkSource(server.url, silence_s=2, probe_s=0.5)), pipeline_of()
    recorder = start_recorder(tmp_path, server.url, source, pipeline)
    captured: list[Frame] = []

    def capture(frame: Frame) -> None:
        captured.append(frame)
        recorder.capture(frame)

    session = Session(source, pipeline, recorder.write, on_frame=capture)
    session.start()
    for size in (SIZE, OTHER_SIZE, SIZE):
        server.scene.size = size
        count = len(captured)
        wait_until(lambda size=size, count=count: sum(shape_of(one) == size for one in captured[count:]) > 20)  # type: ignore[misc]
    threading.Thread(target=session.stop).start()
    session.wait()
    recorder.note_end(session.state)
    recorder.close()
    server.close()
    assert recorder.folder and "recorded as h264, 160 x 128" in capsys.readouterr().err
    recorded = RecordedSession(recorder.folder)
    pictures, found = SessionPictures(recorded), dict[tuple[int, int], int]()
    for number, frame in enumerate(captured, 1):
        image = pictures.find(number)
        if image is None:
            continue
        shown = recorded.frame(number, image)
        assert shown.image.shape == frame.image.shape and shown.index == frame.index
        assert np.abs(shown.image.astype(int) - frame.image).mean() < 6, (number, shape_of(frame))
        found[shape_of(frame)] = found.get(shape_of(frame), 0) + 1
    pictures.close()
    recorded.close()
    assert found[SIZE] > 20 and found[OTHER_SIZE] > 10, found


def shape_of(frame: Frame) -> tuple[int, int]:
    height, width = frame.image.shape[:2]
    return width, height


@pytest.fixture
def tissue() -> np.ndarray:
    return Scene().picture(3)


@pytest.mark.parametrize("size", [(256, 320), (128, 160), (90, 160), (128, 60), (63, 31)])
def test_a_picture_comes_out_of_a_frame_of_another_size_as_it_was(tissue: np.ndarray, size: tuple[int, int]) -> None:
    size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
    found = unfit(fit(tissue, size), tissue.shape[:2])
    assert found.shape == tissue.shape and np.abs(found.astype(int) - tissue).mean() < 12
    assert unfit(tissue, tissue.shape[:2]) is tissue
    assert unfit(fit(tissue[:127, :159], (128, 160)), (127, 159)).shape == (127, 159, 3)


def test_units_of_h264_get_lengths_where_the_stream_has_them() -> None:
    data = b"\x00\x00\x00\x01abc\x00\x00\x01de"
    plain = ("h264", 8, 8, b"\x00\x00\x00\x01x")
    assert _with_lengths(data, plain) == data
    assert _with_lengths(data, ("h264", 8, 8, b"\x01abc\xff")) == b"\x00\x00\x00\x03abc\x00\x00\x00\x02de"
