"""Play frames without a polyp as video: python -m trainers.negative_video --data DATA/negative.json --root DATA

Each sequence passes through the parts of the live line. The figures say in how many frames a box or a mask is drawn,
with the temporal filter and with every detection shown at once. METRICS 4, "Negative video", defines them.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from realtime_polyp.atomic_write import write_json
from realtime_polyp.config import PipelineConfig, default_config
from realtime_polyp.engines import ENGINE_NAMES
from realtime_polyp.engines.halves import engines_of, roles_of
from realtime_polyp.engines.weights import DEFAULT_DETECTOR, DEFAULT_SEGMENTER, NO_MODEL
from realtime_polyp.inference.base import Inference
from realtime_polyp.inference.host import HostInference
from realtime_polyp.messages import each_once
from realtime_polyp.metrics.negative_video import NegativeFrame, figures_by_sequence, table, to_dict
from realtime_polyp.metrics.run_lengths import area_share
from realtime_polyp.metrics.truth import TrueFrame
from realtime_polyp.outputs.results_reader import shown_of
from realtime_polyp.packets import Result
from realtime_polyp.runtime import Runtime, RuntimeConfig, open_runtime, unfused_cautions
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.negatives import NEGATIVE_RATE_HZ, Use, play, read_negatives, split_sequences
from trainers.data.stills import Still
from trainers.evaluation.predict import check_files
from trainers.training.run import engine_of_run
from trainers.video.synthetic.replay import CachedFrame, analyse_frames, replay_side_by_side

FILTERED, AT_ONCE = "with the temporal filter", "every detection at once"
_LEAST_RATE_HZ, _MOST_RATE_HZ = 1.0, 1000.0  # a step of more than 1 s would be a cut
_EPILOG = """examples:
  python -m trainers.negative_video --data DATA/negative.json --root DATA
  python -m trainers.negative_video --data DATA/negative.json --root DATA --rate 5 --json figures.json
  python -m trainers.negative_video --data DATA/negative.json --root DATA --run runs/joint --sequences report
  python -m trainers.negative_video --data own.json --root OWN --sequences all --rate 30 --rate-is-true

A box or mask counts only where a viewer draws it: the mask is what the outlines of the shown boxes enclose, or, without
a detector, all of it. "Every detection at once" has neither the temporal filter nor flipped frames.
exit codes: 0 measured, 2 bad input"""

Sequences = dict[str, list[NegativeFrame]]  # name of a sequence -> its frames


def main(arguments: list[str] | None = None) -> None:
    run_command(command_line(), run, arguments)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "trainers.negative_video",
        description="Measure in how many frames of video without a polyp a box or a mask is drawn, for each sequence.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE.json", help="COCO file of frames without a polyp, in order")
    add("--root", type=Path, required=True, metavar="DIR", help="folder that the file's image paths are relative to")
    add(
        "--sequences",
        choices=get_args(Use),
        default="report",
        help="sequences that choose and report, those that may train, or all of the file (default: %(default)s)",
    )
    add("--detector", default=DEFAULT_DETECTOR, metavar="NAME", help="weights, or none (default: %(default)s)")
    add("--segmenter", default=DEFAULT_SEGMENTER, metavar="NAME", help="the same (default: %(default)s)")
    add("--engine", default="auto", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: %(default)s)")
    add("--run", type=Path, metavar="DIR", help="measure the best weights of a training run instead, in torch")
    add(
        "--rate",
        type=float,
        default=float(NEGATIVE_RATE_HZ),
        metavar="HZ",
        help="frames per second at which the tracker gets the frames; the true rate of PolypGen's sequences is unknown "
        "(default: %(default)g)",
    )
    add("--rate-is-true", action="store_true", help="the frames were taken at --rate: report alarms per minute too")
    add("--json", type=Path, metavar="OUT", help="write all figures to this file, 0..1")
    return parser


def run(options: argparse.Namespace) -> None:
    """Play all sequences, print the tables and write the file that was asked for.

    Raises:
        OSError, ValueError: bad input, in one sentence.
    """
    check_options(options)
    stills = read_negatives(options.data, options.root, options.sequences)
    check_files(stills, masks=False)
    runtime = open_models(options)
    configs = {FILTERED: runtime.pipeline_config, AT_ONCE: replace(runtime.pipeline_config, temporal=None, hflip=False)}
    shown = play_all(split_sequences(stills), runtime.inference, configs, options.rate)
    rate_hz = options.rate if options.rate_is_true else None
    figures = {name: figures_by_sequence(sequences, rate_hz=rate_hz) for name, sequences in shown.items()}
    facts = describe(options, runtime)
    print(format_head(facts, len(stills)))
    for caution in runtime.cautions:
        print(f"caution: {caution}")
    for name, rows in figures.items():
        print(f"\n{name[0].upper()}{name[1:]}, % of frames\n{table(rows)}")
    if options.json:
        content = facts | {name.replace(" ", "_"): to_dict(rows) for name, rows in figures.items()}
        write_json(options.json, content)
        print(f"figures: {options.json}")


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError for a rate out of its range, and where no model is selected."""
    check_outputs(options.json)
    if not _LEAST_RATE_HZ <= options.rate <= _MOST_RATE_HZ:
        raise ValueError(f"--rate is {options.rate:g}: it must lie in {_LEAST_RATE_HZ:g}..{_MOST_RATE_HZ:g} frames/s")
    if not options.run and options.detector == options.segmenter == NO_MODEL:
        raise ValueError("--detector and --segmenter are both none: nothing to measure")


def open_models(options: argparse.Namespace) -> Runtime:
    """Open the named models as `run_live` would, or that of a training run's model.

    An engine that has not passed the accuracy gate may be measured, but only one that was named.

    Raises:
        OSError, ValueError: a model cannot be opened.
    """
    if options.run:
        detector, segmenter = roles_of(engine_of_run(options.run))
        inference, config = HostInference(detector, segmenter), default_config(detector, segmenter)
        unfused = detector is not None and segmenter is not None and config.fusion is None
        cautions = unfused_cautions(detector.model, segmenter.model) if unfused else []
        return Runtime(RuntimeConfig(), detector, segmenter, inference, config, cautions=tuple(cautions))
    detector, segmenter = (None if name == NO_MODEL else name for name in (options.detector, options.segmenter))
    unverified = options.engine != "auto"
    return open_runtime(
        RuntimeConfig(detector=detector, segmenter=segmenter, engine=options.engine, allow_unverified=unverified)
    )


def play_all(
    sequences: dict[str, list[Still]], inference: Inference, configs: dict[str, PipelineConfig], rate_hz: float
) -> dict[str, Sequences]:
    """Return {configuration: {sequence: what was shown in its frames}}. Nothing is remembered between sequences."""
    shown: dict[str, Sequences] = {name: {} for name in configs}
    total = sum(map(len, sequences.values()))
    with tqdm(total=total, desc="frames without a polyp", unit="frame") as bar:
        for sequence, stills in sequences.items():
            for results in replay_side_by_side(_analyse(stills, inference, rate_hz), configs):
                for name, result in results.items():
                    shown[name].setdefault(sequence, []).append(shown_in(result))
                bar.update()
    return shown


def _analyse(stills: Sequence[Still], inference: Inference, rate_hz: float) -> Iterator[CachedFrame]:
    """Run the models on the frames of one sequence."""
    analysed = analyse_frames(play(stills, rate_hz), inference)
    return (CachedFrame(plain, flipped, TrueFrame({}, {})) for plain, flipped in analysed)


def shown_in(result: Result) -> NegativeFrame:
    """Return what a viewer draws of a result."""
    shown = shown_of(result)
    drawn = 0.0 if shown.mask is None else area_share(shown.mask)
    return NegativeFrame(len(shown.boxes) > 0 if result.has_detector else None, None if result.mask is None else drawn)


def describe(options: argparse.Namespace, runtime: Runtime) -> dict[str, Any]:
    """Return what was measured and how, for a JSON file."""
    engines = engines_of(runtime.detector, runtime.segmenter)
    return {
        "data": options.data.name,
        "sequences": options.sequences,
        "rate_hz": options.rate,
        "rate_is_true": options.rate_is_true,
        "models": [engine.model for engine in engines],
        "engine": each_once(engine.name for engine in engines),
        "score_threshold": runtime.pipeline_config.score_threshold,
        "fusion": runtime.pipeline_config.fusion is not None,
    }


def format_head(facts: dict[str, Any], frames: int) -> str:
    rate = "" if facts["rate_is_true"] else " (the true rate is not known: no alarms per minute)"
    return (
        f"{' and '.join(facts['models'])}, {facts['engine']}; boxes from {facts['score_threshold']:g}; {frames} frames "
        f"of {facts['data']} at {facts['rate_hz']:g} frames/s{rate}"
    )


if __name__ == "__main__":
    main()
