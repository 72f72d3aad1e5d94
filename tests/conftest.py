"""What all tests share: where modules are found, how property tests are run, and weights that need no training."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeDetector, FakeSegmenter
from hypothesis import settings

from realtime_polyp import config, engines
from realtime_polyp import runtime as line
from realtime_polyp.engines import gate as acceptance
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.gate import GateRecord
from realtime_polyp.engines.weights import Weights

NO_QT = ""
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run_live.py is no package

try:
    import PyQt5.QtWidgets  # noqa: F401 - what the viewer needs, with the libraries that a bare server may lack

    pytest_plugins = ["pytestqt.plugin"]
except ImportError as error:
    NO_QT = str(error)
    collect_ignore = [f"viewer/test_viewer_{part}.py" for part in ("sound", "window", "x11")]


def pytest_report_header() -> str:
    return "viewer tests: " + (f"left out, Qt cannot be loaded here ({NO_QT})" if NO_QT else "with Qt")


settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")


@pytest.fixture
def fake_engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Every engine opens a fake of the model "fake" and no other; yields {task: the last one opened}."""
    opened: dict[str, object] = {}
    makers = {"detector": FakeDetector, "segmenter": FakeSegmenter}

    def find(model: str, task: str) -> Weights:
        if model != "fake":
            raise EngineError(f"unknown {task} {model!r}: choose from fake, or none")
        return Weights(model, task, makers[task].size, ROOT, {}, {})  # type: ignore[arg-type, attr-defined]

    def open_(weights: Weights, device: str, hint: str = "latency") -> object:
        return opened.setdefault(weights.task, makers[weights.task]())

    monkeypatch.setattr(engines, "find_weights", find)
    passed = GateRecord("fake", "fake", "fake", (), "none", {}, {}, "2026-11-25")
    monkeypatch.setattr(acceptance, "find_record", lambda engine: passed)
    # What the fakes look at is drawn, and no mucosa: every view is taken for clear.
    for module in (config, line):
        monkeypatch.setattr(module, "read_frame_quality", lambda: None)
    for name in list(engines.ENGINES):
        monkeypatch.setitem(engines.ENGINES, name, open_)  # type: ignore[arg-type]
    yield opened


@pytest.fixture
def quick_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No curves drawn at every epoch, and one thread, whose sums do not depend on how work is shared."""
    import torch

    import trainers.training.loop

    monkeypatch.setattr(trainers.training.loop, "draw_curves", lambda history, path: path.write_bytes(b""))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
