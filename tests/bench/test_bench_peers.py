"""Loops of others: that theirs is a fair one, and that ratios are ours to theirs."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes import picture
from media import write_clip

from realtime_polyp.bench import naive, peers, throughput
from realtime_polyp.bench.commands import run_json_command
from realtime_polyp.bench.comparisons import Timing
from realtime_polyp.bench.table import against_table
from realtime_polyp.runtime import RuntimeConfig

SETUP = RuntimeConfig("fake", "fake", "openvino")
COUNT, SIZE = 12, (96, 72)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=SIZE, rate=30, draw=picture)


def speaking(config: RuntimeConfig, clip: Path, python: str, *, seconds: float) -> list[str]:
    return [sys.executable, "-c", f'print(\'{{"frames": 10, "seconds": {seconds}, "stages_ms": {{"read": 2}}}}\')']


def test_ours_is_compared_with_each_as_each_does_it(
    clip: Path, fake_engines: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(peers.PEERS, "a", peers.Peer("A", (), True, "draws", partial(speaking, seconds=1.0)))
    monkeypatch.setitem(peers.PEERS, "b", peers.Peer("B", (), False, "draws not", partial(speaking, seconds=2.0)))
    told = peers.compare_with(["a", "b"], SETUP, clip, 1, sys.executable)
    assert list(told) == [peers.OURS[True], "a", peers.OURS[False], "b"]
    assert told["a"]["fps"] == 10 and told["b"]["fps"] == 5 and told["a"]["stages_ms"] == {"read": 2}
    assert "A: draws; read 2.0 ms per frame" in against_table("clip", told)
    for name, draws in (("a", True), ("b", False)):
        ours = told[peers.OURS[draws]]["fps"]
        assert told[name]["ours_to_it"] == pytest.approx(ours / told[name]["fps"], abs=0.01)


def test_what_is_not_installed_is_said_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    peers.check_peers(["naive"], sys.executable)
    monkeypatch.setitem(peers.PEERS, "ultralytics", peers.Peer("U", ("no_such_module",), False, "", speaking))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs no_such_module, which is not installed: .*--peer-python"):
        peers.check_peers(["ultralytics"], sys.executable)


# the naive loop


def test_the_naive_loop_finds_what_its_models_say(clip: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def detector(pixels: np.ndarray) -> list[np.ndarray]:
        seen.append(pixels.shape)
        return [np.array([[[0, 0, 24, 16], [1, 1, 24, 16]]], np.float32), np.array([[0.9, 0.5]], np.float32)]

    def segmenter(pixels: np.ndarray) -> list[np.ndarray]:
        return [np.full((1, 8, 12), 0.7, np.float32)]

    told = naive.loop(clip, [detector, segmenter], [(32, 48), (32, 48)])
    assert told["frames"] == COUNT and seen == [(1, 3, 32, 48)] * COUNT and told["seconds"] > 0
    assert set(told["stages_ms"]) == {"read", "resize", "detect", "segment", "NMS and draw"}
    assert naive.loop(clip, [detector, segmenter], [(32, 48), (32, 48)], most_frames=3)["frames"] == 3


def test_the_naive_loop_keeps_the_best_box_in_the_frame_s_pixels() -> None:
    boxes = np.array([[0, 0, 24, 16], [1, 1, 24, 16], [30, 20, 40, 30], [0, 0, 9, 9]], np.float32)
    found = naive.filter_boxes(boxes, np.array([0.5, 0.9, 0.4, 0.1], np.float32), (32, 48), (72, 96, 3))
    assert sorted(score for _, score in found) == pytest.approx([0.4, 0.9])
    best = max(found, key=lambda one: one[1])[0]
    assert best == pytest.approx([2, 1 * 72 / 32, 48, 36])
    assert naive.filter_boxes(boxes[:0], np.zeros(0, np.float32), (32, 48), (72, 96, 3)) == []


def test_the_naive_loop_gives_the_models_red_first() -> None:
    blue = np.zeros((8, 8, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV reads blue first
    pixels = naive.prepare(blue, (4, 4))
    assert pixels.shape == (1, 3, 4, 4) and pixels.dtype == np.float32
    assert pixels[0, 2].min() == 200 and pixels[0, :2].max() == 0


def test_the_naive_loop_runs_the_shipped_models(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    naive.main([str(clip)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames"] == COUNT


# Ultralytics, whose package is none of ours: its loop on a package that answers in the same way

_PACKAGE = """
__version__ = "0"
class settings:
    @staticmethod
    def update(values): assert values == {"sync": False}
class Result: orig_img = "pixels"
class YOLO:
    def __init__(self, name): assert name in ("yolo11n.yaml", "yolo11n-seg.yaml"); self.seen = 0
    def predict(self, source, *, stream=False, imgsz, device, verbose):
        assert imgsz == 320 and device == "cpu"
        if stream: return (Result() for _ in range(9))
        assert source == "pixels"
        return [Result()]
"""


def test_ultralytics_sees_every_frame_with_both_models(tmp_path: Path) -> None:
    (tmp_path / "ultralytics.py").write_text(_PACKAGE)
    (tmp_path / "torch.py").write_text("__version__ = '0'\ndef set_num_threads(count): assert count >= 1\n")
    command = peers.PEERS["ultralytics"].command(SETUP, Path("clip.mp4"), sys.executable)
    told = run_json_command(command, environment={"PYTHONPATH": str(tmp_path)})
    assert told["frames"] == 9 and told["seconds"] > 0 and told["version"] == "0"


_INT8_PACKAGE = """
import pathlib
__version__ = "0"
class settings:
    @staticmethod
    def update(values): pass
class Result: orig_img = "pixels"
class YOLO:
    def __init__(self, name, task=None):
        self.name, self.task = str(name), task
        assert self.name.endswith((".yaml", ".pt")) or pathlib.Path(self.name, "model.xml").exists()
    def save(self, path): pathlib.Path(path).write_text("weights")
    def export(self, *, format, int8, imgsz, data):
        assert (format, int8, imgsz) == ("openvino", True, 320) and self.name.endswith(".pt")
        folder = pathlib.Path(data).parent
        images, labels = (sorted(one.stem for one in (folder / kind).iterdir()) for kind in ("images", "labels"))
        assert len(images) == FRAMES and images == labels and f"path: {folder}" in pathlib.Path(data).read_text()
        made = pathlib.Path(self.name).with_suffix("")
        made.mkdir()  # fails where a model is exported twice
        (made / "model.xml").write_text("graph")
        return str(made)
    def predict(self, source, *, stream=False, imgsz, device, verbose):
        assert self.task == ("detect" if stream else "segment") and not self.name.endswith((".yaml", ".pt"))
        return (Result() for _ in range(9)) if stream else [Result()]
"""


def test_ultralytics_exports_its_int8_models_once_from_frames_of_the_clip(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "ultralytics.py").write_text(_INT8_PACKAGE.replace("FRAMES", str(COUNT)))
    (tmp_path / "torch.py").write_text("__version__ = '0'\ndef set_num_threads(count): assert count >= 1\n")
    command = peers.PEERS["ultralytics-int8"].command(SETUP, clip, sys.executable)
    environment = {"PYTHONPATH": str(tmp_path), "YOLO_CONFIG_DIR": str(tmp_path / "settings")}
    for _ in range(2):
        told = run_json_command(command, environment=environment)
        assert told["frames"] == 9 and told["seconds"] > 0


# figures of our own line


def test_efficiency_is_throughput_to_the_slowest_stage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "cores", lambda: 2)
    told = {
        "line": [Timing(36, 50), Timing(18, 50), Timing(40, 50)],
        "decode": [Timing(200, 10)] * 3,
        "analyse": [Timing(40, 40), Timing(20, 40), Timing(50, 40)],
        "detector": [Timing(30, 40)] * 3,  # slower, but no stage of its own: its thread has more to do
    }
    found = throughput.derive_figures(told)
    assert found["slowest_stage"] == "analyse" and found["efficiency"] == 0.9
    assert found["packing_limit_fps"] == 40 and found["of_packing_limit"] == 0.9 and found["cores_busy"] == 1.8
