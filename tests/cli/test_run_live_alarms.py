"""The command's alarms and times: what --events writes, what --summary counts, and which time counts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Run
from fakes import RATE_HZ, FakeDetector, picture
from media import write_clip

from realtime_polyp.cli.options import parse
from realtime_polyp.postprocess.score_calibration import Calibration, CalibrationError, OperatingPoint
from realtime_polyp.runtime import _resolve_times
from realtime_polyp.temporal.config import TemporalConfig

FAKES = ["--detector", "fake", "--segmenter", "fake"]
COUNT, SIZE = 30, (96, 72)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """1.2 s with one polyp from its beginning to its end, by the fake detector confirmed after 0.15 s."""
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=SIZE, rate=RATE_HZ, draw=picture)


def lines_of(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_are_written_with_their_pictures_and_counted(run: Run, clip: Path, tmp_path: Path) -> None:
    out, folder, summary = tmp_path / "out.jsonl", tmp_path / "pictures", tmp_path / "out.json"
    code, said, problem = run("--source", clip, "--events", out, "--events-pictures", folder, "--summary", summary)
    assert (code, problem) == (0, "")
    (line,) = lines_of(out)
    assert line["alarm"] == line["track"] == 1 and line["ended"] == "end"
    assert line["start_s"] == pytest.approx(0.08, abs=0.041)  # the first frame at or after 0.065 s
    assert line["end_s"] == pytest.approx(COUNT / RATE_HZ, abs=1e-5)
    assert 0.16 <= line["best"]["pts_s"] < 1.2 and line["peak_score"] == pytest.approx(0.9, abs=0.01)
    best = cv2.imread(str(folder / line["picture"]))[: SIZE[1], :, ::-1]  # the research-use notice is below
    assert np.abs(best.astype(int) - picture(line["best"]["index"]).astype(int)).mean() < 8
    assert json.loads(summary.read_text())["alarms"] == {
        "count": 1,
        "polyps": 1,
        "median_duration_s": round(line["duration_s"], 3),
    }
    assert said.startswith("1 polyp was shown:")


def test_a_summary_counts_alarms_also_without_events(run: Run, clip: Path, tmp_path: Path) -> None:
    assert run("--source", clip, "--summary", tmp_path / "a.json", "--confirm-s", 0.5)[0] == 0
    summary = json.loads((tmp_path / "a.json").read_text())
    assert summary["alarms"] == {"count": 1, "polyps": 1, "median_duration_s": pytest.approx(0.7, abs=0.05)}
    assert summary["operating_point"]["confirm_s"] == 0.5
    assert run("--source", clip, "--summary", tmp_path / "b.json", "--confirm-s", 9)[0] == 0
    assert json.loads((tmp_path / "b.json").read_text())["alarms"] == {
        "count": 0,
        "polyps": 0,
        "median_duration_s": None,
    }
    assert run("--source", clip, "--summary", tmp_path / "c.json", "--no-smooth")[0] == 0
    assert json.loads((tmp_path / "c.json").read_text())["operating_point"]["confirm_s"] is None


def test_each_of_several_videos_has_its_own_events(run: Run, clip: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "out.jsonl", tmp_path / "pictures"
    assert run("--source", clip, "--streams", 2, "--events", out, "--events-pictures", folder,
               "--summary", tmp_path / "s.json")[0] == 0  # fmt: skip
    one, two = lines_of(tmp_path / "out-1.jsonl"), lines_of(tmp_path / "out-2.jsonl")
    assert one == two and len(one) == 1
    assert (tmp_path / "pictures-2" / "alarm-0001.jpg").is_file() and not out.exists() and not folder.exists()
    assert [stream["alarms"]["count"] for stream in json.loads((tmp_path / "s.json").read_text())["streams"]] == [1, 1]


def test_events_of_a_session_that_fails_are_kept(
    run: Run, fake_engines: dict[str, object], clip: Path, tmp_path: Path
) -> None:
    fake_engines["detector"] = FakeDetector(fails_at=20)
    assert run("--source", clip, "--events", tmp_path / "out.jsonl")[0] == 1
    (line,) = lines_of(tmp_path / "out.jsonl")
    assert line["ended"] == "end" and 0 < line["duration_s"] < 0.8


def test_a_disk_full_of_events_is_one_sentence(run: Run, clip: Path) -> None:
    code, _, problem = run("--source", clip, "--events", "/dev/full")
    assert code == 2 and problem == "realtime-polyp: cannot write events to /dev/full: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--confirm-s", "-0.1"], "--confirm-s must be 0 or more seconds, got -0.1"),
        (["--hold-s", "nan"], "--hold-s must be 0 or more seconds, got nan"),
        (["--release-s", "inf"], "--release-s must be 0 or more seconds, got inf"),
        (["--hold-s", "long"], "--hold-s"),
        (["--hold-s", "0.9"], "--release-s 0.6 must be at least --hold-s 0.9"),
        (["--release-s", "0.05"], "--release-s 0.05 must be at least --hold-s 0.1"),
        (["--confirm-s", "0.1", "--no-smooth"], "--confirm-s has no effect with --no-smooth"),
        (["--events", "{tmp}/a", "--no-smooth"], "--events needs polyps followed over time: leave out --no-smooth"),
        (["--events", "{tmp}/a", "--detector", "none"], "--events needs a detector"),
        (["--sound"], "--sound needs the window: leave out --headless"),
        (["--events-pictures", "{tmp}/a"], "--events-pictures needs --events OUT.jsonl"),
        (["--events", "{tmp}/a", "--results", "{tmp}/a"], "it is another output"),
        (["--events", "{tmp}/clip.mp4"], "it is the source itself"),
        (["--events", "{tmp}/a", "--events-pictures", "{tmp}/clip.mp4"], "it is a file; name a folder"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Run, clip: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    code, _, problem = run("--source", clip, *(word.replace("{tmp}", str(tmp_path)) for word in arguments))
    assert code == 2 and problem.count("\n") == 1 and problem.startswith("realtime-polyp: ") and said in problem
    assert not (tmp_path / "a").exists()


def smooth_of(*arguments: str, point: OperatingPoint | None = None) -> TemporalConfig:
    config = parse(["--source", "a.mp4", *arguments]).runtime_config(live=False)
    return _resolve_times(config, Calibration("c.json", operating_point=point).temporal_config())


def test_what_was_typed_counts_before_what_the_calibration_says_and_that_before_the_usual() -> None:
    usual, point = TemporalConfig(), OperatingPoint(0.4, 0.3, 0.4, 0.8, "a.json")
    assert smooth_of() == usual
    found = smooth_of(point=point)
    assert (found.confirm_s, found.hold_s, found.release_s) == (0.3, 0.4, 0.8)
    found = smooth_of("--confirm-s", "0", "--release-s", "2", point=point)
    assert (found.confirm_s, found.hold_s, found.release_s) == (0.0, 0.4, 2.0)
    with pytest.raises(CalibrationError, match="--release-s 0.8 must be at least --hold-s 1, .*give both"):
        smooth_of("--hold-s", "1", point=point)
