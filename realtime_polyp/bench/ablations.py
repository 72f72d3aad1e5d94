"""Models as they would be without a step that the engines take, to measure what it buys."""

from torch import Tensor, nn


class EveryPlace(nn.Module):
    """A detector whose compiled form answers with all of its places: `exported` no longer knows it."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector(pixels)  # type: ignore[no-any-return]


class OfUnitRange(nn.Module):
    """A model for pixels that someone has scaled to 0..1 before; compilers fold the factor into the normalisation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.module(pixels * 255)  # type: ignore[no-any-return]
