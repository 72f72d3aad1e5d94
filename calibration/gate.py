"""The accuracy gate: compare an engine with the float32 model, overall and per centre.

python -m calibration.gate --model gflv2-lite0 --engine openvino-int8

The stills are evaluated with the engine and with the reference (PyTorch, float32), and so are frames of video without a
polyp. If the engine loses more accuracy or raises more false alarms than the limits allow, run_live refuses it, and
this command ends with exit code 1.
"""

import argparse
from pathlib import Path

import msgspec

from calibration.accuracy.figures import Comparison, compare, compare_negatives
from calibration.accuracy.records import record_of, write_record
from calibration.accuracy.reference_cache import CachedEngine
from calibration.accuracy.table import table
from realtime_polyp.atomic_write import write_json
from realtime_polyp.engines import DEVICES, ENGINE_NAMES, open_engine
from realtime_polyp.engines.base import Engine
from realtime_polyp.engines.gate import REFERENCE, GateRecord
from realtime_polyp.engines.halves import roles_of
from realtime_polyp.engines.weights import WEIGHTS_FOLDER
from realtime_polyp.folders import cache_folder
from trainers.command import check_outputs, command_parser, run_command
from trainers.data.negatives import NEGATIVE_FILE, NO_NEGATIVES, find_reported
from trainers.data.stills import Still, first_stills, read_stills
from trainers.evaluation.predict import Case, check_files, evaluate
from trainers.leave_one_out import UNSEEN

EXIT_REFUSED = 1
_DATA = Path("../shared/data")
_EPILOG = """examples:
  python -m calibration.gate --model gflv2-lite0 --engine openvino-int8
  python -m calibration.gate --model lowrank-lite2 --engine eager-fp16 --device cuda --json verdict.json
  python -m calibration.gate --model gflv2-lite0 --engine openvino-int8 --ship

exit codes: 0 accepted, 1 refused, 2 bad input"""


def main(arguments: list[str] | None = None) -> None:
    record = run_command(command_line(), run, arguments)
    if not record.passed:
        raise SystemExit(EXIT_REFUSED)


def command_line() -> argparse.ArgumentParser:
    parser = command_parser(
        "calibration.gate",
        description="Compare an engine with eager float32 on a fixed set of stills and record whether it is accepted.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--model", required=True, metavar="NAME", help="installed weights")
    add("--engine", required=True, metavar="NAME", help=", ".join(name for name in ENGINE_NAMES if name != REFERENCE))
    add("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    add("--data", type=Path, default=_DATA / "val.json", metavar="FILE.json", help="default: %(default)s")
    add(
        "--root",
        type=Path,
        default=_DATA,
        metavar="DIR",
        help="folder of image paths (default: %(default)s)",
    )
    add(
        "--negatives",
        metavar="FILE.json",
        help=f"frames of video without a polyp, of which the reporting sequences are compared, or {NO_NEGATIVES} "
        f"(default: {NEGATIVE_FILE} beside --data, if it is there)",
    )
    add("--limit", type=int, metavar="N", help="use only the first N images, for a quick test: nothing is recorded")
    add(
        "--ship",
        action="store_true",
        help="record beside the weights, to ship it, not in this machine's cache",
    )
    add("--json", type=Path, metavar="OUT", help="also write the record to this file")
    return parser


def run(options: argparse.Namespace) -> GateRecord:
    """Compare, print and record. Raises OSError or ValueError with a one-sentence cure."""
    check_outputs(options.json)
    stills = first_stills(read_gate_stills(options.data, options.root), options.limit)
    negatives = find_reported(options.negatives, options.data, options.root)
    frames = list(negatives.frames[: options.limit])
    engine, reference = open_pair(options.model, options.engine, options.device)
    check_files([*stills, *frames], masks=engine.task != "detector")
    compared = measure(engine, reference, stills, frames)
    data = f"{options.data.name}, {len(stills)} images" + (
        f"; {negatives.name}, {len(frames)} frames" if frames else ""
    )
    record = record_of(engine, compared, data)
    print(table(record, compared))
    if options.limit is None:
        print(f"record: {write_record(record, WEIGHTS_FOLDER if options.ship else cache_folder())}")
    if options.json:
        write_json(options.json, msgspec.structs.asdict(record))
    return record


def read_gate_stills(path: Path, root: Path) -> list[Still]:
    """Read the stills to compare on. Raises ValueError for the unseen centre, for training data and for none."""
    stills = read_stills(path, root)
    if not stills:
        raise ValueError(f"{path} has no images: nothing to compare on")
    if path.stem.startswith("unseen") or any(still.centre == UNSEEN for still in stills):
        raise ValueError(f"{path} contains images of the unseen test centre: gate engines on val.json")
    training = path.with_name("train.json")
    trained_on = {still.image_path for still in read_stills(training, root)} if training.is_file() else set()
    if shared := sorted(still.image_path.name for still in stills if still.image_path in trained_on):
        raise ValueError(
            f"{path} shares {len(shared)} images with {training} ({shared[0]}): gate engines on other images"
        )
    return stills


def open_pair(model: str, engine: str, device: str) -> tuple[Engine, Engine]:
    """Open the engine and the reference of the same model. Raises ValueError if the engine is the reference.

    The gate measures one model alone, of any task, so that it does not start at `open_runtime`.
    """
    if engine == REFERENCE:
        raise ValueError(f"--engine {REFERENCE} is the reference itself: choose another engine")
    found = open_engine(model, None, engine, device)
    if found.name == REFERENCE:
        raise ValueError(f"--engine {engine} opens {REFERENCE} here, the reference itself: choose another engine")
    return found, open_engine(model, None, REFERENCE, "cpu")


def measure(engine: Engine, reference: Engine, stills: list[Still], negatives: list[Still]) -> dict[str, Comparison]:
    """Return {"overall", centre or "negatives": figures}. The outputs of the reference are cached.

    negatives: frames without a polyp; none: they are not compared.
    """
    cached = CachedEngine(reference)
    try:
        before, empty = _evaluate(cached, stills), _evaluate(cached, negatives)
    finally:
        cached.save()
    return {
        **compare(before, _evaluate(engine, stills), engine.task),
        **compare_negatives(empty, _evaluate(engine, negatives)),
    }


def _evaluate(engine: Engine, stills: list[Still]) -> list[Case]:
    return evaluate(stills, *roles_of(engine), progress=bool(stills))


if __name__ == "__main__":
    main()
