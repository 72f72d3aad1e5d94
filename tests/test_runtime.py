"""The composition root: every command opens the same line for the same configuration."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from fakes import FUSION, RATE_HZ, FakeDetector, FakeSegmenter, ScriptedSource, assert_same_results, picture
from media import cut_file, write_clip

import realtime_polyp
import run_live
from realtime_polyp import engines, runtime
from realtime_polyp.bench.throughput import measure_throughput
from realtime_polyp.engines.base import EngineError
from realtime_polyp.inference.host import HostInference
from realtime_polyp.packets import Result
from realtime_polyp.postprocess.score_calibration import CalibrationError
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime
from realtime_polyp.session import SessionError
from realtime_polyp.sources import FileSource, SourceError
from trainers import video_bench

FAKES = {"detector": "fake", "segmenter": "fake"}
COUNT = 40
UNFUSED = runtime.unfused_cautions  # the fixture of fakes replaces it


class FakeCudaInference(HostInference):
    """What stands for the GPU's inference: the choice is tested, not the card."""

    def __init__(self, detector: Any, segmenter: Any, *, trace: object = None) -> None:
        super().__init__(detector, segmenter)


@pytest.fixture
def opened(fake_engines: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> list[Runtime]:
    """Every runtime that was opened, in order."""
    found: list[Runtime] = []

    class Noted(Runtime):
        def __init__(self, *parts: Any, **more: Any) -> None:
            super().__init__(*parts, **more)
            found.append(self)

    monkeypatch.setattr(runtime, "Runtime", Noted)
    monkeypatch.setattr(runtime, "fusion_for", lambda detector, segmenter: FUSION if detector and segmenter else None)
    return found


@pytest.fixture
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, fake_engines: dict[str, object]) -> str:
    """Where the fakes say that they run: the CPU, or a GPU whose inference is a fake too."""
    if request.param == "cuda":
        monkeypatch.setattr(FakeDetector, "device", "cuda")
        monkeypatch.setattr(FakeSegmenter, "device", "cuda")
        monkeypatch.setattr("realtime_polyp.inference.cuda.CudaInference", FakeCudaInference)
    return str(request.param)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=(96, 72), rate=RATE_HZ, draw=picture)


def calibration_file(path: Path, *, fused: bool) -> Path:
    scores = {"method": "temperature", "temperature": 2.0, "bias": 0.0}
    detector = {"model": "fake", "engine": "fake", "key": "fake", "scores": scores}
    point = {"score_threshold": 0.45, "confirm_s": 0.4, "hold_s": 0.1, "release_s": 0.5, "data": "test", "fused": fused}
    path.write_text(json.dumps({"format": 1, "detector": detector, "operating_point": point}))
    return path


def by_run_live(clip: Path, calibration: Path | None) -> None:
    more = ["--calibration", str(calibration)] if calibration else []
    assert run_live.main(["--source", str(clip), "--headless", "--detector", "fake", "--segmenter", "fake", *more]) == 0


def by_several_videos(clip: Path, calibration: Path | None) -> None:
    more = ["--calibration", str(calibration)] if calibration else []
    arguments = ["--source", str(clip), str(clip), "--detector", "fake", "--segmenter", "fake", *more]
    assert run_live.main(arguments) == 0


def by_analyse(clip: Path, calibration: Path | None) -> None:
    assert len(list(realtime_polyp.analyse(clip, calibration=calibration, **FAKES))) == COUNT


def by_bench(clip: Path, calibration: Path | None) -> None:
    config = RuntimeConfig(calibration=calibration, **FAKES)
    assert measure_throughput(config, clip, 1)["fps"] > 0


def by_video_bench(clip: Path, calibration: Path | None) -> None:
    """The command itself, as far as the phantom, which is long."""
    more = ["--calibration", str(calibration)] if calibration else []
    with pytest.MonkeyPatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(video_bench, "open_phantom", lambda runtime: (_ for _ in ()).throw(ValueError("enough")))
        video_bench.main(["--phantom", "--detector", "fake", "--segmenter", "fake", *more])


COMMANDS: dict[str, Callable[[Path, Path | None], None]] = {
    "run_live": by_run_live,
    "several videos": by_several_videos,
    "analyse": by_analyse,
    "bench": by_bench,
    "video_bench": by_video_bench,
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("device", ["cpu", "cuda"], indirect=True)
@pytest.mark.parametrize("calibrated", [None, False, True], ids=["default", "unfused point", "fused point"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_opens_the_same_line(
    command: str, calibrated: bool | None, device: str, opened: list[Runtime], clip: Path, tmp_path: Path
) -> None:
    calibration = None if calibrated is None else calibration_file(tmp_path / "c.json", fused=calibrated)
    wanted = open_runtime(RuntimeConfig(calibration=calibration, **FAKES)).describe()
    assert wanted["inference"] == ("FakeCudaInference" if device == "cuda" else "HostInference")
    assert (wanted["pipeline"].fusion is FUSION) == (calibrated is not False)
    COMMANDS[command](clip, calibration)
    assert len(opened) == 2, "one runtime, opened at the composition root"
    assert opened[1].describe() == wanted


def test_analyse_gives_what_the_command_writes(
    fake_engines: dict[str, object], clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    arguments = ["--source", str(clip), "--headless", "--detector", "fake", "--segmenter", "fake"]
    assert run_live.main([*arguments, "--results", str(out)]) == 0
    found = [result.to_dict() for result in realtime_polyp.analyse(clip, **FAKES)]
    assert found == [json.loads(line) for line in out.read_text().splitlines()]


def test_analyse_may_be_left_at_any_moment(fake_engines: dict[str, object], clip: Path) -> None:
    before = threading.active_count()
    for stop in (0, 1, 7):
        results = realtime_polyp.analyse(clip, **FAKES)
        for number, result in enumerate(results):
            assert isinstance(result, Result) and result.frame.index == number
            if number == stop:
                break
        results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before, "no thread is left behind"


def test_analyse_is_batched_and_warmed_up(fake_engines: dict[str, object], clip: Path) -> None:
    list(realtime_polyp.analyse(clip, **FAKES))
    detector = fake_engines["detector"]
    assert isinstance(detector, FakeDetector)
    assert detector.seen == COUNT + 1, "every frame once, and the one that warms up"
    assert detector.largest > 1


def test_what_analyse_refuses_is_refused_at_once(fake_engines: dict[str, object], clip: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        realtime_polyp.analyse(tmp_path / "nowhere.mp4", **FAKES)
    with pytest.raises(EngineError, match="unknown detector"):
        realtime_polyp.analyse(clip, detector="crystal-ball")
    with pytest.raises(CalibrationError, match="cannot read"):
        realtime_polyp.analyse(clip, calibration=tmp_path / "none.json", **FAKES)


def test_what_run_live_prints_about_the_models_analyse_warns_of(
    fake_engines: dict[str, object], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "unfused_cautions", lambda detector, segmenter: ["these scores are not fused"])
    with pytest.warns(RuntimeWarning, match="these scores are not fused"):
        list(realtime_polyp.analyse(clip, **FAKES))


def test_a_source_whose_models_are_refused_is_closed(
    fake_engines: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook keeps the traceback, and a camera that stays open is busy for the next call."""
    source = ScriptedSource(3, live=True)
    monkeypatch.setattr("realtime_polyp.sources.open_source", lambda *_, **more: source)
    with pytest.raises(EngineError, match="unknown detector"):
        realtime_polyp.analyse("0", detector="crystal-ball")
    assert source.closed.is_set()


def test_a_failure_on_the_way_is_raised_with_its_place(fake_engines: dict[str, object], clip: Path) -> None:
    engines.ENGINES["eager"]  # the fake's
    fake_engines["detector"] = FakeDetector(fails_at=20)
    with pytest.raises(SessionError, match="the model failed at frame 1"):
        list(realtime_polyp.analyse(clip, **FAKES))


def test_a_damaged_recording_yields_what_can_be_read_and_warns(fake_engines: dict[str, object], tmp_path: Path) -> None:
    source = cut_file(write_clip(tmp_path / "cut.mkv", count=60, rate=RATE_HZ, draw=picture), 0.6)
    readable = len(list(FileSource(source).frames()))
    with pytest.warns(RuntimeWarning, match="cut.mkv is damaged after"):
        assert len(list(realtime_polyp.analyse(source, **FAKES))) == readable < 60


def test_a_result_has_a_short_repr_and_a_dictionary(fake_engines: dict[str, object], clip: Path) -> None:
    result = list(realtime_polyp.analyse(clip, **FAKES))[10]
    assert repr(result) == f"<Result of frame 10 at {10 / RATE_HZ:.3f} s: polyp 1 0.90, clear>"
    json.dumps(result.to_dict())
    assert result.to_dict()["tracks"][0]["state"] == "shown"


def test_a_temporal_filter_over_raw_results_is_the_line(fake_engines: dict[str, object], clip: Path) -> None:
    results = list(realtime_polyp.analyse(clip, **FAKES))
    opened = open_runtime(RuntimeConfig(**FAKES))
    again = realtime_polyp.TemporalFilter(opened.pipeline_config)
    assert_same_results([again.update(result.raw) for result in results if result.raw], results)


def test_no_module_assembles_the_line_by_hand() -> None:
    """Only the composition root, and what measures single parts, opens engines."""
    allowed = {"runtime.py", "engines/__init__.py"}
    for path in (ROOT / "realtime_polyp").rglob("*.py"):
        name = path.relative_to(ROOT / "realtime_polyp").as_posix()
        if name not in allowed and not name.startswith("bench/"):
            assert "open_detector(" not in path.read_text() and "open_segmenter(" not in path.read_text(), name


def test_models_that_no_fusion_was_fitted_on_are_told_once(
    fake_engines: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "unfused_cautions", UNFUSED)
    config = RuntimeConfig(detector="fake", segmenter="fake")
    (said,) = open_runtime(config).cautions
    assert said.startswith("scores of fake are not fused: fusion.json is for other models")
    for alone in (replace(config, fusion=False), replace(config, segmenter=None), replace(config, detector=None)):
        assert open_runtime(alone).cautions == ()
    monkeypatch.setattr(runtime, "FUSION_FILE", Path("nowhere") / "fusion.json")
    assert "fusion.json is missing" in open_runtime(config).cautions[0]
