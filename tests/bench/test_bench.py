"""The benchmark's own parts; what it measures is measured by running it, never asserted here."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from fakes import picture
from media import write_clip
from tqdm import tqdm

from realtime_polyp.bench import clips, comparisons, table
from realtime_polyp.bench.__main__ import main
from realtime_polyp.bench.commands import run_json_command
from realtime_polyp.bench.memory import MemoryMonitor
from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result
from realtime_polyp.sources import FileSource
from realtime_polyp.telemetry import machine

FAKES = ["--detector", "fake", "--segmenter", "fake", "--engine", "openvino"]
COUNT = 24


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", count=COUNT, size=(96, 72), rate=30, draw=picture)


def result(index: int) -> Result:
    frame = Frame(index, index / 30, time.monotonic(), np.zeros((2, 2, 3), np.uint8))
    return Result(frame, FieldOfView(0, 0, 2, 2), NO_DETECTIONS, (), None)


# the command


def test_a_run_from_file_is_told_on_screen_and_in_json(
    clip: Path, tmp_path: Path, fake_engines: object, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--source", str(clip), "--runs", "3", "--json", str(tmp_path / "out.json"), *FAKES])
    told = json.loads((tmp_path / "out.json").read_text())
    report = told["reports"]["clip.mp4"]["file"]
    assert report["frames_analysed"] == report["frames_captured"] == COUNT and len(report["runs_fps"]) == 3
    assert report["fps"] == sorted(report["runs_fps"])[1]
    assert set(report["alone_fps"]) == {"decode", "analyse", "detector", "segmenter"}
    assert {"p50", "p95", "p99", "p999", "max", "jitter"} == set(report["annotation_delay_ms"])
    assert told["machine"]["cores"] >= 1 and "python" in told["machine"]["versions"] and "--runs 3" in told["command"]
    shown = capsys.readouterr().out
    assert f"{report['fps']:.1f} frames/s" in shown and f"{COUNT} of {COUNT} frames analysed" in shown


def test_memory_over_time_is_told(clip: Path, fake_engines: object, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--source", str(clip), "--memory-minutes", "0.01", *FAKES])
    assert "resident memory" in capsys.readouterr().out


def test_a_detector_alone_is_measured(
    clip: Path, tmp_path: Path, fake_engines: object, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--detector", "fake", "--segmenter", "none", "--engine", "openvino"]
    main(["--source", str(clip), "--runs", "1", "--json", str(tmp_path / "out.json"), *words])
    report = json.loads((tmp_path / "out.json").read_text())["reports"]["clip.mp4"]["file"]
    assert set(report["alone_fps"]) == {"decode", "analyse", "detector"} and report["frames_analysed"] == COUNT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--runs", "0"], "--runs must be at least 1, got 0"),
        (["--bad-day", "1", "--parallel", "0"], "--parallel must be at least 1, got 0"),
        (["--seconds", "-1"], "--seconds must be above 0, got -1"),
        (["--live", "--minutes", "0"], "--minutes must be above 0, got 0"),
        (["--live", "--steps"], "--live and --steps do not go together"),
        (["--steps", "--against", "naive"], "--steps and --against do not go together"),
        (["--against", "naive", "--segmenter", "none"], "--against naive needs a segmenter, not none"),
        (["--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["--source", "nothing.mp4"], "nothing.mp4 does not exist"),
        (["--against", "ultralytics", "--peer-python", "no-such-python"], "no-such-python cannot be run"),
        (["--engine", "abacus", "--seconds", "0.1", "--size", "720p"], "unknown engine 'abacus'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m")]
    assert ended.value.code == 2 and len(errors) == 1 and said in errors[0], errors


def test_its_json_replaces_an_earlier_one_and_never_the_source(
    clip: Path, tmp_path: Path, fake_engines: object, capsys: pytest.CaptureFixture[str]
) -> None:
    out, before = tmp_path / "bench.json", clip.read_bytes()
    out.write_text("an earlier one")
    main(["--source", str(clip), "--runs", "1", "--json", str(out), *FAKES])
    assert json.loads(out.read_text())
    with pytest.raises(SystemExit):
        main(["--source", str(clip), "--json", str(clip), *FAKES])
    assert "it is the source itself" in capsys.readouterr().err and clip.read_bytes() == before


# machine


def test_the_machine_is_described() -> None:
    facts = machine.machine_facts()
    assert facts["cores"] >= 1 and facts["cpu"] and facts["memory_mb"] > 100 and len(facts["load_average"]) == 3
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True)
    if done.returncode == 0:
        assert facts["commit"].startswith(done.stdout.decode().strip())
    assert str(facts["cores"]) in table.describe_machine(facts)


def test_resident_memory_follows_what_is_allocated() -> None:
    """In a process of its own: here, a thread of another test may free as much in the same moment."""
    lines = (
        "import numpy as np; from realtime_polyp.telemetry import machine; before = machine.resident_mb()",
        "block = np.ones(64 * 2**20, np.uint8); assert machine.resident_mb() - before > 48",
        "assert machine.peak_mb() >= machine.resident_mb() - 1",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)


def test_memory_is_sampled_until_the_time_is_over() -> None:
    stops: list[int] = []
    with tqdm(total=1, disable=True) as bar:
        watch = MemoryMonitor(0.05, bar)
        watch.stop = lambda: stops.append(1)
        for index in range(100):
            watch.update(result(index))
            if stops:
                break
            time.sleep(0.002)
    assert stops, "it never said stop"
    assert len(watch.samples) > 1
    assert all(megabytes > 10 for _, megabytes in watch.samples)
    assert watch.settled_mb() in [megabytes for _, megabytes in watch.samples]


# clips


def test_the_demo_is_scaled_once(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path, "720p", seconds=0.2)
    source = FileSource(path)
    assert source.size == (1280, 720) and source.rate_hz == 30 and len(list(source.frames())) == 6
    made_ns = path.stat().st_mtime_ns
    assert clips.make_clip(tmp_path, "720p", seconds=0.2).stat().st_mtime_ns == made_ns


def test_memory_plays_there_and_back() -> None:
    images = [np.full((2, 3, 3), level, np.uint8) for level in range(3)]
    source = clips.MemorySource(images, 7)
    frames = list(source.frames())
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 1, 2, 1, 0, 1, 2]
    assert [frame.index for frame in frames] == list(range(7)) and source.size == (3, 2)
    times_s = [frame.pts_s for frame in frames]
    assert all(after > before for before, after in itertools.pairwise(times_s))


def test_a_camera_is_switched_off(clip: Path) -> None:
    source = clips.TimeLimited(FileSource(clip, loop=True), 1.0)
    frames = list(source.frames())
    assert len(frames) == 30 > COUNT and frames[-1].pts_s < 1.0
    source.close()


# rounds


def test_variants_take_turns() -> None:
    order: list[str] = []
    told = comparisons.alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, "test")
    assert order == ["a", "b"] * 3 and told == {"a": [None] * 3, "b": [None] * 3}


def test_only_ratios_within_a_round_count() -> None:
    """The machine halves its speed in the second round and is quick in the third: the ratio stays."""
    assert comparisons.ratio([20.0, 10.0, 40.0], [10.0, 5.0, 20.0]) == 2.0
    assert comparisons.ratio([20.0, 10.0, 90.0], [10.0, 5.0, 20.0]) == 2.0  # an outlier of one round


def test_pace_counts_wall_and_processor_time() -> None:
    def rest() -> int:
        time.sleep(0.05)
        return 5

    pace = comparisons.time_frames(rest)
    assert 1 < pace.fps <= 100 and pace.cpu_ms < 10  # 10 ms a frame at least


def test_calls_are_repeated_for_long_enough() -> None:
    seen: list[int] = []
    per_s = comparisons.calls_per_s(lambda item: (seen.append(item), time.sleep(0.001)), [1, 2], least_s=0.03)
    assert seen[0] == 1 and seen[1:3] == [1, 2] and len(seen) % 2 == 1 and 0 < per_s <= 1000


# other processes


def test_the_last_open_inference_a_child_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    script = "import os, json; print('hello'); print(json.dumps([os.environ.get('OMP_NUM_THREADS'), os.environ['X']]))"
    assert run_json_command([sys.executable, "-c", script], environment={"X": "y"}) == [None, "y"]


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(ValueError, match="ended with code 1: KeyError: 'no weights'"):
        run_json_command([sys.executable, "-c", "raise KeyError('no weights')"])
    with pytest.raises(ValueError, match="the last line of .* is not a result in JSON: it is not JSON"):
        run_json_command([sys.executable, "-c", "print('done')"])


# tables


def test_a_table_is_aligned() -> None:
    lines = table.align(("name", "p50"), [("decode", "1.00"), ("x", "123.45")]).splitlines()
    assert lines == ["  name       p50", "  decode    1.00", "  x       123.45"]


def test_a_delay_without_figures_is_a_dash() -> None:
    nothing = dict.fromkeys(("p50", "p95", "p99", "p999", "max", "jitter"))
    report = {
        "minutes": 1.0,
        "screen": "display :0",
        "frames_captured": 30,
        "frames_shown": 28,
        "frames_analysed": 27,
        "overlays_painted": 0,
        "misses": {"100 ms": {"limit_ms": 100.0, "share": None, "share_of_painted": None}},
        "dropped": {"screen": {"newer frame": 2}},
        "not_analysed": {},
        "cores_busy": 1.5,
        "memory_mb": [(0.0, 300.0), (30.0, 301.0)],
        "peak_mb": 305.0,
        "video_delay_ms": nothing | {"p50": 4.2},
        "annotation_delay_ms": nothing,
        "stages_ms": {"detect": {"p50": 9.0, "p95": 11.0}},
    }
    text = table.live_table("720p", report)
    assert "{'screen': {'newer frame': 2}}" in text and "not analysed: nothing" in text and "display :0" in text
    assert next(line for line in text.splitlines() if "annotation" in line and "ms" in line).split()[-6:] == ["-"] * 6
    assert "4.2" in text and "11.00" in text
