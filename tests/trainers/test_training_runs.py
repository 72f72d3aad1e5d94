"""Whole runs as a user starts them: killed without warning, resumed, and shared by two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from stills import write_stills

pytestmark = pytest.mark.slow
WORDS = ["--config", "gflv2-lite0", "--size", "64", "96", "--epochs", "3", "--batch", "4", "--workers", "0",
         "--checkpoint-minutes", "0", "--device", "cpu"]  # fmt: skip
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


def command(data: Path, out: Path, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    words = [*WORDS, "--data", str(data), "--out", str(out)]
    return [sys.executable, *launcher, "-m", "trainers.train_detector", *words, *more]


def run(words: list[str]) -> str:
    done = subprocess.run(words, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def killed_after(words: list[str], checkpoint: Path, wait_s: float) -> None:
    """Start, let the first checkpoint of this run come and some more pass, and kill -9."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = subprocess.Popen(words, cwd=ROOT, env=ONE_THREAD, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        assert process.poll() is None and time.monotonic() < deadline, "the run never came to a checkpoint"
        time.sleep(0.01)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_run_killed_twice_without_warning_comes_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    run(command(data, tmp_path / "unbroken"))
    out = tmp_path / "broken"
    steps = []
    for number, wait_s in enumerate((0.037, 0.211)):
        killed_after(command(data, out, *(["--resume"] if number else [])), out / "checkpoint.pt", wait_s)
        steps.append(torch.load(out / "checkpoint.pt", weights_only=True)["step"])  # whole, whenever it was killed
        for name in ("history.json", "recipe.json"):
            assert not (out / name).exists() or json.loads((out / name).read_text())
    assert 1 <= steps[0] <= steps[1]
    run(command(data, out, "--resume"))
    wanted, found = load_file(tmp_path / "unbroken" / "best.safetensors"), load_file(out / "best.safetensors")
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
    histories = [json.loads((folder / "history.json").read_text()) for folder in (tmp_path / "unbroken", out)]
    assert histories[0] == histories[1] and len(histories[0]) == 3


def test_two_processes_share_a_run_with_the_same_command(data: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    out = tmp_path / "shared"
    run(command(data, out, launcher=launcher))
    history = json.loads((out / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2, 3] and "AP" in history[-1]
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 6  # both together did each step, not each
    before = load_file(out / "best.safetensors")
    run(command(data, out, "--resume", launcher=launcher))  # all done: nothing is trained again, nothing is lost
    after = load_file(out / "best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_batch_that_two_processes_cannot_share_is_refused(data: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    words = command(data, tmp_path / "odd", "--batch", "3", launcher=launcher)
    done = subprocess.run(words, cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "a batch of 3 cannot be shared by 2 processes" in done.stderr
