"""Engines get_or_build on disk: built once, never half, and built again when harmed."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._inductor.runtime.cache_dir_utils import cache_dir

from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.cache import EngineSpec, engines_folder, get_or_build, is_cached
from realtime_polyp.engines.compiled import use_private_caches

RECIPE = EngineSpec("toy", "tensorrt-fp16", "0123456789abcdef", 4, {"gpu": "some card", "torch": torch.__version__})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Builder:
    """Writes a graph as engines are written, and counts how often it had to."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, path: Path) -> None:
        self.builds += 1
        torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(2),)), path)


def load(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def test_an_engine_is_built_once_and_works_after_loading() -> None:
    build = Builder()
    assert not is_cached(RECIPE)
    for _ in range(2):
        assert get_or_build(RECIPE, build, load)(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert is_cached(RECIPE) and build.builds == 1


def test_another_key_or_batch_size_is_another_file() -> None:
    build = Builder()
    for key, bucket in (("a", 1), ("a", 2), ("b", 1)):
        get_or_build(EngineSpec("toy", "tensorrt", key, bucket), build, load)
    assert build.builds == 3 and len(list(engines_folder().glob("*.pt2"))) == 3


def test_what_an_engine_was_made_of_stands_beside_it() -> None:
    get_or_build(RECIPE, Builder(), load)
    note = json.loads((engines_folder() / RECIPE.file_name).with_suffix(".json").read_text())
    assert note["made_of"] == RECIPE.made_of and note["bucket"] == 4 and len(note["sha256"]) == 64


@pytest.mark.parametrize("harm", ["flipped", "cut", "no note"])
def test_a_harmed_engine_is_built_again_and_that_is_said(harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    build = Builder()
    get_or_build(RECIPE, build, load)
    path = engines_folder() / RECIPE.file_name
    content = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif harm == "cut":
        path.write_bytes(content[:-200])
    else:
        path.with_suffix(".json").unlink()
    assert get_or_build(RECIPE, build, load)(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    said = capsys.readouterr().err
    assert build.builds == 2 and path.read_bytes()[:100] == content[:100]
    assert said.count("\n") == 1 and "building it again" in said and str(path) in said


def test_an_engine_of_another_version_is_built_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Whole by its checksum, and yet it cannot be loaded."""
    build = Builder()
    get_or_build(RECIPE, lambda path: path.write_bytes(b"of another time"), lambda path: path)
    assert get_or_build(RECIPE, build, load)(torch.tensor([3.0, -3.0])).tolist() == [3.0, 0.0]
    assert build.builds == 1 and "building it again" in capsys.readouterr().err


def test_a_build_that_fails_leaves_nothing_behind() -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        get_or_build(RECIPE, fail, load)
    assert not is_cached(RECIPE) and list(engines_folder().iterdir()) == []


def test_a_folder_where_others_can_write_is_refused() -> None:
    """An engine file holds code."""
    get_or_build(RECIPE, Builder(), load)
    engines_folder().chmod(0o777)
    with pytest.raises(EngineError, match="other users can write to it: chmod 700"):
        get_or_build(RECIPE, Builder(), load)


def test_a_folder_in_the_engine_s_place_is_named() -> None:
    path = engines_folder() / RECIPE.file_name
    (path / "inside").mkdir(parents=True)
    with pytest.raises(EngineError, match="Is a directory"):
        get_or_build(RECIPE, Builder(), load)


def test_kernels_are_kept_in_the_user_s_cache_and_nowhere_in_the_shared_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    use_private_caches()
    kept = tmp_path / "realtime-polyp"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == cache_dir() == str(kept / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(kept / "triton")
    assert [(kept / name).stat().st_mode & 0o777 for name in ("inductor", "triton")] == [0o700, 0o700]

    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "")
    (kept / "inductor").chmod(0o777)
    use_private_caches()
    own = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert not own.is_relative_to(kept) and own.parent.stat().st_mode & 0o777 == 0o700
    assert "other users can write to it" in capsys.readouterr().err


def test_a_named_folder_of_kernels_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("TRITON_CACHE_DIR", "/somewhere/else")
    use_private_caches()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/somewhere"
