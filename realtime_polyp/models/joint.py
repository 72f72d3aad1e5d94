"""The joint model: one backbone and one feature pyramid, on which the detector's head and the segmenter's stand.

    pixels -> EfficientNet-Lite (strides 4 to 32) -> feature pyramid P2 to P6, from coarse to fine
        P3 to P6 (strides 8 to 64): the GFLv2 head with its quality predictor -> boxes and scores
        P2 to P5 (strides 4 to 32): fusion at stride 4, the low-rank module   -> the polyp probability

The backbone, most of the work of a detector and of a segmenter, runs once. The pyramid's 3x3 convolution is left out
at P2: the fusion's own 5x5 depthwise convolution is the only one that reads this level. There is no mask for each
polyp: it is the probability inside the polyp's box.

Sources: the paper, its last sentence ("integrate the detection and segmentation framework"), and those of `detector.py`
and `segmenter.py`, whose heads these are.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from realtime_polyp.models.detector import DetectorConfig, DetectorMaps, GFLHead, decode
from realtime_polyp.models.efficientnet_lite import LITE0, EfficientNetLite, LiteConfig
from realtime_polyp.models.necks import FPN, NeckConfig
from realtime_polyp.models.segmenter import PyramidConfig, Segmenter, SegmenterConfig


@dataclass(frozen=True)
class JointConfig:
    """Structure of a joint model.

    Attributes:
        backbone: configuration of the EfficientNet-Lite.
        size: input (h, w), px.
        channels: width of every level of the pyramid.
        stacked_convs: convolutions per tower of the detector's head.
        strides: of the levels that the detector's head reads, px, finest first.
        reg_max: largest distance that a distribution of the detector covers, in strides.
        anchor_scale: side of an anchor, in strides; used in training only.
        branch: channels of each level in the segmenter's fusion.
        width: channels of the segmenter's features F_p.
        bases: number of bases of the low-rank module.
        mask_weight: of the segmenter's losses beside the detector's.
    """

    backbone: LiteConfig = LITE0
    size: tuple[int, int] = (320, 384)
    channels: int = 64
    stacked_convs: int = 2
    strides: tuple[int, ...] = (8, 16, 32, 64)
    reg_max: int = 16
    anchor_scale: float = 5.0
    branch: int = 48
    width: int = 96
    bases: int = 16
    mask_weight: float = 1.0

    @property
    def detector(self) -> DetectorConfig:
        """The detector's half: its head, its losses and the pyramid, which begins one level finer than the head."""
        neck = NeckConfig(
            channels=self.channels, levels=1 + len(self.strides), start=0, relu_before_extra=True, smooth_from=1
        )
        return DetectorConfig(
            backbone=self.backbone,
            neck=neck,
            size=self.size,
            stacked_convs=self.stacked_convs,
            strides=self.strides,
            reg_max=self.reg_max,
            anchor_scale=self.anchor_scale,
        )

    @property
    def segmenter(self) -> SegmenterConfig:
        """The segmenter's half."""
        shared = PyramidConfig(self.channels, self.branch)
        return SegmenterConfig(backbone=shared, size=self.size, width=self.width, bases=self.bases)


class JointModel(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px, scores (N, P), probability (N, h/4, w/4)."""

    def __init__(self, config: JointConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = EfficientNetLite(config.backbone)
        self.pyramid = FPN(self.backbone.channels, config.detector.neck)
        self.head = GFLHead(config.detector)
        self.mask = Segmenter(config.segmenter)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels = self.levels(pixels)
        maps = self.head.maps(levels[1:])
        return decode(maps), maps.scores, self.mask(levels[:4])

    def best(self, pixels: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `forward` does, but boxes and scores of the `count` likeliest locations: `GFLHead.best`."""
        levels = self.levels(pixels)
        return (*self.head.best(levels[1:], count, gather=True), self.mask(levels[:4]))

    def train_outputs(self, pixels: Tensor) -> tuple[DetectorMaps, tuple[Tensor, Tensor]]:
        """Return what the losses need, from one pass: the head's maps, and the logits (N, h/4, w/4) of F_p and F_l."""
        levels = self.levels(pixels)
        return self.head.maps(levels[1:]), self.mask.logits(levels[:4])

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the levels of the pyramid, at strides 4 to 64."""
        return self.pyramid(self.backbone(pixels))  # type: ignore[no-any-return]
