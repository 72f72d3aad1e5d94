"""The calibration file: what both commands write their part into, and which parts hold for each other."""

import json
from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import atomic_write_text
from realtime_polyp.engines.base import Engine
from realtime_polyp.postprocess.score_calibration import (
    FORMAT,
    Calibration,
    CalibrationError,
    parse_calibration,
    read_document,
)

Document = dict[str, Any]


def load_or_begin(path: Path) -> Document:
    """The file's content, or that of an empty calibration. Raises CalibrationError for a file that is none."""
    if not path.exists():
        return {"format": FORMAT}
    document = read_document(path)
    parse_calibration(document, path.name)
    return document


def save(path: Path, document: Document) -> None:
    """Written under its name only when complete. Raises CalibrationError for what could not be read again."""
    parse_calibration(document, path.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, json.dumps(document, indent=1) + "\n")


def with_scores(document: Document, engine: Engine, scores: dict[str, Any]) -> Document:
    """With the engine's model and its map. The operating point goes with a detector's: it was in other units."""
    kept = {name: part for name, part in document.items() if engine.task != "detector" or name != "operating_point"}
    return {**kept, engine.task: {**_identity(engine), "scores": scores}}


def with_operating_point(document: Document, engine: Engine, point: dict[str, Any]) -> Document:
    """With the point chosen for this detector. `scores_for` has been asked, so that what is there is its own."""
    known = document.get("detector", {})
    return {**document, "detector": {**known, **_identity(engine)}, "operating_point": point}


def scores_for(document: Document, engine: Engine, name: str) -> Calibration:
    """The calibration whose `apply` gives this detector's scores their units; without a map it leaves them alone.

    Raises CalibrationError when the file's map is of another model, or of the same one compiled otherwise.
    """
    calibration = parse_calibration(document, name)
    fitted = calibration.detector
    if fitted is None or fitted.map is None:
        return Calibration(name)
    calibration.check(engine)
    if fitted.key != engine.key:
        raise CalibrationError(
            f"{name} holds scores of {fitted.engine} ({fitted.key}), and {engine.name} ({engine.key}) is to be run: "
            f"run calibration.scores with --engine {engine.name} first"
        )
    return calibration


def _identity(engine: Engine) -> dict[str, str]:
    return {"model": engine.model, "engine": engine.name, "key": engine.key}
