"""Print the paper's tables with our results beside them: python -m trainers.table --markdown

A result is a JSON file: {"config": "gflv2-r50", "set": "val", "figures": {"AP": 0.51, ...}, and optionally
"images": 472, "set_images": 472, "intervals": {"AP": [0.48, 0.54]}, "differs": {"data": "...", "init": "...",
"epochs": "...", "size": "..."}, "multi_scale_test": true, "command": "how it was measured"}.
"""

import argparse
import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from realtime_polyp.json_files import Count, Finite, read_json
from realtime_polyp.messages import one_line, shorten
from realtime_polyp.telemetry.text_table import format_table
from trainers.command import command_parser, report_bad_input
from trainers.evaluation.claims import FOLDER as CLAIMS_FOLDER
from trainers.evaluation.claims import ClaimsFile, format_claims, read_claims
from trainers.evaluation.paper_tables import PAPER_BACKBONE, TABLES, Row, Table
from trainers.evaluation.tables import SEGMENTATION

RESULTS = Path("docs/results")
NOT_TRAINED = "not trained"
_RULES = ("---", "---:")  # cells that draw a table's head
_UNKNOWN = "?"
_PARTIAL = "only a part of the set was measured"
_EPILOG = """examples:
  python -m trainers.table
  python -m trainers.table --table 2 --markdown
  python -m trainers.table --results runs/results --set unseen_C6"""


class ResultFile(Struct, kw_only=True):
    """The schema of a result file. Further keys are allowed."""

    config: Annotated[str, Meta(min_length=1)]
    set: Annotated[str, Meta(min_length=1)]
    figures: dict[str, Finite | None]
    images: Count | None = None
    set_images: Count | None = None
    intervals: dict[str, tuple[Finite, Finite] | None] = {}
    differs: dict[str, str | float | None] = {}
    multi_scale_test: bool = False
    backbone: str = PAPER_BACKBONE
    command: str = ""


@dataclass(frozen=True)
class Result:
    """The content of one result file.

    Attributes:
        path: of the file.
        config: name of the recipe.
        set: name of the data set.
        figures: 0..1, distances in px; None where undefined.
        images: number of images that were measured; None if the file does not say.
        set_images: number of images in the set; None if unknown.
        intervals: figure -> [low, high].
        differs: aspect -> how it differs from the paper.
        multi_scale_test: measured with multi-scale testing.
        backbone: "paper" for the recipe's own, else a name of `trainers.backbone_recipes`.
        command: reproduces the figures.
    """

    path: Path
    config: str
    set: str
    figures: dict[str, float | None]
    images: int | None
    set_images: int | None
    intervals: dict[str, list[float] | None]
    differs: dict[str, str]
    multi_scale_test: bool
    backbone: str
    command: str

    @property
    def key(self) -> tuple[str, bool]:
        """Identifies the result within its set."""
        return self.config, self.multi_scale_test

    @property
    def is_partial(self) -> bool:
        """Whether fewer images than the set has were measured, as with `trainers.evaluate --limit`."""
        return self.images is not None and self.set_images is not None and self.images < self.set_images


Results = dict[tuple[str, bool], Result]


def main(arguments: list[str] | None = None) -> None:
    parser = command_line()
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        results = select_set(read_results(options.results), options.set, options.backbone)
        chosen = [table for table in TABLES if options.table in (None, table.number)]
        write = format_markdown if options.markdown else format_plain
        claims = read_all_claims(options.results, options.set, options.backbone) if options.table is None else []
        parts = [write(table, results) for table in chosen]
        print("\n\n".join([*parts, *(format_claims(one, markdown=options.markdown) for one in claims)]))


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.table",
        description="Print the paper's tables with our results beside them; rows without a result are 'not trained'.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of result files (default: %(default)s)")
    add("--table", type=int, choices=[table.number for table in TABLES], help="print only this table")
    add("--set", default="val", metavar="NAME", help="data set of the results (default: %(default)s)")
    add("--backbone", metavar="NAME", help="of the paper's rows, show only results on this backbone, such as lite0")
    add("--markdown", action="store_true", help="print Markdown")
    return parser


def read_results(folder: Path) -> list[Result]:
    """Read all results of a folder; none if the default folder does not exist yet.

    Raises:
        FileNotFoundError: another folder does not exist.
        ValueError: a file is no result.
    """
    if not folder.is_dir():
        if folder == RESULTS:
            return []
        raise FileNotFoundError(f"no such folder of results: {folder}")
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def read_result(path: Path) -> Result:
    """Read one result.

    Raises:
        ValueError: names the file and what is wrong with it.
    """
    content = read_json(path, ResultFile, what="a result")
    figures = {name: _check_figure(name, value, path) for name, value in content.figures.items()}
    intervals = {name: _check_interval(name, value, path) for name, value in content.intervals.items()}
    if not {"AP", "dice"} & set(figures):
        raise ValueError(f"{path} is not a result: its figures hold neither AP nor dice")
    differs = {one_line(name): one_line(str(how)) for name, how in content.differs.items()}
    images, set_images = _check_images(content, path)
    return Result(
        path=path,
        config=one_line(content.config),
        set=one_line(content.set),
        figures=figures,
        images=images,
        set_images=set_images,
        intervals=intervals,
        differs=differs,
        multi_scale_test=content.multi_scale_test,
        backbone=one_line(content.backbone),
        command=content.command,
    )


def _check_images(content: ResultFile, path: Path) -> tuple[int | None, int | None]:
    """Return the number of measured images and of those in the set. Raises ValueError for none, or more than it has."""
    images, whole = content.images, content.set_images
    if images == 0:
        raise ValueError(f"{path} is not a result: `images` is 0, and figures need 1 image or more")
    if images is not None and whole is not None and images > whole:
        raise ValueError(f"{path} is not a result: `images` is {images}, and its set has {whole} (`set_images`)")
    return images, whole


def _check_figure(name: str, value: float | None, path: Path) -> float | None:
    """Check a figure: 0..1, which rejects percentages; distances in px may be larger."""
    if value is not None and not name.endswith("_px") and not 0 <= value <= 1:
        raise ValueError(f"{path} is not a result: {shorten(name)} is {value}, and figures must be in 0..1")
    return value


def _check_interval(name: str, value: tuple[Finite, Finite] | None, path: Path) -> list[float] | None:
    if value is None:
        return None
    low, high = (_check_figure(f"the interval of {name}", end, path) for end in value)
    if low is None or high is None or low > high:
        raise ValueError(
            f"{path} is not a result: the interval of {shorten(name)} is {list(value)}, it must be [low, high]"
        )
    return [low, high]


def select_set(results: Sequence[Result], name: str, backbone: str | None = None) -> Results:
    """Return the results of one set by key. backbone: leave out the paper's rows on any other.

    A file without `set_images` (of an earlier version) has the set's size from the other results on the set: it is the
    largest number of images of any.

    Raises:
        ValueError: two files hold the same.
    """
    in_paper = {row.config for table in TABLES for row in table.rows}
    chosen = [
        result
        for result in results
        if result.set == name and (backbone in (None, result.backbone) or result.config not in in_paper)
    ]
    counts = [count for result in chosen for count in (result.images, result.set_images) if count is not None]
    found: Results = {}
    for result in chosen:
        if result.key in found:
            other = found[result.key]
            cure = ": choose one with --backbone" if other.backbone != result.backbone else ""
            raise ValueError(f"{other.path} and {result.path} both hold {shorten(result.config)} on {name}{cure}")
        found[result.key] = replace(result, set_images=result.set_images or max(counts, default=None))
    return found


def read_all_claims(folder: Path, name: str, backbone: str | None) -> list[ClaimsFile]:
    """Read the verdicts on the paper's claims on one set, of every backbone or of one."""
    paths = sorted((folder / CLAIMS_FOLDER).glob(f"{backbone or '*'}.{name}.json"))
    return [read_claims(path) for path in paths]


def find_own_rows(table: Table, results: Results) -> list[Row]:
    """Return rows for the results of this table's kind whose config is not in the paper."""
    in_paper = {
        (row.config, row.multi_scale_test) for one in TABLES if one.figures == table.figures for row in one.rows
    }
    own = [result for key, result in results.items() if key not in in_paper and table.figures[0] in result.figures]
    names = {True: " (MS test)", False: ""}
    return [Row(one.config + names[one.multi_scale_test], one.config, (), one.multi_scale_test) for one in own]


def format_plain(table: Table, results: Results) -> str:
    """Format a table for a terminal: the paper's figures, ours, and what differed, with intervals on the next line."""
    headings = [SEGMENTATION.get(name, name) for name in table.figures]
    empty = [""] * len(headings)
    common = common_differences(table, results)
    cells, texts = [], []
    for number, row in enumerate([*table.rows, *find_own_rows(table, results)]):
        if number == len(table.rows):
            cells.append(["our own:", "", "|", *empty, "|", *empty, "", "|"])
            texts.append("")
        result = results.get((row.config, row.multi_scale_test))
        paper = [f"{value:.1f}" for value in row.values] or empty
        cells.append(
            [row.label, row.config, "|", *paper, "|", *(format_cells(table, result) if result else [*empty, ""]), "|"]
        )
        texts.append(format_differences(result, common) if result else NOT_TRAINED)
        if result and format_intervals(table, result):
            cells.append(["", "", "|", *empty, "|", *empty, "", "|"])
            texts.append(format_intervals(table, result))
    lines = format_table(["", "config", "|", *headings, "|", *headings, "images", "|"], cells).split("\n")
    title = f"Table {table.number}. {table.title}; in %: the paper, ours, and what differed"
    rows = [f"{line} {text}".rstrip() for line, text in zip(lines, ["", *texts], strict=True)]
    return "\n".join([title, *rows, *format_notes(table, common)])


def format_markdown(table: Table, results: Results) -> str:
    """Format a Markdown table of the same columns, with intervals beside the figures."""
    headings = [SEGMENTATION.get(name, name) for name in table.figures]
    ours = [*(f"{one}, ours" for one in headings), "images, ours"]
    columns = ["", "config", *(f"{one}, paper" for one in headings), *ours, "differed"]
    lines = [f"**Table {table.number}.** {table.title}; in %.", "", _format_line(columns)]
    common = common_differences(table, results)
    lines.append(_format_line(["---", "---", *["---:"] * (2 * len(headings) + 1), "---"]))
    for row in [*table.rows, *find_own_rows(table, results)]:
        paper = [f"{value:.1f}" for value in row.values] or [""] * len(headings)
        result = results.get((row.config, row.multi_scale_test))
        ours = format_cells(table, result, with_intervals=True) if result else [NOT_TRAINED, *[""] * len(headings)]
        label = row.label if row.values else f"our own: {row.label}"
        lines.append(_format_line([label, f"`{row.config}`", *paper, *ours, format_differences(result, common)]))
    notes = [html.escape(note, quote=False).replace("*", "\\*") for note in format_notes(table, common)]
    return "\n".join([*lines, *(part for note in notes for part in ("", note))])


def _format_line(cells: Sequence[str]) -> str:
    """Format a row of Markdown. A cell may hold what a stranger wrote: bars, tags and emphasis stay text."""
    return "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"


def _escape_markdown(cell: str) -> str:
    escaped = html.escape(cell, quote=False).replace("|", "\\|")
    return escaped if cell.startswith("`") or cell in _RULES else escaped.replace("*", "\\*")


def format_cells(table: Table, result: Result, *, with_intervals: bool = False) -> list[str]:
    """Format our figures in percent, a dash where a file has none, and the number of images."""
    cells = []
    for name in table.figures:
        value, interval = result.figures.get(name), result.intervals.get(name)
        text = "-" if value is None else f"{100 * value:.1f}"
        cells.append(f"{text} [{_percent(interval)}]" if with_intervals and interval else text)
    return [*cells, format_images(result)]


def format_images(result: Result) -> str:
    """Format the number of measured images: "472", or "24 of 472" for a part of the set; "?" if unknown."""
    if result.images is None:
        return _UNKNOWN
    return f"{result.images} of {result.set_images}" if result.is_partial else str(result.images)


def format_intervals(table: Table, result: Result) -> str:
    """Format the intervals of the table's figures in one line; empty if there are none."""
    known = [(name, result.intervals.get(name)) for name in table.figures]
    return ", ".join(f"{SEGMENTATION.get(name, name)} [{_percent(one)}]" for name, one in known if one)


def _percent(interval: list[float]) -> str:
    return " ".join(f"{100 * end:.1f}" for end in interval)


def common_differences(table: Table, results: Results) -> dict[str, str]:
    """Return the differences that all trained rows of a table share, to be said once; none of a single row."""
    found = [result for row in table.rows if (result := results.get((row.config, row.multi_scale_test)))]
    if len(found) < 2:
        return {}
    return {what: how for what, how in found[0].differs.items() if all(one.differs.get(what) == how for one in found)}


def format_notes(table: Table, common: dict[str, str]) -> list[str]:
    """Format the lines below a table: what all of our rows have in common, and the table's own note."""
    said = "; ".join(f"{what}: {how}" for what, how in common.items())
    return [*([f"All of our rows of this table: {said}."] if said else []), *([table.note] if table.note else [])]


def format_differences(result: Result | None, common: dict[str, str]) -> str:
    """Format the differences from the paper in one line, without those that all rows share.

    A mark comes before them if only a part of the set was measured.
    """
    if result is None:
        return ""
    own = {what: how for what, how in result.differs.items() if common.get(what) != how}
    differs = "; ".join(f"{what}: {how}" for what, how in own.items()) or ("" if result.differs else "unknown")
    return "; ".join(part for part in (_PARTIAL if result.is_partial else "", differs) if part)


if __name__ == "__main__":
    main()
