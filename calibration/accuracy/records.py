"""Write the gate's records, which `engines.gate` reads before an engine is used."""

import datetime
from dataclasses import asdict
from pathlib import Path

import msgspec

from calibration.accuracy.figures import LIMITS, Comparison, Limits, failure_reasons, tolerated_losses
from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.base import Engine, EngineError
from realtime_polyp.engines.gate import FORMAT, RECORDS, GateRecord, read_records
from realtime_polyp.telemetry.machine import machine_facts

_MACHINE = ("cpu", "cores", "cpu_flags", "system", "versions")  # the facts that a figure may depend on


def record_of(engine: Engine, compared: dict[str, Comparison], data: str, limits: Limits = LIMITS) -> GateRecord:
    """Build the record of a comparison. data: name and size of the set of stills."""
    facts = machine_facts()
    return GateRecord(
        key=engine.key,
        engine=engine.name,
        model=engine.model,
        reasons=failure_reasons(compared, limits),
        data=data,
        figures={
            "limits": asdict(limits),
            "noted": list(tolerated_losses(compared, limits)),
            **{group: to_json(one) for group, one in compared.items()},
        },
        machine={"device": engine.device, **{name: facts[name] for name in _MACHINE}},
        date=datetime.date.today().isoformat(),
    )


def to_json(one: Comparison) -> dict[str, object]:
    """Convert a comparison to JSON types with five decimals."""

    def round_all(figures: object) -> object:
        if isinstance(figures, dict):
            return {name: round_all(value) for name, value in figures.items()}
        return round(figures, 5) if isinstance(figures, float) else figures

    return {name: round_all(value) for name, value in asdict(one).items()}


def write_record(record: GateRecord, folder: Path) -> Path:
    """Add a record to the folder's file; it replaces the record of an older build of the same engine and device.

    Returns: the path of the file.

    Raises:
        EngineError: the folder's records cannot be read or written.
    """
    kept = {key: one for key, one in read_records(folder).items() if not _is_replaced(one, record)}
    records = {key: msgspec.structs.asdict(one) for key, one in {**kept, record.key: record}.items()}
    path = folder / RECORDS
    try:
        write_json(path, {"format": FORMAT, "records": records}, sort_keys=True)
    except OSError as error:
        raise EngineError(f"the gate's record {path} cannot be written: {error}") from error
    return path


def _is_replaced(old: GateRecord, new: GateRecord) -> bool:
    """Whether the new record is of the same engine as the old one."""
    same = (old.model, old.engine, old.machine.get("device")) == (new.model, new.engine, new.machine["device"])
    return same or old.key == new.key
