"""The documentation holds: lengths, links, paths, commands, options, and the keys of the file formats."""

import contextlib
import importlib
import importlib.util
import io
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fakes import ScriptedSource, pipeline_of

from realtime_polyp.cli.options import parse
from realtime_polyp.outputs.alarms import AlarmFigures, alarm_to_dict
from realtime_polyp.session import Session
from realtime_polyp.telemetry.summary import summarise
from realtime_polyp.temporal.alarms import AlarmKeeper

MOST_README_LINES, MOST_RELEASE_LINES = 120, 30
README, CHANGELOG, FORMATS = ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "docs" / "results_format.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "assets/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "assets" / "weights").glob("*.md")),
]
# Options of programs that are not ours, and of the phantom's renderer.
FOREIGN_OPTIONS = {"--nproc-per-node", "--help", "--version", "--no-deps"}
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def fragments(page: Path) -> Iterator[str]:
    """Every piece of code of a page: inline spans, and the command lines of its blocks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    prose = []
    in_fence = False
    for line in text.splitlines():
        if line.startswith("```"):
            in_fence = not in_fence
        elif in_fence or line.startswith("    "):
            yield line.split(" #")[0]
        else:
            prose.append(line)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", "\n".join(prose)))


def headings(page: Path) -> set[str]:
    """The anchors that a page offers, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@cache
def options_of(command: str) -> frozenset[str]:
    """What `--help` of a command lists. command: a module for python -m, or "run_live"."""
    if command == "run_live":
        show: Any = parse
    else:
        spec = importlib.util.find_spec(command)
        assert spec is not None, f"python -m {command}: there is no such module"
        show = importlib.import_module(f"{command}.__main__" if spec.submodule_search_locations else command).main
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        show(["--help"])
    return frozenset(_OPTION.findall(text.getvalue()))


def command_of(fragment: str) -> str | None:
    """The command that a piece of code calls; None where it calls none of ours."""
    if found := re.search(r"-m ((?:trainers|calibration|realtime_polyp)(?:\.[a-z_]+)*)(?=\s|$)", fragment):
        return found[1]
    if found := re.match(
        r"(?:python -m )?((?:trainers|calibration)\.[a-z]\w*|realtime_polyp\.bench[\w.]*) --", fragment
    ):
        return found[1]
    return "run_live" if re.search(r"run_live\.py\b|(?:^|\s)realtime-polyp --", fragment) else None


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


def test_a_release_is_told_briefly() -> None:
    for section in CHANGELOG.read_text(encoding="utf-8").split("\n## ")[2:]:
        assert len(section.splitlines()) <= MOST_RELEASE_LINES, section.splitlines()[0]


@each_page
def test_nothing_outside_the_repository_is_named(page: Path) -> None:
    assert "../shared" not in page.read_text(encoding="utf-8")


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in headings(place), f"{page.name} links to {target}: {sorted(headings(place))}"


@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    """A path is one of the repository or of the package; a name in capitals stands for something else."""
    roots = (ROOT, ROOT / "realtime_polyp")
    for fragment in fragments(page):
        if not re.fullmatch(r"[\w*-][\w.*-]*/[\w./*-]*", fragment) or re.search(r"[A-Z]{3}", fragment.split("/")[-1]):
            continue
        if any((root / fragment.split("/")[0]).is_dir() for root in roots):
            assert any(next(root.glob(fragment.rstrip("/")), None) for root in roots), f"{page.name} names {fragment}"


@each_page
def test_commands_exist_and_take_the_options_that_are_named(page: Path) -> None:
    for fragment in fragments(page):
        command = command_of(fragment)
        if command is None:
            continue
        named = set(_OPTION.findall(fragment)) - FOREIGN_OPTIONS
        assert named <= options_of(command), f"{page.name}: {command} has no {sorted(named - options_of(command))}"


@each_page
def test_options_that_are_named_alone_exist(page: Path) -> None:
    commands = {command_of(fragment) for one in PAGES for fragment in fragments(one)} - {None}
    known = FOREIGN_OPTIONS.union(*(options_of(str(command)) for command in commands))
    for fragment in fragments(page):
        if fragment.startswith("--"):
            assert set(_OPTION.findall(fragment)) <= known, f"{page.name} names {fragment}"


def keys_of(content: Any) -> set[str]:
    """Every key of nested objects whose names are fixed."""
    if isinstance(content, dict):
        return set(content).union(*(keys_of(value) for value in content.values()))
    return set().union(*(keys_of(value) for value in content)) if isinstance(content, list | tuple) else set()


def test_every_key_that_is_written_is_described() -> None:
    shown: list[Any] = []
    session = Session(ScriptedSource(12), pipeline_of(), shown.append)
    session.start()
    session.wait()
    keeper = AlarmKeeper()
    for result in shown:
        keeper.update(result)
    summary = summarise(session, AlarmFigures(1, 0.5))
    open_keys = {*summary.pop("versions"), *summary["stages_ms"], *summary["dropped"], *summary["not_analysed"]}
    alarms = keeper.close()
    assert any(result.tracks for result in shown) and alarms
    written = keys_of([summary, *(result.to_dict() for result in shown), *map(alarm_to_dict, alarms)])
    described = FORMATS.read_text(encoding="utf-8")
    named = {word for span in re.findall(r"`([^`\n]+)`", described) for word in re.findall(r"\w+", span)}
    assert written - open_keys - named == set()
    assert all(f"`{stage}`" in described for stage in session.stages_ms), session.stages_ms
