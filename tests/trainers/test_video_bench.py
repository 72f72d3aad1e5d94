"""The video benchmark: a replay gives what the pipeline gives, and the command reports goals and bad input."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import ROOT
from fakes import FakeDetector, FakeSegmenter
from tissue_toys import write_tissue_stills

import trainers.video_bench as bench
from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.host import HostInference
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.packets import Frame
from realtime_polyp.pipeline import Pipeline, run_inline
from trainers.data.stills import Still, read_stills
from trainers.video.goals import Goal, goal_lines
from trainers.video.synthetic.clip import Clip, ClipSource, make_clip
from trainers.video.synthetic.prediction_cache import (
    cache_predictions,
    clip_folder,
    is_cached,
    read_cached_frames,
    read_cached_truth,
)
from trainers.video.synthetic.replay import replay

SMALL = (240, 180)
SECONDS = 18
CONFIGS = {
    "smoothed": PipelineConfig(),
    "raw": PipelineConfig(temporal=None),
    "every second frame flipped": PipelineConfig(hflip=True),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_tissue_stills(folder)
    return folder


@pytest.fixture(scope="module")
def clip(root: Path) -> Clip:
    made = make_clip(read_stills(root / "val.json", root), seed=10, number=1, seconds=SECONDS, frame_size=SMALL)
    assert made.dropped
    return made


@pytest.fixture(scope="module")
def cached(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cached") / "clip"
    cache_predictions(ClipSource(clip), HostInference(FakeDetector(), FakeSegmenter()), folder)  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def frames(clip: Clip) -> list[Frame]:
    """The clip's, without those that are dropped."""
    return [frame for frame in ClipSource(clip).frames() if frame.index not in clip.dropped]


@pytest.fixture
def small_clips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Clips of 18 s and few pixels, kept in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "_CLIP_S", float(SECONDS))
    monkeypatch.setattr(bench, "make_clip", lambda stills, **options: make_clip(stills, **options, frame_size=SMALL))
    yield


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_replay_gives_what_the_pipeline_gives(frames: list[Frame], cached: Path, config: PipelineConfig) -> None:
    pipeline = Pipeline(FakeDetector(), FakeSegmenter(), config)  # type: ignore[arg-type]
    shown = 0
    for again, then in zip(replay(read_cached_frames(cached), config), run_inline(frames, pipeline), strict=True):
        assert (again.frame.index, again.frame.pts_s) == (then.frame.index, then.frame.pts_s)
        assert again.field_of_view == then.field_of_view and again.signal == then.signal
        assert np.array_equal(again.frame.image, then.frame.image)
        assert np.array_equal(again.detections.boxes, then.detections.boxes)
        assert [(one.id, one.state) for one in again.tracks] == [(one.id, one.state) for one in then.tracks]
        for one, other in zip(again.tracks, then.tracks, strict=True):
            assert np.allclose(one.box, other.box, atol=0.01)
        assert np.abs(again.mask.probability - then.mask.probability).max() < 0.01  # kept in steps of 1 / 255
        shown += sum(track.visible for track in again.tracks)
    assert shown > 20


def test_frames_without_images_hold_everything_else(cached: Path, clip: Clip) -> None:
    pairs = zip(read_cached_frames(cached), read_cached_frames(cached, images=False), strict=True)
    for whole, quick in pairs:
        assert whole.plain.frame.index == quick.plain.frame.index
        assert np.array_equal(whole.plain.detections.boxes, quick.plain.detections.boxes)
        image = quick.plain.frame.image
        assert not image.any() and image.shape == whole.plain.frame.image.shape
        assert whole.plain.frame.index not in clip.dropped


def test_the_truth_is_cached_with_the_clip(cached: Path, clip: Clip) -> None:
    truth = read_cached_truth(cached)
    expected = ClipSource(clip).truth()
    assert truth.rate_hz == clip.rate_hz and truth.size == SMALL
    for found, true in zip(truth.frames, expected.frames, strict=True):
        assert {**found.polyps, **found.difficult}.keys() == {**true.polyps, **true.difficult}.keys()
        assert found.masks == true.masks and found.cut == true.cut


def test_other_models_stills_or_seeds_have_folders_of_their_own(root: Path) -> None:
    stills = read_stills(root / "val.json", root)

    def where(stills: list[Still] = stills, **changed: object) -> Path:
        return clip_folder(stills, **{"seed": 1, "number": 0, "seconds": 60.0, "keys": ("a", "b"), **changed})  # type: ignore[arg-type]

    others = [where(keys=("a", "c")), where(seed=2), where(number=1), where(seconds=30.0), where(stills[:-1])]
    assert len({where(), *others}) == 6 and where() == where()
    assert not is_cached(where())


def test_a_corrected_still_makes_another_clip(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    stills = read_stills(copy / "val.json", copy)

    def where(stills: list[Still]) -> Path:
        return clip_folder(stills, seed=1, number=0, seconds=60.0, keys=("a",))

    before = where(stills)
    assert where([replace(stills[0], boxes=stills[0].boxes + 1), *stills[1:]]) != before
    stills[0].mask_path.write_bytes(stills[0].mask_path.read_bytes())
    assert where(stills) != before


def test_a_clip_is_the_same_however_its_folder_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    folders = {
        clip_folder(read_stills(one / "val.json", one), seed=1, number=0, seconds=60.0, keys=("a",))
        for one in (root, Path(root.name), Path("..", root.parent.name, root.name))
    }
    assert len(folders) == 1


def test_a_clip_that_could_not_be_finished_is_not_there(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        cache_predictions(ClipSource(clip), HostInference(FakeDetector(fails_at=5), FakeSegmenter()), tmp_path / "clip")  # type: ignore[arg-type]
    assert not is_cached(tmp_path / "clip") and not list(tmp_path.iterdir())


# The command


def command(root: Path, *more: str) -> list[str]:
    return ["--data", str(root / "val.json"), "--root", str(root), "--minutes", "1", "--seed", "10",
            "--detector", "fake", "--segmenter", "fake", "--engine", "eager", *more]  # fmt: skip


@pytest.mark.usefixtures("fake_engines", "small_clips")
def test_the_command_reports_both_configurations_and_the_goals(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.main(command(root, "--json", str(tmp_path / "figures.json"), "--clip-out", str(tmp_path / "clips"),
                       "--gallery", str(tmp_path / "errors")))  # fmt: skip
    output = capsys.readouterr().out
    assert "gallery: " in output and (tmp_path / "errors" / "false_alarms.jpg").is_file()
    assert "without temporal filter" in output and "with temporal filter" in output and "first shown after" in output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert len(figures["goals"]) == 9 and figures["with temporal filter"]["events"]["polyps"] > 0
    assert figures["with temporal filter"]["events"]["minutes"] == pytest.approx(SECONDS / 60, abs=0.01)
    (film,) = (tmp_path / "clips").glob("*.mp4")
    with av.open(str(film)) as opened:
        assert sum(1 for _ in opened.decode(video=0)) == len(read_truth(film.with_suffix(".json")).frames)

    monkeypatch.setattr(bench, "cache_predictions", lambda *given: pytest.fail("the models ran again"))
    bench.main(command(root))
    again = capsys.readouterr().out
    assert again.splitlines() == [
        line for line in output.splitlines() if not line.startswith(("clip:", "figures:", "gallery:"))
    ]


@pytest.mark.usefixtures("fake_engines", "small_clips")
def test_predicting_only_prints_the_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(command(root, "--predict-only"))
    (line,) = capsys.readouterr().out.splitlines()
    assert is_cached(Path(line))


@pytest.mark.usefixtures("fake_engines", "small_clips")
def test_boxes_are_measured_without_a_segmenter(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(root)
    arguments[arguments.index("--segmenter") + 1] = "none"
    bench.main(arguments)
    rows = {line[:40].strip(): line.split()[-1] for line in capsys.readouterr().out.splitlines()}
    assert rows["mask, Dice"] == "-" and rows["found within 3 s, for 0.5 s"] == "%"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give either --data with --root, or --phantom"),
        (["--phantom", "--data", "val.json"], "give either"),
        (["--data", "val.json"], "--data needs --root"),
        (["--phantom", "--predict-only"], "a video already"),
        (["--data", "val.json", "--root", ".", "--minutes", "0"], "must be 1 or more"),
        (["--data", "val.json", "--root", ".", "--detector", "none"], "only --segmenter can be none"),
        (["--data", "val.json", "--root", ".", "--clip-out", str(ROOT / "runs")], "inside the repository"),
        (["--data", "val.json", "--root", ".", "--gallery", str(ROOT / "runs")], "inside the repository"),
        (["--data", "nowhere.json", "--root", ".", "--engine", "eager"], "no such data file"),
    ],
)
@pytest.mark.usefixtures("fake_engines")
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        bench.main(["--detector", "fake", "--segmenter", "fake", *arguments])
    output = capsys.readouterr().err
    assert left.value.code == 2 and sentence in output and output.count("\n") == 1


def test_filtering_is_compared_with_unflipped_detections(cached: Path) -> None:
    """Detections on flipped frames jitter more, and removing that jitter is no merit of the filter."""
    configs = {bench.RAW: PipelineConfig(temporal=None), bench.FILTERED: PipelineConfig(hflip=True)}
    reports = bench.measure(
        bench.Video(read_cached_truth(cached), partial(read_cached_frames, cached)), configs, masks=False
    ).reports
    held = bench.use_unflipped_detections(reports[bench.RAW], reports[bench.FILTERED])
    assert held.records == reports[bench.FILTERED].records
    assert held.single_events == reports[bench.RAW].events == reports[bench.RAW].single_events


# Goals


def test_a_goal_is_met_at_its_limit_and_unknown_without_a_value() -> None:
    assert Goal("a", 1.0, 1.0, most=True).met and Goal("a", 1.0, 1.0, most=False).met
    assert Goal("a", 1.1, 1.0, most=True).met is False and Goal("a", 0.9, 1.0, most=False).met is False
    assert Goal("a", None, 1.0, most=True).met is None
    lines = goal_lines([Goal("late", 0.3, 0.25, most=True), Goal("unknown", None, 1, most=False)]).splitlines()
    assert lines[0].endswith("NOT MET") and "0.300" in lines[0] and "<= 0.25" in lines[0] and lines[1].endswith("-")
