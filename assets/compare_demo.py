"""What the models find on the demo clip: python assets/compare_demo.py --results out.jsonl

The results come from `python run_live.py --source assets/demo.mp4 --headless --results out.jsonl`. A polyp counts as
found in a frame when a shown box reaches IoU 0.2 with its true box, a shown box that reaches no polyp, faint ones
included, as a false alarm; mask Dice is over all frames with a polyp.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from realtime_polyp.json_files import read_json, read_json_lines
from realtime_polyp.metrics.run_lengths import decode
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.outputs.results_reader import check_results, read_results

_LEAST_IOU = 0.2
_TRUTH = Path(__file__).with_name("demo_truth.json")


class _Polyp(Struct):
    id: int
    kind: str


class _Named(Struct):
    """What the truth file says of the polyps beside their places."""

    polyps: list[_Polyp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="what run_live.py --results wrote")
    parser.add_argument("--truth", type=Path, default=_TRUTH, help="default: the demo's")
    options = parser.parse_args()
    try:
        print(report(*read(options.truth, options.results)))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def read(truth: Path, results: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both files as they are, once the package's readers have found nothing wrong. Raises OSError, ValueError."""
    check_results(read_truth(truth), read_results(results))
    read_json(truth, _Named, what="a truth file that names its polyps")
    lines = read_json_lines(results, dict[str, Any], what="a result of run_live")
    return read_json(truth, dict[str, Any], what="a truth file"), [line for _, line in lines]


def report(truth: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """One line a polyp, then false alarms and Dice."""
    pairs = [(truth["frames"][result["index"]], result) for result in results]
    lines = [f"{'polyp':>24} {'visible s':>10} {'found':>6} {'first shown after s':>20}"]
    lines += [_polyp_line(polyp, pairs, _period_s(truth)) for polyp in truth["polyps"]]
    false_frames = sum(any(_is_false(box, frame) for box in shown(result)) for frame, result in pairs)
    lines.append(f"frames with a false alarm: {false_frames} of {len(pairs)}")
    dices = [_dice(frame, result) for frame, result in pairs if _has_masks(frame) and result.get("mask")]
    if dices:
        lines.append(f"mask Dice over {len(dices)} frames with a polyp: {np.mean(dices):.3f}")
    return "\n".join(lines)


def shown(result: dict[str, Any]) -> list[list[float]]:
    return [track["box"] for track in result.get("tracks", ()) if track["state"] != "tentative"]


def _period_s(truth: dict[str, Any]) -> float:
    frames, seconds = truth["video"]["fps"]
    return float(seconds / frames)


def _polyp_line(polyp: dict[str, Any], pairs: list[tuple[dict[str, Any], dict[str, Any]]], period_s: float) -> str:
    seen = [
        (frame["index"] * period_s, _found(polyp["id"], frame, result))
        for frame, result in pairs
        if _has(polyp["id"], frame)
    ]
    hits = [pts_s for pts_s, found in seen if found]
    first = f"{hits[0] - seen[0][0]:.2f}" if hits else "never"
    name = f"{polyp['id']} {polyp['kind']}"
    return f"{name:>24} {len(seen) * period_s:10.1f} {len(hits) / max(1, len(seen)):6.0%} {first:>20}"


def _has(polyp_id: int, frame: dict[str, Any]) -> bool:
    return any(polyp["id"] == polyp_id for polyp in frame["polyps"])


def _found(polyp_id: int, frame: dict[str, Any], result: dict[str, Any]) -> bool:
    true = next(polyp["box"] for polyp in frame["polyps"] if polyp["id"] == polyp_id)
    return any(iou(true, box) >= _LEAST_IOU for box in shown(result))


def _is_false(box: list[float], frame: dict[str, Any]) -> bool:
    true = [polyp["box"] for polyp in (*frame["polyps"], *frame.get("faint", ()))]
    return all(iou(one, box) < _LEAST_IOU for one in true)


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def _has_masks(frame: dict[str, Any]) -> bool:
    return any(polyp.get("mask") for polyp in frame["polyps"])


def _dice(frame: dict[str, Any], result: dict[str, Any]) -> float:
    true = np.any([decode(polyp["mask"]) for polyp in frame["polyps"] if polyp.get("mask")], axis=0)
    found = decode(result["mask"]) > 0
    return float(2 * (true & found).sum() / max(1, true.sum() + found.sum()))


if __name__ == "__main__":
    main()
