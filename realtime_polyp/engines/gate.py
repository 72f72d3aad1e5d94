"""The accuracy gate's records: results of comparing engines with the float32 reference.

`python -m calibration.gate` writes them, for shipped engines beside the weights and for engines built on this machine
into its cache. `run_live` rejects an engine without a passing record.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.engines.weights import WEIGHTS_FOLDER
from realtime_polyp.folders import cache_folder
from realtime_polyp.json_files import check_format, check_json, read_json
from realtime_polyp.messages import quoted

RECORDS = "gates.json"
FORMAT = 1  # version of that file's format
REFERENCE = "eager"  # the float32 engine that all others are compared with
_WHAT = "a file of gate records"
_CURE = "write it again with python -m calibration.gate"


class GateRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One comparison of an engine with the reference. An unknown field may be another version's verdict: it is refused.

    Attributes:
        key: of the engine (`weights.engine_key`).
        engine: name of the engine.
        model: name of the weights.
        reasons: the limits that were exceeded, one sentence each; empty if the engine passed.
        data: name and size of the test set.
        figures: metrics of the reference and of the engine, overall and per centre.
        machine: hardware and versions.
        date: when the comparison ran.
    """

    key: str
    engine: str
    model: str
    reasons: tuple[str, ...]
    data: str
    figures: dict[str, Any]
    machine: dict[str, Any]
    date: str

    @property
    def passed(self) -> bool:
        return not self.reasons


def read_records(folder: Path) -> dict[str, GateRecord]:
    """Return {key: record} of one folder, empty if it has no file or is out of reach.

    Raises EngineError if the file is not readable or one of its records is not complete and consistent.
    """
    path = folder / RECORDS
    if not os.path.exists(path):
        return {}
    content = read_json(path, dict[str, Any], what=_WHAT, error=EngineError, cure=_CURE)
    if "format" not in content:
        return _parse_records(content, path)  # the first version wrote no format number
    check_format(content, FORMAT, str(path), _WHAT, EngineError, _CURE)
    return _parse_records(content.get("records"), path)


def _parse_records(content: Any, path: Path) -> dict[str, GateRecord]:
    records = check_json(content, dict[str, Any], f"the list of records in {path}", "one", EngineError, _CURE)
    return {key: _parse_record(one, key, path) for key, one in records.items()}


def _parse_record(content: Any, key: str, path: Path) -> GateRecord:
    where = f"record {quoted(key)} in {path}"
    if isinstance(content, dict):
        content = {"key": key, **content}  # the first version wrote the key only outside the record
    one = check_json(content, GateRecord, where, "a gate record", EngineError, _CURE)
    if one.key != key:
        raise EngineError(f"{where} is not a gate record: its own key is {quoted(one.key)}; {_CURE}")
    if not one.figures:  # it proves nothing, whatever its reasons say
        raise EngineError(f"{where} is not a gate record: it has no figures; {_CURE}")
    return one


def find_record(key: str) -> GateRecord | None:
    """Return the record of the engine with this key. A record of this machine takes precedence over a shipped one."""
    for folder in (cache_folder(), WEIGHTS_FOLDER):
        if record := read_records(folder).get(key):
            return record
    return None


def is_rejected(model: str, engine: str) -> bool:
    """Whether this engine of the model has gate records and failed in all of them, whatever their keys."""
    records = [one for folder in (cache_folder(), WEIGHTS_FOLDER) for one in read_records(folder).values()]
    verdicts = [one.passed for one in records if (one.model, one.engine) == (model, engine)]
    return bool(verdicts) and not any(verdicts)


def check_gate(engine: Engine) -> None:
    """Raise EngineError unless the engine is the reference or has passed the gate."""
    if problem := gate_problem(engine):
        raise EngineError(f"{problem}, or allow it unverified (--allow-unverified)")


def gate_problem(engine: Engine) -> str | None:
    """Return why the engine is not verified, with the cure, in one sentence; None if it has passed."""
    return failure_reason(engine.name, engine.model, engine.key)


def failure_reason(name: str, model: str, key: str) -> str | None:
    """Return what `gate_problem` does, for an engine that is not built yet: a build may take minutes."""
    if name == REFERENCE:
        return None
    record = find_record(key)
    command = f"python -m calibration.gate --model {model} --engine {name}"
    if record is None:
        return f"engine {name} of {model} was never compared with float32: run {command}"
    if (record.engine, record.model) != (name, model):
        found = f"{quoted(record.engine)} of {quoted(record.model)}"
        return f"the gate record of engine {name} of {model} is of {found}: run {command}"
    if not record.passed:
        return f"engine {name} of {model} failed its gate ({record.reasons[0]}): for details run {command}"
    return None
