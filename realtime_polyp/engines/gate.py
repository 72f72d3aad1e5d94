"""Which engines have been compared with the float32 reference, and how that came out: the gate's records.

`python -m calibration.gate` writes them: of the engines that ship beside the weights, of engines that a machine built
for itself in its cache. `run_live` refuses an engine without a passing record.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.engines.weights import WEIGHTS_FOLDER
from realtime_polyp.folders import cache_folder

RECORDS = "gates.json"
FORMAT = 1  # of that file
REFERENCE = "eager"  # in float32: what every other engine is compared with


@dataclass(frozen=True)
class GateRecord:
    """One comparison. reasons: the limits that were passed, one sentence each; empty when accepted. data: the set's
    name and size. figures: of the reference and of the engine, overall and per centre. machine: where it ran."""

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
    """{key: record} of one folder; empty where there is no file. Raises EngineError when it cannot be read."""
    path = folder / RECORDS
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
        if content.get("format", FORMAT) != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, this program reads {FORMAT}")
        found = content["records"] if "format" in content else content  # the first files had no format number
        return {key: GateRecord(**{**one, "key": key, "reasons": tuple(one["reasons"])}) for key, one in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineError(
            f"cannot read the gate's records {path}: {error}; make them again with calibration.gate"
        ) from error


def find_record(key: str) -> GateRecord | None:
    """The record of exactly the engine of this key, the machine's own before the shipped one."""
    for folder in (cache_folder(), WEIGHTS_FOLDER):
        if record := read_records(folder).get(key):
            return record
    return None


def is_rejected(model: str, engine: str) -> bool:
    """The gate has refused this engine of the model, in every make of it that is on record."""
    records = [one for folder in (cache_folder(), WEIGHTS_FOLDER) for one in read_records(folder).values()]
    verdicts = [one.passed for one in records if (one.model, one.engine) == (model, engine)]
    return bool(verdicts) and not any(verdicts)


def check_gate(engine: Engine) -> None:
    """EngineError unless this engine is the reference itself or passed the gate."""
    if problem := gate_problem(engine):
        raise EngineError(f"{problem}, or allow it unverified (--allow-unverified)")


def gate_problem(engine: Engine) -> str | None:
    """One sentence with the cure when the engine may not be trusted yet; None when it may."""
    return failure_reason(engine.name, engine.model, engine.key)


def failure_reason(name: str, model: str, key: str) -> str | None:
    """The same of an engine that need not be built yet, which may take minutes."""
    if name == REFERENCE:
        return None
    record = find_record(key)
    command = f"python -m calibration.gate --model {model} --engine {name}"
    if record is None:
        return f"engine {name} of {model} was never compared with float32: run {command}"
    if not record.passed:
        return f"engine {name} of {model} failed its gate ({record.reasons[0]}): see {command}"
    return None
