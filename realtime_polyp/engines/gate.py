"""The accuracy gate's records: results of comparing engines with the float32 reference.

`python -m calibration.gate` writes them, for shipped engines beside the weights and for engines built on this machine
into its cache. `run_live` rejects an engine without a passing record.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.engines.weights import WEIGHTS_FOLDER
from realtime_polyp.folders import cache_folder

RECORDS = "gates.json"
FORMAT = 1  # version of that file's format
REFERENCE = "eager"  # the float32 engine that all others are compared with


@dataclass(frozen=True)
class GateRecord:
    """One comparison of an engine with the reference.

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
    """Return {key: record} of one folder, empty if it has no file. Raises EngineError if the file is not readable."""
    path = folder / RECORDS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if content.get("format", FORMAT) != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, but this version reads format {FORMAT}")
        found = content["records"] if "format" in content else content  # the first version wrote no format number
        return {key: GateRecord(**{**one, "key": key, "reasons": tuple(one["reasons"])}) for key, one in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(
            f"cannot read the gate's records {path}: {error}; write them again with python -m calibration.gate"
        ) from error


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
    if not record.passed:
        return f"engine {name} of {model} failed its gate ({record.reasons[0]}): for details run {command}"
    return None
