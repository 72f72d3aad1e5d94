"""A session in figures: what --summary writes and what the terminal prints at the end."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from realtime_polyp.atomic_write import write_private
from realtime_polyp.config import PipelineConfig
from realtime_polyp.messages import each_once, printable
from realtime_polyp.outputs import AlarmFigures, OutputError
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.session import Session
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS, STAGE_PERCENTS
from realtime_polyp.telemetry.totals import Totals, totals_of
from realtime_polyp.telemetry.trace import Trace, events_of

SUMMARY_FORMAT = 2
"""Format number of the summary. Format 1 had none, and called stages and times `field`, `view`, `smooth`, `motion`."""
_PACKAGES = ("realtime-polyp", "av", "numpy", "opencv-python-headless", "openvino", "torch")
_MOST_LISTED = 20


def summarise(
    session: Session,
    alarms: AlarmFigures | None = None,
    *,
    before: Totals | None = None,
    recorder: Recorder | None = None,
) -> dict[str, Any]:
    """Convert a session to JSON types: frames, alarms, delays, stages, engines, operating point and versions.

    before: the stretches before the last seek or reconnection. recorder: what it dropped, and why outputs ended.
    """
    totals = totals_of([session], before)
    tally, analyses = totals.pictures, totals.analyses
    detector, segmenter = session.pipeline.detector, session.pipeline.segmenter
    engines = [engine for engine in (detector, segmenter) if engine]
    return {
        "format": SUMMARY_FORMAT,
        "source": session.source.name,
        "decoder": session.source.decoder,
        "conversions": list(session.conversions),
        "state": session.state,
        "warning": " ".join(totals.warnings) or None,
        "frames_captured": tally.captured,
        "frames_shown": tally.shown,
        "frames_analysed": analyses.shown,
        "frames_pending": tally.pending,
        "dropped": tally.dropped,
        "not_analysed": analyses.dropped,
        "alarms": alarms.to_dict() if alarms else None,
        "jumps": [jump.to_dict() for jump in totals.jumps],
        "jumps_unlisted": totals.unlisted,
        "recorder": _recorder(recorder) if recorder else None,
        "fps": totals.fps,
        "video_delay_ms": totals.video_delay_ms.summary(DELAY_PERCENTS),
        "annotation_delay_ms": totals.annotation_delay_ms.summary(DELAY_PERCENTS),
        "stages_ms": {name: histogram.summary(STAGE_PERCENTS) for name, histogram in totals.stages_ms.items()},
        "engine": each_once(engine.name for engine in engines) or "none",
        "engine_notes": [note for engine in engines for note in engine.notes],
        "device": each_once(engine.device for engine in engines) or "none",
        "models": {
            "detector": detector.model if detector else None,
            "segmenter": segmenter.model if segmenter else None,
        },
        "operating_point": _operating_point(session.pipeline.config),
        "versions": versions(),
    }


def _recorder(recorder: Recorder) -> dict[str, Any]:
    dropped = {"pictures_dropped": recorder.dropped_pictures, "results_dropped": recorder.dropped}
    return {**dropped, "ended": list(recorder.notices)}


def _operating_point(config: PipelineConfig) -> dict[str, float | None]:
    """The score threshold, whether it is of fused scores, and the times of a track; None without temporal filtering."""
    times = {name: getattr(config.temporal, name, None) for name in ("confirm_s", "hold_s", "release_s")}
    return {"score_threshold": round(config.score_threshold, 4), "fused": config.fusion is not None, **times}


def measure_fps(session: Session) -> float:
    """Frames analysed per second, from the first frame in to the last result out."""
    return totals_of([session]).fps


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def package_version() -> str:
    """This package's version; "unknown" for a checkout that was never installed."""
    return versions().get("realtime-polyp", "unknown")


def write_summary(
    session: Session,
    path: Path,
    alarms: AlarmFigures | None = None,
    *,
    before: Totals | None = None,
    recorder: Recorder | None = None,
) -> None:
    """For the arguments see `summarise`. Raises OutputError."""
    write_json(summarise(session, alarms, before=before, recorder=recorder), path, "the summary")


def write_trace(trace: Trace, path: Path) -> None:
    """Raises OutputError."""
    write_json(events_of(trace.spans(), lost=trace.lost), path, "the trace", indent=None)


def write_json(content: object, path: Path, what: str, *, indent: int | None = 1) -> None:
    """Write all of the file or none of it, readable by its owner only. Raises OutputError, one sentence."""
    try:
        write_private(path, f"{json.dumps(content, indent=indent)}\n".encode())
    except OSError as error:
        raise OutputError(f"cannot write {what} to {printable(path)}: {reason_of(error)}") from error


def closing_text(session: Session, alarms: AlarmFigures | None, files: list[Path], *, verbose: bool = False) -> str:
    """What the terminal prints at the end of a headless run: what was found, and where it was written."""
    summary = summarise(session)
    lines = [*_found_lines(alarms), _frames_line(summary)]
    for stage, reasons in summary["dropped"].items():
        lines += [f"dropped at {stage}: {count} ({reason})" for reason, count in reasons.items()]
    if files:
        lines.append(f"written: {', '.join(printable(path) for path in files)}")
    return "\n".join([*lines, *(_timing_lines(summary) if verbose else [])])


def _found_lines(alarms: AlarmFigures | None) -> list[str]:
    """One line per polyp that was shown, in order of time."""
    if alarms is None:
        return []
    if not alarms.count:
        return ["no polyp was shown"]
    lines = [f"{alarms.count} {'polyp was' if alarms.count == 1 else 'polyp alarms were'} shown:"]
    for alarm in sorted(alarms.alarms, key=lambda one: float(one["start_s"]))[:_MOST_LISTED]:
        span = f"{clock(alarm['start_s'])} to {clock(alarm['end_s'])}"
        best = f"best frame {alarm['best']['index']} at {clock(alarm['best']['pts_s'])}"
        lines.append(f"  polyp {alarm['track']:<3} {span}   peak score {alarm['peak_score']:.2f}   {best}")
    if alarms.count > _MOST_LISTED:
        lines.append(f"  and {alarms.count - _MOST_LISTED} more: --events OUT.jsonl lists them all")
    return lines


def clock(seconds: float) -> str:
    """ "1:02.5", or "1:01:02.5" from an hour on."""
    tenths = round(max(0.0, seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    whole = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{whole}:{rest // 10:02d}.{rest % 10}"


def _frames_line(summary: dict[str, Any]) -> str:
    return (
        f"{summary['frames_analysed']} of {summary['frames_captured']} frames analysed, {summary['fps']:.1f} frames/s, "
        f"{summary['engine']} on {summary['device']}"
    )


def _timing_lines(summary: dict[str, Any]) -> list[str]:
    lines, delay = [], summary["annotation_delay_ms"]
    if delay["p50"] is not None:
        lines.append(f"from capture to overlay: {delay['p50']:.0f} ms (p50), {delay['p99']:.0f} ms (p99)")
    return lines + [
        f"{stage:>14}  {values['p50']:7.2f} ms (p50) {values['p95']:7.2f} ms (p95)"
        for stage, values in summary["stages_ms"].items()
    ]
