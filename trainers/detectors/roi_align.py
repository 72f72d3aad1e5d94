"""Features of regions of interest: RoIAlign, and reading a feature map at any points.

Source: He et al., Mask R-CNN (ICCV 2017), section 3. The conventions (half a pixel subtracted, the level a region is
read from) are mmdetection's. Sampling a grid bilinearly is separable: a bin is a weighted sum of the rows and columns
of the window that a region covers, so each window is gathered once and multiplied by two small matrices.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_FINEST_PX = 56.0  # regions up to twice this size are read from the finest level
_LARGEST_GATHER = 2**24  # numbers gathered at a time, 64 MB


@dataclass(frozen=True)
class RoIs:
    """Regions of a batch: boxes (n, 4) xyxy input px, and the image (n,) int64 that each is of."""

    boxes: Tensor
    image: Tensor


def rois_of(boxes: list[Tensor]) -> RoIs:
    """One (m, 4) an image, one after the other."""
    counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
    return RoIs(torch.cat(boxes), torch.arange(len(boxes), device=counts.device).repeat_interleave(counts))


def enlarged(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (..., 4) of `factor` times the sides, about the same centres."""
    grow = (boxes[..., 2:] - boxes[..., :2]) * (factor - 1) / 2
    return torch.cat([boxes[..., :2] - grow, boxes[..., 2:] + grow], dim=-1)


def level_of(boxes: Tensor, levels: int) -> Tensor:
    """Which pyramid level each box (n, 4) is read from, 0 the finest: (n,) int64 (Lin et al., FPN, equation 1)."""
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    return (side / _FINEST_PX + 1e-6).log2().floor().clamp(0, levels - 1).long()


def pool_levels(
    levels: list[Tensor], rois: RoIs, strides: tuple[int, ...], *, size: int = 7, samples: int = 0, factor: float = 1.0
) -> Tensor:
    """RoIAlign of each region, enlarged `factor` times, on the level that its own size asks for: (n, C, size, size)."""
    chosen, boxes = level_of(rois.boxes, len(levels)), enlarged(rois.boxes, factor)
    order, pieces = [], []
    for number, (feature, stride) in enumerate(zip(levels, strides, strict=True)):
        here = (chosen == number).nonzero()[:, 0]
        order.append(here)
        pieces.append(roi_align(feature, RoIs(boxes[here], rois.image[here]), stride, size=size, samples=samples))
    return _in_order(pieces, order)


def roi_align(feature: Tensor, rois: RoIs, stride: int, *, size: int = 7, samples: int = 0) -> Tensor:
    """Each region's features in size x size bins: (n, C, size, size), differentiable in `feature` (N, C, h, w).

    A bin is the mean of a grid of samples, `samples` of them along each axis; 0 takes about one a cell of the feature.
    What lies more than a cell outside of the feature counts as zero.
    """
    height, width = feature.shape[-2:]
    cells = feature.permute(0, 2, 3, 1).reshape(-1, feature.shape[1])
    boxes = rois.boxes.to(torch.float64 if feature.dtype == torch.float64 else torch.float32) / stride - 0.5
    windows = torch.stack([_window(boxes[:, 1::2], height), _window(boxes[:, ::2], width)], dim=1)
    order, pieces = [], []
    for lengths in windows[..., 1].unique(dim=0).tolist():
        group = (windows[..., 1] == windows.new_tensor(lengths)).all(1).nonzero()[:, 0]
        most = max(1, _LARGEST_GATHER // (lengths[0] * lengths[1] * feature.shape[1]))
        for here in group.split(most):
            vertical = _Axis(boxes[here, 1::2], windows[here, 0, 0], lengths[0], height)
            horizontal = _Axis(boxes[here, ::2], windows[here, 1, 0], lengths[1], width)
            order.append(here)
            pieces.append(_pool(cells, rois.image[here], vertical, horizontal, size, samples))
    return _in_order(pieces, order) if pieces else feature.new_zeros(0, feature.shape[1], size, size)


@dataclass(frozen=True)
class _Axis:
    """Along one axis: spans (n, 2) of the regions in cells, where their windows start (n,), how many cells a window and
    the whole feature have."""

    spans: Tensor
    first: Tensor
    window: int
    length: int

    def cells(self) -> Tensor:
        """The windows' cells (n, window); past the feature's end its last one, which then weighs nothing."""
        return (self.first[:, None] + _count(self.window, self.first)).clamp(max=self.length - 1)

    def weights(self, size: int, samples: int) -> Tensor:
        """What each cell of a window contributes to each bin: (n, size, window)."""
        start, extent = self.spans[:, 0], self.spans[:, 1] - self.spans[:, 0]
        counts = torch.full_like(extent, samples) if samples else (extent / size).ceil()
        index = _count(max(1, int(counts.amax())), counts)
        within = _count(size, counts)[:, None] + (index + 0.5) / counts.clamp(min=1)[:, None, None]
        at = start[:, None, None] + within * (extent / size)[:, None, None]
        used = (index < counts[:, None, None]) & (at >= -1) & (at <= self.length)
        at = at.clamp(0, self.length - 1) - self.first[:, None, None]
        reach = (1 - (at[..., None] - _count(self.window, at)).abs()).clamp(min=0)
        return (reach * used[..., None]).sum(2) / counts.clamp(min=1)[:, None, None]


def _window(spans: Tensor, length: int) -> Tensor:
    """First cell that each span (n, 2) reads, and how many: (n, 2) int64. The number is rounded up to a power of two,
    so that few sizes occur."""
    first = spans[:, 0].floor().clamp(0, length - 1)
    last = (spans[:, 1].floor() + 1).clamp(0, length - 1)
    cells = (last - first + 1).clamp(min=2)
    return torch.stack([first, 2 ** cells.log2().ceil()], dim=1).long()


def _pool(cells: Tensor, image: Tensor, vertical: _Axis, horizontal: _Axis, size: int, samples: int) -> Tensor:
    rows = image[:, None] * vertical.length + vertical.cells()
    index = rows[:, :, None] * horizontal.length + horizontal.cells()[:, None]
    down, across = vertical.weights(size, samples), horizontal.weights(size, samples)
    window = cells.index_select(0, index.flatten()).view(len(image), vertical.window, -1).to(down.dtype)
    with torch.autocast(cells.device.type, enabled=False):  # half precision would move the samples
        bands = (down @ window).view(len(image), size, horizontal.window, -1)
        return (across[:, None] @ bands).permute(0, 3, 1, 2)


def _in_order(pieces: list[Tensor], order: list[Tensor]) -> Tensor:
    """Pieces, whose rows belong at the places `order`, as one tensor in the order of the places."""
    return torch.cat(pieces)[torch.cat(order).argsort()]


def _count(most: int, like: Tensor) -> Tensor:
    return torch.arange(most, device=like.device, dtype=like.dtype)


def bin_points(boxes: Tensor, size: int) -> Tensor:
    """The middles of size x size bins of boxes (n, 4): (n, size, size, 2) xy px."""
    fraction = (_count(size, boxes) + 0.5) / size
    x = boxes[:, None, None, 0] + (boxes[:, 2] - boxes[:, 0])[:, None, None] * fraction
    y = boxes[:, None, None, 1] + (boxes[:, 3] - boxes[:, 1])[:, None, None] * fraction[:, None]
    return torch.stack(torch.broadcast_tensors(x, y), dim=-1)


def read_levels(levels: list[Tensor], rois: RoIs, points: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Features at points (n, a, b, 2) xy px, on the level that each region's size asks for: (n, C, a, b).

    Differentiable in the features and in the points. Outside of the feature its nearest cell is read.
    """
    chosen = level_of(rois.boxes, len(levels))
    order, pieces = [], []
    for number, (feature, stride) in enumerate(zip(levels, strides, strict=True)):
        for image in range(len(feature)):
            here = ((chosen == number) & (rois.image == image)).nonzero()[:, 0]
            order.append(here)
            pieces.append(_read(feature[image], points[here] / stride))
    return _in_order(pieces, order)


def _read(feature: Tensor, points: Tensor) -> Tensor:
    """feature (C, h, w) at points (n, a, b, 2), in cells with (0, 0) a corner: (n, C, a, b)."""
    count, high, wide = points.shape[:3]
    if count == 0:
        return feature.new_zeros(0, feature.shape[0], high, wide)
    size = points.new_tensor([feature.shape[2], feature.shape[1]])
    grid = (2 * points / size - 1).view(1, count * high, wide, 2)
    found = F.grid_sample(feature[None].to(grid.dtype), grid, padding_mode="border", align_corners=False)
    return found.view(-1, count, high, wide).transpose(0, 1)
