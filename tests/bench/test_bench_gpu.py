"""The benchmark of a card, all of it on the CPU with toys: the same code but for streams, engines and precision."""

import argparse
import ast
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, needs
from device_toys import Blobs, Blueness
from fakes import picture
from torch import nn

from realtime_polyp.bench import gpu_figures as card_figures
from realtime_polyp.bench.gpu import main, wanted_buckets
from realtime_polyp.bench.gpu_figures import flops_of, matmul_flops_per_s
from realtime_polyp.bench.gpu_paced import MemoryCamera, Trial, cameras, make_images, next_count, run_cameras, sustained
from realtime_polyp.bench.gpu_runs import (
    PAIRS,
    VARIANTS,
    Budget,
    Model,
    Opening,
    OpenVariant,
    Variant,
    default_variants,
    open_variants,
    realistic_weights,
)
from realtime_polyp.bench.gpu_table import GOALS, row
from realtime_polyp.engines.base import EngineError
from realtime_polyp.models.deform import DeformConv2d
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS

QUICK = [
    *("--device", "cpu", "--pair", "toy", "--variants", "eager", "--frame", "96x72", "--batch", "2"),
    *("--rounds", "2", "--round-s", "0.05", "--delay-s", "0.5", "--stream-s", "0.4", "--most-streams", "2"),
]
with_gpu = needs("cuda")


@pytest.fixture(scope="module")
def lines() -> dict[str, OpenVariant]:
    return open_variants(["eager"], Opening(PAIRS["toy"](), "cpu", (2, 1), Budget(60)), [])


# the command


def test_every_figure_is_measured_told_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*QUICK, "--json", str(tmp_path / "card.json"), "--trace", str(tmp_path / "trace.json")])
    told = json.loads((tmp_path / "card.json").read_text())
    pace, limit = told["throughput"], told["arithmetic"]
    assert told["models"] == ["toy", "toy"] and len(pace["runs_fps"]["eager"]) == 2
    assert limit["share"] == pytest.approx(pace["fps"]["eager"] / limit["limit_fps"], rel=1e-2, abs=1e-4)  # rounded
    flops = sum(told["gflop_per_frame"].values()) * 1e9
    assert limit["limit_fps"] == pytest.approx(limit["matmul_tflop_per_s"] * 1e12 / flops, rel=0.05)
    assert told["delay"]["captured"] == 24  # 30 at 60 Hz, a fifth of them the lead-in
    assert [trial["streams"] for trial in told["streams"]["trials"]][0] == 1
    assert 0 <= told["idle"]["at_full_load"] < 1 and 0 < told["idle"]["with_streams"] < 1
    assert told["memory"]["peak_mb"] > 50 and told["failures"] == [] and told["card"]["versions"]["torch"]
    shown = capsys.readouterr().out
    assert "annotation delay p99" in shown and f"{pace['fps']['eager']:.1f}" in shown and "met" in shown
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    tracks = {one["args"]["name"] for one in events if one["name"] == "thread_name"}
    assert {"device copy", "device detector", "device segmenter", "device download"} <= tracks


def test_what_does_not_fit_into_the_time_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*QUICK, "--minutes", "0.0001", "--json", str(tmp_path / "card.json")])
    told = json.loads((tmp_path / "card.json").read_text())
    assert told["throughput"]["fps"]["eager"] > 0 and told["delay"] is told["streams"] is told["idle"] is None
    assert "not measured" in capsys.readouterr().out


def test_a_failure_keeps_what_was_measured_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("the card fell off the bus\nand more")

    monkeypatch.setattr(card_figures, "find_most_streams", broken)
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, "--json", str(tmp_path / "card.json")])
    told = json.loads((tmp_path / "card.json").read_text())
    assert ended.value.code == 1 and told["streams"] is None and told["idle"]["streams"] == 1
    assert told["failures"] == ["streams failed: the card fell off the bus"] and told["delay"]["captured"] > 0
    assert "streams failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--variants", "abacus"], "unknown variant 'abacus' on cpu: choose from compiled, eager"),
        (["--minutes", "0"], "--minutes must be above 0, got 0"),
        (["--stream-s", "-1"], "--stream-s must be above 0, got -1"),
        (["--json", "nowhere/out.json"], "there is no folder nowhere"),
        (["--frame", "big"], "'big' is not a size such as 1920x1080"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and "torch sees no GPU here" in said


def test_it_asks_for_nothing_that_a_bare_gpu_machine_lacks() -> None:
    """Of its own accord: PyAV, OpenVINO, Qt and what needs them are imported where they are used, or not at all."""
    lacking = ("av", "openvino", "nncf", "PyQt5", "pycocotools", "scipy", "torch_tensorrt", "realtime_polyp.sources")
    lacking += tuple(f"realtime_polyp.{name}" for name in ("outputs", "telemetry.summary", "cli", "viewer"))
    lacking += tuple(f"realtime_polyp.bench.{name}" for name in ("clips", "sessions", "throughput", "ablations"))
    files = [*(ROOT / "realtime_polyp/bench").glob("gpu*.py"), ROOT / "realtime_polyp/bench/commands.py"]
    assert len(files) == 6
    for path in files:
        for node in ast.parse(path.read_text()).body:
            asked = node.module if isinstance(node, ast.ImportFrom) else None
            names = [asked] if asked else [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not any(name == one or name.startswith(f"{one}.") for one in lacking), (path.name, name)


# variants


def test_a_way_that_cannot_be_had_is_a_note_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object) -> Any:
        raise EngineError("no compiler here")

    monkeypatch.setitem(VARIANTS["cpu"], "compiled", Variant("float32", True, refused))
    notes: list[str] = []
    opening = Opening(PAIRS["toy"](), "cpu", (1,), Budget(60))
    assert list(open_variants(["compiled", "eager"], opening, notes)) == ["eager"]
    assert notes == ["compiled could not be measured: no compiler here"] and notes[0] in capsys.readouterr().err
    with pytest.raises(EngineError, match="none of compiled runs here"):
        open_variants(["compiled"], opening, [])


def test_a_compiled_pair_answers_as_the_eager_one() -> None:
    """Without any time the most wanted batch size is compiled all the same, and no other. Small modules, for speed."""
    pair = Model("blobs", "detector", (64, 96), Blobs()), Model("blueness", "segmenter", (96, 96), Blueness())
    opening = Opening(pair, "cpu", (2, 1), Budget(0))
    notes: list[str] = []
    found = open_variants(["compiled", "eager"], opening, notes)
    if "compiled" not in found:
        pytest.skip(f"torch.compile cannot build here: {notes}")
    assert list(found["compiled"].buckets) == [2] and list(found["eager"].buckets) == [2, 1]
    images = [np.ascontiguousarray(picture(index, (96, 64))) for index in range(2)]
    fields = [card_figures.whole(image) for image in images]
    answers = [line.inference.submit(images, fields).result() for line in found.values()]
    assert np.abs(answers[0].probability - answers[1].probability).max() < 1e-3  # type: ignore[operator]
    best = [one.predictions[1].max(1) for one in answers if one.predictions is not None]
    assert np.abs(best[0] - best[1]).max() < 1e-3


def test_tensorrt_is_a_way_only_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in (None, object()):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, spec=spec: spec)
        assert ("tensorrt-fp16" in default_variants("cuda")) == (spec is not None)


def test_the_most_wanted_batch_sizes_come_first() -> None:
    assert wanted_buckets(8) == (8, 1, 4, 2) and wanted_buckets(4) == (4, 1, 2) and wanted_buckets(1) == (1,)


def test_a_budget_allows_what_ends_in_its_share() -> None:
    budget = Budget(10.0, began_s=time.monotonic() - 4)
    assert budget.allows(5.9) and not budget.allows(6.1) and budget.allows(0.9, 0.5) and not budget.allows(1.1, 0.5)


def test_random_weights_are_realistic_weights() -> None:
    """Untouched, a backbone this deep makes features that half precision cannot hold; deformed taps look aside."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.deformed = DeformConv2d(3, 3, 3, modulated=True)
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.deformed(x)
            for norm in self.norms:
                x = norm(10 * x)
            return x

    torch.manual_seed(0)
    pixels = 60 + 140 * torch.rand(1, 3, 64, 64)
    assert Deep().eval()(pixels).abs().max() > 65504
    settled = realistic_weights(Deep())
    assert not settled.training and settled(pixels).abs().max() < 1e3
    offsets = settled.deformed.conv_offset(torch.randn(1, 3, 32, 32))[:, :18]  # type: ignore[union-attr, operator]
    assert 0.3 < float(offsets.detach().abs().mean()) < 3


def test_the_paper_s_pair_is_what_variants_call_it() -> None:
    """On shapes alone: drawing its weights takes longer than all tests here."""
    with torch.device("meta"):
        detector = Detector(DETECTORS["gflv2-x101-dcn"])
    assert flops_of(detector, (800, 1344)) > 6e11 and SEGMENTERS["lowrank-hrnet-w48"].size == (512, 512)


# arithmetic


def test_operations_are_counted_by_hand() -> None:
    places = 8 * 12
    plain = 2 * 9 * 4 * 6 * places  # of four channels
    assert flops_of(nn.Conv2d(3, 6, 3, padding=1), (8, 12)) == plain * 3 // 4
    assert flops_of(nn.Conv2d(3, 6, 3, padding=1, groups=3), (8, 12)) == plain // 4
    offsets = 2 * 9 * 3 * 27 * places
    assert flops_of(DeformConv2d(3, 6, 3, modulated=True), (8, 12)) == plain * 3 // 4 + offsets


def test_the_rate_of_products_is_that_of_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.chain([0.0, 9.0], *([float(10 * n), 10.0 * n + 2] for n in range(1, 4)))
    monkeypatch.setattr("realtime_polyp.bench.gpu_figures.time.perf_counter", lambda: next(clock))
    rate = matmul_flops_per_s(torch.device("cpu"), torch.float32, side=16, rounds=3)
    assert rate == pytest.approx(10 * 2 * 16**3 / 2)


# cameras


def test_a_camera_s_frames_are_due_at_their_times() -> None:
    images = make_images((96, 72), 3)
    assert not np.array_equal(images[0], images[1]) and images[0].std() > 10
    began_s = time.monotonic()
    frames = list(MemoryCamera(images, 100, 0.1, phase_s=0.05).frames())
    assert [frame.index for frame in frames] == list(range(10)) and frames[4].image is images[1]
    assert np.allclose(np.diff([frame.captured_s for frame in frames]), 0.01)
    assert frames[0].captured_s >= began_s + 0.05 and time.monotonic() >= frames[-1].captured_s


def test_a_hand_over_that_comes_late_counts_as_delay() -> None:
    camera = MemoryCamera(make_images((96, 72), 1), 100, 0.1)
    for frame in camera.frames():
        if frame.index == 3:
            time.sleep(0.06)
        if frame.index == 5:
            assert time.monotonic() - frame.captured_s > 0.03
    camera.close()
    assert list(camera.frames()) == []


def test_cameras_are_out_of_step() -> None:
    firsts = [next(camera.frames()).captured_s for camera in cameras(make_images((96, 72), 1), 25, 1.0)(4)]  # type: ignore[call-overload]
    assert all(late - early > 0.009 for early, late in zip(firsts, firsts[1:], strict=False))


def test_what_is_watched_adds_up(lines: dict[str, OpenVariant]) -> None:
    several = cameras(make_images((96, 72), 4), 20, 0.5)(2)
    found = run_cameras(several, lines["eager"].inference, 0.5, label="test")
    assert found.streams == 2 and found.captured == 2 * 8 and found.analysed <= found.captured
    assert len(found.delays_ms) == found.analysed and (found.delays_ms > 0).all() and 1 <= found.mean_batch <= 2
    assert json.loads(json.dumps(found.to_dict()))["captured"] == 16


def test_a_slow_engine_drops_and_is_late(lines: dict[str, OpenVariant]) -> None:
    class Slow:
        takes_planes, overlaps = False, False

        def __init__(self) -> None:
            self.detector, self.segmenter = lines["eager"].inference.detector, lines["eager"].inference.segmenter

        def submit(self, images: Any, fields: Any, **more: Any) -> Any:
            time.sleep(0.15)
            return lines["eager"].inference.submit(images, fields, **more)

    found = run_cameras(cameras(make_images((96, 72), 2), 20, 1.0)(1), Slow(), 1.0, label="slow")
    assert found.dropped > 5 and found.percentile_ms(50) > 150 and not found.kept_up


def trial(streams: int, *, kept_up: bool) -> Trial:
    return Trial(streams, 10, 10 if kept_up else 9, np.full(10 if kept_up else 9, 5.0), 1.0)


def test_too_late_is_not_kept_up_and_nothing_at_all_neither() -> None:
    assert trial(1, kept_up=True).kept_up and not trial(1, kept_up=False).kept_up
    assert not Trial(1, 3, 3, np.array([101.0] * 3), 1.0).kept_up
    nothing = Trial(1, 0, 0, np.zeros(0), 0.0)
    assert not nothing.kept_up and nothing.to_dict()["p99_ms"] is None


@pytest.mark.parametrize("most", [1, 5, 64])
@pytest.mark.parametrize("limit", [0, 1, 7, 11, 64])
def test_the_search_finds_the_largest_number_that_passes(limit: int, most: int) -> None:
    trials: list[Trial] = []
    while (count := next_count(trials, most)) is not None:
        assert 1 <= count <= most and count not in [one.streams for one in trials]
        trials.append(trial(count, kept_up=count <= limit))
    assert sustained(trials) == min(limit, most) and len(trials) <= 13


def test_decoded_streams_are_copies_of_one_clip_that_end(tmp_path: Path) -> None:
    options = argparse.Namespace(device="cpu", stream_s=0.1)
    with card_figures.clips(tmp_path, options) as several:
        frames = [list(source.frames()) for source in several(2)]
    assert [[frame.index for frame in some] for some in frames] == [[0, 1, 2]] * 2
    assert frames[0][2].image.shape == (1080, 1920, 3) and frames[0][2].captured_s - frames[0][0].captured_s > 0.06


def test_decoding_needs_pyav(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, "--decode"])
    assert ended.value.code == 2 and "--decode needs PyAV" in capsys.readouterr().err


# the table


def test_goals_are_met_or_not_or_not_measured() -> None:
    assert row("x", 3.0, "3.00", "ratio") == ("x", "3.00", ">= 3", "met")
    assert row("x", 20.1, "20.1", "delay_ms")[3] == "not met" and row("x", 20.0, "20", "delay_ms")[3] == "met"
    assert row("x", 8, "8", "streams")[3] == "met" and row("x", None, "", "streams")[1:] == ("not measured", ">= 8", "")
    assert set(GOALS) == {"ratio", "arithmetic", "delay_ms", "streams"}


@with_gpu
def test_the_whole_of_it_on_a_gpu(tmp_path: Path) -> None:
    words = [word for word in QUICK if word not in ("--device", "cpu")]
    words[words.index("eager")] = "eager-fp16-graphs"
    main([*words, "--json", str(tmp_path / "card.json")])
    assert json.loads((tmp_path / "card.json").read_text())["memory"]["of"] == "the card"
