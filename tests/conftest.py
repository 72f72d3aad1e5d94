"""What all tests share: where modules are found, how property tests are run, and weights that need no training."""

import functools
import importlib.util
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeDetector, FakeSegmenter
from hypothesis import settings

from realtime_polyp import config, engines, runtime
from realtime_polyp.engines import gate
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.gate import GateRecord
from realtime_polyp.engines.weights import Weights

NO_QT = ""
Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run_live.py is no package

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # without a display Qt would end the process
if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup and some CI runners have it ignored, also by what tests start

try:
    import PyQt5.QtWidgets  # noqa: F401 - what the viewer needs, with the libraries that a bare server may lack

    pytest_plugins = ["pytestqt.plugin"]
except ImportError as error:
    NO_QT = str(error)
    collect_ignore = [f"viewer/test_viewer_{part}.py" for part in ("alerts", "shell", "sound", "window", "x11")]


def pytest_report_header() -> str:
    return "viewer tests: " + (f"left out, Qt cannot be loaded here ({NO_QT})" if NO_QT else "with Qt")


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


SHARED = (
    ROOT.parent / "shared"
)  # beside the checkout: training data and whole reference files, which nobody may publish
# What a test may need beyond the repository: how to find it, and why the test is skipped without it.
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "cuda": (has_cuda, "torch sees no CUDA device on this machine"),
    "tensorrt": (lambda: importlib.util.find_spec("torch_tensorrt") is not None, "torch-tensorrt is not installed"),
    "qt": (lambda: not NO_QT, f"Qt cannot be loaded here: {NO_QT}"),
    "xvfb": (
        lambda: None not in (shutil.which("Xvfb"), shutil.which("xvfb-run"), shutil.which("xauth")),
        "Xvfb is not installed: apt-get install xvfb xauth",
    ),
    "data": (lambda: (SHARED / "data" / "val.json").is_file(), "the training data is not in ../shared/data"),
    "golden": (lambda: (SHARED / "golden").is_dir(), "the whole reference files are not in ../shared/golden"),
}
REQUIRED = set(filter(None, os.environ.get("REQUIRE", "").split(",")))
if unknown := REQUIRED - set(NEEDS):
    raise pytest.UsageError(f"REQUIRE names {', '.join(sorted(unknown))}: choose from {', '.join(NEEDS)}")


@functools.cache
def missing(kind: str) -> str | None:
    """Why tests that need `kind` (a key of NEEDS) cannot run here; None where they can."""
    is_here, reason = NEEDS[kind]
    return None if is_here() else reason


def needs(*kinds: str) -> pytest.MarkDecorator:
    """Mark a test, class or parameter: skip it where one of `kinds` (keys of NEEDS) is missing. With REQUIRE=KIND,...
    in the environment it fails instead."""
    for kind in kinds:
        NEEDS[kind]
    return pytest.mark.needs(*kinds)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*kinds): skipped without them, or failed under REQUIRE=KIND,...")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for kind in (kind for mark in item.iter_markers("needs") for kind in mark.args):
        if reason := missing(kind):
            if kind in REQUIRED:
                pytest.fail(f"REQUIRE={kind}, but {reason}", pytrace=False)
            pytest.skip(reason)


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
    monkeypatch.setattr(gate, "find_record", lambda engine: passed)
    # What the fakes look at is drawn, and no mucosa: every view is taken for clear.
    for module in (config, runtime):
        monkeypatch.setattr(module, "read_frame_quality", lambda: None)
    monkeypatch.setattr(runtime, "unfused_cautions", lambda detector, segmenter: [])  # no pair that fusion is fitted on
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


@pytest.fixture
def run(fake_engines: dict[str, object], capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `run_live` headless in this process on fake models: (exit code, standard output, standard error)."""
    import run_live

    def run_(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        fakes = ["--headless", "--overwrite", "--detector", "fake", "--segmenter", "fake"]
        try:
            code = run_live.main([*fakes, *map(str, arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        return (code, *capfd.readouterr())

    return run_
