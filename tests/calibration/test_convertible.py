"""TensorRT takes every model, proved by building engines without a GPU; what it refuses is named."""

import io

import pytest
import torch
from torch import Tensor, nn
from toys import narrow

from calibration import convertible
from calibration.convertible import PAPER, Proof, build, main, module_of, prove, table
from realtime_polyp.engines.weights import read_manifest
from realtime_polyp.models.detector import Detector
from realtime_polyp.models.segmenter import Segmenter
from realtime_polyp.models.variants import DETECTORS, SEGMENTERS

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install -e .[dev]")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter by tracing


class Determinant(nn.Module):
    """A unit that TensorRT has no layer for, behind one that it has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.linalg.det(self.conv(pixels))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("model", PAPER)
def test_the_paper_s_pair_converts_at_toy_width(model: str, precision: str) -> None:
    torch.manual_seed(0)
    toy = Detector(narrow(DETECTORS[model])) if model in DETECTORS else Segmenter(narrow(SEGMENTERS[model]))
    proof = prove(model, toy.eval(), precision)
    assert proof.refused == () and proof.layers > 100 and proof.engine_mb > 0.05, proof


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [*((model, "fp32") for model in read_manifest())]
    + [(model, precision) for model in read_manifest() for precision in ("fp16", "int8")],
)
def test_every_model_that_ships_converts(model: str, precision: str) -> None:
    proof = prove(model, module_of(model), precision)
    assert proof.refused == () and proof.engine_mb > 1, proof


@pytest.mark.slow
@pytest.mark.parametrize(("model", "size"), zip(PAPER, [(320, 512), (128, 128)], strict=True))
def test_the_paper_s_pair_converts_at_full_width(model: str, size: tuple[int, int]) -> None:
    """On a smaller image, which changes no operation and takes half the time; the command takes the whole one."""
    proof = prove(model, module_of(model), size=size)
    assert proof.refused == () and proof.engine_mb > 100, proof


def test_eight_bits_are_in_the_graph_and_not_only_in_its_name() -> None:
    toy = Segmenter(narrow(SEGMENTERS["lowrank-lite0"])).eval()
    model = convertible.onnx_of(toy, torch.rand(1, 3, 64, 96) * 255, "int8")
    assert model.count(b"DequantizeLinear") >= 2 * 60  # of every convolution's input and weights


def test_a_unit_that_tensorrt_refuses_is_named() -> None:
    written = io.BytesIO()
    torch.onnx.export(Determinant(), (torch.rand(1, 3, 8, 8),), written, dynamo=False, opset_version=18)
    proof = build("determinant", written.getvalue())
    assert any("Det (/Det)" in reason for reason in proof.refused)
    assert "REFUSED: Det (/Det)" in table([proof], "fp32")


def test_the_command_fails_where_something_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(convertible, "prove", lambda name, module, precision: Proof(name, 1, 0.0, 0.0, ("Det",)))
    with pytest.raises(SystemExit) as left:
        main(["--model", "lowrank-lite0"])
    assert left.value.code == 1 and "REFUSED: Det" in capsys.readouterr().out


def test_an_unknown_model_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--model", "yolo"])
    assert left.value.code == 2 and "unknown model 'yolo': choose from gflv2-lite0" in capsys.readouterr().err
