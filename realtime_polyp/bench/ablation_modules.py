"""Models without one of the engines' optimisations, to measure what it buys."""

from torch import Tensor, nn


class AllLocations(nn.Module):
    """A detector whose compiled form returns every location: `to_deployable` does not recognise it."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector(pixels)  # type: ignore[no-any-return]


class UnitRangeInput(nn.Module):
    """A model for pixels scaled to 0..1 by the caller. Compilers fold the factor into the normalisation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.module(pixels * 255)  # type: ignore[no-any-return]
