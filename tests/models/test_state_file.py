"""Weights are stored in half precision where it costs nothing, and read as float32."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from realtime_polyp.models.state_file import read_state, to_half

STATE = {
    "conv.weight": torch.tensor([[1 / 3, -65504.0], [1e-9, 2.0]]),
    "norm.running_var": torch.tensor([1e-15, 7e4]),
    "norm.num_batches_tracked": torch.tensor(8872),
}


def test_kernels_are_halved_and_vectors_and_counters_are_not() -> None:
    stored = to_half(STATE)
    assert {name: value.dtype for name, value in stored.items()} == {
        "conv.weight": torch.float16,
        "norm.running_var": torch.float32,
        "norm.num_batches_tracked": torch.int64,
    }
    assert stored["conv.weight"].tolist() == [[0.333251953125, -65504.0], [0.0, 2.0]]
    assert torch.equal(stored["norm.running_var"], STATE["norm.running_var"])


def test_every_precision_is_read_as_float32_and_counters_stay(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    stored = {**to_half(STATE), "trunk.a": torch.tensor([0.5], dtype=torch.bfloat16), "b": torch.ones(1).double()}
    save_file(stored, path)
    state = read_state(path)
    assert {name: value.dtype for name, value in state.items() if value.dtype != torch.float32} == {
        "norm.num_batches_tracked": torch.int64
    }
    assert state["backbone.a"].item() == 0.5 and state["conv.weight"][0, 0].item() == 0.333251953125


def test_a_kernel_that_half_precision_cannot_hold_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="conv.weight holds 7e.04, and half precision holds 65504 at most"):
        to_half({"conv.weight": torch.tensor([[1.0, -7e4]])})
