"""Write an HTML page about a training run: python -m trainers.report --run runs/detector

The page is self-contained: style, curves and pictures are inside it. It shows the content of the run's folder
(recipe.json, history.json, figures.json as `trainers.evaluate --json` writes it, gallery/*.jpg) and names what is
missing.
"""

import argparse
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct

from realtime_polyp.json_files import check_json, read_json
from trainers.command import command_parser, report_bad_input
from trainers.evaluation.report_file import read_report_file
from trainers.evaluation.report_page import RunFolder, format_page

REPORT = "report.html"
Content = TypeVar("Content")
Figure = Annotated[float, Meta(ge=-1e30, le=1e30)] | str | None  # a loss may be large
_DEEPEST = 32  # values inside one another
_EPILOG = """examples:
  python -m trainers.report --run runs/detector
  python -m trainers.report --run runs/detector --without-gallery --out page.html

A full page also needs figures and a gallery:
  python -m trainers.evaluate --data DATA/val.json --root DATA --run runs/detector \\
      --bootstrap 1000 --json runs/detector/figures.json --gallery runs/detector/gallery"""


class Epoch(Struct):
    """What an entry of the history must hold."""

    epoch: Annotated[float, Meta(ge=0, le=1e9)]


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
    recipe = _read_if_there(folder / "recipe.json", dict[str, Any], "the recipe of a training run")
    history = _read_if_there(folder / "history.json", list[dict[str, Any]], "the history of a training run")
    if recipe is None and history is None:
        raise FileNotFoundError(f"{folder} holds neither recipe.json nor history.json: it is not a run's folder")
    for place, entry in enumerate(history or ()):
        check_json(entry, Epoch, f"entry {place} of {folder / 'history.json'}", "the figures of an epoch")
        check_json(entry, dict[str, Figure], f"entry {place} of {folder / 'history.json'}", "the figures of an epoch")
    _check_depth(recipe, folder / "recipe.json")
    figures = read_report_file(folder / "figures.json") if (folder / "figures.json").is_file() else None
    return RunFolder(folder.resolve().name, recipe, history, figures, tuple(sorted(folder.glob("gallery/*.jpg"))))


def _read_if_there(path: Path, kind: type[Content], what: str) -> Content | None:
    return read_json(path, kind, what=what) if path.is_file() else None


def _check_depth(content: Any, path: Path) -> None:
    """Raise ValueError for values that are nested too deeply to be shown."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [inner for one in level if isinstance(one, dict | list) for inner in _members(one)]
    if level:
        raise ValueError(f"{path} is not the recipe of a training run: it is nested too deeply")


def _members(content: dict[str, Any] | list[Any]) -> list[Any]:
    return list(content.values()) if isinstance(content, dict) else content


if __name__ == "__main__":
    main()
