"""Loads, updates and saves calibration files.

`calibration.scores` writes the score maps, `calibration.operating_point` the operating point. An operating point is
valid only for the detector scores that it was chosen on, so a new detector map removes it.
"""

from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.base import Engine
from realtime_polyp.postprocess.score_calibration import (
    FORMAT,
    Calibration,
    CalibrationError,
    parse_calibration,
    read_document,
)

Document = dict[str, Any]


def load_or_create(path: Path) -> Document:
    """Return the file's content, or an empty calibration if there is no file.

    Raises CalibrationError if the file is not a calibration file.
    """
    if not path.exists():
        return {"format": FORMAT}
    document = read_document(path)
    parse_calibration(document, path.name)
    return document


def save(path: Path, document: Document) -> None:
    """Save the document atomically. Raises CalibrationError if it is not a valid calibration."""
    parse_calibration(document, path.name)
    write_json(path, document)


def with_scores(document: Document, engine: Engine, scores: dict[str, Any]) -> Document:
    """Return the document with the score map of the engine's model.

    A new detector map removes the operating point, whose threshold applied to differently scaled scores.
    """
    kept = {name: part for name, part in document.items() if engine.task != "detector" or name != "operating_point"}
    return {**kept, engine.task: {**_identity(engine), "scores": scores}}


def with_operating_point(document: Document, engine: Engine, point: dict[str, Any]) -> Document:
    """Return the document with the operating point chosen for this detector.

    Call `detector_calibration` first: it checks that a score map in the document belongs to this detector.
    """
    detector = document.get("detector", {})
    return {**document, "detector": {**detector, **_identity(engine)}, "operating_point": point}


def detector_calibration(document: Document, engine: Engine, name: str) -> Calibration:
    """Return the calibration of this detector's scores; without a score map, one that leaves them unchanged.

    name: of the file, for error messages. Raises CalibrationError if the score map was fitted to another model or
    engine.
    """
    calibration = parse_calibration(document, name)
    fitted = calibration.detector
    if fitted is None or fitted.map is None:
        return Calibration(name)
    calibration.check(engine)
    if fitted.key != engine.key:
        raise CalibrationError(
            f"{name} has a score map fitted to the engine {fitted.engine} ({fitted.key}), not to {engine.name} "
            f"({engine.key}): run calibration.scores with --engine {engine.name} first"
        )
    return calibration


def _identity(engine: Engine) -> dict[str, str]:
    return {"model": engine.model, "engine": engine.name, "key": engine.key}
