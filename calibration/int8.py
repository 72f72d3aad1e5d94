"""Quantise a model to INT8 from real frames: python -m calibration.int8 --model gflv2-lite0 --data DATA

Activation ranges are measured on training stills that cover all centres and lighting conditions. The layers most
sensitive to quantisation stay in float32. `calibration.gate` then decides whether the engine is accepted.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
from nncf.quantization.range_estimator import RangeEstimatorParametersSet
from numpy.typing import NDArray
from tqdm import tqdm

from calibration.quantisation.card import section, write_section
from calibration.quantisation.frames import Light, choose_stills, format_table, measure_lights
from calibration.quantisation.layers import body, float_names, module_of
from calibration.quantisation.sensitivity import BOUNDS, Choice, choose_float_layers, float_weights
from realtime_polyp.atomic_write import replacing
from realtime_polyp.engines.base import Task
from realtime_polyp.engines.eager import load_module
from realtime_polyp.engines.openvino import convert
from realtime_polyp.engines.weights import WEIGHTS_FOLDER, Weights, add_to_manifest, find_weights
from realtime_polyp.field_of_view import find_field, whole
from realtime_polyp.preprocess.letterbox import prepare
from trainers.command import command_parser, run_command
from trainers.data.stills import Still, read_image, read_stills
from trainers.leave_one_out import UNSEEN

_SCAN_FRAMES = 100  # of the calibration frames, to measure ranges for the sensitivity scan
_HELD_OUT = 48
_EPILOG = """examples:
  python -m calibration.int8 --model gflv2-lite0
  python -m calibration.int8 --model lowrank-lite2 --frames 500 --data DATA
  python -m calibration.int8 --model gflv2-lite0 --bound 0.01    more layers in float32, more accurate and slower
  python -m calibration.int8 --model gflv2-lite0 --keep detector.backbone.stem.1    these layers, without a search"""
Pixels = NDArray[np.uint8]


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.int8",
        description="Quantise a model to INT8 with activation ranges measured on training stills.",
        epilog=_EPILOG,
    )
    parser.add_argument("--model", required=True, help="name of installed weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="stills to measure ranges on (default: %(default)s)")
    parser.add_argument(
        "--held-out", type=int, default=_HELD_OUT, help="stills to measure sensitivity on (default: %(default)s)"
    )
    parser.add_argument("--bound", type=float, help=f"highest error of the outputs (default: {BOUNDS} by task)")
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="MODULE", help="leave these layers in float32, whatever the bound"
    )
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="weights folder (default: %(default)s)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Quantise and write the model. Raises OSError or ValueError with a one-sentence cure."""
    weights = find_weights(options.model, folder=options.folder)
    bound = BOUNDS[weights.task] if options.bound is None else options.bound
    stills = training_stills(options.data)
    lights = measure_lights(stills)
    chosen = choose_stills(stills, lights, options.frames)
    table = format_table(stills, lights, chosen)
    print(table)
    held_out = choose_held_out(stills, lights, chosen, options.held_out)
    frames, held_out_frames = (_read_frames([stills[i] for i in some], weights.size) for some in (chosen, held_out))
    # The float model as a graph to quantise: no engine is opened.
    graph = convert(load_module(weights), weights.size)
    choice = find_sensitive_layers(graph, frames, held_out_frames, weights.task, bound, options.keep)
    save(quantize(graph, frames, [layer.name for layer in choice.kept]), weights)
    text = section(choice, bound, table, command_of(options))
    print(text)
    write_section(weights.folder / f"{weights.model}.md", text)


def choose_held_out(stills: Sequence[Still], lights: Sequence[Light], chosen: Sequence[int], count: int) -> list[int]:
    """Return the indices of `count` stills that are not among the chosen ones. Raises ValueError if none is left."""
    others = sorted({*range(len(stills))} - {*chosen})
    if not others:
        raise ValueError("no training stills are left to measure sensitivity on: lower --frames")
    places = choose_stills([stills[i] for i in others], [lights[i] for i in others], count)
    return [others[place] for place in places]


def training_stills(data: Path) -> list[Still]:
    """Read the training stills. Raises ValueError if any is from the unseen test centre."""
    stills = read_stills(data / "train.json", data)
    if any(still.centre == UNSEEN for still in stills):
        raise ValueError(f"{data / 'train.json'} contains images of {UNSEEN}, the unseen test centre: remove them")
    return stills


def command_of(options: argparse.Namespace) -> str:
    """Return the command that reproduces the engine."""
    words = [f"python -m calibration.int8 --model {options.model} --frames {options.frames}"]
    words += [] if options.bound is None else [f"--bound {options.bound:g}"]
    words += [] if options.held_out == _HELD_OUT else [f"--held-out {options.held_out}"]
    return " ".join([*words, "--keep", *options.keep] if options.keep else words)


def find_sensitive_layers(
    graph: ov.Model,
    frames: Sequence[Pixels],
    held_out: Sequence[Pixels],
    task: Task,
    bound: float,
    named: Sequence[str] = (),
) -> Choice:
    """Choose the layers to leave in float32.

    frames: some of them set the ranges during the scan. held_out: sensitivity is measured on these. named: modules of
    the layers to leave, instead of a scan. Raises ValueError if there are no held-out stills or no such modules.
    """
    if not held_out:
        raise ValueError("no training stills are left to measure sensitivity on: lower --frames")
    if unknown := sorted(set(named) - {module_of(node) for node in body(graph)}):
        raise ValueError(f"--keep {unknown[0]} is not a convolution of the model, such as {module_of(body(graph)[0])}")
    few = frames[:: max(1, len(frames) // _SCAN_FRAMES)]
    everything = quantize(graph, few, [], correct_biases=False)
    return choose_float_layers(everything, float_weights(graph), held_out, task, bound, named)


def quantize(
    graph: ov.Model, frames: Sequence[Pixels], kept: Sequence[str], *, correct_biases: bool = True
) -> ov.Model:
    """Quantise the graph to INT8, except for the layers `kept` and the operations after the body.

    Ranges are the minimum and maximum over all frames. NNCF's default averages them over frames, which clips
    activations that occur in a few frames only and doubled the displacement of boxes. Weights have 7 bits, so that no
    CPU saturates (`engines.vector_units`).
    """
    return nncf.quantize(
        graph.clone(),
        nncf.Dataset(list(frames)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames),
        fast_bias_correction=False,  # slower, but the boxes are closer to the float model's
        ignored_scope=nncf.IgnoredScope(names=[*float_names(graph), *kept], validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            disable_bias_correction=not correct_biases,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            overflow_fix=nncf.OverflowFix.ENABLE,
        ),
    )


def _read_frames(stills: Sequence[Still], size: tuple[int, int]) -> list[Pixels]:
    return [pixels_of(still, size) for still in tqdm(stills, desc="calibration frames", unit="frame")]


def pixels_of(still: Still, size: tuple[int, int]) -> Pixels:
    """Read a still as input of the graph: (1, h, w, 3) uint8."""
    image = read_image(still.image_path)
    return np.ascontiguousarray(
        prepare([image], [find_field(image) or whole(image)], size).pixels.transpose(0, 2, 3, 1)
    )


def save(graph: ov.Model, weights: Weights) -> None:
    """Write the graph to the folder of the float weights, atomically, and add it to the manifest."""
    names = {"int8-xml": f"{weights.model}.int8.xml", "int8-bin": f"{weights.model}.int8.bin"}
    xml, binary = (weights.folder / names[kind] for kind in ("int8-xml", "int8-bin"))
    with replacing(binary), replacing(xml) as temporary:  # save_model writes the .bin beside the .xml
        ov.save_model(graph, temporary, compress_to_fp16=False)
    add_to_manifest(weights.model, weights.task, weights.size, names, weights.folder)
    print(f"wrote {weights.folder / names['int8-xml']}")


if __name__ == "__main__":
    main()
