"""Whole runs as a user starts them: killed without warning, resumed, and shared by two processes."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from forks import Forks, is_alive, open_forks, until
from safetensors.torch import load_file
from stills import write_stills

pytestmark = pytest.mark.slow
MODULE = "trainers.train_detector"
WORDS = ["--config", "gflv2-lite0", "--size", "64", "96", "--epochs", "2", "--batch", "4", "--workers", "0",
         "--checkpoint-minutes", "0", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with open_forks(tmp_path_factory.mktemp("forks") / "log") as forks:
        yield forks


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [*WORDS, "--data", str(data), "--out", str(out), *more]


def killed_after(forks: Forks, arguments: list[str], checkpoint: Path, wait_s: float) -> None:
    """Start, let the first checkpoint of this run come and some more pass, and kill -9."""
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    process = forks.start(MODULE, arguments)

    def is_new() -> bool:
        return checkpoint.exists() and checkpoint.stat().st_mtime_ns != before

    until(lambda: is_new() or not is_alive(process))
    assert is_new(), "the run never came to a checkpoint"
    time.sleep(wait_s)
    forks.kill(process)


def test_a_run_killed_twice_without_warning_comes_to_the_same_weights(data: Path, forks: Forks, tmp_path: Path) -> None:
    forks.finish(MODULE, words(data, tmp_path / "unbroken"))
    out = tmp_path / "broken"
    steps = []
    for number, wait_s in enumerate((0.037, 0.211)):
        killed_after(forks, words(data, out, *(["--resume"] if number else [])), out / "checkpoint.pt", wait_s)
        steps.append(torch.load(out / "checkpoint.pt", weights_only=True)["step"])  # whole, whenever it was killed
        for name in ("history.json", "recipe.json"):
            assert not (out / name).exists() or json.loads((out / name).read_text())
    assert 1 <= steps[0] <= steps[1]
    forks.finish(MODULE, words(data, out, "--resume"))
    wanted, found = load_file(tmp_path / "unbroken" / "best.safetensors"), load_file(out / "best.safetensors")
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
    histories = [json.loads((folder / "history.json").read_text()) for folder in (tmp_path / "unbroken", out)]
    assert histories[0] == histories[1] and len(histories[0]) == 2


def test_two_processes_share_a_run_with_the_same_command(data: Path, forks: Forks, tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    out = tmp_path / "shared"
    command, environment = [sys.executable, *launcher, "-m", MODULE], {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *words(data, out)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    history = json.loads((out / "history.json").read_text())
    assert [entry["epoch"] for entry in history] == [1, 2] and "AP" in history[-1]
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 4  # both together did each step, not each
    before = load_file(out / "best.safetensors")
    # All done: nothing is trained again, nothing is lost.
    assert ended_together(forks, words(data, out, "--resume")) == [0, 0]
    after = load_file(out / "best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_batch_that_two_processes_cannot_share_is_refused(data: Path, forks: Forks, tmp_path: Path) -> None:
    assert ended_together(forks, words(data, tmp_path / "odd", "--batch", "3")) == [2, 2]
    assert "a batch of 3 cannot be shared by 2 processes" in forks.log.read_text()


def ended_together(forks: Forks, arguments: list[str]) -> list[int]:
    """Run a command in two processes, told of each other as torchrun tells them, and return their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    members = [forks.start(MODULE, arguments, {**group, "RANK": rank, "LOCAL_RANK": rank}) for rank in ("0", "1")]
    return [forks.wait(member) for member in members]
