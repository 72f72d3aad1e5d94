"""Two models on the same images: the difference, and whether it is one."""

from pathlib import Path

import pytest
from green import BlindDetector, GreenDetector, GreenSegmenter, write_green_data

from trainers import compare


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_green_data(tmp_path_factory.mktemp("stills"))


def run_compare(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **engines: object
) -> list[str]:
    monkeypatch.setattr(compare, "open_model", lambda name, engine: engines[name])
    compare.main(["a", "b", "--data", str(root / "data.json"), "--root", str(root), "--draws", "50"])
    return capsys.readouterr().out.splitlines()


def test_the_same_model_twice_is_no_difference(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run_compare(root, monkeypatch, capsys, a=GreenSegmenter(), b=GreenSegmenter())
    row = next(line for line in lines if line.startswith("Dice"))
    assert "0.0 [0.0 0.0]" in row and not row.endswith("*")


def test_a_model_that_finds_nothing_is_clearly_worse(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run_compare(root, monkeypatch, capsys, a=GreenDetector(), b=BlindDetector())
    row = next(line for line in lines if line.startswith("AP50"))
    assert row.endswith("*") and float(row.split()[1]) > 50 and float(row.split()[2]) == 0


def test_a_detector_is_not_compared_with_a_segmenter(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_compare(root, monkeypatch, capsys, a=GreenDetector(), b=GreenSegmenter())
    assert end.value.code == 2 and "a is a detector, b a segmenter: not comparable" in capsys.readouterr().err


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match="nowhere is neither a run's folder nor installed: choose from .*gflv2-lite0"):
        compare.open_model("nowhere", "auto")


class QuickDetector(GreenDetector):
    name = "fake-int8"


def test_the_engine_of_each_side_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is opened in torch and installed weights on --engine: the difference may be the engines'."""
    head, *_ = run_compare(root, monkeypatch, capsys, a=GreenDetector(), b=QuickDetector())
    assert head == "data.json, 4 images; first: a (fake), second: b (fake-int8)"
