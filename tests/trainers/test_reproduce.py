"""The queue over the rows of the tables: killed at any moment it comes to the same table; its claims; bad input."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from forks import Forks, is_alive, open_forks, until
from stills import write_stills

from realtime_polyp.metrics.bootstrap import Interval, draws
from realtime_polyp.packets import Detections
from trainers import reproduce
from trainers.backbone_recipes import LOOP, recipe_on, rows_on
from trainers.evaluation.claims import CLAIMS, ClaimsFile, Finding, format_claims, judge
from trainers.evaluation.paper_tables import TABLES
from trainers.recipes import RECIPES
from trainers.reproduction.archive import read_archive, write_archive
from trainers.reproduction.budget import Budget, Job, begin, list_configs
from trainers.reproduction.claims import add_earlier, measure_claims
from trainers.reproduction.predictions import FoundMasks, load_predictions, save_predictions
from trainers.reproduction.row import checksums_of
from trainers.reproduction.rows import QueueContext, check_results, load_rows

KILLS = 10
ROWS = ("fcos-r50", "atss-r50")


def words(data: Path, out: Path, *more: str) -> list[str]:
    return ["--tables", "3", "--rows", *ROWS, "--size", "64", "96",
            "--epochs", "2", "--batch", "4", "--workers", "0", "--draws", "20", "--checkpoint-minutes", "0",
            "--device", "cpu", "--parallel", "2", "--data", str(data), "--out", str(out / "queue"),
            "--results", str(out / "results"), *more]  # fmt: skip


def results_of(out: Path) -> dict[str, bytes]:
    """The result files, the claims, and the predictions that are kept beside the results."""
    files = [path for path in sorted((out / "results").rglob("[!.]*")) if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".npz"}
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_queue_killed_ten_times_ends_with_the_same_table(tmp_path: Path) -> None:
    """Killed when one or two files of work have been written since the last time, so that no kill meets the start."""
    data = write_stills(tmp_path / "stills")
    moments, out, alone = random.Random(1), tmp_path / "killed", tmp_path / "alone"
    with open_forks(tmp_path / "log") as forks:
        forks.finish("trainers.reproduce", [*words(data, alone), "--rows", ROWS[0]])
        for number in range(KILLS):
            command = [*words(data, out), *(["--resume"] if number else [])]
            killed_at_work(forks, command, out / "queue", moments)
        assert "2 of 2 rows are finished" in forks.finish("trainers.reproduce", words(data, out, "--resume"))
    done = finished(words(data, alone, "--resume"))  # this command and the process of a row as a user starts them
    assert "2 of 2 rows are finished" in done and "ATSS over FCOS" in done
    assert results_of(out) == results_of(alone)
    assert not [path for path in (out / "queue").rglob("*.npz") if path.name.startswith(".")], "half-written files stay"
    before = results_of(out)
    (out / "queue").rename(tmp_path / "lost")
    options = reproduce.command_line().parse_args(words(data, out))
    reproduce.report(list(ROWS), reproduce.context_of(reproduce.budget_of(options), options), options, [])
    assert results_of(out) == before, "what lies beside the results gives the same claims"


def killed_at_work(forks: Forks, command: list[str], folder: Path, moments: random.Random) -> None:
    begun, wanted = written(folder), moments.randint(1, 2)
    queue = forks.start("trainers.reproduce", command)
    until(lambda: not is_alive(queue) or len(written(folder) - begun) >= wanted)
    time.sleep(moments.uniform(0, 0.1))
    forks.kill(queue)


def finished(command: list[str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trainers.reproduce", *command]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def written(folder: Path) -> set[tuple[str, int]]:
    """Every version of the files that hold what a queue has done so far."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.name in ("checkpoint.pt", "history.json", "best.safetensors") or path.suffix == ".npz":
                found.add((str(path), path.stat().st_mtime_ns))
    return found


def test_a_row_s_process_ends_when_its_queue_is_gone(tmp_path: Path) -> None:
    """The watcher of `row`, in a process whose parent is killed."""
    child = "import os, threading, time; from trainers.reproduction.row import _end_with_queue; "
    child += "threading.Thread(target=_end_with_queue, args=(os.getppid(),), daemon=True).start(); "
    child += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(120)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT) as process:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        process.kill()
    number = int((tmp_path / "pid").read_text())
    until(lambda: not is_alive(number))
    assert not is_alive(number)


def test_a_row_that_fails_is_told_and_the_next_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processes that fail at once, in place of trainings."""
    data, started = write_stills(tmp_path / "stills"), []

    def start(job: Job, budget: Budget, options: Any) -> subprocess.Popen[bytes]:
        started.append(job.config)
        job.folder(options.out).mkdir(parents=True)
        (job.folder(options.out) / reproduce.LOG).write_text("begun\nthe loss is no number at step 3\n")
        return subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(2)"])

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "_POLL_S", 0.01)
    with pytest.raises(SystemExit) as ended:
        reproduce.main(words(data, tmp_path))
    assert ended.value.code == 1 and started == list(ROWS)
    text = capsys.readouterr().out
    assert "fcos-r50, seed 0 failed: the loss is no number at step 3 (see" in text
    assert "0 of 2 rows are finished" in text and "2 failed, the rest goes on with --resume: fcos-r50, atss-r50" in text


def test_the_hours_end_the_queue_and_its_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, processes = write_stills(tmp_path / "stills"), []

    def start(job: Job, budget: Budget, options: Any) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"]))
        return processes[-1]

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "_POLL_S", 0.01)
    reproduce.main([*words(data, tmp_path), "--hours", "0.0001"])
    assert len(processes) == 2 and all(process.returncode == -9 for process in processes)
    assert "The rest goes on with --resume: fcos-r50, atss-r50" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--size", "60", "96"], "--size 60 96: multiples of 32 from 64 on are allowed"),
        (["--hours", "-1"], "--hours must be above 0, got -1"),
        (["--seeds", "1", "1"], "--seeds 1 1: different numbers from 0 on are allowed"),
        (["--rows", "unetpp"], "--rows unetpp: on lite0 these tables have fcos-r50, atss-r50"),
        (["--resume"], "nothing to resume"),
        (["--data", "nowhere"], "nowhere has no train.json"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    data = write_stills(tmp_path / "stills")
    with pytest.raises(SystemExit) as ended:
        reproduce.main([*words(data, tmp_path), *more])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and told in error and error.strip().count("\n") == 0


def test_a_set_without_an_image_is_told_before_the_first_row_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_stills(tmp_path / "stills")
    (data / "unseen_C6.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(SystemExit) as ended:
        reproduce.main(words(data, tmp_path))
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "unseen_C6.json has no images: nothing to train or to measure on" in error
    assert not (tmp_path / "queue").exists()


def test_a_queue_goes_on_with_its_own_budget_only(tmp_path: Path) -> None:
    budget = Budget("lite0", (64, 96), 2)
    begin(tmp_path, budget, {}, resume=False)
    begin(tmp_path, budget, {}, resume=True)
    with pytest.raises(ValueError, match="holds a queue: go on with --resume"):
        begin(tmp_path, budget, {}, resume=False)
    with pytest.raises(ValueError, match=r"another budget \(size 64 96, not the recipe's; epochs 2, not 3\)"):
        begin(tmp_path, Budget("lite0", None, 3), {}, resume=True)
    with pytest.raises(ValueError, match=r"another budget \(precision the recipe's, not bfloat16\)"):
        begin(tmp_path, replace(budget, precision="bfloat16"), {}, resume=True)
    content = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**content, "format": 9}))
    with pytest.raises(ValueError, match="has format 9"):
        begin(tmp_path, budget, {}, resume=True)


def test_a_queue_goes_on_with_its_own_data_only(tmp_path: Path) -> None:
    """Else rows that were measured on other images would be compared with each other."""
    budget, data = Budget(), write_stills(tmp_path / "stills")
    begin(tmp_path / "queue", budget, checksums_of(data), resume=False)
    (data / "unseen_C6.json").write_text((data / "val.json").read_text())  # a set that came later is only measured
    begin(tmp_path / "queue", budget, checksums_of(data), resume=True)
    (data / "val.json").write_text((data / "val.json").read_text().replace('"C1"', '"C2"'))
    with pytest.raises(ValueError, match=r"began with another val.json: repeat its --data"):
        begin(tmp_path / "queue", budget, checksums_of(data), resume=True)
    plan = json.loads((tmp_path / "queue" / "plan.json").read_text())
    (tmp_path / "queue" / "plan.json").write_text(json.dumps({"format": 1, "budget": plan["budget"]}))
    begin(tmp_path / "queue", budget, checksums_of(data), resume=True)  # of an earlier version


def test_a_row_s_command_repeats_what_its_figures_and_intervals_depend_on() -> None:
    given = ["--tables", "4", "3", "--seeds", "0", "1", "--epochs", "2", "--augment-on", "device"]
    command = "python -m trainers.reproduce --tables 3 4 --backbone lite0 --epochs 2 --seeds 0 1 --augment-on device"
    parsed = reproduce.command_line().parse_args
    assert reproduce.command_of(parsed(given)) == command
    assert reproduce.command_of(parsed([*given, "--draws", "20"])) == f"{command} --draws 20"


def test_a_quick_test_does_not_replace_published_results() -> None:
    parsed = reproduce.command_line().parse_args
    assert reproduce.results_folder(parsed([])) == reproduce.RESULTS
    assert reproduce.results_folder(parsed(["--limit", "16", "--out", "quick"])) == Path("quick/results")
    assert reproduce.results_folder(parsed(["--limit", "16", "--results", "mine"])) == Path("mine")


def test_the_budget_in_words_is_that_of_every_row() -> None:
    """Without --epochs each recipe has its own length: the paper trains detectors and segmenters differently long."""
    rows = ["lowrank-hrnet-w48", "fcos-r50", "hrnet-w48"]
    assert reproduce.describe(Budget("paper"), rows) == "paper, 24 to 484 epochs, 1 seed"
    assert reproduce.describe(Budget("lite0", (64, 96), 2, seeds=(0, 1)), rows) == "lite0, 64x96, 2 epochs, 2 seeds"
    assert reproduce.describe(Budget(epochs=2, precision="bfloat16"), rows) == "lite0, 2 epochs, bfloat16, 1 seed"


# --- rows on another backbone


def test_every_row_that_differs_is_built_on_the_lite_backbone() -> None:
    shapes = set()
    for name in rows_on("lite0"):
        recipe = recipe_on(RECIPES[name], "lite0")
        with torch.device("meta"):
            net = recipe.build(recipe.config)
        millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
        assert 3 < millions < 8 and recipe.config.size == (320, 384) and recipe.backbone == "lite0"
        assert replace(recipe.loop, scales=(1.0,)) == LOOP
        shapes.add((type(net).__name__, str(recipe.config), recipe.loop.scales))
    assert len(shapes) == len(rows_on("lite0")) == 19


def test_rows_that_would_repeat_another_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="would be the same model as gflv2-r50: train that"):
        recipe_on(RECIPES["gflv2-r50-dcn"], "lite0")
    with pytest.raises(ValueError, match="gflv2-lite0 is no row"):
        recipe_on(RECIPES["gflv2-lite0"], "lite0")
    with pytest.raises(ValueError, match="there is no backbone 'lite9'"):
        recipe_on(RECIPES["fcos-r50"], "lite9")
    assert recipe_on(RECIPES["gflv2-r50-dcn"], "paper") is RECIPES["gflv2-r50-dcn"]


def test_the_queue_holds_every_row_once_and_those_that_a_claim_needs() -> None:
    assert list_configs([3], "lite0") == ["fcos-r50", "atss-r50", "gflv2-r50", "atss-r50-k9"]
    assert len(list_configs([1, 2, 3, 4], "lite0")) == 19
    every = {row.config for table in TABLES for row in table.rows}
    assert set(list_configs([4, 3, 2, 1], "paper")) == every | {"atss-r50-k9"}
    assert all(config in RECIPES for claim in CLAIMS for config in claim.configs)


# --- predictions and claims


def case(number: int, boxes: list[list[float]], found: list[list[float]], scores: list[float]) -> Any:
    true = np.array(boxes, np.float32).reshape(-1, 4)
    detections = Detections(np.array(found, np.float32).reshape(-1, 4), np.array(scores, np.float32))
    images = SimpleNamespace(true=true, found=np.asarray(detections.boxes), scores=detections.scores)
    group = f"g{number // 2}"
    still = SimpleNamespace(id=number, group=group, bootstrap_group=group, image_path=Path(f"{number}.png"))
    return SimpleNamespace(still=still, detections=detections, boxes=images)


def test_kept_boxes_have_the_figures_that_they_had(tmp_path: Path) -> None:
    exact = [case(n, [[0, 0, 50, 50]], [[0, 0, 50, 50]], [0.9]) for n in range(3)]
    missed = case(3, [[0, 0, 50, 50]], [], [])
    save_predictions(tmp_path / "a.npz", [*exact, missed])
    kept = load_predictions(tmp_path / "a.npz")
    assert kept.images == 4 and kept.groups == ["g0", "g0", "g1", "g1"]
    assert kept.figures(np.arange(3))["AP"] == pytest.approx(1.0)
    assert kept.figures(np.arange(4))["AP"] == pytest.approx(76 / 101)  # recall 3/4: 76 of 101 points
    assert kept.figures(np.array([3]))["AP"] == 0


def test_damaged_predictions_are_told(tmp_path: Path) -> None:
    save_predictions(tmp_path / "a.npz", [case(0, [[0, 0, 9, 9]], [[0, 0, 9, 9]], [0.5])])
    whole = (tmp_path / "a.npz").read_bytes()
    begins = 30 + int.from_bytes(whole[26:28], "little") + int.from_bytes(whole[28:30], "little")  # of the first array
    undecodable = whole[:begins] + b"\xff" + whole[begins + 1 :]  # 0xff begins no block of a compressed stream
    for part in (b"", whole[:40], whole[: len(whole) // 2], undecodable):
        (tmp_path / "a.npz").write_bytes(part)
        with pytest.raises(ValueError, match=r"a.npz is damaged: delete it"):
            load_predictions(tmp_path / "a.npz")


def test_a_row_with_a_damaged_file_is_left_out_of_the_claims_and_spoils_no_others(tmp_path: Path) -> None:
    context = QueueContext(Budget(), {}, tmp_path, tmp_path / "results")
    for row in ROWS:
        path = Job(row, 0).folder(tmp_path) / "predictions.val.npz"
        save_predictions(path, [case(0, [[0, 0, 9, 9]], [[0, 0, 9, 9]], [0.5])])
    assert list(load_rows(context, "val")) == [("fcos-r50", False), ("atss-r50", False)]
    path.write_bytes(b"")
    assert list(load_rows(context, "val")) == [("fcos-r50", False)]


def test_a_queue_that_goes_on_with_other_rows_keeps_the_claims_on_those_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_stills(tmp_path / "stills"), tmp_path / "queue"
    for row in ROWS:
        path = Job(row, 0).folder(out) / "predictions.val.npz"
        save_predictions(path, [case(0, [[0, 0, 9, 9]], [[0, 0, 9, 9]], [0.5])])
    given = ["--tables", "4", "--draws", "20", "--data", str(data), "--out", str(out), "--results", str(tmp_path)]
    options = reproduce.command_line().parse_args(given)
    reproduce.report(["unetpp"], reproduce.context_of(Budget(), options), options, [])
    text = capsys.readouterr().out
    assert "ATSS over FCOS" in text and "lite0, 12 epochs, 1 seed" in text and "0 of 1 rows are finished" in text


# --- predictions beside the result files


def scattered(count: int, most: int, *, seed: int = 0) -> list[Any]:
    """Images with up to two true boxes of all sizes, and up to `most` found ones, some of them close to a true one."""
    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        corners = rng.uniform(0, 400, (rng.integers(3), 2))
        true = np.hstack([corners, corners + rng.uniform(10, 200, corners.shape)])
        near = true + rng.normal(0, 1.5, true.shape)
        corners = rng.uniform(0, 400, (rng.integers(most - 1), 2))
        found = np.vstack([near, np.hstack([corners, corners + rng.uniform(10, 200, corners.shape)])])
        scores = rng.uniform(0, 1, len(found)).round(1 if number % 2 else 9)  # of some images, several are equal
        cases.append(case(number, true.tolist(), found.tolist(), scores.tolist()))
    return cases


def test_predictions_beside_a_result_give_the_figures_of_the_queue_s_folder_to_the_last_digit(tmp_path: Path) -> None:
    budget = Budget(seeds=(0, 10))
    context = QueueContext(budget, {"train.json": "a" * 12, "val.json": "b" * 12}, tmp_path, tmp_path)
    origin = context.origin_of("fcos-r50", "val")
    for number, cases in enumerate([scattered(40, 30), [case(n, [[0, 0, 9, 9]], [], []) for n in range(4)]]):
        for seed in budget.seeds:
            save_predictions(tmp_path / f"{seed}.npz", cases)
        runs = [load_predictions(tmp_path / f"{seed}.npz") for seed in budget.seeds]
        write_archive(tmp_path / f"row{number}.npz", runs, origin)
        for kept, run in zip(read_archive(tmp_path / f"row{number}.npz", origin), runs, strict=True):
            pairs = zip(
                draws(kept.images, samples=20, groups=kept.groups),
                draws(run.images, samples=20, groups=run.groups),
                strict=True,
            )
            assert all(kept.figures(one) == run.figures(other) for one, other in pairs)
    columns = {"dice": np.random.default_rng(0).uniform(size=9), "hd95_px": np.array([np.nan, *range(8)], float)}
    run = FoundMasks(columns, 9, None)
    write_archive(tmp_path / "masks.npz", [run, run], origin)
    kept = read_archive(tmp_path / "masks.npz", origin)[1]
    assert kept.figures(np.arange(9)) == run.figures(np.arange(9)) and kept.groups == [str(n) for n in range(9)]


def test_predictions_beside_a_result_are_small(tmp_path: Path) -> None:
    """`val` has 472 images."""
    save_predictions(tmp_path / "run.npz", scattered(472, 40))
    origin = QueueContext(Budget(), {}, tmp_path, tmp_path).origin_of("fcos-r50", "val")
    write_archive(tmp_path / "row.npz", [load_predictions(tmp_path / "run.npz")], origin)
    assert (tmp_path / "row.npz").stat().st_size < 100_000


def finished_row(config: str, context: QueueContext, cases: list[Any], data: Path) -> None:
    """What the process of a row leaves in the queue's folder, and what the queue writes of it."""
    folder = Job(config, 0).folder(context.out)
    save_predictions(folder / "predictions.val.npz", cases)
    recipe = {"config": config, "task": "detector", "size": [64, 96], "init": "random", "differs": {}, "images": 8,
              "loop": {}, "augment": {}, "versions": {}}  # fmt: skip
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "history.json").write_text('[{"epoch": 1, "loss": 0.5}]')
    options = reproduce.command_line().parse_args(words(data, context.out.parent))
    reproduce.write_results(config, context, options)


def queue_of(data: Path, out: Path, *, epochs: int = 2) -> QueueContext:
    """That of `words`."""
    return QueueContext(Budget("lite0", (64, 96), epochs, 4), checksums_of(data), out / "queue", out / "results")


def good(missed: int = 0) -> list[Any]:
    """Eight images; the boxes of the first ones are missed."""
    return [case(n, [[0, 0, 50, 50]], [[0, 0, 50, 50]] if n >= missed else [], [0.9] * (n >= missed)) for n in range(8)]


def test_a_row_whose_queue_is_lost_is_counted_by_a_new_queue_with_the_same_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, before = write_stills(tmp_path / "stills"), tmp_path / "before"
    finished_row("fcos-r50", queue_of(data, before), good(missed=7), data)
    shutil.rmtree(before / "queue")
    after = replace(queue_of(data, before), out=tmp_path / "after")
    finished_row("atss-r50", after, good(), data)
    options = reproduce.command_line().parse_args(words(data, before))
    reproduce.report(list(ROWS), after, options, [])
    claims = json.loads((before / "results" / "claims" / "lite0.val.json").read_text())
    assert [(one["claim"], one["verdict"]) for one in claims["findings"]] == [("ATSS over FCOS", "confirmed")]
    assert claims["findings"][0]["difference"] == pytest.approx(1 - 13 / 101, abs=1e-6)  # recall 1/8: 13 of 101 points
    assert "lite0, 64x96, 2 epochs, 1 seed" in capsys.readouterr().out


def test_rows_of_another_budget_data_or_set_of_images_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_stills(tmp_path / "stills")
    context = queue_of(data, tmp_path)
    finished_row("fcos-r50", context, good(), data)
    check_results(context)
    path = tmp_path / "results" / "fcos-r50.lite0.val.json"
    for also_result in (True, False):  # predictions without a result file are checked too
        for others, told in (({"epochs": 3}, "epochs 2, not 3"), ({"seeds": (1,)}, "seeds 0, not 1")):
            with pytest.raises(ValueError, match=rf"is of another budget \({told}\): choose another folder"):
                check_results(replace(context, budget=replace(context.budget, **others)))
        with pytest.raises(ValueError, match="is of another val.json: choose another folder with --results"):
            check_results(replace(context, data={**context.data, "val.json": "0" * 12}))
        if also_result:
            path.unlink()
    finished_row("fcos-r50", context, good(), data)
    shutil.rmtree(tmp_path / "queue")
    with pytest.raises(SystemExit) as ended:
        reproduce.main([*words(data, tmp_path), "--epochs", "3"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "another budget (epochs 2, not 3)" in error and error.strip().count("\n") == 0
    assert not (tmp_path / "queue").exists(), "a queue that is refused has not begun"
    finished_row("atss-r50", context, good()[:6], data)
    with pytest.raises(ValueError, match="fcos-r50 and atss-r50 were measured on different images of val"):
        load_rows(context, "val")


def test_results_of_earlier_versions_are_checked_by_what_they_tell(tmp_path: Path) -> None:
    data = write_stills(tmp_path / "stills")
    context = queue_of(data, tmp_path)
    finished_row("fcos-r50", context, good(), data)
    path = tmp_path / "results" / "fcos-r50.lite0.val.json"
    path.with_suffix(".npz").unlink()
    content = json.loads(path.read_text())
    del content["budget"], content["data"]
    content["recipe"]["loop"] = {"batch": 4, "precision": "float32"}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"another budget \(augment_draws coinciding, not independent\)"):
        check_results(context)  # of workers whose changes began with the same numbers
    content["command"] += " --augment-on device"
    path.write_text(json.dumps(content))
    context = replace(context, budget=replace(context.budget, augment_on="device"))
    check_results(context)
    with pytest.raises(ValueError, match=r"another budget \(precision float32, not bfloat16\)"):
        check_results(replace(context, budget=replace(context.budget, precision="bfloat16")))
    with pytest.raises(ValueError, match=r"another budget \(batch 4, not 8\)"):
        check_results(replace(context, budget=replace(context.budget, batch=8)))
    del content["seeds"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is not a result of trainers.reproduce: `seeds` is missing; choose another"):
        check_results(context)


def test_damaged_predictions_beside_a_result_are_one_sentence(tmp_path: Path) -> None:
    data = write_stills(tmp_path / "stills")
    context = queue_of(data, tmp_path)
    finished_row("fcos-r50", context, good(), data)
    path = tmp_path / "results" / "fcos-r50.lite0.val.npz"
    shutil.copy(path, path.with_name("atss-r50.lite0.val.npz"))
    with pytest.raises(ValueError, match="atss-r50.lite0.val.npz holds fcos-r50 on val, not what its name says"):
        check_results(context)
    path.with_name("atss-r50.lite0.val.npz").unlink()
    whole = path.read_bytes()
    for part in (b"", whole[:40], whole[: len(whole) // 2]):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="fcos-r50.lite0.val.npz is damaged: delete it, or restore it with git"):
            check_results(context)


def test_a_verdict_whose_predictions_are_lost_stays_while_it_agrees_with_the_figures() -> None:
    def finding(claim: str, difference: float) -> Finding:
        return Finding(claim=claim, figure="AP", difference=difference, interval=None, paper=None, verdict="undecided")

    figures = {("fcos-r50", False): {"AP": 0.432}, ("atss-r50", False): {"AP": 0.5027}}
    earlier = [finding("ATSS over FCOS", 0.0707), finding("GFLv2 over ATSS", 0.0074)]
    new = finding("FPN over BiFPN", 0.01)
    assert add_earlier([new], earlier, figures) == [earlier[0], new]  # of GFLv2 there is no result
    figures["fcos-r50", False] = {"AP": 0.44}  # trained anew
    assert add_earlier([new], earlier, figures) == [new]
    assert add_earlier([finding("ATSS over FCOS", 0.06)], earlier, figures)[0].difference == 0.06


def masks(dice: list[float]) -> FoundMasks:
    return FoundMasks({"dice": np.array(dice)}, len(dice), None)


def test_claims_are_judged_by_the_interval_of_the_difference() -> None:
    assert judge(Interval(0.01, 0.2)) == "confirmed" and judge(Interval(-0.2, -0.01)) == "contradicted"
    assert judge(Interval(-0.1, 0.1)) == judge(Interval(0.0, 0.1)) == judge(None) == "undecided"


def test_a_paired_difference_is_decided_where_the_images_differ_more_than_the_models() -> None:
    spread = np.linspace(0.1, 0.9, 20)
    rows = {
        ("lowrank-hrnet-w48", False): [masks(list(spread + 0.02)), masks(list(spread + 0.04))],
        ("hrnet-w48", False): [masks(list(spread))],
    }
    (finding,) = measure_claims(rows, samples=50)
    assert finding.claim == "low-rank module over none" and finding.difference == pytest.approx(0.03)
    assert finding.interval == pytest.approx((0.03, 0.03)) and finding.verdict == "confirmed"
    rows["hrnet-w48", False] = [masks(list(spread[::-1]))]
    assert measure_claims(rows, samples=200)[0].verdict == "undecided"


def test_of_several_rows_the_mean_counts() -> None:
    rows: dict[tuple[str, bool], Any] = {("hrnet-w48", False): [masks([0.8, 0.8])]}
    for name, dice in (("unetpp", 0.9), ("pranet", 0.9), ("acsnet", 0.8), ("acfnet", 0.8)):
        assert not measure_claims(rows, samples=5)
        rows[name, False] = [masks([dice, dice])]
    (finding,) = measure_claims(rows, samples=5)
    assert finding.difference == pytest.approx(-0.05) and finding.verdict == "contradicted"


def test_verdicts_are_printed_with_the_paper_s_difference() -> None:
    finding = Finding(claim="ATSS over FCOS", figure="AP", difference=0.012, interval=(-0.01, 0.03), paper=0.018,
                      verdict="undecided")  # fmt: skip
    text = format_claims(ClaimsFile(format=1, data="val", images=472, budget="lite0", findings=[finding]))
    assert "ATSS over FCOS" in text and "+1.8" in text and "+1.2" in text and "[-1.0 +3.0]" in text
    assert "undecided" in text
