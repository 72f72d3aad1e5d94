"""The command from a truth and results to figures, table and pictures; what it refuses."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from realtime_polyp.metrics.events import Run
from realtime_polyp.metrics.timeline import timeline
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth, write_truth
from realtime_polyp.outputs.results_reader import ShownFrame
from trainers import evaluate_video

BOX, ELSEWHERE = [10.0, 10.0, 50.0, 50.0], [80.0, 60.0, 95.0, 70.0]


def write_video(folder: Path, name: str, letters: str) -> list[str]:
    """One frame a letter at 29.97 Hz: H polyp there and shown, M missed, F a false box, x nothing. The options."""
    frames = [TrueFrame({1: np.array(BOX, np.float32)} if one in "HM" else {}, {}) for one in letters]
    truth = VideoTruth(name, (100, 80), Fraction(30000, 1001), frames)
    write_truth(truth, folder / f"{name}.json", video=f"{name}.mp4")
    lines = [json.dumps(_line(index, letter, truth)) for index, letter in enumerate(letters)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return ["--truth", str(folder / f"{name}.json"), "--results", str(folder / f"{name}.jsonl")]


def _line(index: int, letter: str, truth: VideoTruth) -> dict[str, Any]:
    found = [{"box": BOX if letter == "H" else ELSEWHERE, "score": 0.8}] if letter in "HF" else []
    tracks = [{"id": 1, "state": "shown", **one} for one in found]
    return {"index": index, "pts_s": round(truth.pts_s(index), 6), "field": [0, 0, 100, 80], "signal": "ok",
            "detections": found, "tracks": tracks, "mask": None}  # fmt: skip


def test_two_videos_are_told_one_by_one_together_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_video(tmp_path, "a", 20 * "x" + 5 * "M" + 30 * "H" + 20 * "F")
    second = write_video(tmp_path, "b", 60 * "M" + 40 * "x")
    out, pictures = tmp_path / "new" / "all.json", tmp_path / "pictures"
    evaluate_video.main([*first, *second, "--json", str(out), "--pictures", str(pictures)])
    told = json.loads(out.read_text())
    assert told["all"]["events"]["polyps"] == 2 and told["all"]["events"]["sensitivity"] == 0.5
    assert told["videos"][0]["events"]["first_shown_s"] == pytest.approx(5 * 1001 / 30000)
    assert [one["videos"] for one in told["videos"]] == [["a.json"], ["b.json"]]
    text = capsys.readouterr().out
    assert text.splitlines()[0].split() == ["1", "a.json", "2", "b.json", "all"]
    names = {path.name for path in pictures.iterdir()}
    assert names == {"froc.png", "withholding.png", "first_shown.png", "timeline_1_a.png", "timeline_2_b.png"}
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures.iterdir())


def test_pictures_of_an_earlier_run_go_where_there_is_nothing_to_draw(tmp_path: Path) -> None:
    evaluate_video.main([*write_video(tmp_path, "a", 20 * "F"), "--pictures", str(tmp_path)])
    assert (tmp_path / "withholding.png").exists() and not (tmp_path / "froc.png").exists()
    evaluate_video.main([*write_video(tmp_path, "b", 20 * "H"), "--pictures", str(tmp_path)])
    assert not (tmp_path / "withholding.png").exists() and (tmp_path / "froc.png").exists()


def test_the_demo_clip_s_truth_is_met_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Results that are the truth: every polyp at once, no alarm, perfectly steady."""
    truth_path = ROOT / "assets" / "demo_truth.json"
    content = json.loads(truth_path.read_text())
    lines = []
    for frame in content["frames"]:
        tracks = [{"id": one["id"], "box": one["box"], "score": 0.9, "state": "shown"} for one in frame["polyps"]]
        lines.append(json.dumps({**frame, "signal": "ok", "tracks": tracks, "detections": tracks, "mask": None}))
    (tmp_path / "r.jsonl").write_text("\n".join(lines) + "\n")
    out = tmp_path / "out.json"
    evaluate_video.main(["--truth", str(truth_path), "--results", str(tmp_path / "r.jsonl"), "--json", str(out)])
    told = json.loads(out.read_text())["all"]
    assert (told["events"]["sensitivity"], told["events"]["missed"], told["events"]["first_shown_s"]) == (1, 0, 0)
    assert told["frame_sensitivity"] == told["frame_specificity"] == 1
    assert told["events"]["false_alarms_per_minute"]["0 s"] == 0 and told["boxes"]["switches"] == 0
    assert told["boxes"]["place_jitter"] == 0 and told["boxes"]["step_iou"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--truth", "b.json"], "2 --truth and 1 --results were given: give pairs of them"),
        (["--truth", "none.json", "--results", "none.jsonl"], "no such truth file: none.json"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        evaluate_video.main([*write_video(tmp_path, "a", "HHxx"), *more])
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_results_of_another_video_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*write_video(tmp_path, "a", "HHxx")[:2], *write_video(tmp_path, "b", "HHxxxxx")[2:]]
    with pytest.raises(SystemExit) as end:
        evaluate_video.main(options)
    assert end.value.code == 2 and "a.json describes 4 frames and the video has more" in capsys.readouterr().err


def test_a_timeline_is_on_the_video_s_own_clock_and_parted_by_cuts() -> None:
    box = np.array(BOX, np.float32)
    frames = [TrueFrame({}, {3: box}), TrueFrame({3: box}, {}), TrueFrame({3: box}, {}, cut=True), TrueFrame({}, {})]
    shown = [ShownFrame(index, index / 10, box[None] if index else box[:0].reshape(0, 4)) for index in range(4)]
    line = timeline(VideoTruth("t.json", (100, 80), Fraction(10), frames), shown)
    (polyp,) = line.polyps
    assert polyp.id == 3 and [run.start_s for run in polyp.in_view] == pytest.approx([0.1, 0.2])
    assert [run.duration_s for run in polyp.shown] == pytest.approx([0.1, 0.1]) and polyp.difficult == (Run(0.0, 0.1),)
    assert line.cuts_s == (0.2,) and line.duration_s == pytest.approx(0.4)
    assert [(run.start_s, run.duration_s) for run in line.false_alarms] == [pytest.approx((0.3, 0.1))]
