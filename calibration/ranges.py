"""Measure activation ranges for 8-bit engines on a GPU: python -m calibration.ranges --model gflv2-lite0"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from calibration.int8 import pixels_of, training_stills
from calibration.quantisation.frames import choose_stills, measure_lights
from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.quantized import RANGES, RANGES_FORMAT, measure_ranges
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, Weights, add_to_manifest, find_weights
from trainers.command import command_parser, report_bad_input
from trainers.data.stills import Still

_EPILOG = """examples:
  python -m calibration.ranges --model gflv2-lite0
  python -m calibration.ranges --model lowrank-lite2 --frames 500 --data DATA"""


def main(arguments: list[str] | None = None) -> None:
    parser = command_parser(
        "calibration.ranges",
        description="Measure a model's activation ranges on training stills. The engines tensorrt-int8 and "
        "tensorrt-fp8 derive their scales from them.",
        epilog=_EPILOG,
    )
    parser.add_argument("--model", required=True, help="name of installed weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="stills to measure ranges on (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="weights folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    with report_bad_input(parser):
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure the ranges and write them. Raises OSError or ValueError with a one-sentence cure."""
    weights = find_weights(options.model, folder=options.folder)
    every = training_stills(options.data)
    stills = [every[index] for index in choose_stills(every, measure_lights(every), options.frames)]
    save(measure_ranges(load_module(weights), _batches(stills, weights.size)), weights, len(stills))


def _batches(stills: list[Still], size: tuple[int, int]) -> Iterator[torch.Tensor]:
    for still in tqdm(stills, desc="calibration frames", unit="frame", disable=None):
        yield torch.from_numpy(pixels_of(still, size)).permute(0, 3, 1, 2).float()


def save(ranges: dict[str, float], weights: Weights, frames: int) -> None:
    """Write the ranges to the folder of the weights, atomically, and add them to the manifest.

    ranges: {convolution: largest magnitude of its input}. frames: how many they were measured on.
    """
    name = f"{weights.model}.ranges.json"
    made_on = weights.checksums[weights.files["safetensors"]]
    rounded = {layer: float(f"{value:.6g}") for layer, value in sorted(ranges.items())}
    content = {"format": RANGES_FORMAT, "weights": made_on, "frames": frames, "largest": rounded}
    write_json(weights.folder / name, content)
    add_to_manifest(weights.model, weights.task, weights.size, {RANGES: name}, weights.folder)
    print(f"wrote {weights.folder / name}")


if __name__ == "__main__":
    main()
