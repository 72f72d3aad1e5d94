"""The schema of a report, as `trainers.evaluate --json` writes it, and its readers."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from realtime_polyp.json_files import Count, Finite, Share, check_json, read_json
from realtime_polyp.messages import quoted

WHAT = "a report of figures as trainers.evaluate --json writes it"
Interval = Annotated[list[Finite], Meta(min_length=2, max_length=2)]
Intervals = dict[str, Interval | None]
Text = Count | str  # only displayed


class Nested(Struct, kw_only=True):
    """The keys of a set of figures that are not numbers."""

    intervals: Intervals | None = None
    endocv: dict[str, Any] | None = None
    pooled: dict[str, Any] | None = None


class SetFigures(Struct, kw_only=True):
    """The figures of one set."""

    images: Text
    detection: dict[str, Any] | None
    segmentation: dict[str, Any] | None


class Bootstrap(Struct, kw_only=True):
    """How the intervals were drawn."""

    level: Share
    samples: Text
    drawn: str


class Report(SetFigures, kw_only=True):
    """The whole report. Further keys are allowed."""

    per_centre: dict[str, SetFigures]
    data: str = "a set"
    set_images: Text | None = None
    engine: str = "an engine"
    models: dict[str, str | None] | None = None
    bootstrap: Bootstrap | None = None


class OtherReport(Struct, kw_only=True):
    """The keys that a report needs for a comparison."""

    data: str
    detection: dict[str, Any] | None
    segmentation: dict[str, Any] | None


def read_report_file(path: Path) -> dict[str, Any]:
    """Read a complete report. Raises ValueError that names the file and the place."""
    content = read_json(path, dict[str, Any], what=WHAT)
    report = check_json(content, Report, str(path), WHAT)
    for name, one in {"": report, **report.per_centre}.items():
        _check_set(one.detection, one.segmentation, f"the figures of {quoted(name)} in {path}" if name else str(path))
    return content


def read_other_report(path: Path) -> dict[str, Any]:
    """Read the keys of a report that a comparison needs. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no such report: {path}")
    content = read_json(path, dict[str, Any], what=WHAT)
    report = check_json(content, OtherReport, str(path), WHAT)
    _check_set(report.detection, report.segmentation, str(path))
    return {"data": report.data, "detection": report.detection, "segmentation": report.segmentation}


def _check_set(detection: dict[str, Any] | None, segmentation: dict[str, Any] | None, where: str) -> None:
    for kind, figures in (("detection", detection), ("segmentation", segmentation)):
        if figures is not None:
            _check_figures(figures, f"{kind} in {where}")


def _check_figures(figures: dict[str, Any], where: str) -> None:
    """Raise ValueError unless every figure is a number or null, and every interval has two numbers."""
    nested = check_json(figures, Nested, where, WHAT)
    numbers = {name: value for name, value in figures.items() if name not in Nested.__struct_fields__}
    check_json(numbers, dict[str, Finite | None], where, WHAT)
    for name in ("endocv", "pooled"):
        if getattr(nested, name) is not None:
            _check_figures(getattr(nested, name), f"{name} of {where}")
