"""Train the segmenter: python -m trainers.train_segmenter --data ../shared/data --out runs/segmenter"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.engines.weights import DEFAULT_SEGMENTER
from realtime_polyp.metrics.segmentation import mean_scores, scores_of
from realtime_polyp.models.efficientnet_lite import freeze
from realtime_polyp.models.segmenter import LiteFusion, Segmenter
from realtime_polyp.models.variants import SEGMENTERS
from trainers.augment import Augment
from trainers.cases import evaluate
from trainers.command import loop_config, report_bad_input, training_parser, training_sets
from trainers.data import Still, TrainingStills
from trainers.imagenet import load_imagenet
from trainers.loop import Task, fit, seed_everything
from trainers.losses import segmenter_loss

_FROZEN_STAGES = 2
_EXAMPLES = """  python -m trainers.train_segmenter --out runs/segmenter --trunk-of runs/detector/best.safetensors
  python -m trainers.train_segmenter --out runs/segmenter --resume
  python -m trainers.train_segmenter --model lowrank-hrnet-w18s --out runs/hrnet"""


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(
        "python -m trainers.train_segmenter",
        description="Train the polyp segmenter (high-resolution features and the low-rank module).",
        examples=_EXAMPLES,
        models=SEGMENTERS,
        default_model=DEFAULT_SEGMENTER,
    )
    parser.add_argument("--trunk-of", type=Path, help="start from the trunk of this trained detector (.safetensors)")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        train(options)


def train(options: argparse.Namespace) -> None:
    config = loop_config(options)
    learnt, chosen = training_sets(options)
    seed_everything(config.seed)
    model = Segmenter(SEGMENTERS[options.model]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    initialise_trunk(model, options.init, options.trunk_of)
    training = TrainingStills(learnt, model.config.size, Augment(), seed=config.seed)
    fit(segmenter_task(model, chosen), training, config, options.out, resume=options.resume)


def initialise_trunk(model: Segmenter, init: Path | None, trunk_of: Path | None) -> None:
    """Give a Lite trunk a trained detector's weights or ImageNet's. An HRNet starts at random: no ImageNet weights
    for it can be had offline."""
    if not isinstance(model.fusion, LiteFusion):
        return
    if trunk_of is None:
        load_imagenet(model.fusion.trunk, init)
        return
    if not trunk_of.is_file():
        raise FileNotFoundError(f"no such detector: {trunk_of}")
    state = load_file(trunk_of)
    prefix = "trunk."
    model.fusion.trunk.load_state_dict(
        {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    )


def segmenter_task(model: Segmenter, chosen: list[Still]) -> Task:
    """The segmenter with its losses, validated on the stills `chosen`."""
    pretrained = isinstance(model.fusion, LiteFusion)
    return Task(
        model=model,
        trunk=model.fusion.trunk if isinstance(model.fusion, LiteFusion) else nn.Identity(),
        loss=batch_loss,
        validate=lambda averaged: validate(averaged, chosen),
        score="dice",
        prepare_training=start_training if pretrained else _start_training_from_nothing,
    )


def start_training(model: nn.Module) -> None:
    model.train()
    assert isinstance(model, Segmenter) and isinstance(model.fusion, LiteFusion)
    freeze(model.fusion.trunk, stages=_FROZEN_STAGES)


def _start_training_from_nothing(model: nn.Module) -> None:
    model.train()


def batch_loss(model: nn.Module, pixels: Tensor, boxes: list[Tensor], masks: Tensor) -> dict[str, Tensor]:
    assert isinstance(model, Segmenter)
    return segmenter_loss(model.logits(pixels), masks)


def validate(model: nn.Module, stills: list[Still]) -> dict[str, float]:
    """Dice and mIoU per image at the stored size, through the line that `trainers.evaluate` measures."""
    assert isinstance(model, Segmenter)
    engine = EagerEngine(model, "in training", "segmenter", model.config.size, "cpu")
    cases = evaluate(stills, None, engine)  # type: ignore[arg-type]
    mean = mean_scores([scores_of(case.segmentation.counts) for case in cases if case.segmentation])
    return {"dice": mean.dice, "miou": mean.miou}


if __name__ == "__main__":
    main()
