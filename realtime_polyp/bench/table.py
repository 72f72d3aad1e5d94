"""Formats the benchmark's figures as tables."""

from collections.abc import Sequence
from typing import Any

from realtime_polyp.messages import each_once
from realtime_polyp.telemetry.text_table import format_table

_DELAY_COLUMNS = ("p50", "p95", "p99", "p999", "max", "jitter")


def describe_machine(facts: dict[str, Any]) -> str:
    flags = ", ".join(facts["cpu_flags"]) or "unknown vector units"
    load = facts["load_average"][0]
    return (
        f"{facts['cores']} cores, {facts['cpu']} ({flags}), {facts['memory_mb'] / 1024:.0f} GB; commit "
        f"{facts['commit']}; load before {load:.2f}{' (busy: trust the ratios only)' if load > 0.5 else ''}"
    )


def file_table(name: str, report: dict[str, Any]) -> str:
    alone = ", ".join(f"{stage} {fps:.1f}" for stage, fps in report["alone_fps"].items())
    runs = ", ".join(f"{fps:.1f}" for fps in report["runs_fps"])
    cpu_ms = report["cpu_ms_per_frame"]
    lines = [
        f"{name}, from file, {report['engine']}: {each_once(report['models'].values())}, "
        f"{report['frames_analysed']} of {report['frames_captured']} frames analysed",
        f"throughput   {report['fps']:.1f} frames/s (runs: {runs})",
        f"alone        {alone} frames/s",
        f"efficiency   {report['efficiency']:.2f} of {report['slowest_stage']} alone on all cores",
        f"cores        {report['cores_busy']:.2f} busy; processor time per frame {cpu_ms['line']:.1f} ms "
        f"({cpu_ms['decode']:.1f} decode + {cpu_ms['analyse']:.1f} analyse when alone); without waiting "
        f"{report['packing_limit_fps']:.1f} frames/s, of which this is {report['of_packing_limit']:.2f}",
        f"memory       {report['resident_mb']:.0f} MB resident, {report['peak_mb']:.0f} MB peak, after a whole run",
        "",
        align(("stage, ms per frame", "p50", "p95"), _stage_rows(report)),
        "",
        _delays(report),
        "frames of a file wait in the queue: use --live to measure the delay that a viewer sees",
    ]
    return "\n".join(lines)


def live_table(name: str, report: dict[str, Any]) -> str:
    dropped = report["dropped"] or "nothing"
    lines = [
        f"{name}, paced as if live, {report['minutes']:g} minutes, screen: {report['screen']}",
        f"captured {report['frames_captured']}, shown {report['frames_shown']}, analysed {report['frames_analysed']}, "
        f"overlays painted {report['overlays_painted']}",
        f"dropped: {dropped}; not analysed: {report['not_analysed'] or 'nothing'}",
        f"deadline misses: {misses_text(report['misses'])}",
        f"cores busy {report['cores_busy']:.2f}; memory {report['memory_mb'][0][1]:.0f} MB at the start, "
        f"{report['memory_mb'][-1][1]:.0f} MB at the end, {report['peak_mb']:.0f} MB peak",
        "",
        _delays(report),
        "from the decoded frame to the end of its paint",
        "",
        align(("stage, ms per frame", "p50", "p95"), _stage_rows(report)),
        "decode includes the wait for the next frame",
    ]
    return "\n".join(lines)


def misses_text(misses: dict[str, Any]) -> str:
    """Shares of frames by deadline, such as "3.20% later than 33.3 ms or never"."""

    def share(one: dict[str, Any]) -> str:
        return "-" if one["share"] is None else f"{one['share']:.2%}"

    return ", ".join(f"{share(one)} later than {one['limit_ms']:.1f} ms or never" for one in misses.values())


def memory_table(name: str, report: dict[str, Any]) -> str:
    first, last = report["settled_mb"], report["end_mb"]
    return (
        f"{name}, {report['minutes']:g} minutes, {report['frames_analysed']} frames, {report['fps']:.1f} frames/s\n"
        f"resident memory: {first:.0f} MB after a tenth of the run, {last:.0f} MB at its end ({last - first:+.0f} MB)"
    )


def record_table(name: str, report: dict[str, Any]) -> str:
    rows = [
        (what, f"{one['fps']:.1f}", f"{one['ratio']:.2f}", f"{one['cpu_ms']:.1f}", f"{one['cpu_ratio']:.2f}")
        for what, one in report.items()
    ]
    head = ("", "frames/s", "ratio", "processor ms per frame", "ratio")
    return "\n".join([f"{name}, whole file, in turn", align(head, rows)])


def against_table(name: str, report: dict[str, Any]) -> str:
    rows = [
        (peer["title"], f"{peer['fps']:.1f}", f"{peer['ours_to_it']:.2f}" if peer["ours_to_it"] else "")
        for peer in report.values()
    ]
    notes = [f"{peer['title']}: {_describe_peer(peer)}" for peer in report.values() if peer["note"]]
    return "\n".join([f"{name}, in turn, whole file", align(("", "frames/s", "ours : it"), rows), *notes])


def steps_table(name: str, report: dict[str, Any]) -> str:
    blocks = [name]
    for step, measured in report.items():
        rows = [
            (variant, f"{one['fps']:.1f}", f"{one['ms']:.2f}", f"{one['ratio']:.2f}")
            for variant, one in measured["variants"].items()
        ]
        blocks += ["", f"{step}: {measured['measured']}", align(("", "frames/s", "ms per frame", "ratio"), rows)]
    return "\n".join(blocks)


def align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table, indented by two spaces."""
    return format_table(head, rows, indent="  ")


def _stage_rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, f"{ms['p50']:.2f}", f"{ms['p95']:.2f}") for name, ms in report["stages_ms"].items()]


def _delays(report: dict[str, Any]) -> str:
    rows = [
        (name, *(_format_ms(report[key][column]) for column in _DELAY_COLUMNS))
        for name, key in (("video delay, ms", "video_delay_ms"), ("annotation delay, ms", "annotation_delay_ms"))
    ]
    return align(("", *(column.replace("p999", "p99.9") for column in _DELAY_COLUMNS)), rows)


def _format_ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _describe_peer(peer: dict[str, Any]) -> str:
    """Return the note, with the time of each stage if the peer reports it."""
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in peer.get("stages_ms", {}).items())
    return f"{peer['note']}; {stages} ms per frame" if stages else str(peer["note"])
