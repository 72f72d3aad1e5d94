"""The loop on a made-up data set of eight stills, with toy models: it learns, resumes to the bit, and never loses a
checkpoint."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stills import COUNT, WITHOUT_POLYP, write_stills
from torch import Tensor, nn
from toys import LOOP, SIZE, toy

import trainers.training.loop as loop
from trainers import train_detector, train_segmenter
from trainers.data.augment import NONE, STRONG, Augment
from trainers.data.compose import copy_paste, mosaic
from trainers.data.stills import TrainingStills, collate, epoch_order, polyp_boxes, read_stills
from trainers.recipes import RECIPES
from trainers.training.contract import Losses, Targets
from trainers.training.distributed import ProcessGroup
from trainers.training.loop import Run, TrainingTask, fit, save_checkpoint
from trainers.training.run import task_of
from trainers.training.run_folder import BEST
from trainers.training.schedule import LoopConfig, image_scale, learning_rate, scaled_down

pytestmark = pytest.mark.usefixtures("quick_loop")
NAMES = ["gflv2-lite0", "lowrank-lite0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


def stills_of(data: Path, augment: Augment | None = None) -> TrainingStills:
    return TrainingStills(read_stills(data / "train.json", data), SIZE, augment or Augment(NONE), seed=0)


def task(data: Path, name: str) -> TrainingTask:
    torch.manual_seed(0)
    recipe = toy(RECIPES[name])
    net = recipe.build(recipe.config)
    if name.startswith("gflv2"):
        nn.init.zeros_(net.head.cls.bias)  # type: ignore[union-attr, arg-type]  # with the prior, boxes weigh nothing
    return task_of(recipe, net, read_stills(data / "val.json", data), pretrained=False)


Seen = Callable[[int, Targets, Losses], None]


def watched(task: TrainingTask, seen: Seen) -> TrainingTask:
    """The task, its loss calling `seen` (step, targets, losses) at every step."""
    steps, original = iter(range(10_000)), task.model._loss

    def loss(net: nn.Module, images: Tensor, targets: Targets) -> Losses:
        losses = original(net, images, targets)
        seen(next(steps), targets, losses)
        return losses

    task.model._loss = loss
    return task


@pytest.mark.parametrize("name", NAMES)
def test_frames_without_a_polyp_are_used(data: Path, tmp_path: Path, name: str) -> None:
    counts: list[int] = []
    seen = watched(task(data, name), lambda step, targets, losses: counts.extend(len(one) for one in targets.boxes))
    fit(seen, stills_of(data), replace(LOOP, epochs=1), tmp_path)
    assert sorted(counts) == [0] * len(WITHOUT_POLYP) + [1] * (COUNT - len(WITHOUT_POLYP))


def test_a_run_by_the_clock_ends_in_the_middle_of_an_epoch_and_is_validated(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times_s = itertools.count()  # a second passes each time that the clock is read
    monkeypatch.setattr("trainers.training.loop.time.monotonic", lambda: float(next(times_s)))
    config = replace(LOOP, epochs=600, validate_every=600)
    run = fit(task(data, NAMES[0]), stills_of(data), config, tmp_path, minutes=0.5)
    assert 0 < run.step < run.total_steps and run.is_over
    assert "AP" in run.history[-1] and (tmp_path / BEST).is_file()
    assert run.optimizer.param_groups[0]["lr"] < 0.1 * LOOP.learning_rate  # the schedule has landed
    with pytest.raises(ValueError, match="^--minutes ends a run of one process by the clock"):
        fit(task(data, NAMES[0]), stills_of(data), config, tmp_path, resume=True, minutes=0.5)


def test_a_run_with_more_time_than_epochs_lands_with_its_last_epoch(data: Path, tmp_path: Path) -> None:
    run = fit(task(data, NAMES[0]), stills_of(data), replace(LOOP, epochs=3), tmp_path, minutes=600)
    assert run.step == run.total_steps and run.share() == 1.0
    assert run.optimizer.param_groups[0]["lr"] < 0.1 * LOOP.learning_rate


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_broke_off_goes_on_to_the_same_weights(data: Path, tmp_path: Path, name: str) -> None:
    """Interrupted in the middle of an epoch, and once more; augmented, so that the data's chance matters too."""
    config = replace(LOOP, epochs=4, batch=2, checkpoint_s=-1.0, small_share=0.5, scales=(1.0, 1.34))  # sixteen steps
    augment = Augment(STRONG)
    unbroken = fit(task(data, name), stills_of(data, augment), config, tmp_path / "unbroken")
    for resume, breaks_at in ((False, 6), (True, 3)):
        with pytest.raises(KeyboardInterrupt):
            broken = watched(task(data, name), _breaking(breaks_at))
            fit(broken, stills_of(data, augment), config, tmp_path / "broken", resume=resume)
    resumed = fit(task(data, name), stills_of(data, augment), config, tmp_path / "broken", resume=True)
    assert unbroken.step == resumed.step == 16
    assert_same_run(unbroken, resumed)
    assert_equal(load_file(tmp_path / "unbroken" / loop.BEST), load_file(tmp_path / "broken" / loop.BEST))
    assert unbroken.history == resumed.history
    begun = task(data, name).model.net.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(begun, resumed.net.parameters(), strict=True))


def _breaking(at: int) -> Seen:
    def seen(step: int, targets: Targets, losses: Losses) -> None:
        if step == at:
            raise KeyboardInterrupt

    return seen


def assert_same_run(first: Run, second: Run) -> None:
    assert_equal(first.net.state_dict(), second.net.state_dict())
    assert_equal(first.average.state_dict(), second.average.state_dict())
    assert_equal(first.optimizer.state_dict()["state"], second.optimizer.state_dict()["state"])


def assert_equal(first: dict, second: dict) -> None:  # type: ignore[type-arg]
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, dict):
            assert_equal(value, second[name])
        else:
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])), name


def test_a_checkpoint_is_replaced_whole_or_not_at_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = Run(task(data, NAMES[0]), LOOP, ProcessGroup(), 2), tmp_path / loop.CHECKPOINT
    save_checkpoint(run, path)
    before = path.read_bytes()

    def dies_half_way(state: object, target: Path) -> None:
        Path(target).write_bytes(before[: len(before) // 2])
        raise OSError("No space left on device")

    run.step = 7
    monkeypatch.setattr(loop.torch, "save", dies_half_way)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(run, path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    save_checkpoint(run, path)  # and what was left half written is in nobody's way
    assert torch.load(path, weights_only=True)["step"] == 7


def test_a_checkpoint_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    fit(task(data, NAMES[0]), stills_of(data), replace(LOOP, epochs=1), tmp_path)
    with pytest.raises(ValueError, match="other values of learning_rate: start a new --out"):
        other = replace(LOOP, epochs=1, learning_rate=1e-4)
        fit(task(data, NAMES[0]), stills_of(data), other, tmp_path, resume=True)


def test_nothing_to_resume_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        fit(task(data, NAMES[0]), stills_of(data), LOOP, tmp_path, resume=True)


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_its_batch(data: Path, tmp_path: Path) -> None:
    def spoil(step: int, targets: Targets, losses: Losses) -> None:
        if step == 3:
            losses["quality"] = losses["quality"] * float("nan")

    with pytest.raises(FloatingPointError, match="the loss is no number at step 3 .*quality nan.*bad_batch.pt"):
        fit(watched(task(data, NAMES[0]), spoil), stills_of(data), LOOP, tmp_path)
    kept = torch.load(tmp_path / loop.BAD_BATCH, weights_only=True)
    assert kept["step"] == 3 and kept["images"].shape == (4, 3, *SIZE) and len(kept["boxes"]) == 4


def test_bfloat16_learns_as_well(data: Path, tmp_path: Path) -> None:
    totals: list[float] = []
    seen = watched(
        task(data, "lowrank-lite0"), lambda s, t, losses: totals.append(sum(x.item() for x in losses.values()))
    )
    fit(seen, stills_of(data), replace(LOOP, precision="bfloat16", learning_rate=3e-2), tmp_path)
    assert np.mean(totals[-4:]) < 0.85 * np.mean(totals[:4])


# the schedule


def test_the_paper_s_rate_falls_tenfold_at_epochs_16_and_22() -> None:
    config = replace(RECIPES["gflv2-r50"].loop, warmup_steps=0)
    rates = [learning_rate(config, epoch * 100, 2400) for epoch in range(24)]
    assert rates[:16] == [0.01] * 16
    assert rates[16:22] == pytest.approx([0.001] * 6) and rates[22:] == pytest.approx([0.0001] * 2)


def test_a_shorter_run_keeps_its_proportions_and_a_smaller_batch_its_rate_per_image() -> None:
    config = replace(RECIPES["gflv2-r50"].loop, warmup_steps=0)
    small = scaled_down(config, epochs=12, batch=2)
    assert (small.epochs, small.batch) == (12, 2) and small.learning_rate == pytest.approx(0.0025)
    assert learning_rate(small, 799, 1200) == pytest.approx(0.0025)
    assert learning_rate(small, 800, 1200) == pytest.approx(0.00025)
    adam = scaled_down(LoopConfig(learning_rate=1e-3, batch=8), batch=2)
    assert adam.learning_rate == pytest.approx(5e-4)


@pytest.mark.parametrize("name", ["polyp-lite2", "retinanet-r50"])
@pytest.mark.parametrize("steps", [30, 150, 2000])
def test_a_run_that_the_clock_ends_reaches_its_learning_rate(name: str, steps: int) -> None:
    """Its epochs are far more than the time allows."""
    config = replace(RECIPES[name].loop, epochs=600)
    rates = [learning_rate(config, step, 100_000, share=step / steps) for step in range(steps)]
    assert max(rates) > 0.9 * config.learning_rate and rates[0] < 0.1 * config.learning_rate
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "step", "poly"])
def test_every_schedule_warms_up_and_never_rises_again(schedule: str) -> None:
    config = LoopConfig(schedule=schedule, warmup_steps=10, learning_rate=1.0)  # type: ignore[arg-type]
    rates = [learning_rate(config, step, 200) for step in range(200)]
    assert rates[0] == pytest.approx(0.1, rel=0.01) and max(rates) > 0.89
    assert all(later <= earlier + 1e-12 for earlier, later in zip(rates[10:], rates[11:], strict=False))
    assert 0 < rates[-1] < 0.02 or schedule == "step"


def test_multi_scale_training_draws_all_sizes_of_the_paper_and_the_same_ones_again() -> None:
    config = RECIPES["gflv2-x101-dcn-ms"].loop
    drawn = [image_scale(config, step, 0) for step in range(200)]
    assert sorted({round(scale * 800) for scale in drawn}) == [480, 600, 720, 840, 960]
    assert drawn == [image_scale(config, step, 0) for step in range(200)]


# the data


def test_boxes_follow_their_polyps_through_every_augmentation(data: Path) -> None:
    plain = replace(STRONG, mosaic=0.0, specular_probability=0.0, grey_world=0.0, hue=0.0)
    stills = stills_of(data, Augment(plain))
    seen = 0
    for epoch in range(4):
        stills.epoch = epoch
        for index in range(COUNT):
            pixels, boxes, mask = stills[index]
            assert pixels.shape == (3, *SIZE) and mask.shape == SIZE and set(mask.unique().tolist()) <= {0, 1}
            for x1, y1, x2, y2 in boxes.long().tolist():
                seen += 1
                assert mask[y1:y2, x1:x2].any(0).all() and mask[y1:y2, x1:x2].any(1).all()  # tight
            if len(boxes):
                polyp, rest = pixels[:, mask == 1].float().mean(), pixels[:, mask == 0].float().mean()
                assert polyp > rest + 5  # the mask lies on the bright discs, pasted ones too
    assert seen > 20


def test_a_pasted_polyp_brings_its_label_and_leaves_the_others_alone() -> None:
    chance = np.random.default_rng(3)
    image, labels = np.full((80, 120, 3), 120, np.uint8), np.zeros((80, 120), np.uint8)
    labels[5:25, 5:25] = 1
    donor_labels = np.zeros((80, 120), np.uint8)
    donor_labels[30:50, 40:60] = 1
    donor = np.full((80, 120, 3), 90, np.uint8)
    donor[30:50, 40:60] = (250, 200, 180)
    pasted, found = copy_paste((image, labels), (donor, donor_labels), chance)
    assert set(np.unique(found)) == {0, 1, 2} and (found == 2).sum() > 50
    assert (found == 1).sum() >= 0.9 * 400
    changed = (pasted != image).any(axis=2)
    assert changed[found == 2].mean() > 0.9 and not changed[40:][:, 110:][found[40:][:, 110:] == 0].any()
    assert image.min() == image.max() == 120  # the original is untouched


@pytest.mark.parametrize("donor_has", [False, True])
def test_nothing_is_pasted_where_nothing_fits(donor_has: bool) -> None:
    dark = np.zeros((80, 120, 3), np.uint8), np.zeros((80, 120), np.uint8)
    labels = np.zeros((80, 120), np.uint8)
    if donor_has:
        labels[30:50, 40:60] = 1
    image, found = copy_paste(dark, (np.full((80, 120, 3), 200, np.uint8), labels), np.random.default_rng(0))
    assert not found.any() and not image.any()


def test_a_mosaic_holds_four_stills_and_numbers_their_polyps_apart() -> None:
    items = []
    for level in (40, 90, 140, 190):
        labels = np.zeros((64, 96), np.uint8)
        labels[20:40, 30:60] = 1
        items.append((np.full((64, 96, 3), level, np.uint8), labels))
    image, labels = mosaic(items, np.random.default_rng(1))
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4} and len(polyp_boxes(labels)) == 4
    assert [int(image[row, column, 0]) for row, column in ((2, 2), (2, -3), (-3, 2), (-3, -3))] == [40, 90, 140, 190]


def test_an_item_depends_on_seed_epoch_and_index_alone(data: Path) -> None:
    first, second = stills_of(data, Augment(STRONG)), stills_of(data, Augment(STRONG))
    for _ in range(3):
        second[0]  # another history
    for epoch in (0, 1):
        first.epoch = second.epoch = epoch
        assert torch.equal(first[4][0], second[4][0])
    first.epoch = 0
    assert not torch.equal(first[4][0], second[4][0])


def test_stills_that_do_not_fit_in_memory_are_read_one_by_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = stills_of(data, Augment(STRONG))
    monkeypatch.setattr("trainers.data.stills._MAX_CACHED_BYTES", 0)
    read = stills_of(data, Augment(STRONG))
    assert read._cached is None and torch.equal(held[3][0], read[3][0]) and torch.equal(held[3][2], read[3][2])


def test_an_epoch_sees_each_still_once_in_an_order_of_its_own() -> None:
    orders = [list(epoch_order(10, 4, seed=1, epoch=epoch)) for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    flat = [index for batch in orders[0] for index in batch]
    assert len(flat) == len(set(flat)) == 8  # the last, smaller batch is left out


def test_batches_keep_boxes_apart() -> None:
    items = [(torch.zeros(3, 4, 4), torch.zeros(n, 4), torch.zeros(4, 4)) for n in (0, 2)]
    pixels, boxes, masks = collate(items)
    assert pixels.shape == (2, 3, 4, 4) and [len(one) for one in boxes] == [0, 2] and masks.shape == (2, 4, 4)


def test_boxes_of_a_label_map_are_tight_and_specks_are_none() -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[5:15, 10:30] = 1
    labels[20:22, 3:5] = 2
    assert polyp_boxes(labels).tolist() == [[10, 5, 30, 15]]
    assert polyp_boxes(np.zeros((4, 4), np.uint8)).shape == (0, 4)


# the commands


@pytest.mark.parametrize("module", [train_detector, train_segmenter])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{tmp}/nowhere"], "no such data file"),
        (["--data", "{data}", "--init", "{tmp}/nothing.safetensors"], "no such checkpoint"),
        (["--data", "{data}", "--init", "{data}/train.json"], "checkpoint"),
        (["--data", "{data}", "--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--data", "{data}", "--size", "100", "96"], "multiples of 32 from 64 on"),
        (["--data", "{data}", "--batch", "64"], "fewer than one batch of 64"),
        (["--data", "{data}", "--limit", "3"], "3 training images are fewer than one batch"),
        (["--data", "{data}", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["--data", "{data}", "--also", "{tmp}/nothing.json"], "no such data file"),
        (
            ["--data", "{data}", "--also", "{data}/val.json"],
            "such as (none): draw its moments with trainers.clip_stills",
        ),
        (["--data", "{data}", "--device", "cuda"], "torch finds no GPU here"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], module: object, arguments: list[str], said: str
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("a GPU is here")
    words = [word.format(tmp=tmp_path, data=data) for word in arguments]
    with pytest.raises(SystemExit) as end:
        module.main([*words, "--out", str(tmp_path / "out")])  # type: ignore[attr-defined]
    assert end.value.code == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_run_on_what_is_only_to_be_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_stills(tmp_path / "stills")
    (root / "unseen_x.json").write_text((root / "train.json").read_text())
    with pytest.raises(SystemExit) as end:
        train_detector.main(["--data", str(root), "--out", str(tmp_path / "out")])
    assert end.value.code == 2 and "0.png in train and unseen_x" in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_run_says_where_it_left_the_paper(data: Path, tmp_path: Path) -> None:
    recipe = json.loads(_trained(data, tmp_path, ["--epochs", "1", "--batch", "4", "--size", "64", "96"]).read_text())
    differs = recipe["differs"]
    assert differs["epochs"] == "1, not 484" and differs["batch"] == "4, not 16"
    assert differs["learning_rate"] == "0.0025, not 0.01" and differs["size"] == "64x96, not 512x512"
    assert differs["init"] == "random, not ImageNet" and "8 stills" in differs["data"]
    assert recipe["loop"]["learning_rate"] == pytest.approx(0.0025)


def test_a_resumed_run_is_the_one_that_began(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", "1", "--batch", "4", "--size", "64", "96"]
    before = _trained(data, tmp_path, words).read_text()
    for changed, said in (
        (words, "holds a run: go on with --resume, or begin in another --out"),
        ([*words, "--resume", "--batch", "2"], "began with another loop"),
        ([*words, "--resume", "--size", "96", "96"], "began with another size [64, 96], not [96, 96]"),
        ([*words, "--resume", "--limit", "4"], "began with another images 8, not 4"),
    ):
        with pytest.raises(SystemExit) as end:
            _trained(data, tmp_path, changed)
        assert end.value.code == 2 and said in capsys.readouterr().err.strip().splitlines()[-1]
        assert (tmp_path / "recipe.json").read_text() == before
    _trained(data, tmp_path, [*words, "--resume"])  # all done, and nothing lost
    assert (tmp_path / "recipe.json").read_text() == before and (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("recipe.json", b"{", "recipe.json is not the recipe of a training run: it is not JSON"),
        ("recipe.json", b"[1]", "recipe.json is not the recipe of a training run: expected `object`"),
        ("checkpoint.pt", b"PK no", "checkpoint.pt is damaged"),
    ],
)
def test_a_damaged_run_is_said_and_left_as_it_is(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, said: str
) -> None:
    words = ["--epochs", "1", "--batch", "4", "--size", "64", "96"]
    _trained(data, tmp_path, words)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as end:
        _trained(data, tmp_path, [*words, "--resume"])
    assert end.value.code == 2 and said in capsys.readouterr().err.strip().splitlines()[-1]
    assert (tmp_path / name).read_bytes() == content


def _trained(data: Path, out: Path, words: list[str]) -> Path:
    patched = pytest.MonkeyPatch()
    narrow = {name: replace(recipe, config=toy(recipe).config) for name, recipe in RECIPES.items()}
    patched.setattr(
        "trainers.training.run.recipes_of", lambda task: {n: r for n, r in narrow.items() if r.task == task}
    )
    patched.setitem(
        narrow, "hrnet-w48", replace(narrow["hrnet-w48"], config=replace(narrow["hrnet-w48"].config, size=(512, 512)))
    )
    try:
        train_segmenter.main(
            ["--config", "hrnet-w48", "--data", str(data), "--out", str(out), "--workers", "0", *words]
        )
    finally:
        patched.undo()
    return out / "recipe.json"


def test_what_is_learnt_beside_the_stills_is_counted_and_told(data: Path, tmp_path: Path) -> None:
    stills, *moments = (with_groups(data, tmp_path / name) for name in ("stills", "clips", "hard"))
    also = [str(folder / "train.json") for folder in moments]
    words = ["--epochs", "1", "--batch", "4", "--size", "64", "96", "--also", *also]
    out = tmp_path / "out"
    recipe = json.loads(_trained(stills, out, words).read_text())
    assert recipe["images"] == 24 and recipe["also"].count("train.json ") == 2
    assert recipe["differs"]["data"].startswith("8 stills of C0, C1 and 16 moments of clips over them, not 1,062")
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 6  # the moments were learnt, too


def test_moments_of_other_patients_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stills, moments = with_groups(data, tmp_path / "stills"), with_groups(data, tmp_path / "clips", first=1)
    with pytest.raises(SystemExit) as end:
        _trained(stills, tmp_path / "out", ["--also", str(moments / "train.json")])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and "shows 1 patients or videos that train.json does not have, such as patient 8" in said


def with_groups(data: Path, folder: Path, *, first: int = 0) -> Path:
    """A copy of the stills in which each picture of train.json is a patient's of its own."""
    shutil.copytree(data, folder)
    content = json.loads((folder / "train.json").read_text())
    for number, image in enumerate(content["images"], first):
        image["group"] = f"patient {number}"
    (folder / "train.json").write_text(json.dumps(content))
    return folder
