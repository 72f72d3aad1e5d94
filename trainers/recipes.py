"""The recipe of every model that can be trained: its configuration, loss, training loop and augmentation.

Models of the paper's tables use the paper's recipe (section 3); comments name the choices that the paper leaves open.
`gflv2-lite0`, `lowrank-lite2` and the other models for two CPU cores use our own recipes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from realtime_polyp.engines.base import Task
from realtime_polyp.models.hrnet import HRNET_W48
from realtime_polyp.models.resnet import R50
from realtime_polyp.models.variants import DETECTORS, JOINTS, SEGMENTERS
from trainers import joint
from trainers.data.augment import OURS, PAPER_DETECTOR, PAPER_SEGMENTER, STRONG, STRONG_STAINED, AugmentConfig
from trainers.detectors import (
    atss,
    cascade_rcnn,
    d2det,
    double_head,
    faster_rcnn,
    fcos,
    gfl,
    paa,
    retinanet,
)
from trainers.segmenters import acfnet, acsnet, hrnet, lowrank, pranet, unetpp
from trainers.training.contract import Loss
from trainers.training.schedule import LoopConfig


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained.

    Attributes:
        name: value of `--config`.
        task: "detector", "segmenter" or "joint", which is both.
        config: configuration of the net; has `size`, the input (h, w) px.
        build: makes the net from `config`.
        loss: loss function of the net.
        loop: settings of the training loop.
        augment: settings of the augmentation.
        paper: whether the model is a row of the paper's tables.
        backbone: "paper" for the recipe's own, or one of `backbone_recipes.BACKBONES`.
    """

    name: str
    task: Task
    config: Any
    build: Callable[[Any], nn.Module]
    loss: Loss
    loop: LoopConfig
    augment: AugmentConfig
    paper: bool = True
    backbone: str = "paper"

    def sized(self, size: tuple[int, int]) -> "Recipe":
        """Return the recipe at another input size (h, w) px."""
        return replace(self, config=replace(self.config, size=size))


# Section 3.1: SGD 0.01, batch 8, 24 epochs, a tenth at epochs 16 and 22. Left open there, taken from the published
# detectors' own recipes: momentum, weight decay, 500 steps of warm-up, gradients clipped at 35, one rate for all.
PAPER_DETECTOR_LOOP = LoopConfig(
    epochs=24, batch=8, optimizer="sgd", learning_rate=0.01, momentum=0.9, weight_decay=1e-4, backbone_factor=1.0,
    schedule="step", milestones=(16 / 24, 22 / 24), warmup_steps=500, clip_norm=35.0, average_decay=None, workers=4,
)  # fmt: skip
# (1333, 480) to (1333, 960) in steps of 120, relative to the 800 of the model's size.
MULTI_SCALE = tuple(short / 800 for short in range(480, 961, 120))
# Section 3.2: SGD 0.01, momentum 0.9, weight decay 5e-4, batch 16, 484 epochs. Left open: the schedule; HRNet's own.
PAPER_SEGMENTER_LOOP = LoopConfig(
    epochs=484, batch=16, optimizer="sgd", learning_rate=0.01, momentum=0.9, weight_decay=5e-4, backbone_factor=1.0,
    schedule="poly", warmup_steps=0, clip_norm=None, average_decay=None, validate_every=10, workers=4,
)  # fmt: skip
# "We normalize these images into [-1, 1]" (section 3.2), not by ImageNet's mean as detectors are.
SEGMENTER_R50 = replace(R50, mean=(127.5,) * 3, std=(127.5,) * 3)
OUR_LOOP = LoopConfig(small_share=0.5)
OUR_AVERAGED_LOOP = replace(OUR_LOOP, average_decay=0.999, precision="bfloat16")


def _paper_detector(name: str, module: Any, config: Any, *, multi_scale: bool = False) -> Recipe:
    loop = replace(PAPER_DETECTOR_LOOP, scales=MULTI_SCALE) if multi_scale else PAPER_DETECTOR_LOOP
    return Recipe(name, "detector", config, module.build, module.loss, loop, PAPER_DETECTOR)


def _paper_segmenter(name: str, module: Any, config: Any) -> Recipe:
    return Recipe(name, "segmenter", config, module.build, module.loss, PAPER_SEGMENTER_LOOP, PAPER_SEGMENTER)


def _ours(name: str, module: Any, task: Task, loop: LoopConfig, augment: AugmentConfig) -> Recipe:
    configs: dict[Task, dict[str, Any]] = {"detector": DETECTORS, "segmenter": SEGMENTERS, "joint": JOINTS}
    config = configs[task][name]
    return Recipe(name, task, config, module.build, module.loss, loop, augment, paper=False)


_ALL = (
    # Table 1
    _paper_detector("faster-rcnn-r50", faster_rcnn, faster_rcnn.FasterRCNNConfig()),
    _paper_detector("cascade-rcnn-r50", cascade_rcnn, cascade_rcnn.CascadeRCNNConfig()),
    _paper_detector("double-head-r50", double_head, double_head.DoubleHeadConfig()),
    _paper_detector("d2det-r50", d2det, d2det.D2DetConfig()),
    _paper_detector("retinanet-r50", retinanet, retinanet.RetinaNetConfig()),
    _paper_detector("fcos-r50", fcos, fcos.FCOSConfig()),
    _paper_detector("paa-r50", paa, paa.PAAConfig()),
    _paper_detector("atss-r50", atss, atss.ATSSConfig()),
    _paper_detector("atss-r50-k9", atss, atss.ATSSConfig(k=9)),  # ATSS as published, for the paper's section 2.1.3
    # Tables 2 and 3
    _paper_detector("gflv2-r50", gfl, DETECTORS["gflv2-r50"]),
    _paper_detector("gflv2-r50-dcn", gfl, DETECTORS["gflv2-r50-dcn"]),
    _paper_detector("gflv2-r50-dcn-ms", gfl, DETECTORS["gflv2-r50-dcn"], multi_scale=True),
    _paper_detector("gflv2-r101-dcn-ms", gfl, DETECTORS["gflv2-r101-dcn"], multi_scale=True),
    _paper_detector("gflv2-x101-dcn-ms", gfl, DETECTORS["gflv2-x101-dcn"], multi_scale=True),
    _paper_detector("gflv2-x101-dcn-pafpn-ms", gfl, DETECTORS["gflv2-x101-dcn-pafpn"], multi_scale=True),
    _paper_detector("gflv2-x101-dcn-bifpn-ms", gfl, DETECTORS["gflv2-x101-dcn-bifpn"], multi_scale=True),
    # Not in the tables
    _paper_detector("gfl-r50", gfl, DETECTORS["gfl-r50"]),
    _paper_detector("gflv2-r50-dcnv1", gfl, DETECTORS["gflv2-r50-dcnv1"]),
    # Table 4
    _paper_segmenter("unetpp", unetpp, unetpp.UNetPPConfig(backbone=SEGMENTER_R50)),
    _paper_segmenter("pranet", pranet, pranet.PraNetConfig(backbone=SEGMENTER_R50)),
    _paper_segmenter("acsnet", acsnet, acsnet.ACSNetConfig(backbone=SEGMENTER_R50)),
    _paper_segmenter("acfnet", acfnet, acfnet.ACFNetConfig(backbone=SEGMENTER_R50)),
    _paper_segmenter("hrnet-w48", hrnet, hrnet.HRNetSegmenterConfig(backbone=HRNET_W48)),
    _paper_segmenter("lowrank-hrnet-w48", lowrank, SEGMENTERS["lowrank-hrnet-w48"]),
    _paper_segmenter("lowrank-hrnet-w32", lowrank, SEGMENTERS["lowrank-hrnet-w32"]),
    _paper_segmenter("lowrank-hrnet-w18", lowrank, SEGMENTERS["lowrank-hrnet-w18"]),
    # Ours
    _ours("gflv2-lite0", gfl, "detector", OUR_AVERAGED_LOOP, STRONG),
    _ours("lowrank-lite0", lowrank, "segmenter", replace(OUR_LOOP, epochs=9), OURS),
    _ours(
        "lowrank-lite2",
        lowrank,
        "segmenter",
        replace(OUR_AVERAGED_LOOP, epochs=26, validate_every=4),
        STRONG,
    ),
    _ours(
        "lowrank-hrnet-w18s",  # from random weights: more epochs, one rate for all layers
        lowrank,
        "segmenter",
        replace(OUR_AVERAGED_LOOP, epochs=100, validate_every=10, backbone_factor=1.0),
        STRONG,
    ),
    _ours("polyp-lite0", joint, "joint", replace(OUR_AVERAGED_LOOP, epochs=26, validate_every=4), STRONG_STAINED),
    _ours("polyp-lite2", joint, "joint", replace(OUR_AVERAGED_LOOP, epochs=26, validate_every=4), STRONG_STAINED),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def recipes_of(task: Task) -> dict[str, Recipe]:
    return {name: recipe for name, recipe in RECIPES.items() if recipe.task == task}
