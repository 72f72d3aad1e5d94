"""Train the detector: python -m trainers.train_detector --data ../shared/data --out runs/detector"""

import argparse

import torch
from torch import Tensor, nn

from realtime_polyp.engines.eager import EagerEngine
from realtime_polyp.engines.weights import DEFAULT_DETECTOR
from realtime_polyp.metrics.detection import coco_ap
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.efficientnet_lite import freeze
from realtime_polyp.models.variants import DETECTORS
from trainers.augment import Augment
from trainers.cases import evaluate
from trainers.command import loop_config, report_bad_input, training_parser, training_sets
from trainers.data import Still, TrainingStills
from trainers.imagenet import load_imagenet
from trainers.loop import Task, fit, seed_everything
from trainers.losses import detector_loss

_FROZEN_STAGES = 2  # with the stem, as the paper freezes its first stage; also the costliest ones to learn
_EXAMPLES = """  python -m trainers.train_detector --out runs/detector
  python -m trainers.train_detector --out runs/detector --resume
  python -m trainers.train_detector --epochs 3 --limit 100 --out runs/try"""


def main(arguments: list[str] | None = None) -> None:
    parser = training_parser(
        "python -m trainers.train_detector",
        description="Train the polyp detector (GFLv2 head, ATSS k = 13).",
        examples=_EXAMPLES,
        models=DETECTORS,
        default_model=DEFAULT_DETECTOR,
    )
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        train(options)


def train(options: argparse.Namespace) -> None:
    config = loop_config(options)
    learnt, chosen = training_sets(options)
    seed_everything(config.seed)
    model = Detector(DETECTORS[options.model]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_imagenet(model.trunk, options.init)
    training = TrainingStills(learnt, model.config.size, Augment(), seed=config.seed)
    fit(detector_task(model, chosen), training, config, options.out, resume=options.resume)


def detector_task(model: Detector, chosen: list[Still]) -> Task:
    """The detector with its losses, validated on the stills `chosen`."""
    return Task(
        model=model,
        trunk=model.trunk,
        loss=batch_loss,
        validate=lambda averaged: validate(averaged, chosen),
        score="AP",
        prepare_training=start_training,
    )


def start_training(model: nn.Module) -> None:
    model.train()
    freeze(model.trunk, stages=_FROZEN_STAGES)  # type: ignore[arg-type]


def batch_loss(model: nn.Module, pixels: Tensor, boxes: list[Tensor], masks: Tensor) -> dict[str, Tensor]:
    assert isinstance(model, Detector)
    return detector_loss(model.maps(pixels), model.config, boxes)


def validate(model: nn.Module, stills: list[Still]) -> dict[str, float]:
    """AP and AP50 with every candidate kept, through the line that `trainers.evaluate` measures."""
    assert isinstance(model, Detector)
    engine = EagerEngine(model, "in training", "detector", model.config.size, "cpu")
    figures = coco_ap([case.boxes for case in evaluate(stills, engine, None)])  # type: ignore[arg-type]
    return {name: figures[name] or 0.0 for name in ("AP", "AP50")}


if __name__ == "__main__":
    main()
