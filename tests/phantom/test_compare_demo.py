"""The comparison with the phantom's truth, on results whose score is known."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

ASSETS = ROOT / "assets"
sys.path.insert(0, str(ASSETS))

import compare_demo  # noqa: E402 - a command beside the clip, not a package

TRUTH = json.loads((ASSETS / "demo_truth.json").read_text())


def result_of(frame: dict[str, Any], *, shift_px: float = 0.0, state: str = "shown") -> dict[str, Any]:
    """What a model that sees the truth would report, its boxes moved aside."""
    boxes = [[value + shift_px for value in polyp["box"]] for polyp in frame["polyps"]]
    tracks = [{"id": 1, "box": box, "score": 0.9, "state": state} for box in boxes]
    return {"index": frame["index"], "pts_s": frame["pts_s"], "tracks": tracks, "mask": None}


def polyp_lines(report: str) -> list[str]:
    return report.splitlines()[1 : 1 + len(TRUTH["polyps"])]


def test_the_truth_itself_finds_every_polyp_at_once() -> None:
    report = compare_demo.report(TRUTH, [result_of(frame) for frame in TRUTH["frames"]])
    assert all(" 100% " in line and line.endswith("0.00") for line in polyp_lines(report))
    assert "false alarm: 0 of 900" in report


@pytest.mark.parametrize("shift_px", [2000.0, -3000.0])
def test_boxes_elsewhere_find_nothing_and_are_false_alarms(shift_px: float) -> None:
    report = compare_demo.report(TRUTH, [result_of(frame, shift_px=shift_px) for frame in TRUTH["frames"]])
    assert all(line.endswith("never") for line in polyp_lines(report))
    with_polyp = sum(bool(frame["polyps"]) for frame in TRUTH["frames"])
    assert f"false alarm: {with_polyp} of 900" in report


def test_a_tentative_track_is_not_shown() -> None:
    report = compare_demo.report(TRUTH, [result_of(frame, state="tentative") for frame in TRUTH["frames"]])
    assert all(line.endswith("never") for line in polyp_lines(report))
    assert "false alarm: 0 of 900" in report


def test_dice_of_the_true_mask_is_1() -> None:
    frame = next(frame for frame in TRUTH["frames"] if len(frame["polyps"]) == 1)
    result = result_of(frame) | {"mask": frame["polyps"][0]["mask"]}
    assert "1 frames with a polyp: 1.000" in compare_demo.report(TRUTH, [result])


def test_a_damaged_file_is_one_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.jsonl"
    mask = {"size": [2**31, 1280], "counts": "0"}
    line = {"index": 0, "pts_s": 0.0, "signal": "ok", "detections": [], "tracks": [], "mask": mask}
    monkeypatch.setattr(sys, "argv", ["compare_demo.py", "--results", str(path)])
    for text, said in ((json.dumps(line), "2147483648 px cannot be read"), ("[" * 100_000, "nested too deeply")):
        path.write_text(text + "\n")
        with pytest.raises(SystemExit) as end:
            compare_demo.main()
        words = capsys.readouterr().err
        assert end.value.code == 2 and said in words and "line 1 of" in words and words.count("\n") == 1
