"""Models simple enough that their answers can be worked out by hand, in torch."""

import torch
from torch import Tensor, nn


class Blobs(nn.Module):
    """Each cell of 8 px is a candidate: the bluer the likelier, the greener the larger."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        cells = nn.functional.avg_pool2d(pixels, 8) / 255
        rows, columns = (torch.arange(side, device=pixels.device) * 8.0 + 4 for side in cells.shape[2:])
        centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1).to(pixels.dtype)
        reach = cells[:, 1].flatten(1)[..., None] * 20
        return torch.cat([centres - reach, centres + reach], -1), cells[:, 2].flatten(1)


class Blueness(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(pixels[:, 2:], 4)[:, 0] / 255
