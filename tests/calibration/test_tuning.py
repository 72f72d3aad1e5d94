"""Tuning of a joint model for INT8: it learns to answer, rounded, as in float, and the command writes the engine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from static_toys import SIZE, installed, pixels_of
from stills import write_stills

from calibration import int8
from calibration.quantisation import tuning
from calibration.quantisation.rounding import rounded_weights
from calibration.quantisation.tuning import TuningConfig, distillation_loss, round_to_ranges, tune
from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.openvino import open_int8
from realtime_polyp.engines.weights import find_weights
from realtime_polyp.models.joint import JointModel

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside OpenVINO's converter


@pytest.fixture
def model(tmp_path: Path) -> JointModel:
    with installed("toy-both", tmp_path) as weights:
        return load_module(weights)  # type: ignore[return-value]


def frames(count: int) -> list[NDArray[np.uint8]]:
    pixels = np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)
    return [pixels[place : place + 1] for place in range(count)]


@torch.no_grad()
def loss_of(tuned: JointModel, model: JointModel, images: list[NDArray[np.uint8]]) -> float:
    """How far the rounded model is from the float one."""
    round_to_ranges(tuned, images)
    pixels = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2).float()
    with rounded_weights(tuned):
        return float(distillation_loss(tuned.train_outputs(pixels), model.train_outputs(pixels)))


def test_the_rounded_model_comes_closer_to_the_float_one(model: JointModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = frames(24)
    tuned = tune(model, images, images[:8], TuningConfig(steps=60, learning_rate=1e-4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in tuned.modules())
    held_out = frames(8)
    untouched = JointModel(model.config).eval()
    untouched.load_state_dict(before)
    assert loss_of(tuned, model, held_out) < 0.95 * loss_of(untouched, model, held_out)


def test_equal_outputs_have_no_loss_and_all_three_parts_count(model: JointModel) -> None:
    pixels = torch.from_numpy(pixels_of(2)).float()
    with torch.no_grad():
        maps, logits = model.train_outputs(pixels)
    assert float(distillation_loss((maps, logits), (maps, logits))) == pytest.approx(0, abs=1e-6)
    for other in (
        (type(maps)(maps.scores + 0.1, maps.distributions, maps.points, maps.strides), logits),
        (type(maps)(maps.scores, maps.distributions.roll(1, -1), maps.points, maps.strides), logits),
        (maps, (logits[0] + 1, logits[1])),
        (maps, (logits[0], logits[1] + 1)),
    ):
        assert float(distillation_loss(other, (maps, logits))) > 1e-4


def test_the_same_seed_gives_the_same_weights(model: JointModel) -> None:
    images = frames(8)
    one, other, third = (
        tune(model, images, images, TuningConfig(steps=2, seed=seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(one[name], third[name]) for name in one)


def test_the_command_tunes_and_leaves_no_layer_in_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_stills(tmp_path / "data")
    with installed("toy-both", tmp_path) as weights:
        (weights.folder / "toy-both.md").write_text("# toy\n")
        words = ["--model", "toy-both", "--data", str(data), "--frames", "4", "--held-out", "2"]
        words += ["--folder", str(weights.folder)]
        asked: list[int] = []
        real = tuning.tune
        monkeypatch.setattr(int8, "tune", lambda *all_: asked.append(all_[-1].steps) or real(*all_))
        int8.main([*words, "--tune", "2"])
        assert asked == [2]
        engine = open_int8(find_weights("toy-both", None, weights.folder), "cpu", "latency")
        assert engine(pixels_of(1))[2].shape == (1, 16, 24)
        text = (weights.folder / "toy-both.md").read_text()
        assert "--frames 4 --held-out 2 --tune 2" in text and "No layer of backbone" in text
        assert "no correction of biases" in text and "| layer |" not in text
        for bad, said in (
            (["--tune", "0"], "--tune must be at least 1, got 0"),
            (["--tune", "3", "--keep", "x"], "leave out --keep and --bound"),
            (["--tune", "3", "--bound", "1"], "leave out --keep and --bound"),
        ):
            with pytest.raises(SystemExit) as end:
                int8.main([*words, *bad])
            assert end.value.code == 2 and said in capsys.readouterr().err


def test_stills_that_are_held_out_are_not_tuned_on() -> None:
    chosen = int8.choose_for_tuning(2000, range(0, 2000, 40))
    assert len(chosen) == len(set(chosen)) == 1400 and not any(place % 40 == 0 for place in chosen)
    assert sorted(int8.choose_for_tuning(5, [1])) == [0, 2, 3, 4]
    with pytest.raises(ValueError, match="no training stills are left to tune on: lower --held-out"):
        int8.choose_for_tuning(2, [0, 1])


def test_tuning_is_for_joint_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        int8.main(["--model", "gflv2-lite0", "--tune", "5", "--data", str(tmp_path)])
    assert end.value.code == 2
    assert "--tune is for joint models, and gflv2-lite0 is a detector: leave it out" in capsys.readouterr().err
