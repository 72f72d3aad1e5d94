"""Data-parallel training with several processes, started by torchrun.

torchrun --nproc-per-node 4 -m trainers.train_detector --config gflv2-x101-dcn-ms --out runs/x101
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

_TIMEOUT = timedelta(hours=2)  # process 0 validates while the others wait


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that share one run.

    Attributes:
        rank: number of this process, 0 .. size - 1. Process 0 writes the files.
        size: number of processes.
        device: "cpu" or "cuda:N".
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def init_process_group(device: str = "auto") -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started; without torchrun, the group is this process alone.

    device: "auto", "cpu" or "cuda". Raises ValueError if "cuda" is requested and there is no GPU.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    group = ProcessGroup(rank, size, _resolve_device(device))
    if size == 1:
        yield group
        return
    dist.init_process_group("gloo" if group.device == "cpu" else "nccl", timeout=_TIMEOUT)
    yield group
    # Not in a `finally`: a process that fails must exit at once, so that torchrun stops the others.
    dist.destroy_process_group()


def _resolve_device(requested: str) -> str:
    if requested == "cpu" or (requested == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here; leave it out to train on the CPU")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def wrap_model(model: nn.Module, group: ProcessGroup) -> nn.Module:
    """Average the gradients of a model over the processes; with one process, return the model itself."""
    if group.size == 1:
        return model
    devices = None if group.device == "cpu" else [torch.device(group.device)]
    # A step may leave parameters without a gradient: a batch without a polyp has no box loss.
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)


def barrier(group: ProcessGroup) -> None:
    """Wait until every process has reached this call."""
    if group.size > 1:
        dist.barrier()


def any_process(flag: bool, group: ProcessGroup) -> bool:
    """Return whether `flag` is true in any process, so that all of them stop together."""
    if group.size == 1:
        return flag
    votes = torch.tensor([float(flag)], device=group.device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())
