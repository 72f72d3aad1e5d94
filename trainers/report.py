"""Write an HTML page about a training run: python -m trainers.report --run runs/detector

The page is self-contained: style, curves and pictures are inside it. It shows the content of the run's folder
(recipe.json, history.json, figures.json as `trainers.evaluate --json` writes it, gallery/*.jpg) and names what is
missing.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from trainers.command import command_parser, report_bad_input
from trainers.evaluation.report_page import RunFolder, format_page

REPORT = "report.html"
_EPILOG = """examples:
  python -m trainers.report --run runs/detector
  python -m trainers.report --run runs/detector --without-gallery --out page.html

A full page also needs figures and a gallery:
  python -m trainers.evaluate --data DATA/val.json --root DATA --run runs/detector \\
      --bootstrap 1000 --json runs/detector/figures.json --gallery runs/detector/gallery"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        path = write_report(options.run, options.out, gallery=not options.without_gallery)
        print(f"report: {path}")


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.report",
        description="Write one self-contained HTML page about a training run.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="DIR", help="the run's folder, the --out of its training")
    add("--out", type=Path, metavar="FILE.html", help=f"the page to write (default: {REPORT} in the run's folder)")
    add(
        "--without-gallery",
        action="store_true",
        help="leave out the data set's pictures, so that the page can be shared",
    )
    return parser


def write_report(folder: Path, out: Path | None = None, *, gallery: bool = True) -> Path:
    """Write the page and return its path. out: default report.html in the run's folder.

    Raises:
        FileNotFoundError: the folder is not a run.
        ValueError: names a damaged file.
    """
    run = read_run(folder)
    path = out or folder / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_page(run, gallery=gallery), encoding="utf-8")
    return path


def read_run(folder: Path) -> RunFolder:
    """Read a run's folder. Raises as `write_report` does."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    recipe, history = _read(folder / "recipe.json", dict), _read(folder / "history.json", list)
    if recipe is None and history is None:
        raise FileNotFoundError(f"{folder} holds neither recipe.json nor history.json: it is not a run's folder")
    for entry in history or ():
        if not isinstance(entry, dict) or not isinstance(entry.get("epoch"), int | float):
            raise ValueError(f"{folder / 'history.json'} is damaged: {entry!r} are not the figures of an epoch")
    figures = _read(folder / "figures.json", dict)
    if figures is not None and not {"images", "per_centre", "detection", "segmentation"} <= set(figures):
        raise ValueError(f"{folder / 'figures.json'} holds no figures as trainers.evaluate --json writes them")
    return RunFolder(folder.resolve().name, recipe, history, figures, tuple(sorted(folder.glob("gallery/*.jpg"))))


def _read(path: Path, kind: type) -> Any:
    """Read a JSON file that holds a `kind`; None if it does not exist."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}, not a {kind.__name__}")
    return content


if __name__ == "__main__":
    main()
