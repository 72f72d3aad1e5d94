"""Quantise a model to INT8 from real frames: python -m calibration.int8 --model gflv2-lite0 --data ../shared/data"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from tqdm import tqdm

from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.openvino import convert
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, Weights, add_to_manifest, find_weights, read_manifest
from realtime_polyp.field import find_field, whole
from realtime_polyp.prepare import prepare
from trainers.command import report_bad_input
from trainers.data import Still, read_image, read_stills

_EXACT_TYPES = {"MatMul", "Softmax", "TopK", "ReduceMean", "ReduceSum"}
# Of modules: the detector's head past its towers (all that is named after the head itself or its last layers), the
# low-rank module.
_EXACT_NAMES = (r".*\bhead/.*", r".*\bhead\.(cls|reg|quality)\b.*", r".*low_rank.*")
_EPILOG = """examples:
  python -m calibration.int8 --model gflv2-lite0
  python -m calibration.int8 --model lowrank-lite2 --frames 500 --data ../shared/data"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m calibration.int8",
        description="Quantise a model to INT8 with activations measured on real training frames.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="one of the installed weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=300, help="calibration frames (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="default: %(default)s")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options)


def run(options: argparse.Namespace) -> None:
    known = read_manifest(options.folder)
    if options.model not in known:
        raise ValueError(f"unknown model {options.model!r}: choose from {', '.join(sorted(known))}")
    weights = find_weights(options.model, known[options.model]["task"], options.folder)
    stills = spread(read_stills(options.data / "train.json", options.data), options.frames)
    save(quantise(weights, stills), weights)


def quantise(weights: Weights, stills: list[Still]) -> ov.Model:
    """The model in INT8; stills are the frames whose activations set the scales."""
    graph = convert(load_module(weights), weights.size)
    frames = list(tqdm(pixels_of(stills, weights.size), total=len(stills), desc="calibration frames", unit="frame"))
    return nncf.quantize(
        graph,
        nncf.Dataset(frames),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames),
        fast_bias_correction=False,  # slower to make; the boxes then lie closer to the float model's
        ignored_scope=kept_exact(graph),
    )


def kept_exact(graph: ov.Model) -> nncf.IgnoredScope:
    """Everything after the towers' convolutions stays in float32: the scores' product with the quality, the mean over
    distances, the low-rank products. They cost no time that could be measured, and in INT8 they took points of AP50
    with them (see the detector's card)."""
    types = {node.get_type_name() for node in graph.get_ops()} & _EXACT_TYPES
    return nncf.IgnoredScope(types=sorted(types), patterns=list(_EXACT_NAMES), validate=False)


def spread(stills: list[Still], count: int) -> list[Still]:
    """`count` stills, evenly over the file, which lists centre after centre: every scope and light has its share."""
    if not stills:
        raise ValueError("no training stills to calibrate with")
    return [stills[index] for index in np.linspace(0, len(stills) - 1, min(count, len(stills))).astype(int)]


def pixels_of(stills: list[Still], size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Each still as the graph reads it: (1, h, w, 3) uint8."""
    for still in stills:
        image = read_image(still.image_path)
        yield prepare([image], [find_field(image) or whole(image)], size).pixels.transpose(0, 2, 3, 1)


def save(graph: ov.Model, weights: Weights) -> None:
    """Write the graph beside the float weights, under its name only when complete."""
    names = {"int8-xml": f"{weights.model}.int8.xml", "int8-bin": f"{weights.model}.int8.bin"}
    temporary = weights.folder / "writing.xml"
    ov.save_model(graph, temporary, compress_to_fp16=False)
    os.replace(temporary, weights.folder / names["int8-xml"])
    os.replace(temporary.with_suffix(".bin"), weights.folder / names["int8-bin"])
    add_to_manifest(weights.model, weights.task, weights.size, names, weights.folder)
    print(f"wrote {weights.folder / names['int8-xml']}")


if __name__ == "__main__":
    main()
