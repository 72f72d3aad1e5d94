"""Compares this pipeline with other implementations on the same clip, in turn, each in a process of its own."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from realtime_polyp.bench.commands import module_command, run_json_command
from realtime_polyp.bench.comparisons import alternate, ratio
from realtime_polyp.bench.sessions import Show, discard, draw_overlay, run_session
from realtime_polyp.engines import decoding_device
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.sources import FileSource

_YOLO_LOOP = Path(__file__).with_name("ultralytics_loop.py")
_YOLO_SIZE_PX = 320
_NAIVE_NOTE = "the same weights on whole frames resized by OpenCV, one step after the other, without temporal filtering"


@dataclass(frozen=True)
class Peer:
    """Another implementation.

    Attributes:
        title: of its row in the table.
        needs: modules that its interpreter must have.
        draws: it draws every overlay, so the pipeline does too when it is compared with it.
        note: what a reader must know to judge the ratio.
        command: builds its command from the configuration, the clip and --peer-python.
    """

    title: str
    needs: tuple[str, ...]
    draws: bool
    note: str
    command: Callable[[RuntimeConfig, Path, str], list[str]]


def _naive(config: RuntimeConfig, clip: Path, python: str, *, runtime: str) -> list[str]:
    models = ["--detector", str(config.detector), "--segmenter", str(config.segmenter)]
    return module_command("realtime_polyp.bench.naive", str(clip), "--runtime", runtime, *models)


PEERS = {
    "naive": Peer(
        "the naive loop, torch float32",
        (),
        True,
        _NAIVE_NOTE,
        lambda config, clip, python: _naive(config, clip, python, runtime="torch"),
    ),
    "naive-onnx": Peer(
        "the naive loop, ONNX Runtime float32",
        ("onnxruntime", "onnx"),
        True,
        _NAIVE_NOTE,
        lambda config, clip, python: _naive(config, clip, python, runtime="onnxruntime"),
    ),
    "ultralytics": Peer(
        "Ultralytics YOLO11n + YOLO11n-seg, 320 px",
        ("ultralytics",),
        False,
        "random weights, which find nothing, so its NMS and masks cost nothing; it letterboxes 16:9 to 320x192",
        lambda config, clip, python: [python, str(_YOLO_LOOP), str(clip), str(_YOLO_SIZE_PX)],
    ),
    "ultralytics-int8": Peer(
        "Ultralytics YOLO11n + YOLO11n-seg, 320 px, its own OpenVINO INT8 export",
        ("ultralytics", "openvino", "nncf"),
        False,
        "random weights, which find nothing, so its NMS and masks cost nothing; no accuracy gate",
        lambda config, clip, python: [python, str(_YOLO_LOOP), str(clip), str(_YOLO_SIZE_PX), "openvino-int8"],
    ),
}
_IN_ANOTHER_PYTHON = ("ultralytics", "ultralytics-int8")  # they need their own version of torch
_CURES = {
    "naive-onnx": "pip install onnx onnxruntime",
    "ultralytics": "python -m venv peer && peer/bin/pip install ultralytics, then pass --peer-python peer/bin/python",
    "ultralytics-int8": "peer/bin/pip install ultralytics openvino nncf, then pass --peer-python peer/bin/python",
}
OURS = {False: "ours, results only", True: "ours, every overlay drawn"}


def check_peers(names: list[str], python: str) -> None:
    """Raises ValueError, with the cure, if a module that a peer needs is not installed."""
    for name in names:
        for module in PEERS[name].needs:
            if not _has(_interpreter(name, python), module):
                raise ValueError(f"--against {name} needs {module}, which is not installed: {_CURES[name]}")


def _interpreter(name: str, python: str) -> str:
    return python if name in _IN_ANOTHER_PYTHON else sys.executable


def _has(python: str, module: str) -> bool:
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    try:
        # The variable keeps the current folder out of the search, as -P does, which older interpreters do not know.
        environment = os.environ | {"PYTHONSAFEPATH": "1"}
        return subprocess.run([python, "-c", script], env=environment, capture_output=True, check=False).returncode == 0
    except OSError as error:
        raise ValueError(f"--peer-python {python} cannot be run: {error.strerror}") from error


def compare_with(names: list[str], config: RuntimeConfig, clip: Path, runs: int, python: str) -> dict[str, Any]:
    """Frames per second of the peers and of the pipeline, from opening the clip to the last result, and ratios."""
    pipeline = open_runtime(config).pipeline()
    open_clip = partial(FileSource, clip, hardware=decoding_device(config.device))
    variants: dict[str, Callable[[], dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            peer = PEERS[name]
            variants[OURS[peer.draws]] = _ours(open_clip, pipeline, draw_overlay if peer.draws else discard)
            variants[name] = _theirs(peer.command(config, clip, python), folder)
        runs_of = alternate(variants, runs, "against")
    fps = {name: [round_["frames"] / round_["seconds"] for round_ in rounds] for name, rounds in runs_of.items()}
    return {
        name: {
            "title": PEERS[name].title if name in PEERS else name,
            "note": PEERS[name].note if name in PEERS else "",
            "fps": round(statistics.median(values), 2),
            "runs_fps": [round(value, 2) for value in values],
            "ours_to_it": round(ratio(fps[OURS[PEERS[name].draws]], values), 2) if name in PEERS else None,
            **{key: value for key, value in runs_of[name][-1].items() if key not in ("frames", "seconds")},
        }
        for name, values in fps.items()
    }


def _ours(open_clip: Callable[[], FileSource], pipeline: Pipeline, show: Show) -> Callable[[], dict[str, Any]]:
    def measure() -> dict[str, Any]:
        since_s = time.perf_counter()
        session = run_session(open_clip(), pipeline, show)
        return {"frames": session.analyses.tally().shown, "seconds": time.perf_counter() - since_s}

    return measure


def _theirs(command: list[str], folder: str) -> Callable[[], dict[str, Any]]:
    """Run the command. Ultralytics keeps settings and exports in the folder, stays offline and installs nothing."""
    environment = {"YOLO_CONFIG_DIR": folder, "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    return lambda: run_json_command(command, environment=environment)
