"""Quantise a model to INT8 from real frames: python -m calibration.int8 --model gflv2-lite0 --data ../shared/data

Frames that cover centres and lighting set the ranges; layers whose INT8 moves the answers most stay in float32. The
gate (`calibration.gate`) says whether the engine is accepted.
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
from calibration.quantisation.frames import choose, frame_table, lights_of
from calibration.quantisation.layers import exact_names
from calibration.quantisation.sensitivity import Choice, choose_float_layers, float_weights
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

# The error of a model's answers that INT8 may make, by `sensitivity.ERRORS`: with these the default models pass the
# gate on val; a lower bound keeps more layers in float32 and costs time.
BOUNDS: dict[Task, float] = {"detector": 0.029, "segmenter": 0.013}
_SCAN_FRAMES = 100  # that set the ranges while layers are compared, of all that are chosen
_EPILOG = """examples:
  python -m calibration.int8 --model gflv2-lite0
  python -m calibration.int8 --model lowrank-lite2 --frames 500 --data ../shared/data
  python -m calibration.int8 --model gflv2-lite0 --bound 0.01    more layers in float32, closer to it and slower"""
Pixels = NDArray[np.uint8]


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.int8",
        description="Quantise a model to INT8 with activations measured on real training frames.",
        epilog=_EPILOG,
    )
    parser.add_argument("--model", required=True, help="one of the installed weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=300, help="that set the ranges (default: %(default)s)")
    parser.add_argument("--held-out", type=int, default=48, help="more, to measure on (default: %(default)s)")
    parser.add_argument("--bound", type=float, help=f"most error of the answers (default: {BOUNDS} by task)")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="default: %(default)s")
    return parser


def run(options: argparse.Namespace) -> None:
    """Raises OSError or ValueError, one sentence each, for what the user can mend."""
    weights = find_weights(options.model, folder=options.folder)
    bound = BOUNDS[weights.task] if options.bound is None else options.bound
    stills = training_stills(options.data)
    lights = lights_of(stills)
    chosen = choose(stills, lights, options.frames)
    table = frame_table(stills, lights, chosen)
    print(table)
    others = sorted({*range(len(stills))} - {*chosen})
    held_out = [others[i] for i in choose([stills[i] for i in others], [lights[i] for i in others], options.held_out)]
    frames, measured = (_pixels([stills[i] for i in some], weights.size) for some in (chosen, held_out))
    graph = convert(load_module(weights), weights.size)
    choice = sensitive_layers(graph, frames, measured, weights.task, bound)
    save(quantize(graph, frames, [layer.name for layer in choice.kept]), weights)
    told = section(choice, bound, table, command_of(options))
    print(told)
    write_section(weights.folder / f"{weights.model}.md", told)


def training_stills(data: Path) -> list[Still]:
    """Raises ValueError where the unseen centre is among them: nothing may be calibrated on it."""
    stills = read_stills(data / "train.json", data)
    if any(still.centre == UNSEEN for still in stills):
        raise ValueError(f"{data / 'train.json'} holds images of {UNSEEN}, the unseen centre: it is only ever reported")
    return stills


def command_of(options: argparse.Namespace) -> str:
    words = [f"python -m calibration.int8 --model {options.model} --frames {options.frames}"]
    return " ".join(words + ([] if options.bound is None else [f"--bound {options.bound:g}"]))


def sensitive_layers(
    graph: ov.Model, frames: Sequence[Pixels], held_out: Sequence[Pixels], task: Task, bound: float
) -> Choice:
    """The layers to leave in float32, measured on `held_out`; a share of the frames sets the ranges meanwhile."""
    if not held_out:
        raise ValueError("no training stills are left to measure sensitivity on: lower --frames")
    few = frames[:: max(1, len(frames) // _SCAN_FRAMES)]
    everything = quantize(graph, few, [], correct_biases=False)
    return choose_float_layers(everything, float_weights(graph), held_out, task, bound)


def quantize(
    graph: ov.Model, frames: Sequence[Pixels], kept: Sequence[str], *, correct_biases: bool = True
) -> ov.Model:
    """The graph in INT8 but for the layers `kept` and what follows the body.

    Ranges reach from the least to the most that was seen: averaged over frames, as NNCF would have them, they cut off
    what only some frames show, and the boxes moved twice as far.
    """
    return nncf.quantize(
        graph.clone(),
        nncf.Dataset(list(frames)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(frames),
        fast_bias_correction=False,  # slower to make; the boxes then lie closer to the float model's
        ignored_scope=nncf.IgnoredScope(names=[*exact_names(graph), *kept], validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            disable_bias_correction=not correct_biases,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )


def _pixels(stills: Sequence[Still], size: tuple[int, int]) -> list[Pixels]:
    return [pixels_of(still, size) for still in tqdm(stills, desc="calibration frames", unit="frame")]


def pixels_of(still: Still, size: tuple[int, int]) -> Pixels:
    """A still as the graph reads it: (1, h, w, 3) uint8."""
    image = read_image(still.image_path)
    return np.ascontiguousarray(
        prepare([image], [find_field(image) or whole(image)], size).pixels.transpose(0, 2, 3, 1)
    )


def save(graph: ov.Model, weights: Weights) -> None:
    """Write the graph beside the float weights, under its name only when complete."""
    names = {"int8-xml": f"{weights.model}.int8.xml", "int8-bin": f"{weights.model}.int8.bin"}
    xml, binary = (weights.folder / names[kind] for kind in ("int8-xml", "int8-bin"))
    with replacing(binary), replacing(xml) as temporary:  # save_model writes the .bin beside the .xml
        ov.save_model(graph, temporary, compress_to_fp16=False)
    add_to_manifest(weights.model, weights.task, weights.size, names, weights.folder)
    print(f"wrote {weights.folder / names['int8-xml']}")


if __name__ == "__main__":
    main()
