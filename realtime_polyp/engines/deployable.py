"""What compilers are given: the model, of a detector only the candidates worth decoding."""

from torch import Tensor, nn

from realtime_polyp.models.detector import Detector

_LEAST_CANDIDATES, _MOST_CANDIDATES = 300, 1000


class BestCandidates(nn.Module):
    """A detector that answers with its `count` likeliest places only: pixels (N, 3, h, w) -> (N, K, 4), (N, K)."""

    def __init__(self, detector: Detector, count: int) -> None:
        super().__init__()
        self.detector, self.count = detector, count

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector.best(pixels, self.count)


def exported(module: nn.Module) -> nn.Module:
    """The module as compiled engines run it.

    A detector keeps a tenth of its places, 300 to 1000: NMS leaves a handful, and only what is kept leaves the device.
    """
    if not isinstance(module, Detector):
        return module
    height, width = module.config.size
    places = sum(-(-height // stride) * -(-width // stride) for stride in module.config.strides)
    count = max(_LEAST_CANDIDATES, min(_MOST_CANDIDATES, places // 10))
    return BestCandidates(module, min(places, count))
