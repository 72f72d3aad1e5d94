"""The gate's verdicts on disk: what `engines.acceptance` reads before an engine is trusted."""

import datetime
import json
from dataclasses import asdict
from pathlib import Path

from calibration.accuracy.figures import LIMITS, Comparison, Limits, noted, reasons
from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.engines.base import Engine
from realtime_polyp.engines.gate import RECORDS, GateRecord, read_records
from realtime_polyp.telemetry.machine import machine_facts

_MACHINE = ("cpu", "cores", "cpu_flags", "system", "versions")  # of its facts, those that a figure may depend on


def record_of(engine: Engine, compared: dict[str, Comparison], data: str, limits: Limits = LIMITS) -> GateRecord:
    """What is kept of a comparison. data: the set's name and size."""
    facts = machine_facts()
    return GateRecord(
        key=engine.key,
        engine=engine.name,
        model=engine.model,
        reasons=reasons(compared, limits),
        data=data,
        figures={
            "limits": asdict(limits),
            "noted": list(noted(compared, limits)),
            **{group: rounded(one) for group, one in compared.items()},
        },
        machine={"device": engine.device, **{name: facts[name] for name in _MACHINE}},
        date=datetime.date.today().isoformat(),
    )


def rounded(one: Comparison) -> dict[str, object]:
    """A comparison for JSON: five decimals."""

    def shorter(figures: object) -> object:
        if isinstance(figures, dict):
            return {name: shorter(value) for name, value in figures.items()}
        return round(figures, 5) if isinstance(figures, float) else figures

    return {name: shorter(value) for name, value in asdict(one).items()}


def write_record(record: GateRecord, folder: Path) -> Path:
    """Add a record to the folder's, in place of what it holds of an earlier make of the same engine on the same device.

    Raises EngineError when the folder's records cannot be read.
    """
    kept = {key: one for key, one in read_records(folder).items() if not _replaced(one, record)}
    content = {key: asdict(one) for key, one in {**kept, record.key: record}.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORDS
    atomic_write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    return path


def _replaced(old: GateRecord, new: GateRecord) -> bool:
    """An engine made anew leaves no record of what it was before."""
    same = (old.model, old.engine, old.machine.get("device")) == (new.model, new.engine, new.machine["device"])
    return same or old.key == new.key
