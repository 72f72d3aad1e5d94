"""Train the detector: python -m trainers.train_detector --data ../shared/data --out runs/detector"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from realtime_polyp.engines.weights import DEFAULT_DETECTOR
from realtime_polyp.field import find_field, whole
from realtime_polyp.metrics.detection import ImageBoxes, coco_ap
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.efficientnet_lite import freeze
from realtime_polyp.models.variants import DETECTORS
from realtime_polyp.postprocess import detections_of
from realtime_polyp.prepare import prepare
from trainers.augment import Augment
from trainers.command import add_arguments, loop_config, report_bad_input
from trainers.data import Still, TrainingStills, read_image, read_stills
from trainers.imagenet import load_imagenet
from trainers.loop import LoopConfig, Task, fit, in_batches, seed_everything
from trainers.losses import detector_loss

_FROZEN_STAGES = 2  # with the stem, as the paper freezes its first stage; also the costliest ones to learn
_EPILOG = """examples:
  python -m trainers.train_detector --out runs/detector
  python -m trainers.train_detector --out runs/detector --resume
  python -m trainers.train_detector --epochs 3 --limit 100 --out runs/try"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.train_detector",
        description="Train the polyp detector (GFLv2 head, ATSS k = 13).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=DETECTORS, default=DEFAULT_DETECTOR, help="default: %(default)s")
    add_arguments(parser, LoopConfig())
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        train(options)


def train(options: argparse.Namespace) -> None:
    config = loop_config(options, LoopConfig())
    stills = read_stills(options.data / "train.json", options.data)[: options.limit]
    chosen = read_stills(options.data / "val.json", options.data)[: options.limit]
    seed_everything(config.seed)
    model = Detector(DETECTORS[options.model]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    load_imagenet(model.trunk, options.init)
    training = TrainingStills(stills, model.config.size, Augment(), seed=config.seed)
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


@torch.inference_mode()
def validate(model: nn.Module, stills: list[Still]) -> dict[str, float]:
    """AP and AP50 with every candidate kept, through the live line's own prepare and postprocess."""
    assert isinstance(model, Detector)
    model.eval()
    found = [boxes for group in in_batches(stills, 8) for boxes in _detect(model, group)]
    figures = coco_ap(found)
    return {name: figures[name] or 0.0 for name in ("AP", "AP50")}


def _detect(model: Detector, stills: list[Still]) -> list[ImageBoxes]:
    images = [read_image(still.image_path) for still in stills]
    batch = prepare(images, [find_field(image) or whole(image) for image in images], model.config.size)
    boxes, scores = model(torch.from_numpy(batch.pixels).float())
    detections = [
        detections_of(box.numpy(), score.numpy(), placement, score_threshold=0.0)
        for box, score, placement in zip(boxes, scores, batch.placements, strict=True)
    ]
    return [
        ImageBoxes(still.boxes, np.asarray(one.boxes), one.scores)
        for still, one in zip(stills, detections, strict=True)
    ]


if __name__ == "__main__":
    main()
