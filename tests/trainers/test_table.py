"""The paper's tables beside our results."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from trainers.evaluation.paper_tables import TABLES
from trainers.table import main

METRICS = ROOT.parent / "shared" / "METRICS.md"
DETECTION = {"AP": 0.512, "AP50": 0.73, "AP75": 0.56, "AP_s": None, "AP_m": 0.28, "AP_l": 0.53}
SEGMENTATION = {name: 0.9 for name in ("dice", "specificity", "sensitivity", "accuracy", "iou_p", "iou_b", "miou")}


def result(folder: Path, config: str, figures: Any = DETECTION, name: str = "", **more: Any) -> Path:
    path = folder / f"{name or config}.json"
    path.write_text(json.dumps({"config": config, "set": "val", "figures": figures, **more}))
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(list(arguments))
    return capsys.readouterr().out


def row_of(text: str, start: str) -> str:
    return next(line for line in text.split("\n") if line.startswith(start))


def test_each_row_has_a_recipe_and_as_many_values_as_the_table_has_figures() -> None:
    from trainers.recipes import RECIPES  # builds on every model there is; no other test here needs it

    for table in TABLES:
        for row in table.rows:
            assert row.config in RECIPES, row
            assert len(row.values) == len(table.figures), row


def test_the_values_are_those_of_metrics_md() -> None:
    if not METRICS.is_file():
        pytest.skip(f"METRICS.md is not at {METRICS}")
    text = METRICS.read_text().split("## 6.")[1]
    stated = {tuple(re.findall(r"\d+\.\d+", line)) for line in text.split("\n") if line.startswith("|")}
    for table in TABLES:
        for row in table.rows:
            digits = 3 if table.number == 4 else 1
            assert tuple(f"{value:.{digits}f}" for value in row.values) in stated, row


def test_a_row_without_a_result_is_not_trained_and_never_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "--results", str(tmp_path))
    assert text.count("not trained") == sum(len(table.rows) for table in TABLES) == 25
    assert "our own" not in text
    assert "one of DCN and multi-scale training" in text


def test_ours_stand_beside_the_papers_with_what_differed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    differs = {"data": "1,977 stills", "epochs": "18, not 24"}
    result(tmp_path, "gflv2-r50", intervals={"AP": [0.48, 0.545]}, differs=differs)
    text = printed(capsys, "--results", str(tmp_path), "--table", "2")
    cells = [cell.strip() for cell in row_of(text, "R-50 FPN  ").split("|")]
    assert cells[1].split() == ["51.0", "73.5", "56.8", "12.5", "28.3", "53.5"]
    assert cells[2].split() == ["51.2", "73.0", "56.0", "-", "28.0", "53.0", "?"]
    assert cells[3] == "data: 1,977 stills; epochs: 18, not 24"
    assert "AP [48.0 54.5]" in text
    assert len({line.index("|") for line in text.split("\n") if "|" in line}) == 1
    assert "51.2" in row_of(printed(capsys, "--results", str(tmp_path), "--table", "3"), "FCOS + ATSS + GFLv2")


def test_a_multi_scale_test_is_a_row_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path, "gflv2-x101-dcn-ms", {**DETECTION, "AP": 0.123}, multi_scale_test=True)
    text = printed(capsys, "--results", str(tmp_path), "--table", "2")
    assert "12.3" in row_of(text, "X-101 FPN, DCN, MS train, MS test")
    assert "not trained" in row_of(text, "X-101 FPN, DCN, MS train  ")


def test_our_own_configs_follow_below_tables_of_their_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path, "gflv2-lite0")
    result(tmp_path, "lowrank-lite2", SEGMENTATION)
    text = printed(capsys, "--results", str(tmp_path))
    assert text.count("our own:") == 4
    assert "gflv2-lite0" not in text.split("Table 4.")[1] and "lowrank-lite2" in text.split("Table 4.")[1]
    assert "unknown" in row_of(text, "gflv2-lite0")


def test_each_row_says_how_many_images_and_a_part_of_the_set_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path, "retinanet-r50", images=24, set_images=472)
    result(tmp_path, "atss-r50", images=472, set_images=472)
    result(tmp_path, "paa-r50", images=24)  # of an earlier version: the set's size is that of the other results
    result(tmp_path, "fcos-r50")
    text = printed(capsys, "--results", str(tmp_path), "--table", "1")
    rows = {name: row_of(text, name) for name in ("RetinaNet", "ATSS", "PAA", "FCOS")}
    counts = {name: row.split("|")[2].split(maxsplit=6)[6].strip() for name, row in rows.items()}
    assert counts == {"RetinaNet": "24 of 472", "ATSS": "472", "PAA": "24 of 472", "FCOS": "?"}
    marked = [name for name, row in rows.items() if "only a part of the set was measured; " in row]
    assert marked == ["RetinaNet", "PAA"]
    markdown = printed(capsys, "--results", str(tmp_path), "--table", "1", "--markdown")
    assert "| 24 of 472 | only a part of the set was measured; unknown |" in row_of(markdown, "| RetinaNet")


def test_both_meanings_of_miou_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path, "hrnet-w48", {**SEGMENTATION, "iou_p": 0.8, "iou_b": 0.96, "miou": 0.88})
    text = printed(capsys, "--results", str(tmp_path), "--table", "4")
    headings = text.split("\n")[1].split("|")[2].split()
    values = dict(zip(headings, row_of(text, "HRNet  ").split("|")[2].split(), strict=False))
    assert (values["mIoU_p"], values["IoU_b"], values["mIoU_p+b"]) == ("80.0", "96.0", "88.0")
    assert "mIoU_p: mean IoU of the polyp" in text and "(IoU_p + IoU_b) / 2" in text


def test_only_the_set_asked_for_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path, "gflv2-r50", {**DETECTION, "AP": 0.111}, "other", set="unseen_C6")
    assert "11.1" not in printed(capsys, "--results", str(tmp_path))
    assert "11.1" in printed(capsys, "--results", str(tmp_path), "--set", "unseen_C6")


def test_markdown_has_rows_of_one_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path, "hrnet-w48", SEGMENTATION, intervals={"dice": [0.88, 0.92]})
    result(tmp_path, "lowrank-lite2", SEGMENTATION)
    text = printed(capsys, "--results", str(tmp_path), "--table", "4", "--markdown")
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1 and len(rows) == 2 + 6 + 1
    assert "90.0 [88.0 92.0]" in text and "our own: lowrank-lite2" in text


BAD: dict[str, Any] = {
    "text": "no JSON",
    "list": [1],
    "lacking": {"config": "x", "set": "val"},
    "percent": {"config": "x", "set": "val", "figures": {"AP": 51.2}},
    "words": {"config": "x", "set": "val", "figures": {"AP": "good"}},
    "neither": {"config": "x", "set": "val", "figures": {"hd95_px": 80.0}},
    "reversed": {"config": "x", "set": "val", "figures": {"AP": 0.5}, "intervals": {"AP": [0.6, 0.4]}},
    "nameless": {"config": "", "set": "val", "figures": {"AP": 0.5}},
    "deep": '{"config": ' + "[" * 100_000,
    "huge": '{"config": "x", "set": "val", "figures": {"AP": 1' + "0" * 400 + "}}",
    "infinite": '{"config": "x", "set": "val", "figures": {"hd95_px": Infinity}}',
    "three": {"config": "x", "set": "val", "figures": {"AP": 0.5}, "intervals": {"AP": [0.4, 0.5, 0.6]}},
    "no images": {"config": "x", "set": "val", "figures": {"AP": 0.5}, "images": 0},
    "too many": {"config": "x", "set": "val", "figures": {"AP": 0.5}, "images": 9, "set_images": 8},
    "listed": {"config": "x", "set": "val", "figures": {"AP": 0.5}, "differs": ["data"]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_result_is_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(BAD[name] if isinstance(BAD[name], str) else json.dumps(BAD[name]))
    said = refused(["--results", str(tmp_path)], capsys)
    assert said.startswith(f"python -m trainers.table: {path} is not a result: ")


def test_what_a_result_says_stays_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bars, tags, line breaks and escape sequences in a result neither break the table nor reach the terminal."""
    hostile = "a|b\n| c <script>\x1b[2J*"
    result(tmp_path, "own" + hostile, name="x", differs={"data": hostile})
    plain = printed(capsys, "--results", str(tmp_path), "--table", "2")
    assert "owna|b | c <script> [2J*" in plain and "\x1b" not in plain
    text = printed(capsys, "--results", str(tmp_path), "--table", "2", "--markdown")
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "<script" not in text and "data: a\\|b \\| c &lt;script&gt; [2J\\*" in rows[-1]


def test_two_results_of_one_config_and_a_missing_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result(tmp_path, "gflv2-r50")
    result(tmp_path, "gflv2-r50", name="again")
    assert "both hold gflv2-r50 on val" in refused(["--results", str(tmp_path)], capsys)
    assert "no such folder of results" in refused(["--results", str(tmp_path / "no")], capsys)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said
