"""The ladder of engines on a GPU: each step down is said, kept, and taken without building what would be refused."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from static_toys import TOYS, installed

from realtime_polyp.engines import fallback
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.fallback import open_best
from realtime_polyp.engines.weights import Weights


@pytest.fixture(scope="module", params=TOYS[1:])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    with installed(request.param, tmp_path_factory.mktemp("weights")) as found:
        yield found


class Opened:
    notes: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name


def ladder(monkeypatch: pytest.MonkeyPatch, *, missing: tuple[str, ...] = (), ungated: tuple[str, ...] = ()) -> Any:
    """ENGINES of which some cannot be opened and some have no record."""

    def opener(name: str) -> Any:
        def open_(weights: Weights, device: str, hint: str) -> Opened:
            if name in missing:
                raise EngineError(f"{name} is not there")
            return Opened(name)

        return open_

    def problem(name: str, model: str, key: str) -> str | None:
        return f"engine {name} was never compared" if name in ungated else None

    monkeypatch.setattr(fallback, "failure_reason", problem)
    monkeypatch.setattr("realtime_polyp.engines.static.require_device", lambda device: None)
    steps = tuple((name, lambda weights, device: "key") for name, _ in fallback.LADDER)
    monkeypatch.setattr(fallback, "LADDER", steps)
    return {name: opener(name) for name in ("tensorrt-fp16", "compiled-fp16", "eager")}


def test_the_fastest_engine_is_taken_without_a_word(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_best(weights, "cuda", "latency", ladder(monkeypatch))
    assert engine.name == "tensorrt-fp16" and engine.notes == () and capsys.readouterr().err == ""


def test_each_step_down_is_said_and_kept(
    weights: Weights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = ladder(monkeypatch, missing=("tensorrt-fp16",), ungated=("compiled-fp16",))
    engine = open_best(weights, "cuda", "latency", engines)
    assert engine.name == "eager" and len(engine.notes) == 2
    assert "tensorrt-fp16 is not there" in engine.notes[0] and "never compared" in engine.notes[1]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and all(note in line for note, line in zip(engine.notes, said, strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_ladder_says_so_once(weights: Weights, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="torch sees no GPU here"):
        open_best(weights, "cuda", "latency", {})
    assert capsys.readouterr().err == ""


def test_an_unverified_engine_is_taken_when_asked_for(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    engines = ladder(monkeypatch, ungated=("tensorrt-fp16", "compiled-fp16"))
    assert open_best(weights, "cuda", "latency", engines).name == "eager"
    assert open_best(weights, "cuda", "latency", engines, allow_unverified=True).name == "tensorrt-fp16"


def test_an_engine_that_would_be_refused_is_not_built(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """Building takes minutes."""
    opened: list[str] = []
    engines = ladder(monkeypatch, ungated=("tensorrt-fp16",))
    watched = {
        name: lambda *given, name=name, open_=open_: opened.append(name) or open_(*given)
        for name, open_ in engines.items()
    }
    open_best(weights, "cuda", "latency", watched)
    assert opened == ["compiled-fp16"]
