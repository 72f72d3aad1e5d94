"""The same clip through the loops that others would write, in turn with ours, each in a process of its own."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.bench.line import Setup, Show, discard, open_pipeline, paint, run_line
from realtime_polyp.bench.rounds import alternate, ratio
from realtime_polyp.bench.subprocesses import told_by
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.sources import FileSource

_YOLO_LOOP = Path(__file__).with_name("ultralytics_loop.py")
_YOLO_SIZE_PX = 320
_NAIVE_NOTE = "the same weights on whole frames resized by OpenCV, one step after the other, nothing smoothed"


@dataclass(frozen=True)
class Peer:
    """Another way to do the same. title: of its row. needs: modules that its interpreter must have. draws: it paints
    every overlay, so ours does in its comparison. note: what a reader must know of it to judge the ratio."""

    title: str
    needs: tuple[str, ...]
    draws: bool
    note: str
    command: Callable[[Setup, Path, str], list[str]]


def _naive(setup: Setup, clip: Path, python: str, *, runtime: str) -> list[str]:
    models = ["--detector", setup.detector, "--segmenter", setup.segmenter]
    return [sys.executable, "-m", "realtime_polyp.bench.naive", str(clip), "--runtime", runtime, *models]


PEERS = {
    "naive": Peer(
        "the naive loop, torch float32",
        (),
        True,
        _NAIVE_NOTE,
        lambda setup, clip, python: _naive(setup, clip, python, runtime="torch"),
    ),
    "naive-onnx": Peer(
        "the naive loop, ONNX Runtime float32",
        ("onnxruntime", "onnx"),
        True,
        _NAIVE_NOTE,
        lambda setup, clip, python: _naive(setup, clip, python, runtime="onnxruntime"),
    ),
    "ultralytics": Peer(
        "Ultralytics YOLO11n + YOLO11n-seg, 320 px",
        ("ultralytics",),
        False,
        "random weights, which find nothing, so that its NMS and masks are free; it letterboxes 16:9 to 320x192",
        lambda setup, clip, python: [python, str(_YOLO_LOOP), str(clip), str(_YOLO_SIZE_PX)],
    ),
}
_CURES = {
    "naive-onnx": "pip install onnx onnxruntime",
    "ultralytics": "python -m venv peer && peer/bin/pip install ultralytics, then pass --peer-python peer/bin/python",
}
OURS = {False: "ours, results only", True: "ours, every overlay drawn"}


def check_peers(names: list[str], python: str) -> None:
    """Raises ValueError, one sentence with the cure, for what is not installed."""
    for name in names:
        for module in PEERS[name].needs:
            if not _has(_interpreter(name, python), module):
                raise ValueError(f"--against {name} needs {module}, which is not installed: {_CURES[name]}")


def _interpreter(name: str, python: str) -> str:
    """Whose modules count: only Ultralytics, which wants a torch of its own, has an interpreter to itself."""
    return python if name == "ultralytics" else sys.executable


def _has(python: str, module: str) -> bool:
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    try:
        return subprocess.run([python, "-c", script], capture_output=True, check=False).returncode == 0
    except OSError as error:
        raise ValueError(f"--peer-python {python} cannot be run: {error.strerror}") from error


def against(names: list[str], setup: Setup, clip: Path, runs: int, python: str) -> dict[str, Any]:
    """Frames a second of each peer and of our line, whole clip, file opened to last result; and ours : theirs."""
    pipeline = open_pipeline(setup, "throughput")
    variants: dict[str, Callable[[], dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            peer = PEERS[name]
            variants[OURS[peer.draws]] = _ours(clip, pipeline, paint if peer.draws else discard)
            variants[name] = _theirs(peer.command(setup, clip, python), folder)
        told = alternate(variants, runs, "against")
    fps = {name: [round_["frames"] / round_["seconds"] for round_ in rounds] for name, rounds in told.items()}
    return {
        name: {
            "title": PEERS[name].title if name in PEERS else name,
            "note": PEERS[name].note if name in PEERS else "",
            "fps": round(statistics.median(values), 2),
            "runs_fps": [round(value, 2) for value in values],
            "ours_to_it": round(ratio(fps[OURS[PEERS[name].draws]], values), 2) if name in PEERS else None,
            **{key: value for key, value in told[name][-1].items() if key not in ("frames", "seconds")},
        }
        for name, values in fps.items()
    }


def _ours(clip: Path, pipeline: Pipeline, show: Show) -> Callable[[], dict[str, Any]]:
    def measure() -> dict[str, Any]:
        since_s = time.perf_counter()
        session = run_line(FileSource(clip), pipeline, show)
        return {"frames": session.analyses.tally().shown, "seconds": time.perf_counter() - since_s}

    return measure


def _theirs(command: list[str], folder: str) -> Callable[[], dict[str, Any]]:
    """Ultralytics keeps its settings in the folder, asks nobody anything and installs nothing."""
    environment = {"YOLO_CONFIG_DIR": folder, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    return lambda: told_by(command, environment=environment)
