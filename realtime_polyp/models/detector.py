"""The polyp detector: backbone, neck, GFLv2 head. The paper's own is `DetectorConfig(backbone=X101 with deformable
convolution, ...)` of `variants.py`; what ships is the same line on a backbone that two cores run.

A box edge is predicted as a distribution over distances; the shape of the four distributions (their top-4
probabilities and mean) tells how well the box is placed, and scales its score. Sources: Li et al., Generalized Focal
Loss V2 (CVPR 2021); Lin et al., FPN (CVPR 2017); the paper, section 2.1.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from realtime_polyp.models.backbones import build_backbone
from realtime_polyp.models.boxes import from_distances
from realtime_polyp.models.efficientnet_lite import LITE0, LiteConfig
from realtime_polyp.models.necks import NeckConfig, build_neck
from realtime_polyp.models.resnet import ResNetConfig

_TOP_K = 4  # probabilities of each edge's distribution that the quality branch sees
_QUALITY_CHANNELS = 64
_GROUPS = 32
_PRIOR_LOGIT = -4.6  # sigmoid gives 0.01: at the start almost every place is background


Norm = Literal["batch", "group"]
_LITE_NECK = NeckConfig(channels=96, levels=4, relu_before_extra=True)


@dataclass(frozen=True)
class DetectorConfig:
    """size: input (h, w) px. norm: of the head's towers, batch norms of each level's own or shared group norms.
    strides: of the pyramid's levels. anchor_scale: anchor side in strides (ATSS only)."""

    backbone: LiteConfig | ResNetConfig = LITE0
    neck: NeckConfig = field(default=_LITE_NECK)
    size: tuple[int, int] = (320, 384)
    norm: Norm = "batch"
    stacked_convs: int = 2
    strides: tuple[int, ...] = (8, 16, 32, 64)
    reg_max: int = 16
    anchor_scale: float = 5.0


@dataclass(frozen=True)
class DetectorMaps:
    """Everything a loss needs, levels concatenated, row-major.

    scores (N, P) joint probability; edges (N, P, 4, reg_max + 1) logits; points (P, 2) and strides (P,) px.
    """

    scores: Tensor
    edges: Tensor
    points: Tensor
    strides: Tensor


class SharedTower(nn.Module):
    """Convolutions shared by all levels. Levels differ in statistics: each has its own batch norm; a group norm, which
    keeps none, is shared too."""

    def __init__(self, channels: int, depth: int, levels: int, norm: Norm = "batch") -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(_norms(channels, levels, norm) for _ in range(depth))

    def forward(self, x: Tensor, level: int) -> Tensor:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            own = norms[level if len(norms) > 1 else 0]  # type: ignore[index, arg-type]
            x = F.relu(own(conv(x)))
        return x


def _norms(channels: int, levels: int, norm: Norm) -> nn.ModuleList:
    if norm == "group":
        return nn.ModuleList([nn.GroupNorm(min(_GROUPS, channels // 2), channels)])
    return nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(levels))


class GFLHead(nn.Module):
    """One level's features (N, C, h, w) -> scores (N, h*w) and edge logits (N, h*w, 4, reg_max + 1).

    `raw` gives the class's probability before the quality of the edges scales it.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        levels, channels = len(config.strides), config.neck.channels
        self.bins = config.reg_max + 1
        self.cls_tower = SharedTower(channels, config.stacked_convs, levels, config.norm)
        self.reg_tower = SharedTower(channels, config.stacked_convs, levels, config.norm)
        self.cls = nn.Conv2d(channels, 1, 3, padding=1)
        self.reg = nn.Conv2d(channels, 4 * self.bins, 3, padding=1)
        self.reg_scale = nn.Parameter(torch.ones(levels))
        self.quality = nn.Sequential(
            nn.Linear(4 * (_TOP_K + 1), _QUALITY_CHANNELS), nn.ReLU(), nn.Linear(_QUALITY_CHANNELS, 1), nn.Sigmoid()
        )
        for module in (self.cls_tower, self.reg_tower, self.cls, self.reg):
            _initialise(module)
        nn.init.constant_(self.cls.bias, _PRIOR_LOGIT)  # type: ignore[arg-type]

    def forward(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        classes, edges = self.raw(x, level)
        return classes * self.placement_quality(edges.softmax(-1)), edges

    def raw(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        classes = self.cls(self.cls_tower(x, level)).flatten(1)
        edges = self.reg(self.reg_tower(x, level)) * self.reg_scale[level]
        return classes.sigmoid(), edges.flatten(2).transpose(1, 2).unflatten(2, (4, self.bins))

    def placement_quality(self, probability: Tensor) -> Tensor:
        """How well edges are placed, from their distributions (N, P, 4, reg_max + 1): (N, P) in 0..1."""
        top = probability.topk(_TOP_K, dim=-1).values
        statistics = torch.cat([top, top.mean(-1, keepdim=True)], dim=-1)
        return self.quality(statistics.flatten(2)).squeeze(-1)  # type: ignore[no-any-return]


class Detector(nn.Module):
    """Pixels (N, 3, h, w) in [0, 255] -> boxes (N, P, 4) in input px and scores (N, P)."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone)
        self.pyramid = build_neck(self.backbone.channels[config.neck.start :], config.neck)
        self.head = GFLHead(config)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.maps(pixels)
        return decode(maps), maps.scores

    def best(self, pixels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Boxes (N, count, 4) and scores (N, count) of the places most likely a polyp by class alone, likeliest first.

        Edges are decoded and judged there only: what compiled engines run. A score is at most its class's probability,
        so a place left out scores less than the last class probability let in.
        """
        levels = self.pyramid(self.backbone(pixels)[self.config.neck.start :])
        outputs = [self.head.raw(x, level) for level, x in enumerate(levels)]
        classes, places = torch.cat([found for found, _ in outputs], dim=1).topk(count, dim=1)
        edges = torch.cat([found for _, found in outputs], dim=1).flatten(2)
        chosen = edges.gather(1, places[..., None].expand(-1, -1, edges.shape[-1]))
        probability = chosen.reshape(*places.shape, 4, self.head.bins).softmax(-1)
        everywhere = points_of([x.shape[-2:] for x in levels], self.config.strides, pixels.device)
        points, strides = (x[places] for x in everywhere)
        boxes = from_distances(points, mean_distance(probability) * strides[..., None])
        return boxes, classes * self.head.placement_quality(probability)

    def maps(self, pixels: Tensor) -> DetectorMaps:
        """What the losses compare with the truth."""
        levels = self.pyramid(self.backbone(pixels)[self.config.neck.start :])
        outputs = [self.head(x, level) for level, x in enumerate(levels)]
        points, strides = points_of([x.shape[-2:] for x in levels], self.config.strides, pixels.device)
        return DetectorMaps(
            torch.cat([scores for scores, _ in outputs], dim=1),
            torch.cat([edges for _, edges in outputs], dim=1),
            points,
            strides,
        )


def decode(maps: DetectorMaps) -> Tensor:
    """Boxes (N, P, 4): each edge at the mean of its distribution."""
    distances = expected_distance(maps.edges) * maps.strides[:, None]
    return from_distances(maps.points, distances)


def expected_distance(edges: Tensor) -> Tensor:
    """Mean of each edge's distribution (..., 4, bins) in strides: (..., 4)."""
    return mean_distance(edges.softmax(-1))


def mean_distance(probability: Tensor) -> Tensor:
    """Mean of each edge's distribution (..., 4, bins), already probabilities: (..., 4)."""
    bins = torch.arange(probability.shape[-1], dtype=probability.dtype, device=probability.device)
    return (probability * bins).sum(-1)


def points_of(
    shapes: list[torch.Size], strides: tuple[int, ...], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Where each prediction stands: points (P, 2) xy px, and its level's stride (P,).

    Made on the device: a copy from the host would stop a CUDA graph from being captured.
    """
    points, repeated = [], []
    for (height, width), stride in zip(shapes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()], dim=1) * float(stride))
        repeated.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(repeated)


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
