"""Format a training run as one HTML page: header, curves, figures, recipe and gallery. Missing parts are named."""

import base64
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from realtime_polyp.messages import each_once
from trainers.evaluation.chart import chart
from trainers.evaluation.tables import (
    COCO,
    ENDOCV,
    MIOU_NOTE,
    SEGMENTATION,
    format_images,
    format_interval,
    format_value,
)
from trainers.training.run_folder import VALIDATION


@dataclass(frozen=True)
class RunFolder:
    """The content of a run's folder; None or empty where a file is missing.

    Attributes:
        name: of the folder.
        recipe: recipe.json.
        history: history.json, one entry per epoch.
        figures: figures.json, as `trainers.evaluate --json` writes it.
        sheets: gallery/*.jpg.
    """

    name: str
    recipe: dict[str, Any] | None
    history: list[dict[str, float]] | None
    figures: dict[str, Any] | None
    sheets: tuple[Path, ...]


def format_page(run: RunFolder, *, gallery: bool = True) -> str:
    """Return the whole page, with style and pictures inside it. gallery: include the pictures."""
    title = html.escape(str((run.recipe or {}).get("config", run.name)))
    sections = [_head(run, title), _curves(run), _figures(run), _recipe(run), _gallery(run, shown=gallery)]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}: training run</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(run: RunFolder, title: str) -> str:
    recipe: dict[str, Any] = run.recipe or {}
    loop = recipe.get("loop")
    if not isinstance(loop, dict):
        loop = {}
    facts = {"run": run.name}
    facts |= {name: _format_value(recipe[name]) for name in ("task", "data", "images") if name in recipe}
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
        return "<p>Nothing, according to the recipe.</p>"
    return _missing("Unknown: recipe.json is missing or has no <code>differs</code>.")


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
        parts.append(_table(title, SEGMENTATION, sets, ("segmentation",)) + f"<p>{html.escape(MIOU_NOTE)}</p>")
    return f"<section><h2>Figures</h2>{''.join(parts)}</section>"


def _measured(report: Mapping[str, Any]) -> str:
    models = each_once((report.get("models") or {}).values(), " and ") or "the model"
    engine = report.get("engine", "an engine")
    return f"{report.get('data', 'a set')}, {format_images(report)} images: {models} on {engine}."


def _table(title: str, columns: Mapping[str, str], sets: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """Format a table with a row per set. path: keys that lead to the figures in a set's report."""
    heads = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in columns.values())
    rows = []
    for name, figures in sets.items():
        images = str(figures["images"])
        for key in path:
            figures = (figures or {}).get(key)
        cells = "".join(f"<td>{_figure(key, figures or {})}</td>" for key in columns)
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(images)}</td>{cells}</tr>')
    return (
        f'<div class="wide"><table><caption>{html.escape(title)}</caption><thead><tr><td></td>'
        f'<th scope="col">images</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _figure(key: str, figures: Mapping[str, Any]) -> str:
    interval = (figures.get("intervals") or {}).get(key)
    text = html.escape(format_value(key, figures.get(key)))
    return text + (f"<small>{html.escape(format_interval(key, interval))}</small>" if interval else "")


def _recipe(run: RunFolder) -> str:
    if run.recipe is None:
        return f"<section><h2>Recipe</h2>{_missing('recipe.json is missing.')}</section>"
    rows = {name: text for name, text in flatten(run.recipe) if not name.startswith("differs")}
    return f"<section><h2>Recipe</h2>{_facts(rows)}</section>"


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of every leaf of nested dicts."""
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
        body = "<p>Left out: the pictures belong to the data set.</p>"
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


# The style of the page: light, dark and print

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #6a737d; --line: #d8dee4; --warn: #9a5b00;
  --c0: #0072b2; --c1: #c44e00; --c2: #00795c; --c3: #a8417f; --c4: #5d5fc4; --c5: #7a6a00; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171a; --faint: #9aa4ae;
  --line: #343b42; --warn: #f0b450; --c0: #56b4e9; --c1: #ff9a52; --c2: #3ddbb0; --c3: #e79ac8;
  --c4: #a5a7ff; --c5: #e0cf5a; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0 0 .6rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 1.2rem; }
caption { text-align: left; color: var(--faint); padding-bottom: .3rem; }
th, td { padding: .22rem .7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th[scope=row], .facts td { text-align: left; }
th { font-weight: 600; }
td small { display: block; color: var(--faint); font-size: .74rem; white-space: nowrap; }
.facts th { color: var(--faint); font-weight: 400; padding-left: 0; white-space: nowrap; }
.facts td { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.missing { color: var(--faint); font-style: italic; }
.warning { color: var(--warn); font-weight: 600; }
.plot { display: inline-block; width: min(100%, 35rem); margin: 0 1.5rem 1rem 0; vertical-align: top; }
.chart { display: block; width: 100%; height: auto; }
.chart .grid { stroke: var(--line); stroke-width: 1; fill: none; }
.chart text { fill: var(--faint); font-size: 12px; }
.chart .title { fill: var(--ink); font-size: 14px; }
.chart polyline { fill: none; stroke-width: 1.8; }
.chart circle { stroke: none; }
.legend { margin: 0 0 0 3rem; font-size: .85rem; }
.key { margin-right: 1rem; white-space: nowrap; }
.key svg { width: 1.6rem; height: .55rem; margin-right: .35rem; }
.key path { stroke-width: 3; fill: none; }
.s0 { stroke: var(--c0); fill: var(--c0); } .s1 { stroke: var(--c1); fill: var(--c1); }
.s2 { stroke: var(--c2); fill: var(--c2); } .s3 { stroke: var(--c3); fill: var(--c3); }
.s4 { stroke: var(--c4); fill: var(--c4); } .s5 { stroke: var(--c5); fill: var(--c5); }
figure { margin: 0 0 1.4rem; }
figure img { width: 100%; height: auto; border-radius: 4px; }
figcaption { color: var(--faint); }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; }
  main { max-width: none; padding: 0; } .plot, figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  body { font-size: 10pt; } th, td { padding: .15rem .35rem; } }
"""
