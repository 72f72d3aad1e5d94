"""The readers that are tried: how each is called, and which errors it may raise."""

import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from safetensors.torch import save_file

from realtime_polyp.engines import eager, openvino, quantized
from realtime_polyp.engines.base import EngineError
from realtime_polyp.engines.gate import read_records
from realtime_polyp.engines.weights import Weights, read_manifest, sha256_of
from realtime_polyp.folders import asset
from realtime_polyp.image_files import ImageError, load_image
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.outputs.results_reader import read_results
from realtime_polyp.postprocess.fusion import FusionError, read_fusion
from realtime_polyp.postprocess.score_calibration import CalibrationError, read_calibration
from realtime_polyp.sources import FileSource, ImageFolderSource, SourceError
from realtime_polyp.temporal.frame_quality import QualityError, read_frame_quality
from tests.fuzz.media_seeds import CONTAINERS
from tests.fuzz.target import Target
from trainers.data.stills import read_stills
from trainers.evaluation.figures import read_report
from trainers.leave_one_out import read_coco
from trainers.report import read_run, write_report
from trainers.reproduction.archive import RowOrigin, read_archive
from trainers.table import read_result
from trainers.training.checkpoint_file import read_tensors
from trainers.training.run_folder import read_recipe
from trainers.video.labels import Clock
from trainers.video.truth_coco import read_coco_video
from trainers.video.truth_cvat import read_cvat
from trainers.video.truth_stills import read_labelme, read_yolo

CORPUS = Path(__file__).resolve().parents[1] / "corpus"
_RESULTS = CORPUS.parents[1] / "docs/results"
_MOST_FRAMES = 60
_CLOCK = Clock((96, 64), Fraction(10), 24)


def _assets(*names: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {Path(name).name: asset(*name.split("/")).read_bytes() for name in names}


def _first_gate_record() -> dict[str, bytes]:
    records = json.loads(asset("weights", "gates.json").read_bytes())["records"]
    key = min(records)
    return {"gates.json": json.dumps({key: records[key]}).encode()}


def _read_video(path: Path) -> None:
    source = FileSource(str(path))
    try:
        for number, frame in enumerate(source.frames()):
            assert frame.image.ndim == 3 and np.isfinite(frame.pts_s)
            if number == _MOST_FRAMES:
                break
    finally:
        source.close()


def _read_still(path: Path) -> None:
    source = ImageFolderSource(str(path.parent))
    try:
        for _ in source.frames():
            pass
    finally:
        source.close()
    load_image(path, grey=True)


def _weights(path: Path, task: str, model: str, **others: Path) -> Weights:
    """Weights whose checksums are right: only their loader can refuse them."""
    paths = {path.suffix[1:]: path} | others
    files = {kind: one.name for kind, one in paths.items()}
    sums = {one.name: sha256_of(one) for one in paths.values()}
    return Weights(model, task, (320, 384), path.parent, files, sums)  # type: ignore[arg-type]


def _read_tensors(path: Path) -> None:
    read_tensors(path)


def _open_weights(path: Path) -> None:
    eager.load_module(_weights(path, "detector", "gflv2-lite0"))


def _open_graph(path: Path) -> None:
    (path.parent / "model.bin").write_bytes(_graph()["model.bin"])
    paths = {"int8-xml": path, "int8-bin": path.parent / "model.bin"}
    openvino.open_int8(_weights(path, "segmenter", "lowrank-lite2", **paths), "cpu", "latency")


def _read_ranges(path: Path) -> None:
    weights = _weights(path, "segmenter", "lowrank-lite2", **{quantized.RANGES: path})
    weights.files["safetensors"] = "x"
    weights.checksums["x"] = "0" * 64
    quantized.read_ranges(weights)


def _report(path: Path) -> None:
    (path.parent / "history.json").write_text('[{"epoch": 1.0, "loss": 2.0}]')
    write_report(path.parent)


def _archives() -> dict[str, bytes]:
    """A row of masks and one of boxes."""
    names = ("acsnet.lite0.val.npz", "atss-r50-k9.lite0.val.npz")
    return {name: (_RESULTS / name).read_bytes() for name in names}


def _read_archive(path: Path) -> None:
    """As a row of either seed, so that what follows the origin is read, too."""
    content = {"budget": {"seeds": [0]}, "data": {}, "multi_scale_test": False, "set": "val"}
    for config in ("acsnet", "atss-r50-k9"):
        try:
            read_archive(path, RowOrigin(config=config, **content))
        except ValueError as error:
            refused = error
        else:
            return
    raise refused


def _tensors() -> dict[str, bytes]:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        save_file({"a.weight": torch.rand(3, 4), "b": torch.arange(5), "c": torch.zeros(2, 2).half()}, path)
        return {path.name: path.read_bytes()}


def _graph() -> dict[str, bytes]:
    from openvino import opset8 as ops

    pixels = ops.parameter([1, 320, 384, 3], np.uint8, name="pixels")
    scaled = ops.multiply(ops.convert(pixels, np.float32), ops.constant(np.full((1, 1, 1, 3), 0.1, np.float32)))
    graph = ov.Model([ops.sigmoid(scaled)], [pixels], "toy")
    with tempfile.TemporaryDirectory() as folder:
        ov.save_model(graph, f"{folder}/model.xml", compress_to_fp16=False)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


_ENGINE = (EngineError,)
TARGETS: dict[str, Target] = {
    "calibration": Target(read_calibration, (CalibrationError,), seeds=_assets("calibration.json")),
    "fusion": Target(read_fusion, (FusionError,), seeds=_assets("fusion.json")),
    "quality": Target(read_frame_quality, (QualityError,), seeds=_assets("quality.json")),
    "manifest": Target(
        lambda path: read_manifest(path.parent),
        _ENGINE,
        seeds=_assets("weights/manifest.json"),
        file_name="manifest.json",
    ),
    "gates": Target(lambda path: read_records(path.parent), _ENGINE, seeds=_first_gate_record, file_name="gates.json"),
    "ranges": Target(_read_ranges, _ENGINE),
    "results": Target(read_results),
    "truth": Target(read_truth),
    "coco": Target(lambda path: read_stills(path, path.parent)),
    "coco_centres": Target(read_coco),
    "coco_video": Target(lambda path: read_coco_video(path, _CLOCK, video="c")),
    "cvat": Target(partial(read_cvat, clock=_CLOCK)),
    "labelme": Target(lambda path: read_labelme(path.parent, _CLOCK), file_name="frame_000003.json"),
    "yolo": Target(lambda path: read_yolo(path.parent, _CLOCK, classes=["0"]), file_name="frame_000003.txt"),
    "recipe": Target(lambda path: read_recipe(path.parent), file_name="recipe.json"),
    "history": Target(lambda path: read_run(path.parent), file_name="history.json"),
    "figures": Target(_report, file_name="figures.json"),
    "report": Target(read_report),
    "table": Target(read_result),
    "archive": Target(_read_archive, text=False, seeds=_archives),
    "tensors": Target(_read_tensors, text=False, seeds=_tensors, file_name="seed.safetensors"),
    "weights": Target(_open_weights, _ENGINE, text=False, seeds=_tensors, file_name="seed.safetensors"),
    "graph": Target(_open_graph, _ENGINE, seeds=lambda: {"model.xml": _graph()["model.xml"]}, file_name="model.xml"),
    "still": Target(_read_still, (SourceError, ImageError), text=False),
    **{name: Target(_read_video, (SourceError,), text=False) for name in CONTAINERS},
}
