"""The joint model: its outputs, its halves, its training as a user starts it, and the frames without a polyp."""

import json
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stills import write_stills
from toys import SIZE, toy

from realtime_polyp.models.detector import Detector
from realtime_polyp.models.joint import JointModel
from realtime_polyp.models.segmenter import Segmenter
from trainers import evaluate, negative_video, train_joint
from trainers.data.negatives import REPORTED_SEQUENCES, TRAINING_SEQUENCES, read_negatives
from trainers.recipes import RECIPES
from trainers.training.contract import ModelWithLoss, Targets
from trainers.training.distributed import ProcessGroup
from trainers.training.initialise import initialise
from trainers.training.loop import Run, update_average
from trainers.training.run import (
    TrainingSets,
    check_same_run,
    describe_run,
    engine_of_run,
    read_earlier_run,
    task_of,
)
from trainers.training.run_folder import write_recipe

NAME = "polyp-lite0"
WORDS = ["--config", NAME, "--size", "64", "96", "--batch", "4", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stills(tmp_path_factory.mktemp("stills"))


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch, quick_loop: None) -> Iterator[None]:
    """The joint recipe at toy width under its own name."""
    monkeypatch.setitem(RECIPES, NAME, replace(RECIPES[NAME], config=toy(RECIPES[NAME]).config))
    return None


def model(seed: int = 0) -> JointModel:
    torch.manual_seed(seed)
    return JointModel(RECIPES[NAME].config)


def pixels(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *SIZE), generator=torch.Generator().manual_seed(1)).float()


@torch.no_grad()
def test_it_returns_boxes_scores_and_a_map() -> None:
    net = model().eval()
    boxes, scores, probability = net(pixels())
    places = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2  # strides 8 to 64
    assert boxes.shape == (2, places, 4) and scores.shape == (2, places) and probability.shape == (2, 16, 24)
    likeliest, best, same = net.best(pixels(), 20)
    assert likeliest.shape == (2, 20, 4) and torch.equal(same, probability)
    torch.testing.assert_close(best.amax(1), scores.amax(1))


@torch.no_grad()
def test_it_starts_where_a_trained_detector_and_a_trained_segmenter_stand(tmp_path: Path) -> None:
    """The detector's boxes and scores, exactly, and what the segmenter computes behind its fusion."""
    net = model()
    torch.manual_seed(5)
    detector = Detector(
        replace(net.config.detector, neck=replace(net.config.detector.neck, levels=4, start=1, smooth_from=0))
    )
    segmenter = Segmenter(replace(net.config.segmenter, backbone=net.config.backbone))
    for name, part in {"detector": detector, "segmenter": segmenter}.items():
        save_file(part.state_dict(), tmp_path / f"{name}.safetensors")
    files = [tmp_path / "detector.safetensors", tmp_path / "segmenter.safetensors"]
    said = initialise(net, None, None, files)
    assert said.startswith(f"{len(detector.state_dict())} tensors of detector.safetensors and ")
    boxes, scores, _ = net.eval()(pixels())
    expected_boxes, expected_scores = detector.eval()(pixels())
    assert torch.equal(boxes, expected_boxes) and torch.equal(scores, expected_scores)
    assert torch.equal(net.mask.low_rank.phi.weight, segmenter.low_rank.phi.weight)
    assert torch.equal(net.mask.full_head.weight, segmenter.full_head.weight)


def test_what_fits_nowhere_is_refused(tmp_path: Path) -> None:
    save_file({"strange": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: nothing of it fits"):
        initialise(model(), None, None, [tmp_path / "other.safetensors"])
    save_file(model().state_dict(), tmp_path / "joint.safetensors")
    with pytest.raises(ValueError, match=r"joint\.safetensors holds a joint model: take it with --init"):
        initialise(model(), None, None, [tmp_path / "joint.safetensors"])
    with pytest.raises(ValueError, match="exclude each other"):
        initialise(model(), tmp_path / "a.safetensors", None, [tmp_path / "b.safetensors"])
    with pytest.raises(ValueError, match="for joint models"):
        initialise(Segmenter(model().config.segmenter), None, None, [tmp_path / "other.safetensors"])


@torch.no_grad()
def test_distributions_at_the_likeliest_places_alone_are_those_computed_everywhere() -> None:
    """Up to the border of every level, each with its own scale."""
    net = model().eval()
    net.head.reg_scale.copy_(torch.tensor([1.0, 1.3, 0.7, 0.9]))
    net.head.reg.weight.mul_(20)
    levels = net.levels(pixels())[1:]
    for count in (20, 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2):
        everywhere, gathered = net.head.best(levels, count), net.head.best(levels, count, gather=True)
        for one, other in zip(everywhere, gathered, strict=True):
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
        assert everywhere[0].std() > 10


def test_its_loss_is_that_of_both_halves_and_the_weight_balances_them() -> None:
    net, recipe = model(), RECIPES[NAME]
    masks = torch.zeros(2, *SIZE)
    masks[0, 20:44, 30:60] = 1
    targets = Targets([torch.tensor([[30.0, 20, 60, 44]]), torch.zeros(0, 4)], masks)
    losses = ModelWithLoss(net, recipe.loss)(pixels(), targets)
    assert list(losses) == ["loss", "quality", "giou", "edges", "full", "low_rank"]
    net.config = replace(net.config, mask_weight=3.0)
    heavier = ModelWithLoss(net, recipe.loss)(pixels(), targets)
    torch.testing.assert_close(heavier["full"], 3 * losses["full"])
    torch.testing.assert_close(heavier["giou"], losses["giou"])
    heavier["loss"].backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_its_backbone_is_taken_from_a_detector_s_weights(tmp_path: Path) -> None:
    recipe = toy(RECIPES["gflv2-lite0"])
    detector = recipe.build(recipe.config)
    save_file(detector.state_dict(), tmp_path / "boxes.safetensors")
    net = model()
    assert initialise(net, None, tmp_path / "boxes.safetensors") == "backbone of boxes.safetensors"
    wanted = detector.state_dict()
    assert all(torch.equal(value, wanted[f"backbone.{name}"]) for name, value in net.backbone.state_dict().items())


def test_a_backbone_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    net = model()
    (first, *rest) = [name for name in net.backbone.state_dict() if name.endswith("weight")]
    partly = {f"fusion.backbone.{name}": net.backbone.state_dict()[name].clone() for name in rest}
    save_file(partly, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=rf"half\.safetensors does not fit this model: it lacks .*{first}"):
        initialise(net, None, tmp_path / "half.safetensors")


def test_a_resumed_run_is_held_to_the_model_that_it_began_with() -> None:
    recipe = RECIPES[NAME]
    content = describe_run(recipe, "ImageNet", TrainingSets([], [], [], None), ProcessGroup())
    heavier = replace(recipe, config=replace(recipe.config, mask_weight=2.0))
    other = describe_run(heavier, "ImageNet", TrainingSets([], [], [], None), ProcessGroup())
    before = json.loads(json.dumps(content))
    check_same_run(json.loads(json.dumps(content)), content, Path("run"))
    with pytest.raises(ValueError, match="the run in run began with another model"):
        check_same_run(json.loads(json.dumps(before)), other, Path("run"))
    del before["model"]  # as earlier versions wrote it
    check_same_run(before, content, Path("run"))


def test_a_resumed_run_is_held_to_the_data_that_it_began_with() -> None:
    """As many images as before may be others."""
    contents = [
        describe_run(RECIPES[NAME], "ImageNet", TrainingSets([], [], [], None, data_files=files), ProcessGroup())
        for files in ("train.json 1, val.json 2", "train.json 1, val.json 3")
    ]
    with pytest.raises(ValueError, match="another data train.json 1, val.json 2, not train.json 1, val.json 3"):
        check_same_run(json.loads(json.dumps(contents[0])), contents[1], Path("run"))
    del contents[0]["data"]  # as earlier versions wrote it
    check_same_run(json.loads(json.dumps(contents[0])), contents[1], Path("run"))


def test_a_run_by_the_clock_cannot_go_on_by_epochs(tmp_path: Path) -> None:
    content = describe_run(RECIPES[NAME], "ImageNet", TrainingSets([], [], [], None), ProcessGroup())
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    options = Namespace(out=tmp_path, resume=True)
    write_recipe(content, tmp_path)
    assert read_earlier_run(options)["config"] == NAME  # type: ignore[index]
    write_recipe({**content, "minutes": 5.0}, tmp_path)
    with pytest.raises(
        ValueError, match=r"was to end after 5.0 minutes \(--minutes\): it cannot go on, start a new --out"
    ):
        read_earlier_run(options)


def test_it_is_trained_validated_resumed_and_evaluated_by_command(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, start = tmp_path / "out", tmp_path / "start.safetensors"
    save_file(model().state_dict(), start)
    negatives = write_negatives(data, tmp_path / "negative.json", ["seq05", "seq07", "seq04"])
    words = [*WORDS, "--data", str(data), "--root", str(data), "--init", str(start), "--augment-on", "device"]
    more = ["--negatives", str(negatives)]
    train_joint.main([*words, *more, "--epochs", "2", "--out", str(out)])
    recipe, history = json.loads((out / "recipe.json").read_text()), json.loads((out / "history.json").read_text())
    assert recipe["task"] == "joint" and recipe["images"] == 10 and recipe["negatives"].startswith("negative.json ")
    assert "and 2 frames without a polyp" in recipe["differs"]["data"]
    last = history[-1]
    assert last["joint"] == pytest.approx((last["AP"] + last["dice"]) / 2) and {"AP50", "miou", "giou"} <= set(last)

    train_joint.main([*words, *more, "--epochs", "2", "--out", str(out), "--resume"])  # all done, nothing lost
    with pytest.raises(SystemExit):
        train_joint.main([*words, "--epochs", "2", "--out", str(out), "--resume"])
    assert "began with another images 10, not 8, negatives negative.json" in capsys.readouterr().err

    assert (engine_of_run(out).task, engine_of_run(out).model) == ("joint", NAME)
    report = tmp_path / "figures.json"
    evaluate.main(["--data", str(data / "val.json"), "--root", str(data), "--run", str(out), "--json", str(report)])
    figures = json.loads(report.read_text())
    assert figures["detection"]["AP"] == pytest.approx(last["AP"])  # the only epoch that was validated
    assert figures["segmentation"]["dice"] == pytest.approx(last["dice"])
    other = ["--data", str(data / "val.json"), "--root", str(data), "--run", str(out), "--size", "128", "160"]
    opened = evaluate.open_engines(evaluate.command_line().parse_args(other))
    assert [engine.size for engine in opened if engine] == [(128, 160)] * 2
    evaluate.main([*other, "--json", str(report)])
    assert json.loads(report.read_text())["input_size"] == [128, 160] and "input_size" not in figures
    negative_video.main(
        ["--data", str(negatives), "--root", str(data), "--run", str(out), "--json", str(tmp_path / "video.json")]
    )
    played = json.loads((tmp_path / "video.json").read_text())
    assert (played["models"], played["engine"], played["fusion"]) == ([NAME], "eager", False)
    assert list(played["every_detection_at_once"]["sequences"]) == ["seq04"]
    with pytest.raises(SystemExit):
        evaluate.main(
            ["--data", str(data / "val.json"), "--root", str(data), "--run", str(out), "--result", str(tmp_path / "x")]
        )
    assert load_file(out / "best.safetensors").keys() == model().state_dict().keys()


def write_negatives(data: Path, path: Path, groups: list[str], *, boxes: int = 0) -> Path:
    """A COCO file of one still without a polyp for each group."""
    content = json.loads((data / "train.json").read_text())
    empty = content["images"][2]
    images = [{**empty, "id": place, "group": f"polypgen_negative/{name}"} for place, name in enumerate(groups)]
    annotations = [{"image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}] * boxes
    path.write_text(json.dumps({**content, "images": images, "annotations": annotations}))
    return path


def test_frames_of_held_back_sequences_are_never_trained_on(data: Path, tmp_path: Path) -> None:
    every = [*sorted(TRAINING_SEQUENCES | REPORTED_SEQUENCES), "seq01"]
    used = read_negatives(write_negatives(data, tmp_path / "a.json", every), data)
    assert [one.group for one in used] == [f"polypgen_negative/{name}" for name in sorted(TRAINING_SEQUENCES)]
    assert not TRAINING_SEQUENCES & REPORTED_SEQUENCES
    with pytest.raises(ValueError, match="has no frame that may train: its groups must end with seq05, seq07"):
        read_negatives(write_negatives(data, tmp_path / "b.json", sorted(REPORTED_SEQUENCES)), data)
    with pytest.raises(ValueError, match="shows polyps in 1 of its 2 images, such as 2.png: frames without a polyp"):
        read_negatives(write_negatives(data, tmp_path / "c.json", ["seq05", "seq07"], boxes=2), data)


def test_the_average_follows_every_tensor_wherever_a_validation_left_it(data: Path) -> None:
    """Equal to the bit to one tensor after the other, on a CPU."""
    recipe = RECIPES[NAME]
    task = task_of(recipe, model(), [], pretrained=False)
    run = Run(task, recipe.loop, ProcessGroup(), steps_per_epoch=1, step=100)
    run.average.to(torch.float64).to(torch.float32)  # every tensor is moved
    before = {name: value.clone() for name, value in run.average.state_dict().items()}
    for value in run.net.state_dict().values():
        value.add_(1)
    run.list_averaged()
    update_average(run)
    weight = 1 - min(recipe.loop.average_decay or 0, 101 / 110)
    for name, found in run.average.state_dict().items():
        new = run.net.state_dict()[name]
        assert torch.equal(found, torch.lerp(before[name], new, weight) if new.is_floating_point() else new), name


def test_the_weight_of_the_masks_is_an_option_of_the_joint_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.safetensors"
    save_file(model().state_dict(), start)
    words = [*WORDS, "--data", str(data), "--root", str(data), "--init", str(start), "--epochs", "1"]
    losses, recipes = {}, {}
    for weight in ("1", "2"):
        out = tmp_path / weight
        train_joint.main([*words, "--mask-weight", weight, "--out", str(out)])
        losses[weight] = json.loads((out / "history.json").read_text())[0]
        recipes[weight] = json.loads((out / "recipe.json").read_text())
    assert losses["2"]["full"] == pytest.approx(2 * losses["1"]["full"], rel=0.05)
    assert losses["2"]["giou"] == pytest.approx(losses["1"]["giou"], rel=0.05)
    assert [recipe["model"]["mask_weight"] for recipe in recipes.values()] == [1, 2]
    assert [recipe["differs"].get("mask_weight") for recipe in recipes.values()] == [None, "2, not 1"]
    for bad in ("0", "-1", "nan", "inf"):
        with pytest.raises(SystemExit) as end:
            train_joint.main([*words, "--mask-weight", bad, "--out", str(tmp_path / "bad")])
        assert end.value.code == 2
        assert "--mask-weight must be a number above 0, got " in capsys.readouterr().err
