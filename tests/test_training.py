"""Training on a made-up data set of eight stills, with toy models: it learns, resumes to the bit, and never loses a
checkpoint."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import trainers.loop as loop
from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.segmenter import Segmenter, SegmenterConfig
from trainers import train_detector, train_segmenter
from trainers.augment import NONE, Augment
from trainers.command import loop_config, training_parser
from trainers.data import TrainingStills, boxes_of, collate, epoch_order, read_stills
from trainers.loop import LoopConfig, Run, Task, fit, save_checkpoint

SIZE, COUNT = (64, 96), 8
TRUNK = LiteConfig(width=0.25, depth=0.3)
CONFIG = LoopConfig(
    epochs=10, batch=4, learning_rate=2e-2, trunk_factor=1.0, warmup_steps=2, workers=0, small_share=0.0,
    validate_every=100,
)  # fmt: skip
WITHOUT_POLYP = (2, 5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curves drawn at every epoch, and one thread, whose sums do not depend on how work is shared."""
    monkeypatch.setattr(loop, "draw_curves", lambda history, path: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight stills laid out as --data wants them: bright discs on tissue, two without any."""
    root = tmp_path_factory.mktemp("stills")
    images, annotations = [], []
    for number in range(COUNT):
        image = np.full((128, 192, 3), (70, 80, 150), np.uint8)
        mask = np.zeros((128, 192), np.uint8)
        image += np.random.default_rng(number).integers(0, 25, image.shape, np.uint8)
        if number not in WITHOUT_POLYP:
            x, y, radius = 50 + 11 * number, 40 + 6 * number, 20 + number
            cv2.circle(image, (x, y), radius, (190, 220, 250), -1)
            cv2.circle(mask, (x, y), radius, 255, -1)
            box = [x - radius, y - radius, 2 * radius + 1, 2 * radius + 1]
            annotations.append({"image_id": number, "category_id": 1, "bbox": box})
        cv2.imwrite(str(root / f"{number}.png"), image)
        cv2.imwrite(str(root / f"{number}_mask.png"), mask)
        images.append({"id": number, "file_name": f"{number}.png", "mask_name": f"{number}_mask.png",
                       "width": 192, "height": 128})  # fmt: skip
    for name in ("train", "val"):
        (root / f"{name}.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return root


def stills_of(data: Path, augment: Augment | None = None) -> TrainingStills:
    return TrainingStills(read_stills(data / "train.json", data), SIZE, augment or Augment(NONE), seed=0)


def detector_task(data: Path) -> Task:
    torch.manual_seed(0)
    model = Detector(DetectorConfig(trunk=TRUNK, size=SIZE, channels=16))
    nn.init.zeros_(model.head.cls.bias)  # type: ignore[arg-type]  # with the prior, boxes weigh nothing at first
    return train_detector.detector_task(model, read_stills(data / "val.json", data))


def segmenter_task(data: Path) -> Task:
    torch.manual_seed(0)
    model = Segmenter(SegmenterConfig(trunk=TRUNK, size=SIZE, width=12, bases=4))
    return train_segmenter.segmenter_task(model, read_stills(data / "val.json", data))


TASKS = [detector_task, segmenter_task]


def watched(task: Task, seen: Callable[[int, list[Tensor], dict[str, Tensor]], None]) -> Task:
    """The task, its loss calling `seen` (step, boxes, losses) at every step."""
    steps = iter(range(10_000))

    def loss(model: nn.Module, pixels: Tensor, boxes: list[Tensor], masks: Tensor) -> dict[str, Tensor]:
        losses = task.loss(model, pixels, boxes, masks)
        seen(next(steps), boxes, losses)
        return losses

    return replace(task, loss=loss)


@pytest.mark.parametrize("make", TASKS)
def test_twenty_steps_make_the_loss_fall(data: Path, tmp_path: Path, make: Callable[[Path], Task]) -> None:
    totals: list[float] = []
    task = watched(make(data), lambda step, boxes, losses: totals.append(sum(x.item() for x in losses.values())))
    run = fit(task, stills_of(data), CONFIG, tmp_path)
    assert run.step == len(totals) == 20
    assert np.mean(totals[-4:]) < 0.85 * np.mean(totals[:4])
    assert load_file(tmp_path / "best.safetensors").keys() == run.model.state_dict().keys()
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history) == 10 and task.score in history[-1]


@pytest.mark.parametrize("make", TASKS)
def test_a_run_that_broke_off_goes_on_to_the_same_weights(
    data: Path, tmp_path: Path, make: Callable[[Path], Task]
) -> None:
    """Interrupted in the middle of an epoch, and once more; augmented, so that the data's chance matters too."""
    config = replace(CONFIG, epochs=4, batch=2, checkpoint_s=0.0, small_share=0.5)  # sixteen steps
    unbroken = fit(make(data), stills_of(data, Augment()), config, tmp_path / "unbroken")
    for resume, breaks_at in ((False, 6), (True, 3)):
        with pytest.raises(KeyboardInterrupt):
            fit(watched(make(data), _breaking(breaks_at)), stills_of(data, Augment()), config, tmp_path / "broken",
                resume=resume)  # fmt: skip
    resumed = fit(make(data), stills_of(data, Augment()), config, tmp_path / "broken", resume=True)
    assert unbroken.step == resumed.step == 16
    for first, second in ((unbroken.model, resumed.model), (unbroken.averaged, resumed.averaged)):
        assert_equal(first.state_dict(), second.state_dict())
    assert_equal(unbroken.optimizer.state_dict()["state"], resumed.optimizer.state_dict()["state"])
    assert_equal(
        load_file(tmp_path / "unbroken" / "best.safetensors"), load_file(tmp_path / "broken" / "best.safetensors")
    )
    learnt = [
        not torch.equal(a, b) for a, b in zip(make(data).model.parameters(), resumed.model.parameters(), strict=True)
    ]
    assert any(learnt)


def _breaking(at: int) -> Callable[[int, list[Tensor], dict[str, Tensor]], None]:
    def seen(step: int, boxes: list[Tensor], losses: dict[str, Tensor]) -> None:
        if step == at:
            raise KeyboardInterrupt

    return seen


def assert_equal(first: dict, second: dict) -> None:  # type: ignore[type-arg]
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, dict):
            assert_equal(value, second[name])
        else:
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(second[name])), name


@pytest.mark.parametrize("make", TASKS)
def test_frames_without_a_polyp_are_used(data: Path, tmp_path: Path, make: Callable[[Path], Task]) -> None:
    counts: list[int] = []
    task = watched(make(data), lambda step, boxes, losses: counts.extend(len(one) for one in boxes))
    fit(task, stills_of(data), replace(CONFIG, epochs=1), tmp_path)
    assert sorted(counts) == [0] * len(WITHOUT_POLYP) + [1] * (COUNT - len(WITHOUT_POLYP))


def test_a_checkpoint_is_replaced_whole_or_not_at_all(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = Run(detector_task(data), CONFIG, 2), tmp_path / "checkpoint.pt"
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
    fit(detector_task(data), stills_of(data), replace(CONFIG, epochs=1), tmp_path)
    with pytest.raises(ValueError, match="other values of learning_rate: start a new --out"):
        other = replace(CONFIG, epochs=1, learning_rate=1e-4)
        fit(detector_task(data), stills_of(data), other, tmp_path, resume=True)


def test_nothing_to_resume_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        fit(detector_task(data), stills_of(data), CONFIG, tmp_path, resume=True)


def test_a_loss_that_is_not_a_number_ends_the_run(data: Path, tmp_path: Path) -> None:
    def spoil(step: int, boxes: list[Tensor], losses: dict[str, Tensor]) -> None:
        losses["quality"] = losses["quality"] * float("nan")

    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        fit(watched(detector_task(data), spoil), stills_of(data), CONFIG, tmp_path)


def test_boxes_follow_their_polyps_through_every_augmentation(data: Path) -> None:
    stills = stills_of(data, Augment())
    seen = 0
    for epoch in range(4):
        stills.epoch = epoch
        for index in range(COUNT):
            pixels, boxes, mask = stills[index]
            assert pixels.shape == (3, *SIZE) and mask.shape == SIZE and set(mask.unique().tolist()) <= {0, 1}
            for x1, y1, x2, y2 in boxes.long().tolist():
                seen += 1
                assert mask[y1:y2, x1:x2].any(0).all() and mask[y1:y2, x1:x2].any(1).all()  # tight
                polyp, rest = pixels[:, mask == 1].float().mean(), pixels[:, mask == 0].float().mean()
                assert polyp > rest + 10  # the mask lies on the bright disc
    assert seen > 10


def test_an_item_depends_on_seed_epoch_and_index_alone(data: Path) -> None:
    first, second = stills_of(data, Augment()), stills_of(data, Augment())
    for _ in range(3):
        second[0]  # another history
    for epoch in (0, 1):
        first.epoch = second.epoch = epoch
        assert torch.equal(first[4][0], second[4][0])
    first.epoch = 0
    assert not torch.equal(first[4][0], second[4][0])


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
    assert boxes_of(labels).tolist() == [[10, 5, 30, 15]]
    assert boxes_of(np.zeros((4, 4), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize("module", [train_detector, train_segmenter])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "{tmp}/nowhere"], "no such data file"),
        (["--data", "{data}", "--init", "{tmp}/nothing.pth"], "no such checkpoint"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], module: object, arguments: list[str], said: str
) -> None:
    words = [word.format(tmp=tmp_path, data=data) for word in arguments]
    with pytest.raises(SystemExit) as end:
        module.main([*words, "--out", str(tmp_path / "out")])  # type: ignore[attr-defined]
    assert end.value.code == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_options_become_the_loop_s_configuration() -> None:
    parser = training_parser("train", description="", examples="", models=["one"], default_model="one")
    words = ["--out", "x", "--epochs", "3", "--batch", "5", "--learning-rate", "0.5", "--seed", "9"]
    found = loop_config(parser.parse_args(words))
    assert found == replace(LoopConfig(), epochs=3, batch=5, learning_rate=0.5, seed=9)
    with pytest.raises(ValueError, match="--epochs must be at least 1, got 0"):
        loop_config(parser.parse_args([*words, "--epochs", "0"]))
