"""Engines of fixed batch sizes: cut and filled up, rounded, compiled; on a GPU replayed and kept.

What needs no GPU is tested on a CPU: the same classes run there, without graphs.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import needs
from static_toys import SIZE, TOYS, assert_same, eager_of, installed, pixels_of, uncompiled
from torch import Tensor, fx, nn
from torch.fx.passes.split_module import split_module

from realtime_polyp.engines import compiled, tensorrt
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.compiled import compiled_key, compiled_run, open_compiled
from realtime_polyp.engines.cuda_graphs import CudaGraphOfBatch
from realtime_polyp.engines.deployable import at_precision
from realtime_polyp.engines.eager import PRECISIONS, load_module
from realtime_polyp.engines.static import BUCKETS, StaticEngine, bucket_for, pad_batch, split_batch
from realtime_polyp.engines.tensorrt import check_capability, open_tensorrt, unsupported_operations
from realtime_polyp.engines.weights import Weights

on_gpu = needs("cuda")


@pytest.fixture(scope="module", params=TOYS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weights]:
    with installed(request.param, tmp_path_factory.mktemp("weights")) as found:
        yield found


# buckets


def test_the_smallest_bucket_that_holds_the_batch_is_taken() -> None:
    assert [bucket_for(count) for count in range(1, 9)] == [1, 2, 4, 4, 8, 8, 8, 8]
    for count in (0, 9):
        with pytest.raises(ValueError, match=f"1 to 8 images, got {count}"):
            bucket_for(count)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 19])
def test_pieces_cover_the_batch_once_and_fit(count: int) -> None:
    found = [index for piece in split_batch(count) for index in range(count)[piece]]
    assert found == list(range(count)) and all(piece.stop - piece.start <= 8 for piece in split_batch(count))


def test_a_batch_is_filled_up_with_black() -> None:
    pixels = torch.ones(3, 3, 2, 2, dtype=torch.uint8)
    full = pad_batch(pixels, 4)
    assert full.shape == (4, 3, 2, 2) and bool((full[:3] == 1).all()) and not full[3].any()
    assert pad_batch(pixels, 3) is pixels


# what the engines have in common


@pytest.mark.parametrize("count", [1, 3, 11])
def test_an_engine_of_buckets_says_what_eager_says(weights: Weights, count: int) -> None:
    pixels = pixels_of(count)
    assert_same(uncompiled(weights)(pixels), eager_of(weights)(pixels), box_px=0.01, probability=1e-4)


def test_only_whole_buckets_reach_the_graph(weights: Weights) -> None:
    seen: list[tuple[int, ...]] = []

    def run(pixels: Tensor) -> tuple[Tensor, ...]:
        assert pixels.is_contiguous(memory_format=torch.channels_last) and pixels.dtype == torch.float16
        seen.append(tuple(pixels.shape))
        return (pixels[:, 0].float(), pixels[:, 1].float())

    engine = StaticEngine(weights, dict.fromkeys(BUCKETS, run), name="fake", device="cpu", key="-", dtype=torch.float16)
    first, second = engine.on_device(torch.from_numpy(pixels_of(11)))
    assert seen == [(8, 3, *SIZE), (4, 3, *SIZE)]
    assert np.array_equal(first.numpy(), pixels_of(11)[:, 0]) and np.array_equal(second.numpy(), pixels_of(11)[:, 1])


def test_on_device_takes_bytes_and_floats_and_answers_in_tensors(weights: Weights) -> None:
    engine, pixels = uncompiled(weights), torch.from_numpy(pixels_of(2))
    answers, of_floats = engine.on_device(pixels), engine.on_device(pixels.float().contiguous())
    host = engine(pixels.numpy())
    for one, other, expected in zip(answers, of_floats, host if isinstance(host, tuple) else (host,), strict=True):
        assert one.dtype == torch.float32 and torch.allclose(one, other, atol=1e-5)
        assert np.allclose(one.numpy(), expected, atol=1e-5)


# torch.compile


def test_a_compiled_run_computes_what_its_module_does() -> None:
    module = at_precision(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.float32)
    pixels = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        (found,), (expected,) = compiled_run(module, torch.zeros(2, 3, 16, 16))(pixels), module(pixels)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_engine_agrees_with_eager_on_a_cpu(weights: Weights) -> None:
    engine = open_compiled(weights, "cpu", "latency")
    assert (engine.name, engine.device, engine.key) == (
        "compiled",
        "cpu",
        compiled_key(weights, "cpu", precision="float32"),
    )
    assert_same(engine(pixels_of(3)), eager_of(weights)(pixels_of(3)), box_px=0.05, probability=1e-3)


def test_a_compiler_that_fails_is_one_sentence(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(module: nn.Module, example: Tensor) -> None:
        raise RuntimeError("no C++ compiler\n  in some file\n  at some line")

    monkeypatch.setattr(compiled, "compiled_run", fail)
    with pytest.raises(EngineError, match=r"cannot build compiled-fp16 .*\(no C\+\+ compiler\): use --engine eager"):
        open_compiled(weights, "cpu", "latency", precision="float16")


def test_the_key_tells_precision_and_weights_apart(weights: Weights) -> None:
    keys = {compiled_key(weights, "cpu", precision=precision) for precision in PRECISIONS}
    other = Weights(
        weights.model, weights.task, SIZE, weights.folder, weights.files, dict.fromkeys(weights.checksums, "")
    )
    assert len(keys | {compiled_key(other, "cpu", precision="float16")}) == 4


# TensorRT


def test_a_card_without_kernels_for_a_precision_is_told_so() -> None:
    check_capability("fp8", (8, 9), "an L40")
    check_capability("float16", (7, 5), "a T4")
    with pytest.raises(EngineError, match="tensorrt-fp8 needs compute capability 8.9, an A100 has 8.0"):
        check_capability("fp8", (8, 0), "an A100")
    with pytest.raises(EngineError, match="tensorrt-bf16 needs compute capability 8.0, a T4 has 7.5"):
        check_capability("bfloat16", (7, 5), "a T4")


def test_a_unit_left_in_torch_is_named_with_its_module() -> None:
    """On a graph cut as Torch-TensorRT cuts it: what it takes in one child, what it refuses in another."""

    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.det(x)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1), Head()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).relu())

    graph = torch.export.export(Model(), (torch.rand(1, 3, 4, 4),)).module()
    refused = [node.name for node in graph.graph.nodes if "det" in str(node.target)]
    planned = split_module(graph, None, lambda node: int(node.name in refused))  # type: ignore[arg-type]
    rename(planned, {"submod_0": "_run_on_acc_0", "submod_1": "_run_on_gpu_1"})
    assert (
        len(unsupported_operations(planned)) == 1
        and "det" in unsupported_operations(planned)[0]
        and unsupported_operations(planned)[0].endswith(" in head")
    )


def rename(graph: fx.GraphModule, names: Mapping[str, str]) -> None:
    """Children of a cut graph, and the calls of them."""
    for old, new in names.items():
        graph.add_submodule(new, graph.get_submodule(old))
        graph.delete_submodule(old)
    for node in graph.graph.nodes:
        node.target = names.get(str(node.target), node.target)


def test_a_graph_that_tensorrt_takes_whole_leaves_nothing_out() -> None:
    part = fx.symbolic_trace(nn.ReLU())
    outer = fx.Graph()
    outer.output(outer.call_module("_run_on_acc_0", (outer.placeholder("x"),)))
    assert unsupported_operations(fx.GraphModule({"_run_on_acc_0": part}, outer)) == []


@pytest.mark.parametrize("error", [ImportError("no module"), Exception("no\nGPU"), AssertionError(), RuntimeError("x")])
def test_torch_tensorrt_that_cannot_be_imported_is_one_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> None:
            if name == "torch_tensorrt":
                raise error

    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(EngineError, match=r"pip install 'realtime-polyp\[gpu\]'.*--engine compiled-fp16") as raised:
        tensorrt._torch_tensorrt()
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("open_", [open_compiled, open_tensorrt])
def test_without_a_gpu_cuda_is_refused(weights: Weights, open_: Any) -> None:
    with pytest.raises(EngineError, match="torch sees no GPU here; use --device cpu"):
        open_(weights, "cuda", "latency", precision="float16")


def test_tensorrt_is_for_gpus_only(weights: Weights) -> None:
    with pytest.raises(EngineError, match="tensorrt-fp16 runs on cuda, not on cpu"):
        open_tensorrt(weights, "cpu", "latency", precision="float16")


# on a GPU


@on_gpu
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_compiled_agrees_with_eager_on_a_gpu(weights: Weights, precision: str) -> None:
    engine, pixels = open_compiled(weights, "cuda", "latency", precision=precision), pixels_of(11)
    limits = {"box_px": 0.05, "probability": 2e-3} if precision == "float32" else {"box_px": 0.5, "probability": 0.02}
    expected = eager_of(weights)(pixels)
    assert_same(engine(pixels), expected, **limits)  # replayed from graphs
    answers = tuple(answer.cpu().numpy() for answer in engine.on_device(torch.from_numpy(pixels).cuda()))
    assert_same(answers[0] if weights.task == "segmenter" else answers, expected, **limits)


@on_gpu
def test_a_replayed_graph_does_not_write_into_the_answers_it_gave() -> None:
    run = CudaGraphOfBatch(lambda x: (x * 2,), torch.zeros(2, device="cuda"))
    (first,) = run(torch.ones(2, device="cuda"))
    run(torch.full((2,), 5.0, device="cuda"))
    assert first.tolist() == [2.0, 2.0]


@on_gpu
def test_on_device_can_be_captured(weights: Weights) -> None:
    module = at_precision(load_module(weights), torch.float16).to("cuda", memory_format=torch.channels_last)
    engine = StaticEngine(weights, {2: module}, name="-", device="cuda", key="-", dtype=torch.float16)
    pixels = torch.from_numpy(pixels_of(2)).cuda()
    expected = engine.on_device(pixels)
    run = CudaGraphOfBatch(engine.on_device, pixels)
    for one, other in zip(run(pixels), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


@needs("cuda", "tensorrt")
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_tensorrt_agrees_with_eager_and_is_built_once(
    weights: Weights, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pixels, expected = pixels_of(11), eager_of(weights)(pixels_of(11))
    box_px, probability = {"float32": (0.05, 2e-3), "float16": (0.5, 0.02), "bfloat16": (4.0, 0.12)}[precision]
    found = open_tensorrt(weights, "cuda", "latency", precision=precision)(pixels)
    assert_same(found, expected, box_px=box_px, probability=probability)
    monkeypatch.setattr(tensorrt, "_build", None)  # the second time, nothing may be built
    again = open_tensorrt(weights, "cuda", "latency", precision=precision)(pixels)
    assert_same(again, expected, box_px=box_px, probability=probability)
