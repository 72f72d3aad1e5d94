"""A day with a GPU, with a clock that is set by hand and commands that are small."""

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from trainers.gpu import day as gpu_day
from trainers.gpu import steps as gpu_steps
from trainers.gpu.landing import averaged_weights, read_figures
from trainers.gpu.planner import Outcome, Step, run_steps
from trainers.gpu.processes import Command, last_line, run_all
from trainers.gpu.steps import GPU_TESTS, STEP_NAMES, Day, count_results, read_bench, steps_of
from trainers.gpu.summary import MOST_FILE_BYTES, MOST_FILES, bring_folder, bring_half, pack_files, write_summary


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def step_of(
    clock: Clock, name: str, takes_s: float, *, least_s: float, most_s: float = 1e9, share: float = 1.0
) -> Step:
    def work(limit_s: float) -> dict[str, Any]:
        clock.now_s += min(takes_s, limit_s)
        return {"allowed_s": limit_s}

    return Step(name, f"the {name}", least_s, most_s, share, work)


# the planner


def test_steps_run_in_order_within_their_budgets_and_the_rest_is_skipped_with_a_sentence() -> None:
    clock = Clock()
    steps = [
        step_of(clock, "first", 500, least_s=10, most_s=90),
        step_of(clock, "second", 50, least_s=10, share=0.5),
        step_of(clock, "third", 10, least_s=100),
        step_of(clock, "fourth", 500, least_s=10),
    ]
    seen: list[int] = []
    found = run_steps(steps, 200, clock, report=lambda outcomes: seen.append(len(outcomes)))
    assert [one.state for one in found] == ["done", "done", "skipped", "done"] and seen == [1, 2, 3, 4]
    assert [one.figures.get("allowed_s") for one in found] == [90, 55, None, 60]
    assert [one.began_s for one in found] == [0, 90, 140, 140] and clock.now_s == 200
    assert found[2].sentence == "the third: skipped, 60 s are left and it needs 100 s"


def test_a_step_that_fails_does_not_end_the_day() -> None:
    clock = Clock()

    def broken(limit_s: float) -> dict[str, Any]:
        clock.now_s += 3
        raise RuntimeError("the card fell off the bus\nand more")

    steps = [Step("a", "the first", 1, 10, 1.0, broken), step_of(clock, "b", 5, least_s=1)]
    found = run_steps(steps, 100, clock, report=lambda outcomes: None)
    assert [one.state for one in found] == ["failed", "done"] and found[0].took_s == 3
    assert found[0].sentence.startswith("the first: failed, the card fell off the bus")


def test_the_day_has_the_four_steps_in_order_of_value(tmp_path: Path) -> None:
    steps = steps_of(Day("cuda", None, tmp_path, tmp_path))
    assert tuple(step.name for step in steps) == STEP_NAMES
    assert steps[0].most_s == 110 and sum(step.least_s for step in steps) < 9.5 * 60


def test_every_file_with_tests_of_a_card_is_run_but_the_one_that_decodes() -> None:
    with_card = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r'needs\("cuda"', path.read_text())
    }
    assert with_card - set(GPU_TESTS) == {"tests/sources/test_sources_hardware.py"} and set(GPU_TESTS) <= with_card


# training


def test_a_run_that_was_stopped_before_its_validation_brings_the_average_of_its_last_epoch(tmp_path: Path) -> None:
    torch.save({"averaged": {"weight": torch.ones(2)}}, tmp_path / "checkpoint.pt")
    assert averaged_weights(tmp_path)["weight"].tolist() == [1, 1]
    save_file({"weight": torch.zeros(2)}, tmp_path / "best.safetensors")
    assert averaged_weights(tmp_path)["weight"].tolist() == [0, 0]


def test_weights_that_cannot_be_brought_keep_no_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    for model, value in (("large", 1e5), ("small", 1.5)):
        (work / "train" / model).mkdir(parents=True)
        save_file({"w": torch.full((2, 2), value)}, work / "train" / model / "best.safetensors")
    trained: dict[str, dict[str, Any]] = {"large": {"minutes": 1.0}, "small": {"minutes": 1.0}}
    monkeypatch.setattr(gpu_steps, "train_models", lambda *_, **__: trained)
    found = gpu_steps.train(Day("cpu", tmp_path, work, out), 60.0)
    assert [path.name for path in out.iterdir()] == ["small.fp16.safetensors"]
    assert "half precision holds 65504 at most" in found["large"]["weights"] and "weights" not in found["small"]


def test_figures_come_with_their_intervals(tmp_path: Path) -> None:
    measured = {"AP": 0.5, "AP_s": None, "intervals": {"AP": [0.4, 0.6]}}
    (tmp_path / "val.json").write_text(json.dumps({"detection": measured, "segmentation": None}))
    assert read_figures(tmp_path / "val.json") == {"AP": 0.5, "AP_interval": [0.4, 0.6]}
    assert read_figures(tmp_path / "none.json") == {}


# processes


def test_commands_run_at_the_same_time_and_are_stopped_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quick.py").write_text("import os\nprint('one\\rtwo', os.environ['WORD'])\nraise SystemExit(3)\n")
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    looks: list[int] = []
    commands = [Command(name, ["quick"], {"WORD": name}) for name in ("three", "four")]
    ended = run_all(commands, 60, tmp_path / "logs", watch=lambda: looks.append(1))
    assert [(one.code, one.last_line) for one in ended] == [(3, "two three"), (3, "two four")] and looks
    assert ended[0].sentence == "three: exit code 3, two three"
    slow = run_all([Command("slow", ["slow"], {})], 0.2, tmp_path / "logs")[0]
    assert slow.code is None and slow.sentence.startswith("slow: stopped after")
    assert last_line("none", tmp_path) == ""


# what comes back


def test_results_of_tests_are_counted_also_when_they_were_stopped() -> None:
    log = """tests/a.py::test_one[cuda] PASSED                [ 10%]
[gw1] [ 20%] FAILED tests/a.py::test_two[PASSED]
tests/a.py::test_three SKIPPED (no tensorrt)      [ 30%]
tests/a.py::test_four
FAILED tests/a.py::test_two - boom"""
    found = count_results(log)
    assert (found["passed"], found["failed"], found["skipped"], found["error"]) == (1, 1, 1, 0)
    assert found["failures"] == ["[gw1] [ 20%] FAILED tests/a.py::test_two[PASSED]"]


def test_a_benchmark_that_was_stopped_gives_what_it_has(tmp_path: Path) -> None:
    assert read_bench(tmp_path / "none.json") == {}
    report = {"throughput": {"fps": {"eager": 9.0}, "ratio": None}, "delay": None, "notes": ["no TensorRT"]}
    (tmp_path / "bench.json").write_text(json.dumps(report))
    found = read_bench(tmp_path / "bench.json")
    assert found["frames_per_s"] == {"eager": 9.0} and found["delay_p99_ms"] is None
    assert found["notes"] == ["no TensorRT"]


def write_sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as packed:
        return packed.getnames()


def test_a_call_that_trains_and_reproduces_brings_everything_in_eight_files_of_16_mib(tmp_path: Path) -> None:
    """Logs, runs, results, the queue, the trace, and five models: ten files beside the summaries."""
    folder, out = tmp_path / "work", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    sizes = {"logs.tar.gz": 1, "runs.tar.gz": 1, "trace.json.gz": 1, "results.tar.gz": 2, "queue.tar.gz": 12}
    sizes |= {f"model{number}.fp16.safetensors": 9 for number in range(5)}
    for name, mib in sizes.items():
        write_sparse(folder / name, mib << 20)
    write_summary(out, {"command": "day", "card": {"name": "Card", "versions": {}}}, [], pack_files(folder, out))
    left = sorted(out.iterdir())
    assert len(left) <= MOST_FILES and {"summary.json", "summary.md"} < {path.name for path in left}
    assert all(path.stat().st_size <= MOST_FILE_BYTES for path in left)
    archives = [path for path in left if path.suffix == ".tar"]
    assert sorted(name for path in archives for name in names_in(path)) == sorted(sizes)
    assert len(archives) == 6 and (out / "summary.md").read_text().count("stays behind") == 0


def test_what_does_not_fit_stays_behind_with_a_sentence_and_old_archives_go(tmp_path: Path) -> None:
    folder, out = tmp_path / "work", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for number in range(7):
        write_sparse(folder / f"model{number}", 12 << 20)
    write_sparse(folder / "large", MOST_FILE_BYTES)  # with the archive's own bytes it is larger
    (folder / "logs.tar.gz").write_bytes(b"logs")
    notes = pack_files(folder, out)
    assert notes == [
        "model6 stays behind: 6 archives of 16 MiB come back at most",
        "large stays behind: it has 16.0 MiB, and 16 MiB come back at most",
    ]
    assert names_in(out / "files1.tar") == ["logs.tar.gz", "model0"] and len(list(out.iterdir())) == 6
    for path in folder.glob("model*"):
        path.unlink()
    pack_files(folder, out)
    assert [path.name for path in out.iterdir()] == ["files1.tar"] and names_in(out / "files1.tar") == ["logs.tar.gz"]


def test_the_summary_names_the_card_and_every_step(tmp_path: Path) -> None:
    outcomes = [
        Outcome("bench", "done", "benchmarks: 20 s of 60 s", 3.0, 20.0, {"paper": {"fps": 123.456, "notes": []}}),
        Outcome("train", "skipped", "training: skipped, 5 s are left and it needs 90 s", 23.0, 0.0, {}),
    ]
    head = {"command": "bash day.sh", "card": {"name": "NVIDIA H100", "versions": {"torch": "2.11.0"}}}
    write_summary(tmp_path, head, outcomes, ["no stills: carry trip2"])
    text, content = (tmp_path / "summary.md").read_text(), json.loads((tmp_path / "summary.json").read_text())
    assert text.startswith("# NVIDIA H100") and "| 23 | 0 | train | training: skipped, 5 s" in text
    assert "- paper, fps: 123.5" in text and "no stills: carry trip2" in text
    assert content["steps"][0]["figures"]["paper"]["fps"] == 123.456 and content["card"]["name"] == "NVIDIA H100"


def test_weights_come_back_in_half_precision_and_folders_as_archives(tmp_path: Path) -> None:
    save_file({"w": torch.tensor([[1.5, -2.0]]), "n": torch.tensor([3])}, tmp_path / "best.safetensors")
    bring_half(load_file(tmp_path / "best.safetensors"), tmp_path / "half.safetensors")
    state = load_file(tmp_path / "half.safetensors")
    assert state["w"].dtype == torch.float16 and state["w"].tolist() == [[1.5, -2.0]]
    assert state["n"].dtype == torch.int64
    (tmp_path / "runs").mkdir()
    for name in ("history.json", "checkpoint.pt"):
        (tmp_path / "runs" / name).write_text("{}")
    bring_folder(tmp_path / "runs", tmp_path / "runs.tar.gz", (".json",))
    with tarfile.open(tmp_path / "runs.tar.gz") as packed:
        assert packed.getnames() == ["runs/history.json"]


# the command


def test_a_day_without_trips_says_so_and_does_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(day: Day, names: list[str]) -> list[Step]:
        return [
            Step("tests", "tests", 0, 60, 1.0, lambda limit_s: {"passed": 3}),
            Step("train", "training", 0, 60, 1.0, lambda limit_s: {"data": str(day.stills())}),
        ]

    monkeypatch.setattr(gpu_day, "steps_of", steps)
    kit, out = tmp_path / "kit", tmp_path / "out"
    kit.mkdir()
    gpu_day.main(["--device", "cpu", "--minutes", "2", "--kit", str(kit), "--out", str(out)])
    content = json.loads((out / "summary.json").read_text())
    assert [one["state"] for one in content["steps"]] == ["done", "failed"]
    assert content["notes"] == [f"no stills: no trip is in {kit}: carry {kit}/trip1"]
    assert "the stills are not here" in content["steps"][1]["sentence"]
    assert names_in(out / "files1.tar") == ["logs.tar.gz", "runs.tar.gz"]
    assert "1 of 2 steps done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0.1", "--device", "cpu"], "--minutes 0.1: 0.5 to 60 are allowed"),
        pytest.param(
            [], "torch sees no GPU here", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_day.main([*words, "--out", str(tmp_path)])
    assert ended.value.code == 2 and said in capsys.readouterr().err
