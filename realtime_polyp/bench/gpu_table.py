"""Formats the figures of a GPU as a table, with goals and whether they are met."""

from collections.abc import Callable, Iterator
from typing import Any

from realtime_polyp.bench.table import align

# name: (at least or at most, goal), for the paper's pair at FP16.
GOALS: dict[str, tuple[Callable[[float, float], bool], float]] = {
    "ratio": (float.__ge__, 3.0),
    "arithmetic": (float.__ge__, 0.3),
    "delay_ms": (float.__le__, 20.0),
    "streams": (float.__ge__, 8.0),
}
_SIGNS = {float.__ge__: ">=", float.__le__: "<="}
_NOT_MEASURED = "not measured"
Row = tuple[str, str, str, str]


def card_table(report: dict[str, Any]) -> str:
    rows = [*_speed(report), *_paced(report), *_device(report)]
    return "\n".join([_head(report), "", align(("", "measured", "goal", ""), rows), "", *_footnotes(report)])


def row(name: str, value: float | None, text: str, goal: str = "") -> Row:
    """Format one row. value: None if it was not measured. goal: a key of GOALS, or none."""
    if not goal:
        return name, _NOT_MEASURED if value is None else text, "", ""
    compare, wanted = GOALS[goal]
    goal_text = f"{_SIGNS[compare]} {wanted:g}"
    if value is None:
        return name, _NOT_MEASURED, goal_text, ""
    return name, text, goal_text, "met" if compare(float(value), wanted) else "not met"


def _head(report: dict[str, Any]) -> str:
    card, versions = report["card"], report["card"]["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    cuda = f", CUDA {card['cuda']}, cuDNN {card['cudnn']}" if "cuda" in card else ""
    speed = report["throughput"]
    return (
        f"{' + '.join(report['models'])} on {card['name']}{cuda}, {named}\n"
        f"frames of {report['frame'][0]}x{report['frame'][1]} px, {speed['batch']} per batch; further figures are of: "
        f"{speed['fastest']}"
    )


def _speed(report: dict[str, Any]) -> Iterator[Row]:
    speed, limit = report["throughput"], report["arithmetic"]
    for name, fps in speed["fps"].items():
        yield row(f"{name}, frames/s", fps, f"{fps:.1f}")
    compared = speed["ratio"] and len(speed["fps"]) > 1
    found = speed["ratio"][speed["fastest"]] if compared else None
    yield row(f"{speed['fastest']} : {speed['baseline']}", found, f"{found or 0:.2f}", "ratio")
    yield row("share of the arithmetic limit", limit["share"], f"{limit['share']:.3f}", "arithmetic")


def _paced(report: dict[str, Any]) -> Iterator[Row]:
    late = report["delay"]
    p99_ms = late["p99_ms"] if late else None
    dropped = f", {late['dropped']} of {late['captured']} dropped" if late and late["dropped"] else ""
    yield row("annotation delay p99 at 60 Hz, ms", p99_ms, f"{p99_ms or 0:.1f}{dropped}", "delay_ms")
    yield _streams("streams at 30 Hz, from memory", report["streams"], "streams")
    if report["decoded_streams"]:
        yield _streams("streams at 30 Hz, decoded", report["decoded_streams"], "streams")


def _streams(name: str, found: dict[str, Any] | None, goal: str) -> Row:
    if not found or not found["trials"]:
        return row(name, None, "", goal)
    more = "" if found["tried_more"] else " or more"
    return row(name, found["sustained"], f"{found['sustained']}{more}", goal)


def _device(report: dict[str, Any]) -> Iterator[Row]:
    idle, memory = report["idle"], report["memory"]
    loaded = idle["at_full_load"] if idle else None
    yield row("device idle at full load", loaded, f"{loaded or 0:.1%}")
    if idle:
        yield row(f"device idle with {idle['streams']} streams", 0.0, f"{idle['with_streams']:.1%}")
    yield row(f"memory peak of {memory['of'] if memory else 'the card'}, MB", 0.0 if memory else None, _mb(memory))


def _mb(memory: dict[str, Any] | None) -> str:
    return f"{memory['peak_mb']:.0f}" if memory else ""


def _footnotes(report: dict[str, Any]) -> list[str]:
    limit, flops = report["arithmetic"], report["gflop_per_frame"]
    each = " + ".join(f"{value:g}" for value in flops.values())
    return [
        f"limit: {each} GFLOP a frame at {limit['matmul_tflop_per_s']:.1f} TFLOP/s, measured, is "
        f"{limit['limit_fps']:.1f} frames/s",
        "delay: from when a frame is due to when its answers are ready; streams: nothing dropped and that p99 at most "
        "100 ms",
        *report["notes"],
    ]
