"""Several processes on one run: the same command, started by torchrun.

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

_PATIENCE = timedelta(hours=2)  # the first process validates while the others wait


@dataclass(frozen=True)
class ProcessGroup:
    """rank: this process, 0 .. size - 1. device: "cpu" or "cuda:N". Process 0 writes the files."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[ProcessGroup]:
    """The team that torchrun made, or a team of one. device: "auto", "cpu" or "cuda"."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    team = ProcessGroup(rank, size, _device(device))
    if size == 1:
        yield team
        return
    dist.init_process_group("gloo" if team.device == "cpu" else "nccl", timeout=_PATIENCE)
    yield team
    # Only where all went well: a process that fails must end, so that torchrun ends the others, and not wait for them.
    dist.destroy_process_group()


def _device(wanted: str) -> str:
    """Raises ValueError where a GPU is asked for that is not there."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here; leave it out to train on the CPU")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    torch.cuda.set_device(local)
    return f"cuda:{local}"


def shared(model: nn.Module, team: ProcessGroup) -> nn.Module:
    """The model with its gradients averaged over the team; alone, the model itself."""
    if team.size == 1:
        return model
    devices = None if team.device == "cpu" else [torch.device(team.device)]
    # A loss need not reach every parameter at every step: a batch without a polyp has no box to learn from.
    return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)


def wait(team: ProcessGroup) -> None:
    """Until every process has come here."""
    if team.size > 1:
        dist.barrier()


def any_of(flag: bool, team: ProcessGroup) -> bool:
    """Whether any process of the team says yes: what one of them cannot go on with, all must leave."""
    if team.size == 1:
        return flag
    votes = torch.tensor([float(flag)], device=team.device)
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return bool(votes.item())
