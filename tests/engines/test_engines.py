"""Compiled engines against the eager reference, and every wrong choice as one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import picture
from numpy.typing import NDArray
from safetensors.torch import save_file

from realtime_polyp import engines
from realtime_polyp.engines import DEVICES, ENGINE_NAMES, open_detector, open_engine, open_segmenter, vector_units
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.eager import EagerEngine, load_module
from realtime_polyp.engines.vector_units import has_bfloat16
from realtime_polyp.engines.weights import (
    DEFAULT_DETECTOR,
    WEIGHTS_FOLDER,
    add_to_manifest,
    find_weights,
    read_manifest,
)
from realtime_polyp.field_of_view import whole
from realtime_polyp.models.detector import Detector, DetectorConfig
from realtime_polyp.models.efficientnet_lite import LiteConfig
from realtime_polyp.models.necks import NeckConfig
from realtime_polyp.models.segmenter import Segmenter, SegmenterConfig
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS
from realtime_polyp.preprocess.letterbox import prepare

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside OpenVINO's converter
BOX_TOLERANCE_PX, PROBABILITY_TOLERANCE = 0.05, 1e-3
BACKBONE = LiteConfig(width=0.25, depth=0.3)
TOY_DETECTOR = DetectorConfig(
    backbone=BACKBONE, size=(64, 96), neck=NeckConfig(channels=16, levels=4, relu_before_extra=True)
)
TOY_SEGMENTER = SegmenterConfig(backbone=BACKBONE, size=(64, 96), width=12, bases=3)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with a toy detector and a toy segmenter, both random but lively."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, task, model in (
        ("toy-boxes", "detector", Detector(TOY_DETECTOR)),
        ("toy-mask", "segmenter", Segmenter(TOY_SEGMENTER)),
    ):
        save_file(_livened(model).state_dict(), folder / f"{name}.safetensors")
        add_to_manifest(name, task, (64, 96), {"safetensors": f"{name}.safetensors"}, folder)  # type: ignore[arg-type]
    return folder


def _livened(model: torch.nn.Module) -> torch.nn.Module:
    """Batch norms fitted to pictures and heads with a spread: outputs that depend on the input."""
    pixels = torch.from_numpy(pixels_of((64, 96), count=4)).float()
    model.train()
    for _ in range(30):
        model(pixels)
    model.eval()
    if isinstance(model, Detector):
        heads = [model.head.cls, model.head.reg]
    else:
        assert isinstance(model, Segmenter)
        heads = [model.low_rank.phi, model.low_rank_head]
    for head in heads:
        _spread(head, model, pixels)
    return model


@torch.no_grad()
def _spread(layer: torch.nn.Conv2d, model: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Scale a layer so that what it gives for these pixels has a standard deviation of 2 about 0."""
    outputs: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _, inputs, output: outputs.append(output.flatten()))
    model.logits(pixels) if isinstance(model, Segmenter) else model(pixels)
    hook.remove()
    found = torch.cat(outputs)
    layer.weight *= 2 / found.std()
    layer.bias.copy_((layer.bias - found.mean()) * 2 / found.std())  # type: ignore[union-attr]


@pytest.fixture
def installed(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys can be opened by name, beside the project's own."""
    _install(toys, monkeypatch)


def _install(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "toy-boxes", TOY_DETECTOR)
    monkeypatch.setitem(SEGMENTERS, "toy-mask", TOY_SEGMENTER)
    monkeypatch.setattr(
        engines,
        "find_weights",
        lambda model, task: find_weights(model, task, toys if model.startswith("toy") else WEIGHTS_FOLDER),
    )


@pytest.fixture(scope="module", params=[("toy-boxes", "detector"), ("toy-mask", "segmenter")], ids=lambda p: p[0])
def toy(request: pytest.FixtureRequest, toys: Path) -> tuple[Any, Any]:
    """One toy in both engines, opened once because conversion takes seconds: (eager, openvino)."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _install(toys, monkeypatch)
        return open_engine(*request.param, "eager", "cpu"), open_engine(*request.param, "openvino", "cpu")


def parts_of(outputs: object) -> list[NDArray[np.float32]]:
    """A detector's boxes and scores, or a segmenter's map."""
    return list(outputs) if isinstance(outputs, tuple) else [outputs]  # type: ignore[list-item]


def pixels_of(size: tuple[int, int], *, count: int = 2) -> NDArray[np.uint8]:
    """Pictures as `prepare` gives them, some of pure noise: a view (N, 3, h, w) that is not contiguous."""
    images = [picture(7 * index, (size[1], size[0])) for index in range(count)]
    images[-1] = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return prepare(images, [whole(image) for image in images], size).pixels


def assert_close(found: object, expected: object, *, box_px: float, probability: float) -> None:
    """Maps cell by cell. Of candidates, a compiled detector keeps the likeliest: each of them is one of the
    reference's, and the reference's best fifty are among them."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple) and found[0].dtype == found[1].dtype == np.float32
        for mask, true_mask in zip(found[2:], expected[2:], strict=True):  # a joint model's
            assert_close(mask, true_mask, box_px=box_px, probability=probability)
        for boxes, scores, true_boxes, true_scores in zip(*found[:2], *expected[:2], strict=True):
            best = np.argsort(-true_scores)[:50]
            assert _within(boxes, scores, true_boxes, true_scores, box_px, probability)
            assert _within(true_boxes[best], true_scores[best], boxes, scores, box_px, probability)
        return
    assert isinstance(found, np.ndarray) and isinstance(expected, np.ndarray)
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.float32
    assert np.abs(found - expected).max() <= probability


def _within(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    others: NDArray[np.float32],
    other_scores: NDArray[np.float32],
    box_px: float,
    probability: float,
) -> bool:
    """Every candidate has its like among the others."""
    apart_px = np.abs(boxes[:, None] - others[None]).max(-1) / box_px
    apart = np.maximum(apart_px, np.abs(scores[:, None] - other_scores[None]) / probability)
    return bool((apart.min(1) <= 1).all())


def test_openvino_agrees_with_eager(toy: tuple[Any, Any]) -> None:
    eager, compiled = toy
    assert (eager.name, compiled.name) == ("eager", "openvino")
    assert eager.size == compiled.size == (64, 96) and eager.device == compiled.device == "cpu"
    pixels = pixels_of((64, 96), count=3)
    expected = eager(pixels)
    assert parts_of(expected)[-1].std() > 0.05  # there is something to get wrong
    assert_close(compiled(pixels), expected, box_px=BOX_TOLERANCE_PX, probability=PROBABILITY_TOLERANCE)


@pytest.mark.parametrize("index", [0, 1], ids=["eager", "openvino"])
def test_a_batch_of_two_is_two_batches_of_one(toy: tuple[Any, Any], index: int) -> None:
    engine, pixels = toy[index], pixels_of((64, 96))
    alone = [parts_of(engine(pixels[at : at + 1])) for at in range(2)]
    for together, *ones in zip(parts_of(engine(pixels)), *alone, strict=True):
        joined = np.concatenate(ones)
        if index == 1:
            assert np.array_equal(together, joined)
        assert np.allclose(together, joined, rtol=1e-4, atol=1e-4)  # torch may choose another kernel


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("hint", ["throughput", "shared latency"])
def test_compiled_to_run_beside_another_it_says_the_same(toy: tuple[Any, Any], hint: Any) -> None:
    plain, pixels = toy[1], pixels_of((64, 96), count=3)
    beside = open_engine(plain.model, plain.task, "openvino", "cpu", hint=hint)
    kept = pixels.copy()
    collect, collect_too = beside.start(pixels), beside.start(pixels[::-1])
    expected, backwards = parts_of(plain(pixels)), parts_of(plain(pixels[::-1]))
    for found, wanted in ((collect(), expected), (collect_too(), backwards), (beside(pixels), expected)):
        for one, other in zip(parts_of(found), wanted, strict=True):
            assert np.allclose(one, other, rtol=1e-4, atol=1e-4)
    assert np.array_equal(pixels, kept)  # shared with the engine, which must only read them


@pytest.mark.usefixtures("installed")
def test_where_a_batch_cannot_be_started_whole_what_runs_is_waited_for(
    toy: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that runs reads its image, which nobody else holds then."""
    beside = open_engine(toy[1].model, toy[1].task, "openvino", "cpu", hint="throughput")
    taken: list[Any] = []

    def take() -> Any:
        if taken:
            raise RuntimeError("out of memory")
        taken.append(beside._compiled.create_infer_request())
        return taken[0]

    monkeypatch.setattr(beside, "_take_request", take)
    with pytest.raises(RuntimeError, match="out of memory"):
        beside.start(pixels_of((64, 96), count=2))
    assert taken[0].wait_for(0), "it has ended"


def test_an_engine_does_not_write_into_the_answers_it_gave(toy: tuple[Any, Any]) -> None:
    for engine in toy:
        pixels = pixels_of((64, 96))
        first = parts_of(engine(pixels[:1]))
        kept = [part.copy() for part in first]
        engine(pixels[1:])
        assert all(np.array_equal(part, copy) for part, copy in zip(first, kept, strict=True))


def _installed_models() -> list[tuple[str, str]]:
    return [(name, entry["task"]) for name, entry in read_manifest().items()]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "task"), _installed_models())
def test_the_project_s_weights_agree_in_openvino_and_eager(model: str, task: str) -> None:
    weights = find_weights(model, task)  # type: ignore[arg-type]
    pixels = pixels_of(weights.size)
    eager = EagerEngine(load_module(weights), model, weights.task, weights.size, "cpu")
    compiled = open_engine(model, weights.task, "openvino", "cpu")
    assert_close(compiled(pixels), eager(pixels), box_px=BOX_TOLERANCE_PX, probability=PROBABILITY_TOLERANCE)


@pytest.mark.parametrize("engine", ["openvino-int8", "openvino-int8-bf16"])
@pytest.mark.parametrize(("model", "task"), _installed_models())
def test_int8_tells_the_same_story_as_float(model: str, task: str, engine: str) -> None:
    """Quantisation moves numbers a little; it must not change what is seen. (On real frames the accuracy gate of
    calibration decides; here a wrong layout or a missing normalisation would show.)"""
    weights = find_weights(model, task)  # type: ignore[arg-type]
    if "int8-xml" not in weights.files:
        pytest.skip(f"{model} has no INT8 weights")
    if "bf16" in engine and not has_bfloat16():
        pytest.skip("this CPU does not multiply bfloat16")
    pixels = pixels_of(weights.size, count=6)[:5]  # without the noise, which is no picture
    exact, quick = (open_engine(model, weights.task, name, "cpu") for name in ("eager", engine))
    expected, found = exact(pixels), quick(pixels)
    if task == "segmenter":
        assert np.abs(found - expected).mean() < 0.05
        return
    if task == "joint":
        assert np.abs(found[2] - expected[2]).mean() < 0.05
    moved_px = []
    for boxes, scores, true_boxes, true_scores in zip(*found[:2], *expected[:2], strict=True):
        likeliest = np.argsort(-true_scores)[:3]
        assert abs(scores.max() - true_scores.max()) < 0.5
        moved_px += list(np.abs(boxes[None] - true_boxes[likeliest, None]).max(-1).min(1))
    assert np.median(moved_px) < 8  # a faint box may drop out of the 300 candidates, hence the median


def test_boxes_are_decoded_in_float32_beside_bfloat16() -> None:
    """In bfloat16, which has eight bits, an edge at 300 px would lie up to a pixel away."""
    if not has_bfloat16():
        pytest.skip("this CPU does not multiply bfloat16")
    engine = open_detector(DEFAULT_DETECTOR, "openvino-int8-bf16", "cpu")
    boxes, _ = engine(pixels_of(engine.size))
    assert ((boxes.view(np.uint32) & 0xFFFF) != 0).mean() > 0.9


# wrong choices


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(EngineError, match="unknown engine 'steam': choose from auto, eager, .*openvino, openvino-int8"):
        open_detector("gflv2-lite0", "steam")
    with pytest.raises(EngineError, match="unknown device 'tpu': choose from auto, cpu, cuda"):
        open_detector("gflv2-lite0", "auto", "tpu")
    with pytest.raises(EngineError, match="unknown detector 'x': choose from .*gflv2-lite0"):
        open_detector("x")
    with pytest.raises(EngineError, match="unknown segmenter 'gflv2-lite0'"):
        open_segmenter("gflv2-lite0")


@pytest.mark.parametrize("engine", [name for name in ENGINE_NAMES])
def test_cuda_without_a_gpu_is_one_clear_sentence(engine: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError) as error:
        open_detector("gflv2-lite0", engine, "cuda")
    said = str(error.value)
    assert "cuda" in said and "\n" not in said and ("--device cpu" in said or "--engine eager" in said)


@pytest.mark.usefixtures("installed")
def test_auto_takes_int8_where_there_is_some_and_float_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _open_names_only(monkeypatch)
    monkeypatch.setattr(vector_units, "cpu_flags", list)
    assert open_detector("gflv2-lite0", "auto", "cpu") == ("openvino-int8", "cpu")
    assert open_detector("toy-boxes", "auto", "cpu") == ("openvino", "cpu")
    assert open_detector("gflv2-lite0", "openvino-int8") == ("openvino-int8", "cpu")


@pytest.mark.parametrize(
    ("flags", "problem", "expected"),
    [
        (["avx512_bf16"], None, "openvino-int8-bf16"),
        (["amx_bf16"], None, "openvino-int8-bf16"),
        (["avx512_vnni"], None, "openvino-int8"),
        (["avx512_bf16"], "was never compared with float32", "openvino-int8"),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_has_it_and_the_gate_accepts_it(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], problem: str | None, expected: str
) -> None:
    _open_names_only(monkeypatch)
    monkeypatch.setattr(vector_units, "cpu_flags", lambda: flags)
    monkeypatch.setattr(engines, "failure_reason", lambda name, model, key: problem)
    assert open_detector("gflv2-lite0", "auto", "cpu") == (expected, "cpu")


@pytest.mark.parametrize(("flags", "expected"), [(["avx512_bf16"], "openvino-int8-bf16"), ([], "openvino")])
def test_a_verdict_on_int8_alone_does_not_decide_on_bfloat16(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], expected: str
) -> None:
    _open_names_only(monkeypatch)
    monkeypatch.setattr(vector_units, "cpu_flags", lambda: flags)
    monkeypatch.setattr(engines, "is_rejected", lambda model, engine: True)
    monkeypatch.setattr(engines, "failure_reason", lambda name, model, key: None)
    assert open_detector("gflv2-lite0", "auto", "cpu") == (expected, "cpu")


def _open_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(engines.ENGINES):
        monkeypatch.setitem(engines.ENGINES, name, lambda weights, device, hint, name=name: (name, device))  # type: ignore[misc]


def test_bfloat16_that_the_cpu_does_not_multiply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_units, "cpu_flags", lambda: ["avx512_vnni"])
    with pytest.raises(
        EngineError, match="openvino-int8-bf16 needs a CPU with AVX512_BF16.*use --engine openvino-int8"
    ):
        open_detector("gflv2-lite0", "openvino-int8-bf16", "cpu")


@pytest.mark.usefixtures("installed")
def test_int8_that_does_not_exist_is_refused() -> None:
    with pytest.raises(EngineError, match="toy-boxes has no int8-(bin|xml) weights: it has safetensors"):
        open_detector("toy-boxes", "openvino-int8", "cpu")


def test_every_name_offered_is_known() -> None:
    assert set(ENGINE_NAMES) == {"auto", *engines.ENGINES} and "cpu" in DEVICES
