"""A run's weights among those that the product offers, and only where they fit."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from realtime_polyp.engines.weights import find_weights
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.variants import DETECTORS, JOINTS
from trainers.install_weights import main
from trainers.training.checkpoint_file import read_tensors

KERNEL, BIAS = "head.cls.weight", "head.cls.bias"
State = dict[str, torch.Tensor]


@cache
def detector_state() -> State:
    torch.manual_seed(0)
    return Detector(DETECTORS["gflv2-lite0"]).state_dict()


def run_of(folder: Path, config: str, size: list[int], state: State | None = None) -> Path:
    folder.mkdir()
    save_file(detector_state() if state is None else state, folder / "best.safetensors")
    (folder / "recipe.json").write_text(
        json.dumps({"config": config, "size": size, "differs": {}, "task": "detector", "init": "random", "loop": {}})
    )
    return folder


def test_best_weights_are_entered_with_their_checksum(tmp_path: Path) -> None:
    state = {**detector_state(), KERNEL: torch.full((1, 64, 3, 3), 1 / 3), BIAS: torch.tensor([1e-9])}
    run = run_of(tmp_path / "run", "gflv2-lite0", [320, 384], state)
    main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    weights = find_weights("gflv2-lite0", "detector", tmp_path / "weights")
    path = weights.path("safetensors")
    assert weights.size == (320, 384) and path.stat().st_mode == (path.parent / "manifest.json").stat().st_mode
    stored = load_file(path)
    assert (stored[KERNEL].dtype, stored[BIAS].dtype) == (torch.float16, torch.float32)
    read = read_tensors(path)
    assert all(value.dtype == torch.float32 for value in read.values() if value.is_floating_point())
    assert torch.equal(read[BIAS], state[BIAS]) and read[KERNEL].unique().tolist() == [0.333251953125]


def test_a_value_that_half_precision_cannot_hold_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {**detector_state(), KERNEL: torch.full((1, 64, 3, 3), 1e5)}
    run = run_of(tmp_path / "run", "gflv2-lite0", [320, 384], state)
    with pytest.raises(SystemExit) as end:
        main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    said = capsys.readouterr().err
    assert end.value.code == 2 and f"{KERNEL} holds 1e+05, and half precision holds 65504 at most" in said
    assert len(said.splitlines()) == 1 and not (tmp_path / "weights").exists()


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


def test_a_joint_model_is_installed_as_both_at_the_size_it_was_trained_at(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "polyp-lite2", [256, 320], JointModel(JOINTS["polyp-lite2"]).state_dict())
    main(["--run", str(run), "--model", "polyp-lite2", "--folder", str(tmp_path / "weights")])
    for task in (None, "detector", "segmenter"):
        weights = find_weights("polyp-lite2", task, tmp_path / "weights")  # type: ignore[arg-type]
        assert (weights.task, weights.size) == ("joint", (256, 320))


def test_a_row_on_another_backbone_is_not_the_model_of_that_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--backbone lite0 --config gflv2-r50` trains another network, whatever its size."""
    model = "gflv2-r50"
    height, width = DETECTORS[model].size
    run = run_of(tmp_path / "run", model, [height, width])
    recipe = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**recipe, "backbone": "lite0"}))
    with pytest.raises(SystemExit) as end:
        main(["--run", str(run), "--model", model, "--folder", str(tmp_path / "weights")])
    said = f"trained {model} at {height}x{width} on lite0, which is not {model} at {height}x{width}"
    assert end.value.code == 2 and said in capsys.readouterr().err and not (tmp_path / "weights").exists()


@pytest.mark.parametrize("with_recipe", [True, False])
def test_tensors_that_do_not_fit_the_model_are_refused_by_the_name_of_the_first(
    with_recipe: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = detector_state()
    lacking = {name: value for name, value in state.items() if name not in (KERNEL, BIAS)}
    cases: list[tuple[State, str]] = [
        ({**state, KERNEL: torch.zeros(1, 32, 3, 3)}, f"'{KERNEL}', it has 1x32x3x3 float, and 1x64x3x3 float is"),
        ({**state, BIAS: torch.zeros(1, dtype=torch.int64)}, f"'{BIAS}', it has 1 int64, and 1 float is needed"),
        (lacking, f"'{KERNEL}', it has nothing, and 1x64x3x3 float is needed"),
        ({**state, "more": torch.tensor(1.0)}, "'more', it has scalar float, and nothing is needed"),
    ]
    for number, (content, told) in enumerate(cases):
        run = run_of(tmp_path / f"run{number}", "gflv2-lite0", [320, 384], content)
        if not with_recipe:
            (run / "recipe.json").unlink()
        with pytest.raises(SystemExit) as end:
            main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
        said = capsys.readouterr().err
        assert end.value.code == 2 and "does not fit gflv2-lite0: of " in said and told in said
        assert len(said.splitlines()) == 1 and not (tmp_path / "weights").exists()


def test_weights_without_a_recipe_are_installed_if_they_fit(tmp_path: Path) -> None:
    """Counters of batches are not needed: files of other origin lack them."""
    state = {name: value for name, value in detector_state().items() if not name.endswith("num_batches_tracked")}
    run = run_of(tmp_path / "run", "gflv2-lite0", [320, 384], state)
    (run / "recipe.json").unlink()
    main(["--run", str(run), "--model", "gflv2-lite0", "--folder", str(tmp_path / "weights")])
    assert find_weights("gflv2-lite0", "detector", tmp_path / "weights").size == (320, 384)
