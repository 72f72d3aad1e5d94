"""Half-way between a run and its beginning: exact, of one model alone, and a run like any other."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from realtime_polyp.engines.weights import sha256_of
from trainers.average_weights import average, main
from trainers.training.run_folder import read_recipe

RECIPE = {
    "config": "gflv2-lite0",
    "task": "detector",
    "size": [64, 96],
    "init": "old.safetensors",
    "differs": {},
    "loop": {},
}


@given(st.floats(0, 1))
def test_each_tensor_lies_between_by_the_share(share: float) -> None:
    before = {"w": torch.tensor([0.0, 4.0]), "steps": torch.tensor(3)}
    tuned = {"w": torch.tensor([1.0, 2.0]), "steps": torch.tensor(9)}
    found = average(before, tuned, share)
    assert found["w"].tolist() == pytest.approx([share, 4 - 2 * share]) and found["steps"].item() == 9
    assert before["w"].tolist() == [0, 4] and tuned["w"].tolist() == [1, 2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "recipe.json").write_text(json.dumps(RECIPE))
    save_file({"w": torch.ones(3)}, tmp_path / "tuned" / "best.safetensors")
    save_file({"w": torch.zeros(3)}, tmp_path / "old.safetensors")
    save_file({"w": torch.zeros(3)}, tmp_path / "stranger.safetensors")
    return tmp_path


def words(folder: Path, *more: str, began: str = "old") -> list[str]:
    began_with = ["--began-with", str(folder / f"{began}.safetensors")]
    return ["--run", str(folder / "tuned"), *began_with, "--out", str(folder / "out"), *more]


def test_what_comes_out_is_a_run_that_tells_it(folder: Path) -> None:
    main(words(folder, "--share", "0.25"))
    assert load_file(folder / "out" / "best.safetensors")["w"].tolist() == [0.25] * 3
    averaged_from = {"with": "old.safetensors", "share": 0.25}
    differs = {"weights": "0.25 of the fine-tuned ones, the rest of old.safetensors"}  # a row of a table says it
    assert read_recipe(folder / "out") == {"format": 1, **RECIPE, "differs": differs, "averaged": averaged_from}


def test_runs_that_follow_one_another_are_averaged_in_equal_parts(folder: Path) -> None:
    (folder / "next").mkdir()
    (folder / "next" / "recipe.json").write_text(json.dumps({**RECIPE, "init": "best.safetensors"}))
    save_file({"w": torch.full((3,), 8.0)}, folder / "next" / "best.safetensors")
    began = [str(folder / "tuned" / "best.safetensors"), str(folder / "old.safetensors")]
    to = ["--out", str(folder / "out")]
    main(["--run", str(folder / "next"), "--began-with", *began, "--share", "0.5", *to])
    assert load_file(folder / "out" / "best.safetensors")["w"].tolist() == [0.5 * (1 + 0) / 2 + 0.5 * 8] * 3
    assert read_recipe(folder / "out")["averaged"] == {"with": "best.safetensors and old.safetensors", "share": 0.5}


def test_weights_of_the_same_name_and_another_content_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {**RECIPE, "init_sha256": sha256_of(folder / "old.safetensors")}
    (folder / "tuned" / "recipe.json").write_text(json.dumps(recipe))
    main(words(folder, "--share", "0.5"))
    (folder / "elsewhere").mkdir()
    save_file({"w": torch.full((3,), 5.0)}, folder / "elsewhere" / "old.safetensors")
    with pytest.raises(SystemExit):
        main(words(folder, "--out", str(folder / "other"), began="elsewhere/old"))
    assert "only its own beginning will do" in capsys.readouterr().err and not (folder / "other").exists()


def test_a_run_that_did_not_begin_with_the_next_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words(folder, "--began-with", str(folder / "old.safetensors"), str(folder / "tuned" / "best.safetensors")))
    assert "recipe.json" in capsys.readouterr().err and not (folder / "out").exists()


@pytest.mark.parametrize(
    ("more", "began", "sentence"),
    [
        (["--share", "1.5"], "old", "--share must be 0 to 1, got 1.5"),
        ([], "stranger", "began with old.safetensors, not with stranger.safetensors"),
        ([], "nowhere", "nowhere.safetensors"),
        (["--out", "{folder}/tuned"], "old", "holds weights: choose a new --out"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], began: str, sentence: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words(folder, *(word.format(folder=folder) for word in more), began=began))
    said = capsys.readouterr().err.strip()
    assert end.value.code == 2 and sentence in said and "\n" not in said
    assert not (folder / "out").exists()


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="not of one model: 2 tensors"):
        average(
            {"a": torch.zeros(2), "b": torch.zeros(2)},
            {"a": torch.zeros(3), "b": torch.zeros(2), "c": torch.zeros(1)},
            0.5,
        )
