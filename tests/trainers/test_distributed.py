"""What two processes learn together is what one learns from the whole batch."""

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from trainers.training.contract import Losses, ModelWithLoss, Targets
from trainers.training.distributed import ProcessGroup, any_process, init_process_group, wrap_model


def squares(net: nn.Module, images: Tensor, targets: Targets) -> Losses:
    return {"squares": (net(images).flatten(1) - targets.masks.flatten(1)[:, :4]).square().mean()}


def learner() -> ModelWithLoss:
    torch.manual_seed(0)
    return ModelWithLoss(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), squares)


def batch() -> tuple[Tensor, Targets]:
    torch.manual_seed(1)
    return torch.randn(4, 3, 2, 2), Targets([torch.zeros(0, 4)] * 4, torch.randn(4, 2, 2))


def _member(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    with init_process_group("cpu") as group:
        assert group == ProcessGroup(rank, 2, "cpu") and group.is_main == (rank == 0)
        model = wrap_model(learner(), group)
        images, targets = batch()
        mine = Targets(targets.boxes[rank::2], targets.masks[rank::2])
        model(images[rank::2], mine)["loss"].backward()
        assert any_process(rank == 1, group) and not any_process(False, group)
        torch.save([parameter.grad for parameter in model.parameters()], Path(folder) / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_member, (port, str(tmp_path)), nprocs=2)
    alone = learner()
    alone(*batch())["loss"].backward()
    for rank in (0, 1):
        for found, parameter in zip(torch.load(tmp_path / f"{rank}.pt"), alone.parameters(), strict=True):
            assert parameter.grad is not None and torch.allclose(found, parameter.grad, atol=1e-6)


def test_alone_the_model_is_itself() -> None:
    with init_process_group("cpu") as group:
        model = learner()
        assert (
            group == ProcessGroup()
            and wrap_model(model, group) is model
            and any_process(True, group)
            and not any_process(False, group)
        )
