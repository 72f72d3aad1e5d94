"""Train one of the named recipes: the code behind the commands `train_detector`, `train_segmenter`, `train_joint`."""

import argparse
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from realtime_polyp.engines.base import Task
from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.engines.halves import roles_of
from realtime_polyp.engines.weights import sha256_of
from realtime_polyp.messages import quoted, shorten
from realtime_polyp.metrics.detection import coco_ap
from realtime_polyp.metrics.segmentation import mean_scores, scores_of
from trainers import check_data
from trainers.backbone_recipes import BACKBONE_NAMES, recipe_on
from trainers.command import command_parser, report_bad_input
from trainers.data.augment import AUGMENTS, Augment
from trainers.data.device.stills import DeviceStills
from trainers.data.negatives import read_negatives
from trainers.data.stills import Still, TrainingStills, read_stills
from trainers.evaluation.paper_tables import PAPER_BACKBONE
from trainers.evaluation.predict import Case, evaluate
from trainers.recipes import RECIPES, Recipe, recipes_of
from trainers.report import write_report
from trainers.training.checkpoint_file import read_tensors
from trainers.training.contract import ModelWithLoss
from trainers.training.distributed import ProcessGroup, barrier, init_process_group
from trainers.training.initialise import backbone_of, initialise, load_part, mode_setter
from trainers.training.loop import TrainingTask, fit, seed_everything
from trainers.training.run_folder import BEST, CHECKPOINT, read_recipe, write_recipe
from trainers.training.schedule import LoopConfig, scaled_down

_PAPER_DATA = "1,062 stills of EndoCV2021"
# Entries of the recipe that a resumed run must repeat, and those whose value fits into an error message.
_NAMED_WITH_VALUE = ("config", "backbone", "size", "images", "data", "also", "negatives", "processes", "augment_on",
                     "augment_draws")  # fmt: skip
AUGMENT_DRAWS = "independent"
"""Every change draws numbers of its own. In earlier versions some began with the same numbers: in loading processes all
of an image, on a device the composing of images and their first change."""
_MUST_MATCH = (*_NAMED_WITH_VALUE, "model", "augment", "loop")
_WHAT = {"detector": "polyp detector", "segmenter": "polyp segmenter", "joint": "polyp detector and segmenter in one"}


@dataclass(frozen=True)
class TrainingSets:
    """The images of a run.

    Attributes:
        stills: training stills, some of them without a polyp.
        moments: more training images, taken from clips rendered from these stills.
        validation: stills that select the best weights.
        also: names and checksums of the files of the moments; None without moments.
        negatives: more training images, frames of video without a polyp.
        negatives_file: name and checksum of their file; None without negatives.
        data_files: names and checksums of train.json and val.json.
    """

    stills: list[Still]
    moments: list[Still]
    validation: list[Still]
    also: str | None
    negatives: list[Still] = field(default_factory=list)
    negatives_file: str | None = None
    data_files: str = ""

    @property
    def training(self) -> list[Still]:
        return [*self.stills, *self.moments, *self.negatives]


def command(task: Task, default: str, examples: str, arguments: list[str] | None) -> None:
    """Parse the arguments of the command for one task and train."""
    parser = _parser(task, default, examples)
    options = parser.parse_args(arguments)
    with report_bad_input(parser), init_process_group(options.device) as group:
        train(recipes_of(task)[options.config], options, group)


def _parser(task: Task, default: str, examples: str) -> argparse.ArgumentParser:
    parser = command_parser(
        f"trainers.train_{task}",
        description=f"Train a {_WHAT[task]} by one of the named recipes (trainers/recipes.py).",
        epilog=f"examples:\n{examples}",
    )
    add = parser.add_argument
    add("--config", choices=list(recipes_of(task)), default=default, metavar="NAME",
        help=f"{', '.join(recipes_of(task))} (default: %(default)s)")  # fmt: skip
    add("--backbone", choices=BACKBONE_NAMES, default=PAPER_BACKBONE,
        help="backbone of a row of the paper's tables; heads are scaled with it (default: %(default)s)")  # fmt: skip
    add("--out", type=Path, required=True, help="folder of this run: checkpoints, curves, weights")
    add(
        "--data",
        type=Path,
        default=Path("../shared/data"),
        help="folder of train.json, val.json (default: %(default)s)",
    )
    add("--root", type=Path, help="folder that image paths are relative to (default: --data)")
    add("--also", type=Path, nargs="+", metavar="FILE.json", help="more training images, from trainers.clip_stills")
    add("--negatives", type=Path, metavar="FILE.json",
        help="frames without a polyp to train on, too; only those of the training sequences are used")  # fmt: skip
    add("--init", type=Path, metavar="FILE", help="initial weights: from import_weights, or of a run")
    add("--backbone-of", "--trunk-of", dest="backbone_of", type=Path, metavar="FILE",
        help="initialise the backbone from this trained detector or segmenter")  # fmt: skip
    add("--parts-of", type=Path, nargs="+", default=[], metavar="FILE",
        help="start a joint model from all parts of these detectors and segmenters that fit it")  # fmt: skip
    add("--epochs", type=int, help="number of epochs (default: the recipe's); the schedule scales with it")
    add(
        "--batch",
        type=int,
        help="images per step over all processes (default: the recipe's); the learning rate scales with it",
    )
    add("--size", type=int, nargs=2, metavar=("H", "W"), help="input size, px (default: the recipe's)")
    add("--learning-rate", type=float, help="peak learning rate (default: from recipe and batch)")
    add("--precision", choices=["float32", "bfloat16", "float16"], help="default: the recipe's")
    add("--augment", choices=list(AUGMENTS), help="settings of the augmentation (default: the recipe's)")
    add("--full-size", action="store_true", help="no smaller images in the first epochs, such as for the end of a run")
    add("--validate-every", type=int, metavar="N", help="epochs between validations (default: the recipe's)")
    add("--checkpoint-minutes", type=float, metavar="N", help="minutes between checkpoints (default: 3)")
    add("--minutes", type=float, metavar="N",
        help="end after N minutes, before the last validation, if the epochs have not ended; the schedule follows the "
        "clock")  # fmt: skip
    parser.set_defaults(mask_weight=None)
    if task == "joint":
        add("--mask-weight", type=float, metavar="W",
            help="weight of the segmenter's losses beside the detector's (default: the recipe's)")  # fmt: skip
    add("--workers", type=int, help="loading processes of each training process")
    add("--augment-on", choices=["workers", "device"], default="workers",
        help="where images are augmented: by loading processes, or by the device that trains, which then holds all "
        "images (default: %(default)s)")  # fmt: skip
    add("--cache", type=Path, metavar="DIR", help="keep the images at model size there, for the next run over them")
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: %(default)s")
    add("--limit", type=int, help="use only the first N images of each set, for a quick test")
    add("--resume", action="store_true", help="continue from the checkpoint in --out")
    return parser


def train(recipe: Recipe, options: argparse.Namespace, group: ProcessGroup) -> None:
    """Train a recipe. Raises OSError, ValueError or FloatingPointError, one sentence each, for bad input."""
    recipe = apply_options(recipe, options)
    sets = read_training_sets(options, recipe.loop.batch)
    before = read_earlier_run(options)
    if group.is_main:
        reported = check_data.read_unseen(options.data, options.root or options.data)
        check_data.check({"train": sets.training, "val": sets.validation, **reported})
    barrier(group)
    seed_everything(recipe.loop.seed)
    net = recipe.build(recipe.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The checkpoint of a resumed run holds its weights; its recipe records how they were initialised.
    init = before["init"] if before else initialise(net, options.init, options.backbone_of, options.parts_of)
    content = describe_run(recipe, init, sets, group, options.augment_on)
    content |= {} if options.minutes is None else {"minutes": options.minutes}
    content |= {} if options.init is None else {"init_sha256": sha256_of(options.init)}
    if before:
        check_same_run(before, content, options.out)
    elif group.is_main:
        write_recipe(content, options.out)
    data = training_data(recipe, sets.training, options.augment_on, group, options.cache)
    task = task_of(recipe, net, sets.validation, pretrained=init != "random", device=group.device)
    fit(task, data, recipe.loop, options.out, resume=options.resume, group=group, minutes=options.minutes)
    if group.is_main:
        print(f"weights: {options.out / BEST}; report: {write_report(options.out)}")


def training_data(
    recipe: Recipe, stills: list[Still], augment_on: str, group: ProcessGroup, cache: Path | None = None
) -> TrainingStills | DeviceStills:
    """Read the training images. Raises ValueError if the device is to hold them and cannot."""
    size, seed = recipe.config.size, recipe.loop.seed
    if augment_on == "device":
        return DeviceStills(stills, size, recipe.augment, group.device, seed=seed, cache=cache)
    return TrainingStills(stills, size, Augment(recipe.augment), seed=seed, cache=cache)


def apply_options(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """Return the recipe as changed by the command line. Raises ValueError for a count below 1 or a bad size."""
    recipe = recipe_on(recipe, options.backbone)
    for name in ("epochs", "batch", "validate_every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"--minutes must be above 0, got {options.minutes:g}")
    if options.size:
        check_size(options.size)
        recipe = recipe.sized((options.size[0], options.size[1]))
    if options.mask_weight is not None:
        if not 0 < options.mask_weight < math.inf:
            raise ValueError(f"--mask-weight must be a number above 0, got {options.mask_weight:g}")
        recipe = replace(recipe, config=replace(recipe.config, mask_weight=options.mask_weight))
    augment = AUGMENTS[options.augment] if options.augment else recipe.augment
    return replace(recipe, loop=_loop(recipe.loop, options), augment=augment)


def check_size(size: Sequence[int]) -> None:
    """Raise ValueError for an input size (h, w) px that the nets cannot take."""
    if any(length < 64 or length % 32 for length in size):
        raise ValueError(f"--size {size[0]} {size[1]}: multiples of 32 from 64 on are allowed")


def _loop(loop: LoopConfig, options: argparse.Namespace) -> LoopConfig:
    loop = replace(scaled_down(loop, epochs=options.epochs, batch=options.batch), seed=options.seed)
    if options.checkpoint_minutes is not None:
        loop = replace(loop, checkpoint_s=60 * options.checkpoint_minutes)
    loop = replace(loop, small_share=0.0) if options.full_size else loop
    named = {name: getattr(options, name) for name in ("learning_rate", "precision", "workers", "validate_every")}
    return replace(loop, **{name: value for name, value in named.items() if value is not None})


def read_training_sets(options: argparse.Namespace, batch: int) -> TrainingSets:
    """Read the images of a run. Raises FileNotFoundError or ValueError for bad files or options."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    root = options.root or options.data
    every = read_stills(options.data / "train.json", root)
    moments = [one for path in options.also or () for one in read_moments(path, every)[: options.limit]]
    stills, validation = every[: options.limit], read_stills(options.data / "val.json", root)[: options.limit]
    if len(stills) < batch:
        raise ValueError(f"{len(stills)} training images are fewer than one batch of {batch}: choose a smaller --batch")
    if not validation:
        raise ValueError(f"{options.data / 'val.json'} has no images: nothing to choose the best weights by")
    negatives = read_negatives(options.negatives, root)[: options.limit] if options.negatives else []
    files = _name_files([options.data / f"{name}.json" for name in ("train", "val")])
    also = _name_files(options.also) if options.also else None
    without = _name_files([options.negatives]) if options.negatives else None
    return TrainingSets(stills, moments, validation, also, negatives, without, files)


def _name_files(paths: list[Path]) -> str:
    return ", ".join(f"{path.name} {sha256_of(path)[:12]}" for path in paths)


def read_moments(path: Path, stills: list[Still]) -> list[Still]:
    """Read the moments that `trainers.clip_stills` made from these stills. Raises ValueError for an unknown patient."""
    moments = read_stills(path, path.parent)
    strange = sorted({one.group or "(none)" for one in moments} - {one.group for one in stills})
    if strange:
        raise ValueError(
            f"{path} shows {len(strange)} patients or videos that train.json does not have, such as {strange[0]}: draw "
            "its moments with trainers.clip_stills from the stills of this training"
        )
    return moments


def read_earlier_run(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the recipe of the run to resume; None for a new run.

    Raises:
        FileNotFoundError: there is nothing to resume.
        ValueError: a new run would overwrite an existing one.
    """
    checkpoint = options.out / CHECKPOINT
    if not options.resume:
        if checkpoint.exists():
            raise ValueError(f"{options.out} holds a run: go on with --resume, or begin in another --out")
        return None
    if not checkpoint.is_file():
        raise FileNotFoundError(f"nothing to resume: {checkpoint} is not there; leave out --resume")
    content = read_recipe(options.out)
    if (minutes := content.get("minutes")) is not None:  # its schedules followed the clock, not the epochs
        raise ValueError(
            f"the run in {options.out} was to end after {shorten(str(minutes))} minutes (--minutes): it cannot go on, "
            "start a new --out"
        )
    return content


def check_same_run(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Raise ValueError if a resumed run differs from its beginning, naming the differences."""
    now = json.loads(json.dumps(now))  # tuples become lists, as in the file
    before = {"augment_on": "workers", **before}  # earlier versions had no other place
    before = {"backbone": PAPER_BACKBONE, **before}  # nor another backbone
    before = {"model": now["model"], "data": now["data"], **before}  # and did not write down the model or the data
    before["augment"] = {"stain": 0.0, "second_picture": 0.0, **before.get("augment", {})}  # nor these two changes
    before = {"augment_draws": "coinciding", **before}
    for content in (before, now):
        for name in ("workers", "checkpoint_s"):
            content["loop"].pop(name, None)
    different = [key for key in _MUST_MATCH if before.get(key) != now[key]]
    if different:
        values = {key: f"{key} {shorten(str(before.get(key)))}, not {now[key]}" for key in _NAMED_WITH_VALUE}
        named = ", ".join(values.get(key, key) for key in different)
        raise ValueError(f"the run in {folder} began with another {named}: repeat its options, or start a new --out")


def task_of(
    recipe: Recipe, net: nn.Module, validation: list[Still], *, pretrained: bool, device: str = "cpu"
) -> TrainingTask:
    """Return the task of a recipe for the training loop. validation: stills that select the best weights."""
    return TrainingTask(
        model=ModelWithLoss(net, recipe.loss),
        backbone=backbone_of(net),
        validate=lambda average: validate(engine_of(recipe, average, device), validation),
        score=_SCORE[recipe.task],
        set_mode=mode_setter(net, task=recipe.task, pretrained=pretrained),
    )


def engine_of(recipe: Recipe, net: nn.Module, device: str = "cpu") -> EagerEngine:
    """Wrap a net as an engine, so that it is validated by the same pipeline that runs live."""
    return EagerEngine(net, recipe.name, recipe.task, recipe.config.size, device)


def recipe_of_run(run: Path) -> Recipe:
    """Return the recipe of a run at the size it was trained at. Raises ValueError for an unknown recipe."""
    content = read_recipe(run)
    if content["config"] not in RECIPES or len(content["size"]) != 2:
        raise ValueError(f"{run} trained {quoted(content['config'])}, a recipe that this version does not have")
    recipe = recipe_on(RECIPES[content["config"]], content.get("backbone", PAPER_BACKBONE))
    return recipe.sized((content["size"][0], content["size"][1]))


def engine_of_run(run: Path, size: tuple[int, int] | None = None, device: str = "auto") -> EagerEngine:
    """Load the best weights of a run as an eager engine.

    size: input (h, w), px; None: that of the training. device: auto is a GPU if there is one.

    Raises FileNotFoundError or ValueError for a folder without usable weights.
    """
    recipe = recipe_of_run(run)
    recipe = recipe.sized(size) if size else recipe
    best = run / BEST
    if not best.is_file():
        raise FileNotFoundError(f"{run} has no {BEST}: has it trained to a first validation?")
    net: nn.Module = recipe.build(recipe.config)
    state = read_tensors(best)
    missing = sorted(set(net.state_dict()) - set(state))
    if missing:
        raise ValueError(f"{best} is damaged: it lacks {len(missing)} tensors of {recipe.name}, such as {missing[0]}")
    load_part(net, state, best)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return engine_of(recipe, net, device)


def validate(engine: EagerEngine, stills: list[Still]) -> dict[str, float]:
    """Return the validation figures of a model, with the pipeline that `trainers.evaluate` measures.

    Detector: AP and AP50 over all raw detections. Segmenter: Dice and mIoU per image at the stored size. Joint model:
    also "joint", the mean of AP and Dice.
    """
    detector, segmenter = roles_of(engine)
    cases = evaluate(stills, detector, segmenter)
    figures = (_box_figures(cases) if detector else {}) | (_mask_figures(cases) if segmenter else {})
    return figures | ({"joint": (figures["AP"] + figures["dice"]) / 2} if detector and segmenter else {})


def _box_figures(cases: list[Case]) -> dict[str, float]:
    figures = coco_ap([case.boxes for case in cases])
    return {name: figures[name] or 0.0 for name in ("AP", "AP50")}


def _mask_figures(cases: list[Case]) -> dict[str, float]:
    mean = mean_scores([scores_of(case.segmentation.counts) for case in cases if case.segmentation])
    return {"dice": mean.dice, "miou": mean.miou}


_SCORE: dict[Task, str] = {"detector": "AP", "segmenter": "dice", "joint": "joint"}


def describe_run(
    recipe: Recipe, init: str, sets: TrainingSets, group: ProcessGroup, augment_on: str = "workers"
) -> dict[str, Any]:
    """Return the recipe of a run and its differences from the paper, for `recipe.json` and the report."""
    return {
        "config": recipe.name,
        "backbone": recipe.backbone,
        "task": recipe.task,
        "size": list(recipe.config.size),
        "model": _without_infinities(asdict(recipe.config)),
        "init": init,
        "images": len(sets.training),
        "data": sets.data_files,
        "also": sets.also,
        "negatives": sets.negatives_file,
        "processes": group.size,
        "loop": asdict(recipe.loop),
        "augment": asdict(recipe.augment),
        "augment_on": augment_on,
        "augment_draws": AUGMENT_DRAWS,
        "differs": differences(recipe, init, sets),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


def _without_infinities(value: Any) -> Any:
    """Replace infinite numbers, which JSON does not have, by their names."""
    if isinstance(value, dict):
        return {name: _without_infinities(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(one) for one in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def differences(recipe: Recipe, init: str, sets: TrainingSets) -> dict[str, str]:
    """Return the differences between a run and the paper: data, initialisation and options of the command line."""
    original = recipes_of(recipe.task)[recipe.name]
    centres = ", ".join(sorted({still.centre for still in sets.stills}))
    also = f" and {len(sets.moments):,} moments of clips over them" if sets.moments else ""
    also += f" and {len(sets.negatives):,} frames without a polyp" if sets.negatives else ""
    found = {"data": f"{len(sets.stills):,} stills of {centres}{also}, not {_PAPER_DATA}"}
    if init != "ImageNet":
        found["init"] = "random, not ImageNet" if init == "random" else init
    if recipe.backbone != original.backbone:
        found["backbone"] = f"EfficientNet-{recipe.backbone.capitalize()} and narrower heads"
    for name in ("epochs", "batch", "optimizer", "learning_rate", "schedule", "precision"):
        ours, recipes = getattr(recipe.loop, name), getattr(original.loop, name)
        if ours != recipes:
            found[name] = f"{ours}, not {recipes}" if isinstance(ours, str) else f"{ours:g}, not {recipes:g}"
    if recipe.augment != original.augment:
        found["augment"] = next((name for name, one in AUGMENTS.items() if one == recipe.augment), "changed")
    if recipe.config.size != original.config.size:
        found["size"] = "{}x{}, not {}x{}".format(*recipe.config.size, *original.config.size)
    if recipe.task == "joint" and recipe.config.mask_weight != original.config.mask_weight:
        found["mask_weight"] = f"{recipe.config.mask_weight:g}, not {original.config.mask_weight:g}"
    if not recipe.paper:
        found["recipe"] = "our own"
    return found
