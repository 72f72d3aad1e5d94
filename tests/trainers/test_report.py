"""A run's page: what it tells, what it says is missing, and that it stands alone."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.evaluation.chart import chart, ticks
from trainers.evaluation.report_page import flatten
from trainers.report import main, write_report

RECIPE = {
    "config": "gflv2-lite0",
    "task": "detector",
    "size": [320, 384],
    "init": "ImageNet",
    "images": 1977,
    "loop": {"epochs": 3, "batch": 8, "learning_rate": 0.001, "seed": 7, "average_decay": None},
    "differs": {"data": "1,977 stills, not <1,062>", "recipe": "our own"},
}
HISTORY = [
    {"epoch": 1.0, "loss": 2.0, "quality": 1.5},
    {"epoch": 2.0, "loss": 1.4, "quality": 1.1},
    {"epoch": 3.0, "loss": 1.1, "quality": 0.9, "AP": 0.41, "AP50": 0.7},
]
DETECTION = {"AP": 0.625, "AP50": 0.859, "AP_s": None, "intervals": {"AP": [0.585, 0.664], "AP_s": None},
             "endocv": {"AP": 0.625, "score_d": 0.556}}  # fmt: skip
FIGURES = {
    "data": "val.json",
    "models": {"detector": "gflv2-lite0", "segmenter": None},
    "engine": "openvino",
    "bootstrap": {"samples": 1000, "level": 0.95, "seed": 0, "drawn": "images"},
    "images": 472,
    "detection": DETECTION,
    "segmentation": None,
    "per_centre": {"north": {"images": 40, "detection": {**DETECTION, "AP": 0.433}, "segmentation": None}},
}


def write_run(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", recipe=RECIPE, history=HISTORY, figures=FIGURES)
    (folder / "gallery").mkdir()
    (folder / "gallery" / "dice_worst.jpg").write_bytes(b"\xff\xd8 picture")
    return folder


class Page(HTMLParser):
    """The tags of a page, each known to be closed in its turn, their addresses, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data + "\n"


def page(folder: Path, **options: Any) -> Page:
    return Page(write_report(folder, **options).read_text(encoding="utf-8"))


def test_the_page_tells_the_run(run: Path) -> None:
    words = page(run).words
    recipe = ("gflv2-lite0", "1,977 stills, not <1,062>", "loop.learning_rate", "0.001")
    figures = ("62.5", "[58.5 66.4]", "north", "43.3", "55.6", "472 images", "1000 draws")
    for said in (*recipe, *figures, "training loss", "validation", "quality"):
        assert said in words, said
    assert "missing" not in words and "No gallery" not in words
    assert re.search(r"seed\s+7\s", words)


def test_the_page_stands_alone(run: Path) -> None:
    text = write_report(run).read_text()
    addresses = Page(text).addresses
    assert len(addresses) == 1 and addresses[0].startswith("data:image/jpeg;base64,/9gg")
    assert "http" not in text and "url(" not in text and "@import" not in text and "<script" not in text


def test_the_pictures_come_with_their_owners_and_can_be_left_out(run: Path) -> None:
    assert "belong to the owners of the data set" in page(run).words
    assert "must not be published" in page(run).words
    without = page(run, gallery=False)
    assert without.addresses == [] and "Left out: the pictures belong to the data set." in without.words


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    words = page(write_run(tmp_path / "bare", history=[])).words
    for said in ("recipe.json is missing", "history.json is missing or empty", "No figures.json", "No gallery/*.jpg"):
        assert said in words, said
    assert "bare" in words
    assert "Nothing, according to the recipe" in page(write_run(tmp_path / "same", recipe={"differs": {}})).words


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"recipe": "{"}, "recipe.json is not the recipe of a training run: it is not JSON"),
        ({"recipe": [1]}, "recipe.json is not the recipe of a training run: expected `object`, got `array`"),
        ({"recipe": "[" * 100_000}, "recipe.json is not the recipe of a training run: it is nested too deeply"),
        ({"recipe": '{"a":' * 300 + "1" + "}" * 300}, "recipe.json is not the recipe of a training run: it is nested"),
        ({"history": [{"loss": 1}]}, "history.json is not the figures of an epoch: `epoch` is missing"),
        ({"history": '[{"epoch": NaN}]'}, "NaN is not a valid number in line 1"),
        ({"history": '[{"epoch": 1' + "0" * 400 + "}]"}, "is too large a number in line 1"),
        ({"history": [{"epoch": 1, "loss": [2]}]}, "entry 0 of"),
        ({"recipe": {}, "figures": {"images": 3}}, "figures.json is not a report of figures"),
        ({"recipe": {}, "figures": {**FIGURES, "per_centre": []}}, "at `per_centre`"),
        ({"recipe": {}, "figures": {**FIGURES, "detection": {"AP": "x"}}}, "detection in"),
        ({"recipe": {}, "figures": {**FIGURES, "detection": {"endocv": {"AP": [1]}}}}, "endocv of detection in"),
        (
            {"recipe": {}, "figures": {**FIGURES, "bootstrap": {"level": "x", "samples": 1, "drawn": ""}}},
            "bootstrap.level",
        ),
        ({}, "is not a run's folder"),
    ],
)
def test_a_damaged_run_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: dict[str, Any], said: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--run", str(write_run(tmp_path / "run", **files))])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("python -m trainers.report: ") and said in error and "\n" not in error


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_what_a_file_says_is_never_markup(tmp_path: Path) -> None:
    """Every text of every file, keys and the folder's name included, is shown as it is and does nothing."""
    figures = {
        "data": HOSTILE, "engine": HOSTILE, "images": HOSTILE, "models": {HOSTILE: HOSTILE},
        "bootstrap": {"level": 0.95, "samples": HOSTILE, "drawn": HOSTILE},
        "detection": {"AP": 0.4, HOSTILE: 0.1, "endocv": {"AP": 0.3}}, "segmentation": {"dice": 0.8},
        "per_centre": {HOSTILE: {"images": HOSTILE, "detection": {"AP": 0.3}, "segmentation": None}},
    }  # fmt: skip
    recipe = {name: HOSTILE for name in ("config", "task", "data", "images", "init", "size", HOSTILE)}
    recipe |= {"differs": {HOSTILE: HOSTILE}, "loop": {"epochs": HOSTILE, HOSTILE: [HOSTILE]}}  # type: ignore[dict-item]
    history = [{"epoch": 1, HOSTILE: 0.5, "AP": HOSTILE}]
    folder = write_run(tmp_path / "<b onclick=x>run", figures=figures, recipe=recipe, history=history)
    (folder / "gallery").mkdir()
    (folder / "gallery" / 'a"><img src=y>.jpg').write_bytes(b"\xff\xd8 picture")
    text = write_report(folder).read_text(encoding="utf-8")
    assert Page(text).words.count("alert(1)") > 20
    assert (
        "<script" not in text
        and "<b " not in text
        and re.findall(r"<img [^>]*", text)
        == ['<img alt="a&quot;&gt;&lt;img src=y&gt;" src="data:image/jpeg;base64,/9ggcGljdHVyZQ=="']
    )
    assert not re.search(r"<[^>]*\son\w+=", re.sub('"[^"]*"', '""', text))  # no attribute outside the quotes


def test_the_command_writes_where_it_is_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "page.html"
    main(["--run", str(run), "--out", str(out), "--without-gallery"])
    assert out.is_file() and str(out) in capsys.readouterr().out
    main(["--run", str(run)])
    assert (run / "report.html").is_file()


def test_nested_recipes_are_flattened() -> None:
    found = dict(flatten({"a": {"b": {"c": 0.5}, "d": [1, 2]}, "e": None, "f": {}}))
    assert found == {"a.b.c": "0.5", "a.d": "1, 2", "e": "none", "f": "{}"}


def test_a_chart_puts_points_where_its_ticks_say() -> None:
    svg = chart({"loss": [(1, 0.0), (2, 1.0), (3, float("nan"))]}, title="a < b", x_label="epoch")
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"points=\"(.*?)\"", svg)[0].split()]
    labels = {text: float(y) for y, text in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', svg)}
    assert [y for _, y in points] == pytest.approx([labels["0"] - 4, labels["1"] - 4], abs=0.11)
    assert len(points) == 2 and "a &lt; b" in svg
    with pytest.raises(ValueError, match="no point"):
        chart({"loss": []}, title="x", x_label="epoch")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6), st.booleans())
def test_ticks_are_few_even_and_around_the_values(values: list[float], whole: bool) -> None:
    found = ticks(values, whole=whole)
    assert 2 <= len(found) <= 9
    steps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert all(step > 0 and step == pytest.approx(steps[0], rel=1e-6) for step in steps)
    slack = 1e-6 * steps[0]
    assert found[0] <= min(values) + slack and max(values) <= found[-1] + slack
    assert not whole or all(tick == round(tick) for tick in found)
