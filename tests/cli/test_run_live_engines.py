"""What the command asks of engines and calibration, and several videos at once."""

import json
from pathlib import Path

import pytest
from conftest import Run
from fakes import FUSION, RATE_HZ, FakeDetector, picture
from media import write_clip

from realtime_polyp import runtime
from realtime_polyp.cli.options import Options, parse
from realtime_polyp.config import PipelineConfig
from realtime_polyp.engines import gate
from realtime_polyp.engines.gate import GateRecord
from realtime_polyp.runtime import open_runtime

FAKES = ["--detector", "fake", "--segmenter", "fake"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=20, size=(96, 72), rate=RATE_HZ, draw=picture)


def pipeline_config(options: Options) -> PipelineConfig:
    return open_runtime(options.runtime_config(live=False)).pipeline_config


def calibration_file(path: Path, *, model: str = "fake", key: str = "fake", fused: bool = False) -> Path:
    scores = {"method": "temperature", "temperature": 2.0, "bias": 0.0}
    detector = {"model": model, "engine": "fake", "key": key, "scores": scores}
    times = {"confirm_s": 0.4, "hold_s": 0.1, "release_s": 0.5}
    point = {"score_threshold": 0.45, **times, "data": "test", "fused": fused}
    path.write_text(json.dumps({"format": 1, "detector": detector, "operating_point": point}))
    return path


# the gate


def test_an_engine_without_a_record_is_refused(run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "find_record", lambda engine: None)
    code, _, stderr = run("--source", clip)
    assert code == 2 and len(stderr.strip().splitlines()) == 1
    assert "never compared with float32" in stderr and "--allow-unverified" in stderr


def test_an_engine_that_failed_its_gate_is_refused(run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = GateRecord("fake", "fake", "fake", ("AP50 fell by 0.100",), "val", {}, {}, "")
    monkeypatch.setattr(gate, "find_record", lambda engine: failed)
    code, _, stderr = run("--source", clip)
    assert code == 2 and "failed its gate (AP50 fell by 0.100)" in stderr


def test_the_brave_are_told_every_time(run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "find_record", lambda engine: None)
    code, _, stderr = run("--source", clip, "--allow-unverified", "--results", tmp_path / "out.jsonl")
    assert code == 0 and stderr.count("UNVERIFIED") == 2  # a detector and a segmenter
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 20


# calibration


@pytest.mark.usefixtures("fake_engines")
def test_the_calibration_sets_threshold_and_times_unless_typed(tmp_path: Path) -> None:
    path = calibration_file(tmp_path / "c.json")
    config = pipeline_config(parse(["--source", "x", *FAKES, "--calibration", str(path)]))
    assert config.temporal is not None and config.score_threshold == 0.45
    assert (config.temporal.confirm_s, config.temporal.hold_s, config.temporal.release_s) == (0.4, 0.1, 0.5)
    typed = parse(["--source", "x", *FAKES, "--calibration", str(path), "--score-threshold", "0.7"])
    assert pipeline_config(typed).score_threshold == 0.7


@pytest.mark.usefixtures("fake_engines")
def test_a_point_chosen_for_fused_scores_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "fusion_for", lambda detector, segmenter: FUSION if detector and segmenter else None)
    for fused in (True, False):
        chosen = parse(
            ["--source", "x", *FAKES, "--calibration", str(calibration_file(tmp_path / "c.json", fused=fused))]
        )
        assert (pipeline_config(chosen).fusion is FUSION) == fused


@pytest.mark.parametrize("more", [["--no-fusion"], ["--segmenter", "none"]])
def test_a_point_chosen_for_fused_scores_is_refused_without(
    run: Run, clip: Path, tmp_path: Path, more: list[str]
) -> None:
    path = calibration_file(tmp_path / "c.json", fused=True)
    code, _, stderr = run("--source", clip, "--calibration", path, *more)
    assert code == 2 and len(stderr.strip().splitlines()) == 1
    assert "c.json was made with detector-segmenter fusion" in stderr
    assert run("--source", clip, "--calibration", path, *more, "--score-threshold", 0.5)[0] == 0


def test_scores_come_out_calibrated(run: Run, clip: Path, tmp_path: Path) -> None:
    path = calibration_file(tmp_path / "c.json")
    out = tmp_path / "out.jsonl"
    assert run("--source", clip, "--calibration", path, "--results", out)[0] == 0
    scores = {one["score"] for line in map(json.loads, out.read_text().splitlines()) for one in line["detections"]}
    assert list(scores) == [pytest.approx(0.75, abs=1e-3)]  # 0.9 at temperature 2: its odds of 9 become 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "c.json: No such file or directory"),
        ("{}", "c.json is not a calibration file of format 1"),
        ('{"format": 1, "operating_point": {}}', "at `operating_point`: `score_threshold` is missing"),
    ],
)
def test_a_calibration_that_is_none_is_one_sentence(
    run: Run, clip: Path, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    code, _, stderr = run("--source", clip, "--calibration", path)
    assert code == 2 and said in stderr and len(stderr.strip().splitlines()) == 1


def test_a_calibration_of_another_model_is_refused_and_of_another_engine_said(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    code, _, stderr = run("--source", clip, "--calibration", calibration_file(tmp_path / "c.json", model="other"))
    assert code == 2 and "other" in stderr and "fake" in stderr
    code, _, stderr = run("--source", clip, "--calibration", calibration_file(tmp_path / "c.json", key="older"))
    assert code == 0 and "older" in stderr and "slightly off" in stderr


# several videos


def test_two_sources_write_two_results_equal_to_each_alone(run: Run, clip: Path, tmp_path: Path) -> None:
    other = write_clip(
        tmp_path / "other.mp4", count=13, size=(96, 72), rate=RATE_HZ, draw=lambda index, size: picture(index + 9, size)
    )
    code, stdout, stderr = run("--source", clip, other, "--results", tmp_path / "out.jsonl")
    assert (code, stderr) == (0, "") and "together" in stdout
    for number, (source, count) in enumerate(((clip, 20), (other, 13)), 1):
        run("--source", source, "--results", tmp_path / "alone.jsonl")
        together = (tmp_path / f"out-{number}.jsonl").read_text()
        assert together == (tmp_path / "alone.jsonl").read_text() and together.count("\n") == count


def test_streams_of_one_source_are_summed_up(run: Run, clip: Path, tmp_path: Path) -> None:
    assert run("--source", clip, "--streams", 3, "--summary", tmp_path / "s.json")[0] == 0
    summary = json.loads((tmp_path / "s.json").read_text())
    assert [one["frames_analysed"] for one in summary["streams"]] == [20, 20, 20] and summary["fps"] > 0
    assert sum(int(size) * count for size, count in summary["batch_sizes"].items()) == 60


@pytest.mark.parametrize("arguments", [("--streams", "0"), ("--streams", "-1")])
def test_a_wrong_number_of_streams_is_refused(run: Run, clip: Path, arguments: tuple[str, ...]) -> None:
    code, _, stderr = run("--source", clip, *arguments)
    assert code == 2 and "--streams must be 1 or more" in stderr


def test_three_sources_are_not_two_streams(run: Run, clip: Path) -> None:
    code, _, stderr = run("--source", clip, clip, clip, "--streams", 2)
    assert code == 2 and "as many as there are sources" in stderr


def test_one_of_several_that_fails_leaves_the_other_whole(
    run: Run, clip: Path, tmp_path: Path, fake_engines: dict[str, object]
) -> None:
    fake_engines["detector"] = FakeDetector(fails_at=30)
    code, _, stderr = run("--source", clip, clip, "--results", tmp_path / "out.jsonl")
    assert code == 1 and "out of memory" in stderr
    for number in (1, 2):
        lines = (tmp_path / f"out-{number}.jsonl").read_text().splitlines()
        assert [json.loads(line)["index"] for line in lines] == list(range(len(lines)))


def test_the_trace_is_written_beside_everything_else(run: Run, clip: Path, tmp_path: Path) -> None:
    assert run("--source", clip, "--trace", tmp_path / "trace.json")[0] == 0
    names = {event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert {"decode", "prepare", "detect", "segment", "deliver"} <= names


@pytest.mark.usefixtures("fake_engines")
@pytest.mark.parametrize(
    ("arguments", "live", "hint"),
    [
        ([], False, "throughput"),
        ([], True, "shared latency"),
        (["--display", "immediate"], False, "shared latency"),
        (["--segmenter", "none"], True, "latency"),
    ],
)
def test_files_are_compiled_for_throughput_and_live_sources_for_latency(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], live: bool, hint: str
) -> None:
    asked: list[str] = []

    def open_(model: str, engine: str, device: str, *, hint: str, allow_unverified: bool) -> FakeDetector:
        asked.append(hint)
        return FakeDetector()

    monkeypatch.setattr("realtime_polyp.runtime.open_detector", open_)
    monkeypatch.setattr("realtime_polyp.runtime.open_segmenter", open_)
    open_runtime(parse(["--source", "x", *FAKES, "--segmenter", "fake too", *arguments]).runtime_config(live=live))
    assert set(asked) == {hint}
