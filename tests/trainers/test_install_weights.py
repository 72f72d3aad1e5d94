"""A run's weights among those that the product offers, and only where they fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from realtime_polyp.engines.weights import find_weights
from trainers.install_weights import main


def run_of(folder: Path, config: str, size: list[int]) -> Path:
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "best.safetensors")
    (folder / "recipe.json").write_text(
        json.dumps({"config": config, "size": size, "differs": {}, "task": "detector", "init": "random", "loop": {}})
    )
    return folder


def test_best_weights_are_entered_with_their_checksum(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "gflv2-lite0", [320, 384])
    main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    weights = find_weights("gflv2-lite0", "detector", tmp_path / "weights")
    assert (
        weights.size == (320, 384)
        and weights.path("safetensors").read_bytes() == (run / "best.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("config", "size", "said"),
    [
        ("lowrank-lite2", [320, 384], "trained lowrank-lite2 at 320x384, which is not gflv2-lite0 at 320x384"),
        ("gflv2-lite0", [64, 96], "trained gflv2-lite0 at 64x96, which is not gflv2-lite0 at 320x384"),
    ],
)
def test_another_model_s_are_refused(
    config: str, size: list[int], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path / "run", config, size)
    with pytest.raises(SystemExit) as end:
        main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    assert end.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "weights").exists()


def test_a_run_without_weights_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--run", str(tmp_path), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    assert end.value.code == 2 and "has no best.safetensors" in capsys.readouterr().err
