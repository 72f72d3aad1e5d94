"""The polyp detector: a backbone, a neck and the GFLv2 head.

The paper's detector (X101 with deformable convolution) is in `variants.py`. The shipped one has the same structure and
a backbone that is fast enough for two CPU cores.

The head predicts the distance to each side of a box as a distribution. The Distribution-Guided Quality Predictor (DGQP)
estimates the localisation quality from the four distributions (their top-4 probabilities and the mean of these), and
the score is multiplied by it. Sources: Li et al., Generalized Focal Loss V2 (CVPR 2021); Lin et al., FPN (CVPR 2017);
the paper, section 2.1.
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

_TOP_K = 4  # largest probabilities of each distribution that the DGQP reads
_QUALITY_CHANNELS = 64
_GROUPS = 32
_PRIOR_LOGIT = -4.6  # its sigmoid is 0.01: before training, almost every location is background


Norm = Literal["batch", "group"]
_LITE_NECK = NeckConfig(channels=96, levels=4, relu_before_extra=True)


@dataclass(frozen=True)
class DetectorConfig:
    """Structure of a detector.

    Attributes:
        backbone: configuration of the backbone; its type chooses the architecture.
        neck: configuration of the feature pyramid.
        size: input (h, w), px.
        norm: in the head's towers; "batch": one batch norm per level, "group": a group norm that all levels share.
        stacked_convs: convolutions per tower.
        strides: of the pyramid's levels, px, finest first.
        reg_max: largest distance that a distribution covers, in strides; it has reg_max + 1 bins.
        anchor_scale: side of an anchor, in strides; only ATSS, the label assignment, uses anchors.
        dgqp: multiply the class probability by the DGQP's estimate, as in GFLv2. False is GFL v1 (Li et al., NeurIPS
            2020), where training with the quality focal loss alone makes the class probability an estimate of the IoU.
    """

    backbone: LiteConfig | ResNetConfig = LITE0
    neck: NeckConfig = field(default=_LITE_NECK)
    size: tuple[int, int] = (320, 384)
    norm: Norm = "batch"
    stacked_convs: int = 2
    strides: tuple[int, ...] = (8, 16, 32, 64)
    reg_max: int = 16
    anchor_scale: float = 5.0
    dgqp: bool = True


@dataclass(frozen=True)
class DetectorMaps:
    """The head's outputs at all P locations, as the losses need them: levels concatenated, row-major.

    Attributes:
        scores: (N, P), class probability times localisation quality.
        distributions: (N, P, 4, reg_max + 1), logits of the distances to the left, top, right and bottom side.
        points: (P, 2), xy of each location, px.
        strides: (P,), stride of each location's level, px.
    """

    scores: Tensor
    distributions: Tensor
    points: Tensor
    strides: Tensor


class SharedTower(nn.Module):
    """A stack of convolutions that all pyramid levels share.

    The statistics of features differ between levels, so each level has its own batch norms. A group norm stores no
    statistics and is shared.
    """

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
    """One level's features (N, C, h, w) -> scores (N, h*w) and box distribution logits (N, h*w, 4, reg_max + 1)."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        levels, channels = len(config.strides), config.neck.channels
        self.bins, self.strides = config.reg_max + 1, config.strides
        self.cls_tower = SharedTower(channels, config.stacked_convs, levels, config.norm)
        self.reg_tower = SharedTower(channels, config.stacked_convs, levels, config.norm)
        self.cls = nn.Conv2d(channels, 1, 3, padding=1)
        self.reg = nn.Conv2d(channels, 4 * self.bins, 3, padding=1)
        self.reg_scale = nn.Parameter(torch.ones(levels))
        self.quality = _quality_predictor() if config.dgqp else None
        for module in (self.cls_tower, self.reg_tower, self.cls, self.reg):
            _initialise(module)
        nn.init.constant_(self.cls.bias, _PRIOR_LOGIT)  # type: ignore[arg-type]

    def forward(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        classes, distributions = self.raw(x, level)
        return classes * self.localisation_quality(distributions.softmax(-1)), distributions

    def raw(self, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, but with class probabilities that are not multiplied by the quality."""
        classes = self.cls(self.cls_tower(x, level)).flatten(1)
        distributions = self.reg(self.reg_tower(x, level)) * self.reg_scale[level]
        return classes.sigmoid(), distributions.flatten(2).transpose(1, 2).unflatten(2, (4, self.bins))

    def maps(self, levels: list[Tensor]) -> DetectorMaps:
        """Return the outputs at all locations of a pyramid's levels, each (N, C, h, w)."""
        outputs = [self(x, level) for level, x in enumerate(levels)]
        points, strides = points_of([x.shape[-2:] for x in levels], self.strides, levels[0].device)
        return DetectorMaps(
            torch.cat([scores for scores, _ in outputs], dim=1),
            torch.cat([distributions for _, distributions in outputs], dim=1),
            points,
            strides,
        )

    def best(self, levels: list[Tensor], count: int, *, gather: bool = False) -> tuple[Tensor, Tensor]:
        """Return boxes (N, count, 4) and scores (N, count) of the `count` locations with the highest class probability.

        They are sorted by class probability. Compiled engines run this, because boxes are decoded and the localisation
        quality is computed at these locations only. A score never exceeds its class probability, so an omitted location
        scores no more than the lowest class probability selected.

        gather: also apply the last convolution of the distributions at these locations only. Equal up to rounding, and
        7 % of a joint model's time. The shipped detectors keep the graph that their gate records are of.
        """
        if gather:
            classes = torch.cat(
                [self.cls(self.cls_tower(x, level)).flatten(1) for level, x in enumerate(levels)], dim=1
            )
            classes, locations = classes.sigmoid().topk(count, dim=1)
            selected = self._distributions_at([self.reg_tower(x, level) for level, x in enumerate(levels)], locations)
        else:
            outputs = [self.raw(x, level) for level, x in enumerate(levels)]
            classes, locations = torch.cat([scores for scores, _ in outputs], dim=1).topk(count, dim=1)
            distributions = torch.cat([logits for _, logits in outputs], dim=1).flatten(2)
            selected = distributions.gather(1, locations[..., None].expand(-1, -1, distributions.shape[-1]))
        probability = selected.reshape(*locations.shape, 4, self.bins).softmax(-1)
        grid = points_of([x.shape[-2:] for x in levels], self.strides, levels[0].device)
        points, strides = (x[locations] for x in grid)
        boxes = from_distances(points, mean_distance(probability) * strides[..., None])
        return boxes, classes * self.localisation_quality(probability)

    def _distributions_at(self, features: list[Tensor], locations: Tensor) -> Tensor:
        """Return the distributions' logits (N, count, 4 * bins) at the locations (N, count), in float32.

        features: of the tower, (N, C, h, w) per level. The 3x3 neighbourhoods are gathered, 0 beyond the border.
        """
        shapes = [x.shape[-2:] for x in features]
        places = torch.cat([F.pad(x, (1, 1, 1, 1)).flatten(2) for x in features], dim=2).transpose(1, 2)
        first = torch.arange(places.shape[0], device=places.device)[:, None, None] * places.shape[1]
        taps = neighbours_of(shapes, places.device)[locations] + first  # (N, count, 9)
        patches = places.flatten(0, 1)[taps].flatten(2)
        weight = self.reg.weight.flatten(2).transpose(1, 2).flatten(1)  # (4 * bins, 9 * C)
        scales = torch.cat([self.reg_scale[level].expand(h * w) for level, (h, w) in enumerate(shapes)])
        return F.linear(patches, weight, self.reg.bias).float() * scales[locations][..., None]

    def localisation_quality(self, probability: Tensor) -> Tensor:
        """Estimate the localisation quality (DGQP): distributions (N, P, 4, reg_max + 1) -> (N, P) in 0..1.

        It is 1 without a DGQP.
        """
        if self.quality is None:
            return torch.ones_like(probability[..., 0, 0])
        top = probability.topk(_TOP_K, dim=-1).values
        statistics = torch.cat([top, top.mean(-1, keepdim=True)], dim=-1)
        return self.quality(statistics.flatten(2)).squeeze(-1)  # type: ignore[no-any-return]


def _quality_predictor() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4 * (_TOP_K + 1), _QUALITY_CHANNELS), nn.ReLU(), nn.Linear(_QUALITY_CHANNELS, 1), nn.Sigmoid()
    )


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
        """Return boxes (N, count, 4) and scores (N, count) of the likeliest locations: `GFLHead.best`."""
        return self.head.best(self.levels(pixels), count)

    def maps(self, pixels: Tensor) -> DetectorMaps:
        """Return the outputs at all locations, for the losses."""
        return self.head.maps(self.levels(pixels))

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the levels of the pyramid, finest first."""
        return self.pyramid(self.backbone(pixels)[self.config.neck.start :])  # type: ignore[no-any-return]


def decode(maps: DetectorMaps) -> Tensor:
    """Return boxes (N, P, 4), xyxy px: each side at the mean of its distribution."""
    distances = expected_distance(maps.distributions) * maps.strides[:, None]
    return from_distances(maps.points, distances)


def expected_distance(distributions: Tensor) -> Tensor:
    """Return the mean of each distribution: logits (..., 4, bins) -> (..., 4), in strides."""
    return mean_distance(distributions.softmax(-1))


def mean_distance(probability: Tensor) -> Tensor:
    """Return the mean of each distribution: probabilities (..., 4, bins) -> (..., 4), in strides."""
    bins = torch.arange(probability.shape[-1], dtype=probability.dtype, device=probability.device)
    return (probability * bins).sum(-1)


def points_of(
    shapes: list[torch.Size], strides: tuple[int, ...], device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Return the locations of the predictions: points (P, 2), xy px, and the stride (P,) of each one's level, px.

    shapes: (h, w) of each level. The tensors are created on the device, because a CUDA graph cannot capture a copy from
    the host.
    """
    points, repeated = [], []
    for (height, width), stride in zip(shapes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        points.append(torch.stack([x.flatten(), y.flatten()], dim=1) * float(stride))
        repeated.append(torch.full((height * width,), float(stride), device=device))
    return torch.cat(points), torch.cat(repeated)


def neighbours_of(shapes: list[torch.Size], device: torch.device | None = None) -> Tensor:
    """Return the places (P, 9) of each location's 3x3 neighbourhood, row by row, in the levels' padded maps.

    shapes: (h, w) of each level. The maps are (h + 2) x (w + 2), with one cell around, one after the other.
    """
    parts, start = [], 0
    for height, width in shapes:
        pitch = width + 2
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        corner = start + rows[:, None] * pitch + columns  # the neighbourhood begins here: the padding moved it by one
        taps = torch.arange(3, device=device)[:, None] * pitch + torch.arange(3, device=device)
        parts.append(corner.flatten()[:, None] + taps.flatten())
        start += (height + 2) * pitch
    return torch.cat(parts)


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
