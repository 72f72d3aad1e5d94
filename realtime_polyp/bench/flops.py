"""The arithmetic limit: the operations that a model cannot do without, over the rate at which a card multiplies."""

import copy
import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from realtime_polyp.engines.deployable import exported

_PRODUCTS = 10  # between two looks at the clock, so that waiting for the device costs nothing


def flops_of(module: nn.Module, size: tuple[int, int]) -> int:
    """Floating-point operations for one image of (h, w) px: two for each multiplication of a convolution or a matrix
    product, nothing else. Of the model as compilers are given it; counted on shapes alone."""
    counted = exported(copy.deepcopy(module)).eval().to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        counted(torch.zeros((1, 3, *size), device="meta"))
    return int(counter.get_total_flops())


def matmul_flops_per_s(device: torch.device, dtype: torch.dtype, *, side: int, rounds: int = 7) -> float:
    """What the device reaches in a product of two matrices (side, side); the median of several rounds.

    Of random numbers: zeros need less power, and a card that is short of it multiplies them faster.
    """
    left, right = (torch.randn((side, side), device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    rates = []
    for _ in range(rounds + 1):  # the first, in which libraries choose a kernel, does not count
        since_s = time.perf_counter()
        for _ in range(_PRODUCTS):
            torch.matmul(left, right, out=product)
        settle(device)
        rates.append(_PRODUCTS * 2 * side**3 / (time.perf_counter() - since_s))
    return statistics.median(rates[1:])


def settle(device: torch.device) -> None:
    """Hold the host until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
