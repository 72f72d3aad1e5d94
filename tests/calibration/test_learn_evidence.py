"""The evidence curve: what the search finds on clips whose best curve is known, and the command with its files."""

import json
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from tissue_toys import write_tissue_stills

from calibration import evidence
from calibration.fitting.evidence_fit import (
    KNOTS,
    MISS_PENALTIES,
    PENALTIES,
    WEIGHTS,
    Clips,
    CurveFigures,
    Price,
    learn,
)
from calibration.fitting.sweep import DetectedFrame, LabelledVideo
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.metrics.truth import TrueFrame, VideoTruth
from realtime_polyp.packets import Detections
from realtime_polyp.temporal.config import PROBABILITIES, TemporalConfig
from trainers import video_bench
from trainers.video.synthetic.clip import make_clip

SIZE, RATE_HZ = (200, 200), Fraction(25)
FIELD = FieldOfView(0, 0, *SIZE)
POLYP, ELSEWHERE = (20.0, 20.0, 80.0, 80.0), (120.0, 120.0, 180.0, 180.0)


def clip(scores: list[float], box: tuple[float, ...], *, polyp: bool) -> LabelledVideo:
    """One box with these scores; there is a polyp at POLYP or none."""
    boxes = np.array([box], np.float32)
    frames = [
        DetectedFrame(index / 25, Detections(boxes, np.array([score], np.float32)), FIELD, signal_ok=True)
        for index, score in enumerate(scores)
    ]
    polyps = {1: np.array(POLYP, np.float32)} if polyp else {}
    truth = VideoTruth("clip", SIZE, RATE_HZ, [TrueFrame(polyps, {}) for _ in scores])
    return LabelledVideo(truth, frames)


def steady_and_flashing() -> Clips:
    """A polyp that scores 0.6 all the time, and tissue that scores 0.8 for four frames of eight."""
    steady = clip([0.6] * 100, POLYP, polyp=True)
    flashing = clip(([0.8] * 4 + [0.05] * 4) * 12, ELSEWHERE, polyp=False)
    return Clips([steady, flashing], [flashing], 0.3, TemporalConfig())


def test_figures_are_those_of_the_metrics() -> None:
    clips = steady_and_flashing()
    sure = replace(PROBABILITIES, scores=KNOTS, weights=(1.0,) * len(KNOTS), penalty=0.0, miss_penalty=0.25)
    eager = clips.figures(sure)
    assert eager.found == 1.0 and eager.delay_s == pytest.approx(0.08)
    assert eager.any_per_minute > 0 and eager.negative_share is not None and eager.negative_share > 0.3
    never = clips.figures(replace(sure, weights=(0.0,) * len(KNOTS)))
    assert never == CurveFigures(3.0, 0.0, 0.0, 0.0, 0.0)
    assert never.cost_s(Price()) == 3.0
    price = Price(long_s=0.0, any_s=0.1, frame_s=0.5)
    shown = 100 * eager.negative_share
    assert eager.cost_s(price) == pytest.approx(eager.delay_s + 0.1 * eager.any_per_minute + 0.5 * shown)


def test_the_search_shows_the_polyp_at_once_and_the_flashes_never() -> None:
    clips = steady_and_flashing()
    found = learn(clips, PROBABILITIES)
    figures = clips.figures(found)
    assert figures.any_per_minute == 0 and figures.negative_share == 0 and figures.found == 1
    assert figures.delay_s < clips.figures(PROBABILITIES).delay_s
    assert found.scores == KNOTS and set(found.weights) <= set(WEIGHTS)
    assert list(found.weights) == sorted(found.weights)
    assert found.penalty in PENALTIES and found.miss_penalty in MISS_PENALTIES


def test_without_a_price_of_false_alarms_everything_is_shown_at_once() -> None:
    clips = steady_and_flashing()
    found = learn(clips, PROBABILITIES, Price(0.0, 0.0, 0.0))
    assert clips.figures(found).delay_s == pytest.approx(0.08)


def test_the_least_weight_is_kept() -> None:
    found = learn(steady_and_flashing(), PROBABILITIES, least_weight=0.3)
    assert found.weights[0] >= 0.3


def test_clips_without_a_polyp_teach_nothing() -> None:
    with pytest.raises(ValueError, match="no clip has a polyp"):
        Clips([clip([0.6] * 10, POLYP, polyp=False)], [], 0.3, TemporalConfig())


@pytest.fixture
def small_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Clips of 18 s and few pixels, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(video_bench, "_CLIP_S", 18.0)
    small = partial(make_clip, frame_size=(240, 180))
    monkeypatch.setattr(video_bench, "make_clip", small)


@pytest.mark.usefixtures("fake_engines", "small_clips")
def test_the_command_writes_a_curve_that_costs_no_more_than_the_one_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tissue_stills(tmp_path)
    negatives = write_negatives(tmp_path, ["seq05", "seq05", "seq07", "seq04"])
    out, picture = tmp_path / "curve.json", tmp_path / "curve.png"
    evidence.main(
        ["--data", str(tmp_path / "val.json"), "--root", str(tmp_path), "--minutes", "1", "--seed", "10", "11",
         "--negatives", str(negatives), "--detector", "fake", "--segmenter", "fake", "--engine", "eager",
         "--slowest-s", "0.5", "--out", str(out), "--picture", str(picture)]
    )  # fmt: skip
    written = json.loads(out.read_text())
    figures = {name: CurveFigures(**values) for name, values in written["figures"].items()}
    assert figures["learnt"].cost_s(Price()) <= figures["in_use"].cost_s(Price())
    assert written["learnt_on"] == "2 clips of val.json, seeds 10 11; 3 frames of negative.json"
    assert written["curve"]["weights"][0] >= 0.065 / 0.5
    assert cv2.imread(str(picture)).shape[0] > 500 and "learnt: delay_s" in capsys.readouterr().out


def write_negatives(root: Path, groups: list[str]) -> Path:
    content = json.loads((root / "val.json").read_text())
    images = [
        {**content["images"][0], "id": place, "group": f"polypgen_negative/{name}"} for place, name in enumerate(groups)
    ]
    path = root / "negative.json"
    path.write_text(json.dumps({**content, "images": images, "annotations": []}))
    return path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--minutes", "0"], "--minutes is 0: it must be 1 or more"),
        (["--seed", "3", "4", "3"], "--seed 3 4 3: a seed is given twice"),
        (["--score-threshold", "1"], "--score-threshold is 1.0: it must lie between 0 and 1"),
        (["--slowest-s", "0.01"], "--slowest-s is 0.01: it must be at least 0.065"),
        (["--any-alarm-s", "-1"], "--any-alarm-s is -1.0: it must be 0 or more"),
        ([], "no such data file"),
    ],
)
@pytest.mark.usefixtures("fake_engines")
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(tmp_path / "none.json"), "--root", str(tmp_path), "--out", str(tmp_path / "curve.json")]
    with pytest.raises(SystemExit) as left:
        evidence.main([*given, "--detector", "fake", "--segmenter", "fake", "--engine", "eager", *arguments])
    output = capsys.readouterr().err
    assert left.value.code == 2 and sentence in output and output.count("\n") == 1
