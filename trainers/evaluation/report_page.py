"""A training run as one HTML page: header, curves, figures, recipe, gallery; what is missing is said in its place."""

import base64
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.evaluation.chart import chart
from trainers.evaluation.report_style import STYLE
from trainers.evaluation.tables import COCO, ENDOCV, SEGMENTATION, format_interval, format_value
from trainers.training.run_folder import VALIDATION


@dataclass(frozen=True)
class RunFolder:
    """What a run's folder holds; None or empty for what it does not."""

    name: str
    recipe: dict[str, Any] | None
    history: list[dict[str, float]] | None
    figures: dict[str, Any] | None
    sheets: tuple[Path, ...]


def format_page(run: RunFolder, *, gallery: bool = True) -> str:
    title = html.escape(str((run.recipe or {}).get("config", run.name)))
    sections = [_head(run, title), _curves(run), _figures(run), _recipe(run), _gallery(run, shown=gallery)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}: training run</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(run: RunFolder, title: str) -> str:
    recipe = run.recipe or {}
    loop: dict[str, Any] = recipe["loop"] if isinstance(recipe.get("loop"), dict) else {}
    facts = {
        "run": run.name,
        **{name: _format_value(recipe[name]) for name in ("task", "data", "images") if name in recipe},
    }
    facts |= {
        name: _format_value(recipe.get(name, loop.get(name))) for name in ("size", "init", "epochs", "batch", "seed")
    }
    known = {name: text for name, text in facts.items() if text}
    return (
        f"<header><h1>{title}</h1>{_facts(known)}</header>\n"
        f"<section><h2>What differs from the paper</h2>{_differences(recipe.get('differs'))}</section>"
    )


def _differences(differs: Any) -> str:
    if isinstance(differs, Mapping) and differs:
        return _facts({str(name): _format_value(how) for name, how in differs.items()})
    if isinstance(differs, Mapping):
        return "<p>Nothing that the recipe knows of.</p>"
    return _missing("Not said: recipe.json is missing or holds no <code>differs</code>.")


def _curves(run: RunFolder) -> str:
    return (
        "<section><h2>Curves</h2>"
        + ("".join(_charts(run)) or _missing("history.json is missing or empty."))
        + "</section>"
    )


def _charts(run: RunFolder) -> Iterator[str]:
    names = list(dict.fromkeys(name for entry in run.history or () for name in entry if name != "epoch"))
    series = {
        name: [(entry["epoch"], entry[name]) for entry in run.history or () if isinstance(entry.get(name), int | float)]
        for name in names
    }
    for title, validation in (("training loss", False), ("validation, 0 to 1", True)):
        chosen = {name: line for name, line in series.items() if line and (name in VALIDATION) == validation}
        if chosen:
            yield chart(chosen, title=title, x_label="epoch")


def _figures(run: RunFolder) -> str:
    if run.figures is None:
        command = "python -m trainers.evaluate ... --json RUN/figures.json"
        return f"<section><h2>Figures</h2>{_missing(f'No figures.json: <code>{command}</code> writes it.')}</section>"
    report = run.figures
    sets = {"all": report, **report["per_centre"]}
    note = report.get("bootstrap")
    parts = [f"<p>{html.escape(_measured(report))}</p>"]
    if note:
        level, drawn = f"{100 * note['level']:g} %", html.escape(f"{note['samples']} draws of {note['drawn']}")
        parts.append(f"<p>In brackets: {level} bootstrap intervals, {drawn}.</p>")
    if report["detection"]:
        parts.append(_table("Detection in %, COCO sizes on the stored grid", COCO, sets, ("detection",)))
        endocv = ("detection", "endocv")
        parts.append(_table("Detection in %, EndoCV2021 sizes on the original grid", ENDOCV, sets, endocv))
    if report["segmentation"]:
        title = "Segmentation in %, mean over images; distances in stored px"
        parts.append(_table(title, SEGMENTATION, sets, ("segmentation",)))
    return f"<section><h2>Figures</h2>{''.join(parts)}</section>"


def _measured(report: Mapping[str, Any]) -> str:
    models = " and ".join(name for name in (report.get("models") or {}).values() if name) or "the model"
    return f"{report.get('data', 'a set')}, {report['images']} images: {models} on {report.get('engine', 'an engine')}."


def _table(title: str, columns: Mapping[str, str], sets: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """path: where each set's figures are in it."""
    heads = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in columns.values())
    rows = []
    for name, figures in sets.items():
        images = figures["images"]
        for key in path:
            figures = (figures or {}).get(key)
        cells = "".join(f"<td>{_figure(key, figures or {})}</td>" for key in columns)
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th><td>{images}</td>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{html.escape(title)}</caption><thead><tr><td></td>'
        f'<th scope="col">images</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _figure(key: str, figures: Mapping[str, Any]) -> str:
    interval = (figures.get("intervals") or {}).get(key)
    return format_value(key, figures.get(key)) + (
        f"<small>{format_interval(key, interval)}</small>" if interval else ""
    )


def _recipe(run: RunFolder) -> str:
    if run.recipe is None:
        return f"<section><h2>Recipe</h2>{_missing('recipe.json is missing.')}</section>"
    rows = {name: text for name, text in flatten(run.recipe) if not name.startswith("differs")}
    return f"<section><h2>Recipe</h2>{_facts(rows)}</section>"


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf of nested dicts by its dotted name, in words."""
    if isinstance(value, Mapping) and value:
        for key, one in value.items():
            yield from flatten(one, f"{name}.{key}" if name else str(key))
    else:
        yield name, _format_value(value) or "none"


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(_format_value(one) for one in value)
    return "" if value is None else str(value)


def _gallery(run: RunFolder, *, shown: bool) -> str:
    if not shown:
        body = "<p>Left out: the pictures are the data set's.</p>"
    elif not run.sheets:
        command = "python -m trainers.evaluate ... --gallery RUN/gallery"
        body = _missing(f"No gallery/*.jpg: <code>{command}</code> writes them.")
    else:
        body = (
            '<p class="warning">These pictures belong to the owners of the data set, under its licence. '
            "The page must not be published with them: <code>--without-gallery</code> leaves them out.</p>"
        ) + "".join(_sheet(path) for path in run.sheets)
    return f"<section><h2>Gallery</h2>{body}</section>"


def _sheet(path: Path) -> str:
    name = html.escape(path.stem.replace("_", " "), quote=True)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{name}" src="data:image/jpeg;base64,{data}"><figcaption>{name}</figcaption></figure>'


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(text)}</td></tr>' for name, text in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def _missing(text: str) -> str:
    return f'<p class="missing">{text}</p>'
