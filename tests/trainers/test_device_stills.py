"""Training with all stills in the device's memory: the same images, a resume to the bit, and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import needs
from stills import COUNT, write_stills
from torch import nn
from toys import LOOP, toy

import trainers.training.run as run_module
from trainers import train_segmenter
from trainers.data.augment import NONE, STRONG, Augment, AugmentConfig
from trainers.data.device import stills as device_stills
from trainers.data.device.stills import DeviceStills
from trainers.data.stills import TrainingStills, read_stills
from trainers.recipes import RECIPES
from trainers.training.contract import Losses, Targets
from trainers.training.loop import Run, TrainingTask, fit
from trainers.training.run import task_of

pytestmark = pytest.mark.usefixtures("quick_loop")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


def held(data: Path, config: AugmentConfig, size: tuple[int, int] = SIZE) -> DeviceStills:
    return DeviceStills(read_stills(data / "train.json", data), size, config, "cpu")


@pytest.mark.parametrize(
    "config",
    [
        replace(NONE, mosaic=0.6),
        replace(NONE, copy_paste=1.0),
        replace(NONE, second_picture=1.0),
        replace(NONE, mosaic=0.3, copy_paste=1.0, second_picture=0.5),
        NONE,
    ],
)
def test_mosaics_pasted_polyps_and_second_pictures_are_those_of_the_workers(data: Path, config: AugmentConfig) -> None:
    size = (128, 192)
    ours = held(data, config, size)
    theirs = TrainingStills(read_stills(data / "train.json", data), size, Augment(config))
    plain = TrainingStills(read_stills(data / "train.json", data), size, Augment(NONE))
    changed = 0
    for epoch in range(2):
        ours.epoch = theirs.epoch = epoch
        pixels, boxes, masks = ours.batch(list(range(COUNT)))
        for index in range(COUNT):
            image, tight, mask = theirs[index]
            assert (pixels[index].int() - image.int()).abs().max() <= 1
            assert torch.equal(masks[index], mask) and torch.equal(boxes[index], tight)
            changed += not torch.equal(image, plain[index][0])
    assert changed == 0 if config == NONE else changed >= 4


def test_a_batch_depends_on_seed_epoch_and_index_alone(data: Path) -> None:
    first, second = held(data, STRONG), held(data, STRONG)
    second.batch([0, 1])  # another history
    first.epoch = second.epoch = 1
    before, after = first.batch([3, 5, 2]), second.batch([5, 6])
    assert torch.equal(before[0][1], after[0][0]) and torch.equal(before[2][1], after[2][0])
    second.epoch = 2
    assert not torch.equal(second.batch([5])[0][0], before[0][1])


def test_batches_made_together_are_those_made_one_by_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stills, order = held(data, STRONG), [[0, 1], [5, 3], [7, 2]]
    monkeypatch.setattr(DeviceStills, "_batches_at_once", lambda self, size: 2)
    for (pixels, boxes, masks), indices in zip(stills.batches(order, 0), order, strict=True):
        alone = stills.batch(indices)
        assert torch.equal(pixels, alone[0]) and torch.equal(masks, alone[2])
        assert all(torch.equal(a, b) for a, b in zip(boxes, alone[1], strict=True))


@needs("cuda")
def test_a_card_composes_the_images_of_the_cpu_and_tells_its_memory(data: Path) -> None:
    config = replace(NONE, mosaic=0.3, copy_paste=1.0, second_picture=0.5)
    stills = read_stills(data / "train.json", data)
    on_card = DeviceStills(stills, (128, 192), config, "cuda:0")
    for ours, theirs in zip(
        on_card.batch(list(range(COUNT))), held(data, config, (128, 192)).batch(list(range(COUNT))), strict=True
    ):
        if isinstance(ours, list):
            assert [box.tolist() for box in ours] == [box.tolist() for box in theirs]
        else:
            assert ours.is_cuda and (ours.cpu().int() - theirs.int()).abs().max() <= 2
    assert len(list(on_card.batches([[0, 1], [2, 3]], 0))) == 2 and on_card._batches_at_once(8) > 1
    free = device_stills.free_bytes("cuda:0")
    assert free is not None and free > 1e8


class BreaksOff:
    """A loss that is interrupted at a step."""

    def __init__(self, task: TrainingTask, step: int) -> None:
        self.loss, self.left = task.model._loss, step

    def __call__(self, net: nn.Module, images: torch.Tensor, targets: Targets) -> Losses:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.loss(net, images, targets)


def trained(data: Path, out: Path, *, resume: bool = False, breaks_at: int | None = None) -> Run:
    torch.manual_seed(0)
    recipe = toy(RECIPES["gflv2-lite0"])
    task = task_of(recipe, recipe.build(recipe.config), read_stills(data / "val.json", data), pretrained=False)
    if breaks_at is not None:
        task.model._loss = BreaksOff(task, breaks_at)
    loop = replace(LOOP, epochs=2, batch=2, checkpoint_s=-1.0, scales=(1.0, 1.34))
    return fit(task, held(data, STRONG), loop, out, resume=resume)


def test_a_run_that_broke_off_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    unbroken = trained(data, tmp_path / "unbroken")
    for resume, step in ((False, 3), (True, 2)):
        with pytest.raises(KeyboardInterrupt):
            trained(data, tmp_path / "broken", resume=resume, breaks_at=step)
    resumed = trained(data, tmp_path / "broken", resume=True)
    assert resumed.step == unbroken.step == 8 and resumed.history == unbroken.history
    wanted, found = unbroken.net.state_dict(), resumed.net.state_dict()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_stills_that_do_not_fit_are_refused_with_the_cure(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_stills, "free_bytes", lambda device: 100_000)
    with pytest.raises(ValueError, match="^8 images of 64x96 px take 0.00 GB, more than 70% .* choose --augment-on"):
        held(data, NONE)


def test_the_free_memory_of_this_machine_is_known_or_not_asked_for() -> None:
    free = device_stills.free_bytes("cpu")
    assert free is None or 1e6 < free < 1e14


def test_a_recipe_records_where_it_augments_and_a_resumed_run_repeats_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = {"hrnet-w48": replace(RECIPES["hrnet-w48"], config=toy(RECIPES["hrnet-w48"]).config)}
    monkeypatch.setattr(run_module, "recipes_of", lambda task: narrow)
    words = ["--config", "hrnet-w48", "--data", str(data), "--out", str(tmp_path), "--workers", "0", "--epochs",
             "1", "--batch", "4", "--device", "cpu"]  # fmt: skip
    train_segmenter.main([*words, "--augment-on", "device"])
    assert "8 images of 64x96 px take 0.00 GB on cpu" in capsys.readouterr().out
    assert json.loads((tmp_path / "recipe.json").read_text())["augment_on"] == "device"
    with pytest.raises(SystemExit) as end:
        train_segmenter.main([*words, "--resume"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and "began with another augment_on device, not workers" in said
    train_segmenter.main([*words, "--resume", "--augment-on", "device"])
    old = json.loads((tmp_path / "recipe.json").read_text())
    old["augment_on"] = "workers"
    (tmp_path / "recipe.json").write_text(json.dumps(old))
    train_segmenter.main([*words, "--resume"])
    del old["augment_on"], old["augment_draws"]  # of earlier versions, whose changes began with the same numbers
    (tmp_path / "recipe.json").write_text(json.dumps(old))
    with pytest.raises(SystemExit) as end:
        train_segmenter.main([*words, "--resume"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert end.value.code == 2 and "began with another augment_draws coinciding, not independent" in said
    old["augment_draws"] = "independent"
    del old["augment"]["stain"], old["augment"]["second_picture"]
    (tmp_path / "recipe.json").write_text(json.dumps(old))
    train_segmenter.main([*words, "--resume"])
