"""What a kill leaves of the outputs: everything but the last second by the clock, and the last frame."""

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from conftest import ROOT
from media import number_of, numbered

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import VideoWriter
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result


def result_at(index: int, pts_s: float) -> Result:
    frame = Frame(index, pts_s, 0.0, numbered(index % 64))
    return Result(frame, FieldOfView(0, 0, 96, 64), NO_DETECTIONS, (), None)


def frames_in(path: Path) -> list[tuple[int, float]]:
    """Number and time of every frame that can be decoded."""
    with av.open(str(path)) as container:
        return [
            (number_of(frame.to_ndarray(format="rgb24")), float(frame.pts * frame.time_base))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize(
    ("name", "rate_hz"),
    [("a.mp4", 0.2), ("a.mp4", 1), ("a.mp4", 30), ("a.mp4", 60), ("a.mov", 30), ("a.mkv", 0.2), ("a.mkv", 60)],
)
def test_a_copy_at_any_moment_lacks_one_frame(name: str, rate_hz: float, tmp_path: Path) -> None:
    """As a kill would leave it. The nominal rate says nothing: a live source gives what it gives."""
    path, copy = tmp_path / name, tmp_path / f"copy-{name}"
    writer = VideoWriter(path, rate_hz=Fraction(30))
    for index in range(50):
        writer.write(result_at(index, index / rate_hz))
        if index in (1, 2, 10, 29, 30, 31, 49):
            copy.write_bytes(path.read_bytes())
            found = frames_in(copy)
            assert [number for number, _ in found] == list(range(index)), f"at frame {index}"
            assert [time_s for _, time_s in found] == pytest.approx([one / rate_hz for one in range(index)], abs=1e-3)
    writer.close()
    assert [number for number, _ in frames_in(path)] == list(range(50))


@pytest.mark.parametrize(("name", "rate_hz"), [("a.mp4", 1), ("a.mp4", 25), ("a.mp4", 60), ("a.mkv", 1), ("a.mkv", 25)])
def test_a_saved_video_can_be_entered_every_second(name: str, rate_hz: int, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / name, rate_hz=Fraction(rate_hz))
    for index in range(3 * rate_hz):
        writer.write(result_at(index, index / rate_hz))
    writer.close()
    with av.open(str(tmp_path / name)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys_s = [float(packet.pts * packet.time_base) for packet in packets if packet.is_keyframe]
    assert all(later - earlier <= 1.001 for earlier, later in zip(keys_s, keys_s[1:], strict=False))
    assert keys_s[0] == 0 and keys_s[-1] >= 2 - 1e-3


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_in_the_middle(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}, {str(ROOT / "tests" / "outputs")!r}]
from pathlib import Path
from test_crash import result_at
from realtime_polyp.outputs import OutputSpec, open_outputs
folder = Path({str(tmp_path)!r})
outputs = open_outputs(OutputSpec(results=folder / "a.jsonl", save=folder / "a.mp4"), None)
for index in range(10_000):
    for output in outputs:
        output.write(result_at(index, index / 30))
    os.write(1, b".")
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None
        count = sum(len(writing.stdout.read(1)) for _ in range(45))
        os.kill(writing.pid, signal.SIGKILL)
        count += len(writing.stdout.read())
    assert 45 <= count < 10_000
    lines = (tmp_path / "a.jsonl").read_text().split("\n")
    assert len(lines) - 1 >= count and [json.loads(line)["index"] for line in lines[:count]] == list(range(count))
    found = [number for number, _ in frames_in(tmp_path / "a.mp4")]
    assert len(found) >= count - 1 and found == [index % 64 for index in range(len(found))]
