"""Which engines may run: the reference always, others by a passing record of exactly what they are."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime_polyp.engines import gate as acceptance
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.gate import RECORDS, check_gate, find_record, gate_problem, read_records
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, Weights, engine_key, find_weights, read_manifest


def engine_of(name: str = "swift", key: str = "abc") -> Any:
    return SimpleNamespace(name=name, model="m", task="detector", size=(1, 1), device="cpu", key=key)


def record(reasons: list[str]) -> dict[str, Any]:
    return {
        "engine": "swift",
        "model": "m",
        "reasons": reasons,
        "data": "val",
        "figures": {"engine": {"AP": 0.6}},
        "machine": {},
        "date": "",
    }


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Empty stand-ins for the machine's cache and for the shipped weights."""
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    for folder in (own, shipped):
        folder.mkdir()
    monkeypatch.setattr(acceptance, "cache_folder", lambda: own)
    monkeypatch.setattr(acceptance, "WEIGHTS_FOLDER", shipped)
    return own, shipped


def write(folder: Path, **records: dict[str, Any]) -> None:
    (folder / RECORDS).write_text(json.dumps(records))


def test_without_a_record_the_sentence_names_the_command(folders: tuple[Path, Path]) -> None:
    with pytest.raises(EngineError) as error:
        check_gate(engine_of())
    said = str(error.value)
    assert "never compared" in said and "calibration.gate --model m --engine swift" in said
    assert "--allow-unverified" in said and "\n" not in said


def test_a_failed_gate_says_which_limit(folders: tuple[Path, Path]) -> None:
    write(folders[1], abc=record(["AP50 of C5 fell by 0.020, allowed is 0.005"]))
    with pytest.raises(EngineError, match="failed its gate .AP50 of C5 fell by 0.020"):
        check_gate(engine_of())


def test_a_passing_record_counts_for_that_key_only(folders: tuple[Path, Path]) -> None:
    write(folders[1], abc=record([]))
    check_gate(engine_of())
    assert gate_problem(engine_of(key="abd")) is not None


def test_a_record_of_another_engine_counts_for_nothing(folders: tuple[Path, Path]) -> None:
    write(folders[1], abc=record([]))
    check_gate(engine_of())
    write(folders[1], abc={**record([]), "engine": "slow"})
    assert "is of 'slow' of 'm': run python -m calibration.gate" in str(gate_problem(engine_of()))


def test_what_this_machine_measured_comes_first(folders: tuple[Path, Path]) -> None:
    write(folders[1], abc=record([]))
    write(folders[0], abc=record(["boxes moved by 9 px"]))
    found = find_record("abc")
    assert found is not None and not found.passed


def test_the_reference_needs_no_record_but_its_roundings_do(folders: tuple[Path, Path]) -> None:
    check_gate(engine_of("eager"))
    assert gate_problem(engine_of("eager-fp16")) is not None


def test_refused_is_what_no_make_of_the_engine_passed(folders: tuple[Path, Path]) -> None:
    assert not acceptance.is_rejected("m", "swift")  # never compared is not refused
    write(folders[1], abc=record(["AP50 fell by 0.100"]))
    assert acceptance.is_rejected("m", "swift") and not acceptance.is_rejected("m", "slow")
    write(folders[0], abd=record([]))
    assert not acceptance.is_rejected("m", "swift")


@pytest.mark.parametrize("content", ["not json", "[]", '{"abc": {"engine": "swift"}}', '{"abc": 3}'])
def test_a_harmed_file_is_one_sentence(folders: tuple[Path, Path], content: str) -> None:
    (folders[0] / RECORDS).write_text(content)
    with pytest.raises(EngineError, match="gates.json.*calibration.gate") as error:
        read_records(folders[0])
    assert "\n" not in str(error.value)


def test_a_key_changes_with_everything_an_engine_is_made_of() -> None:
    weights = Weights("m", "detector", (2, 3), Path(), {"safetensors": "a"}, {"a": "1"})
    other = Weights("m", "detector", (2, 3), Path(), {"safetensors": "a"}, {"a": "2"})
    made = [
        engine_key("x", weights, ("safetensors",), torch="1"),
        engine_key("y", weights, ("safetensors",), torch="1"),
        engine_key("x", other, ("safetensors",), torch="1"),
        engine_key("x", weights, ("safetensors",), torch="2"),
    ]
    assert len(set(made)) == 4 and all(len(key) == 16 for key in made)
    assert made[0] == engine_key("x", weights, ("safetensors",), torch="1")


@pytest.mark.parametrize("engine", ["openvino", "openvino-int8", "openvino-int8-bf16"])
@pytest.mark.parametrize("model", sorted(read_manifest()))
def test_every_engine_that_ships_has_its_record(model: str, engine: str) -> None:
    import openvino

    weights = find_weights(model, read_manifest()[model]["task"])
    kinds = ("safetensors",) if engine == "openvino" else ("int8-xml", "int8-bin")
    key = engine_key(engine, weights, kinds, openvino=openvino.__version__)
    found = read_records(WEIGHTS_FOLDER).get(key)
    assert found is not None and (found.model, found.engine) == (model, engine)
