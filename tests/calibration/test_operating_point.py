"""Operating points: the sweep against the live pipeline, the choice, and the command with its file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FUSION, RATE_HZ, SIZE, FakeDetector, FakeSegmenter, ScriptedSource, frames_of
from green import GreenDetector, write_green_data

from calibration import operating_point
from calibration.fitting.plots import frontier
from calibration.fitting.sweep import (
    LabelledVideo,
    Point,
    choose,
    detect_video,
    lowest_false_rate,
    seen_frames,
    sweep,
    sweep_stills,
)
from realtime_polyp import runtime
from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.host import HostInference
from realtime_polyp.metrics.detection import ImageBoxes
from realtime_polyp.metrics.events import event_figures, video_record
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline, run_inline
from realtime_polyp.postprocess.score_calibration import read_calibration
from realtime_polyp.temporal.config import TemporalConfig

COUNT = 80  # frames: the disc is away from 30 to 39 and from 70 to 79


def disc_box(index: int) -> list[float] | None:
    """Where `fakes.picture` draws its disc."""
    width, height = SIZE
    if index // 10 % 4 == 3:
        return None
    x = round(width * (0.5 + 0.2 * np.sin(index / 15)))
    y = round(height * (0.5 + 0.15 * np.cos(index / 20)))
    return [x - height // 6, y - height // 6, x + height // 6, y + height // 6]


def truth(**changes: Any) -> dict[str, Any]:
    boxes = [disc_box(index) for index in range(COUNT)]
    frames = [
        {"index": index, "polyps": [{"id": 1 + index // 40, "box": box}] if box else [], "faint": []}
        for index, box in enumerate(boxes)
    ]
    return {"video": {"width": SIZE[0], "height": SIZE[1], "fps": [RATE_HZ, 1]}, "frames": frames, **changes}


def write_truth(folder: Path, content: dict[str, Any] | None = None) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps(content or truth()))
    return path


def inference(*, fused: bool = False) -> HostInference:
    return HostInference(FakeDetector(), FakeSegmenter() if fused else None)  # type: ignore[arg-type]


@pytest.fixture
def video(tmp_path: Path) -> LabelledVideo:
    known = read_truth(write_truth(tmp_path))
    return detect_video(ScriptedSource(COUNT), known, inference(), PipelineConfig())


# the sweep


class Clouded:
    """Takes pictures 35 to 59 for blurred, whatever they show: the disc comes back at 40."""

    def __init__(self) -> None:
        self.asked = 0

    def classify(self, found: object) -> str:
        self.asked += 1
        return "blurred" if 35 < self.asked <= 60 else "clear"


def test_sweep_equals_live_pipeline_with_unclear_frames(tmp_path: Path) -> None:
    known, config = read_truth(write_truth(tmp_path)), TemporalConfig(confirm_s=0.1)
    pipeline_config = PipelineConfig(score_threshold=0.5, temporal=config, frame_quality=Clouded(), hflip=True)
    video = detect_video(ScriptedSource(COUNT), known, inference(), pipeline_config)
    live = Pipeline(FakeDetector(), None, replace(pipeline_config, frame_quality=Clouded()))  # type: ignore[arg-type]
    shown = [
        [track.box.tolist() for track in result.tracks if track.visible]
        for result in run_inline(frames_of(COUNT), live)
    ]
    assert [seen.shown.tolist() for seen in seen_frames(video, 0.5, config)] == shown
    unheeded = replace(video, frames=[replace(found, is_clear=True) for found in video.frames])
    assert [seen.shown.tolist() for seen in seen_frames(unheeded, 0.5, config)] != shown and any(shown)


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("confirm_s", [0.0, 0.3])
def test_sweep_equals_live_pipeline(video: LabelledVideo, threshold: float, confirm_s: float) -> None:
    config = TemporalConfig(confirm_s=confirm_s)
    live = Pipeline(FakeDetector(), None, PipelineConfig(score_threshold=threshold, temporal=config))  # type: ignore[arg-type]
    shown = [
        [track.box.tolist() for track in result.tracks if track.visible] if result.signal == "ok" else []
        for result in run_inline(frames_of(COUNT), live)
    ]
    assert [seen.shown.tolist() for seen in seen_frames(video, threshold, config)] == shown
    assert any(shown)


class Jumping(ScriptedSource):
    """Its frame 20 does not continue the one before, as after a seek."""

    def frames(self) -> Iterator[Frame]:
        return (replace(frame, continues=frame.index != 20) for frame in super().frames())


def test_sweep_equals_live_pipeline_where_the_source_jumps(tmp_path: Path) -> None:
    known, config = read_truth(write_truth(tmp_path)), TemporalConfig(confirm_s=0.19)
    video = detect_video(Jumping(COUNT), known, inference(), PipelineConfig())
    live = Pipeline(FakeDetector(), None, PipelineConfig(score_threshold=0.5, temporal=config))  # type: ignore[arg-type]
    shown = [
        [track.box.tolist() for track in result.tracks if track.visible] if result.signal == "ok" else []
        for result in run_inline(Jumping(COUNT).frames(), live)
    ]
    assert [seen.shown.tolist() for seen in seen_frames(video, 0.5, config)] == shown
    assert all(shown[15:20]) and not shown[20] and all(shown[26:30])  # confirmed anew


def test_a_cut_of_the_truth_is_not_told_to_the_tracker(video: LabelledVideo) -> None:
    """The live pipeline does not know it either: a box that outlives the cut counts as the false alarm that it is."""
    frames = list(video.truth.frames)
    frames[20] = replace(frames[20], cut=True)
    cut = replace(video, truth=replace(video.truth, frames=frames))
    config = TemporalConfig(confirm_s=0.19)
    whole, parted = (list(seen_frames(one, 0.5, config)) for one in (video, cut))
    assert [seen.shown.tolist() for seen in parted] == [seen.shown.tolist() for seen in whole]
    assert [a.cut != b.cut for a, b in zip(whole, parted, strict=True)].index(True) == 20


def few_points(videos: list[LabelledVideo], **options: Any) -> list[Point]:
    return sweep(videos, thresholds=(0.1, 0.3, 0.7, 0.9), confirm_times_s=(0.0, 0.3), **options)


def test_point_has_the_figures_of_the_metrics(video: LabelledVideo) -> None:
    points = few_points([video, video], base_config=TemporalConfig(), min_alarm_s=0.0)
    point = next(one for one in points if (one.score_threshold, one.confirm_s) == (0.1, 0.3))
    seen = list(seen_frames(video, 0.1, TemporalConfig(confirm_s=0.3)))
    figures = event_figures([video_record(seen, period_s=1 / RATE_HZ)])
    assert point.false_rate == pytest.approx(figures.false_alarms_per_minute[0.0]) and point.false_rate > 0
    assert point.sensitivity == figures.sensitivity and point.first_shown_s == pytest.approx(figures.first_shown_s)
    assert point.figures["polyps"] == 4 and point.figures["minutes"] == pytest.approx(
        2 * COUNT / RATE_HZ / 60, abs=1e-3
    )


def test_threshold_rejects_the_false_box(video: LabelledVideo) -> None:
    long = choose(few_points([video], base_config=TemporalConfig(), min_alarm_s=0.5), 0.0)
    assert long and (long.sensitivity, long.confirm_s, long.score_threshold) == (1.0, 0.0, 0.9)
    # Held for 0.2 s after the disc went, its own box is a short false alarm at every point.
    assert choose(few_points([video], base_config=TemporalConfig(), min_alarm_s=0.0), 0.0) is None


def test_stills_have_no_confirmation_time() -> None:
    true = np.array([[0, 0, 10, 10]], np.float32)
    found = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    images = [ImageBoxes(true, found, np.float32([0.6, 0.4])), ImageBoxes(true[:0], found[:1], np.float32([0.3]))]
    points = {point.score_threshold: point for point in sweep_stills(images)}
    assert [points[at].false_rate for at in (0.25, 0.35, 0.45)] == [1.0, 0.5, 0.0]
    assert (points[0.6].sensitivity, points[0.65].sensitivity) == (1.0, 0.0) and points[0.6].confirm_s is None
    with pytest.raises(ValueError, match="no still has a polyp"):
        sweep_stills(images[1:])


# the choice


def point(sensitivity: float, first_shown_s: float | None, rate: float, threshold: float = 0.5) -> Point:
    return Point(threshold, 0.1, sensitivity, first_shown_s, rate, {})


def test_choice_prefers_sensitivity_then_delay_then_false_rate() -> None:
    best = point(0.9, 0.2, 0.8)
    others = [point(1.0, 0.1, 1.2), point(0.8, 0.0, 0.1), point(0.9, 0.3, 0.1), point(0.9, 0.2, 0.9)]
    assert choose([*others, best], 1.0) is best
    assert choose([*others, best], 2.0) is others[0]


def test_wanted_rate_is_inclusive_and_needs_a_found_polyp() -> None:
    silent, loud = point(0.0, None, 0.0), point(0.5, 0.2, 3.0)
    assert choose([silent, loud], 3.0) is loud and choose([silent, loud], 1.0) is None
    assert lowest_false_rate([silent, loud]) is loud and lowest_false_rate([silent]) is None


def test_frontier_omits_dominated_points() -> None:
    kept = [point(0.5, 0.4, 0.0), point(0.5, 0.3, 1.0), point(0.9, 0.5, 2.0)]
    beaten = [point(0.4, 0.1, 0.0), point(0.5, 0.3, 1.5), point(0.8, 0.1, 3.0)]
    assert frontier([*beaten, *kept]) == kept


# the truth


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": []}, "every frame once"),
        ({"video": {"width": 96, "height": 72}}, "`fps` is missing"),
        ({"video": {"width": 96, "height": 72, "fps": [25, 0]}}, "not a truth file"),
        ({"frames": truth()["frames"][1:]}, "every frame once, in order from index 0"),
        ({"frames": [{"index": 0, "polyps": [{"id": 1, "box": [1, 2]}]}]}, "not a truth file"),
    ],
)
def test_invalid_truth_is_an_error(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_truth(write_truth(tmp_path, truth(**changes)))


@pytest.mark.parametrize(
    ("count", "video", "message"),
    [
        (COUNT - 1, {}, "describes 80 frames, scripted.mp4 has 79"),
        (COUNT + 1, {}, "describes 80 frames and the video has more"),
        (COUNT, {"width": 100}, r"pictures of \(100, 72\) px, the video's are \(96, 72\) px"),
        (COUNT, {"fps": [30, 1]}, "another rate, or frames left out"),
    ],
)
def test_truth_of_another_video_is_an_error(tmp_path: Path, count: int, video: dict[str, Any], message: str) -> None:
    known = read_truth(write_truth(tmp_path, truth(video={**truth()["video"], **video})))
    with pytest.raises(ValueError, match=message):
        detect_video(ScriptedSource(count), known, inference(), PipelineConfig())


# the command


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engines: dict[str, object]) -> Path:
    monkeypatch.setattr(operating_point, "FileSource", lambda path: ScriptedSource(COUNT))
    monkeypatch.setattr(operating_point, "sweep", few_points)
    write_truth(tmp_path)
    return tmp_path


def command(folder: Path, *more: str, pairs: int = 1) -> list[str]:
    return [*(["--truth", str(folder / "truth.json"), "--video", "v.mp4"] * pairs),
            "--detector", "fake", "--segmenter", "fake", "--out", str(folder / "calibration.json"), *more]  # fmt: skip


def scores(temperature: float, **changes: str) -> dict[str, Any]:
    model = {"model": "fake", "engine": "fake", "key": "fake", **changes}
    return {**model, "scores": {"method": "temperature", "temperature": temperature, "bias": 0.0}}


def test_command_writes_point_beside_scores_and_plots(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, picture = prepared / "calibration.json", prepared / "curve.png"
    out.write_text(json.dumps({"format": 1, "detector": scores(2.0)}))
    more = ("--wanted-per-minute", "1", "--picture", str(picture))
    operating_point.main(command(prepared, *more, pairs=2))
    found, document = read_calibration(out), json.loads(out.read_text())
    assert found.operating_point and found.operating_point.confirm_s == 0 and document["detector"] == scores(2.0)
    # Calibrated, the disc scores 0.75 and the rival 0.33: 0.9 would find nothing, and 0.3 keep nothing out.
    assert found.score_threshold(0.3) == 0.7
    assert document["operating_point"]["found"]["sensitivity"] == 1 and document["operating_point"]["hold_s"] == 0.1
    output = capsys.readouterr().out
    assert (
        "calibrated scores; truth.json, truth.json" in output
        and "4 polyps in 0.1 minutes are only an example" in output
    )
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_point_is_chosen_on_fused_scores(
    prepared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "fusion_for", lambda detector, segmenter: FUSION if segmenter else None)
    out = prepared / "calibration.json"
    operating_point.main(command(prepared, "--wanted-per-minute", "1"))
    assert "scores fused with fake; truth.json" in capsys.readouterr().out
    found = read_calibration(out)
    assert found.fuses and found.operating_point and found.operating_point.fused
    operating_point.main(command(prepared, "--wanted-per-minute", "1", "--no-fusion"))
    assert "the model's own scores" in capsys.readouterr().out
    assert not read_calibration(out).fuses


def test_sweep_fuses_like_the_live_pipeline(tmp_path: Path) -> None:
    known = read_truth(write_truth(tmp_path))
    video = detect_video(ScriptedSource(COUNT), known, inference(fused=True), PipelineConfig(fusion=FUSION))
    line = Pipeline(FakeDetector(), FakeSegmenter(), PipelineConfig(score_threshold=0.05, temporal=None, fusion=FUSION))  # type: ignore[arg-type]
    for found, result in zip(video.frames, run_inline(iter(frames_of(COUNT)), line), strict=True):
        assert np.array_equal(found.detections.scores, result.detections.scores)
    own = detect_video(ScriptedSource(COUNT), known, inference(), PipelineConfig())
    assert not np.array_equal(own.frames[0].detections.scores, video.frames[0].detections.scores)


def test_closest_point_is_reported_and_nothing_written(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = prepared / "curve.png"
    with pytest.raises(SystemExit) as end:
        operating_point.main(
            command(prepared, "--wanted-per-minute", "0", "--alarms-from-s", "0", "--picture", str(picture))
        )
    output = capsys.readouterr().out
    assert end.value.code == 1 and not (prepared / "calibration.json").exists() and picture.exists()
    assert "no point finds a polyp with at most 0 false alarms per minute; nothing is written. The closest:" in output


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (scores(0.5, model="other"), "made for the detector other, not for fake"),
        (scores(0.5, key="older"), "fitted to the engine fake (older), not to fake (fake)"),
    ],
)
def test_scores_of_another_model_or_engine_are_an_error(
    prepared: Path, capsys: pytest.CaptureFixture[str], detector: dict[str, Any], message: str
) -> None:
    (prepared / "calibration.json").write_text(json.dumps({"format": 1, "detector": detector}))
    with pytest.raises(SystemExit) as end:
        operating_point.main(command(prepared, "--wanted-per-minute", "1"))
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "--wanted-per-minute must be given as 0 or more, not None"),
        (["--wanted-per-minute", "nan"], "must be given as 0 or more, not nan"),
        (["--wanted-per-minute", "1", "--truth", "b.json"], "2 --truth and 1 --video were given"),
        (["--wanted-per-minute", "1", "--stills", "a.json"], "give either --truth with --video, or --stills"),
    ],
)
def test_conflicting_options_are_a_usage_error(
    prepared: Path, capsys: pytest.CaptureFixture[str], more: Sequence[str], message: str
) -> None:
    with pytest.raises(SystemExit) as end:
        operating_point.main(command(prepared, *more))
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("labelled", [True, False])
def test_truth_without_polyp_is_an_error(prepared: Path, capsys: pytest.CaptureFixture[str], labelled: bool) -> None:
    """Nor do polyps count in frames that are not scored."""
    frames = [{"index": index, "polyps": []} for index in range(COUNT)]
    if not labelled:
        frames[5] |= {"polyps": [{"id": 1, "box": disc_box(5)}], "labelled": False}
    write_truth(prepared, truth(frames=frames))
    with pytest.raises(SystemExit) as end:
        operating_point.main(command(prepared, "--wanted-per-minute", "1"))
    assert end.value.code == 2 and "truth.json has no polyp in any labelled frame" in capsys.readouterr().err


class Keyed(GreenDetector):
    key = "k1"


def test_point_of_stills_has_no_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "open_detector", lambda model, engine, device, **how: Keyed())
    monkeypatch.setattr(runtime, "check_gate", lambda engine: None)
    root, out, picture = write_green_data(tmp_path), tmp_path / "calibration.json", tmp_path / "curve.png"
    stills = ["--stills", str(root / "data.json"), "--root", str(root), "--wanted-per-image", "0.1"]
    operating_point.main([*stills, "--out", str(out), "--picture", str(picture)])
    point = json.loads(out.read_text())["operating_point"]
    assert point["confirm_s"] is None and point["wanted_per_image"] == 0.1 and point["found"]["images"] == 4
    assert read_calibration(out).temporal_config() == TemporalConfig() and picture.exists()
    assert "the model's own scores; data.json, 4 images" in capsys.readouterr().out
