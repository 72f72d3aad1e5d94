"""Damaged checkpoints: one sentence with the file, and no code of theirs is run."""

import pickle
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from trainers.training.checkpoint_file import load_checkpoint, read_source, read_tensors
from trainers.training.loop import restore_from

STATE: dict[str, Any] = {
    "model": {f"layer{number}.weight": torch.ones(3, 4) for number in range(4)},
    "optimizer": {"param_groups": [{"lr": 0.1, "params": [0]}]},
    "step": 4,
}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut off, overwrite or leave out some bytes."""
    kind, place = rng.randrange(3), rng.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + content[place + rng.randrange(1, 50) :]
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 9)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_checkpoints_are_read_or_refused(tmp_path: Path, zipped: bool) -> None:
    path, rng, refused = tmp_path / "c.pt", random.Random(0), 0
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert load_checkpoint(path)["step"] == 4
    content = path.read_bytes()
    for _ in range(600):
        path.write_bytes(mutated(content, rng))
        try:
            load_checkpoint(path)
        except ValueError as error:
            assert "c.pt cannot be loaded as weights only" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 300


def test_mutated_weights_are_read_or_refused(tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "w.safetensors", random.Random(0), 0
    save_file(STATE["model"], path, {"source": "net.pth"})
    assert set(read_tensors(path)) == set(STATE["model"]) and read_source(path) == "net.pth"
    content = path.read_bytes()
    for _ in range(600):
        path.write_bytes(mutated(content, rng))
        for read in (read_tensors, read_source):
            try:
                read(path)
            except ValueError as error:
                assert "w.safetensors is" in str(error) and "\n" not in str(error)
                refused += 1
    assert refused > 300


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a.weight": torch.tensor([1.0, float("nan")])}, path)
    with pytest.raises(ValueError, match="w.safetensors is damaged: a.weight holds values that are not finite"):
        read_tensors(path)


class Payload:
    """Pickled, it calls a function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, save: Any) -> None:
    save({"model": Payload(tmp_path / "ran")}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="weights only"):
        load_checkpoint(tmp_path / "c.pt")
    assert not (tmp_path / "ran").exists()


def test_every_checkpoint_is_read_as_weights_alone() -> None:
    root = Path(__file__).parents[2]
    calls = [
        call
        for folder in ("realtime_polyp", "trainers", "calibration", "assets")
        for path in (root / folder).rglob("*.py")
        for call in re.findall(r"torch\.load\(.*", path.read_text(encoding="utf-8"))
    ]
    assert calls and all("weights_only=True" in call for call in calls)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], "c.pt is not the state of a training run: expected `object`, got `array`; start a new --out"),
        ({"step": 4}, "c.pt is not the state of a training run: `model` is missing"),
        ({**STATE, "format": 9}, "c.pt has format 9, this version reads format 1"),
        ({**STATE, "averaged": {}, "scaler": {}, "sums": {}, "history": [3], "best": 0.5, "config": {}}, "`history"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_sentence(tmp_path: Path, state: Any, said: str) -> None:
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=re.escape(said)):
        restore_from(tmp_path / "c.pt", None)  # type: ignore[arg-type]
