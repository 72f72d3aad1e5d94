"""`preprocess.letterbox` in torch: crop, colour conversion, shrink and letterbox on the device that holds the bytes.

Nothing synchronizes with the device. Results equal those of the host within one level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.nv12 import Matrix, Nv12, Picture, align_to_chroma
from realtime_polyp.preprocess.letterbox import Placement

_WEIGHTS: dict[Matrix, tuple[float, float]] = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # of red, of blue
_LIMITED_BLACK, _LIMITED_LUMA, _LIMITED_CHROMA = 16, 219, 224


def letterbox(images: Sequence[Tensor], placements: Sequence[Placement], pixels: Tensor) -> None:
    """Write fields (H, W, 3) uint8 into the first of `pixels` (N, 3, h, w) uint8, each at its placement on black."""
    pixels.zero_()
    for target, image, placement in zip(pixels, images, placements, strict=False):
        rows, columns = placement.inner()
        small = shrink(image, (placement.height_px, placement.width_px))
        target[:, rows, columns] = small.flip(-1) if placement.hflip else small


def shrink(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (H, W, 3) uint8 to (3, h, w) uint8: halve exactly while possible, as on the host, then bilinear."""
    height, width = size
    levels = image.permute(2, 0, 1)[None].float()
    while levels.shape[2] >= 2 * height and levels.shape[3] >= 2 * width:
        levels = (F.avg_pool2d(levels, 2) + 0.5).floor()  # rounded at every step, as on the host
    levels = F.interpolate(levels, size=size, mode="bilinear", align_corners=False)
    return levels[0].round().to(torch.uint8)


def field_of(parts: Sequence[Tensor], picture: Picture, field: FieldOfView) -> Tensor:
    """Return the field (h, w, 3) uint8 RGB from the parts that `nv12.crop_planes` took of the picture."""
    if not isinstance(picture, Nv12):
        return parts[0]
    rgb = rgb_of(parts[0], parts[1], matrix=picture.matrix, full_range=picture.full_range)
    outer = align_to_chroma(field)
    return rgb[field.y1 - outer.y1 :, field.x1 - outer.x1 :]


def rgb_of(luma: Tensor, chroma: Tensor, *, matrix: Matrix, full_range: bool) -> Tensor:
    """Convert NV12 planes (H, W) and (ceil(H / 2), ceil(W / 2), 2) uint8 to (H, W, 3) uint8 RGB.

    Chroma is repeated for its four pixels, as in FFmpeg's fast conversion. Source: ITU-R BT.601 and BT.709, equations
    for the luma and colour-difference signals.
    """
    height, width = luma.shape
    red_weight, blue_weight = _WEIGHTS[matrix]
    black, luma_span, chroma_span = (0, 255, 255) if full_range else (_LIMITED_BLACK, _LIMITED_LUMA, _LIMITED_CHROMA)
    grey = (luma.float() - black) * (255 / luma_span)
    spread = chroma.repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width]
    blueness, redness = ((spread.float() - 128) * (255 / chroma_span)).unbind(-1)
    red = grey + 2 * (1 - red_weight) * redness
    blue = grey + 2 * (1 - blue_weight) * blueness
    green = (grey - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight)
    return torch.stack([red, green, blue], -1).round().clamp(0, 255).to(torch.uint8)
