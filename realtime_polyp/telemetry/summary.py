"""A session in figures: what --summary writes and what the terminal shows at the end."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from realtime_polyp.config import PipelineConfig
from realtime_polyp.outputs import AlarmFigures, OutputError
from realtime_polyp.session import Session
from realtime_polyp.telemetry.histogram import DELAY_PERCENTS, STAGE_PERCENTS
from realtime_polyp.telemetry.trace import Trace, events_of

_PACKAGES = ("realtime-polyp", "av", "numpy", "opencv-python-headless", "openvino", "torch")


def summary_of(session: Session, alarms: AlarmFigures | None = None) -> dict[str, Any]:
    """Frames, alarms, delays, stages, engines, what decides when a box is shown, and versions, ready for JSON."""
    tally, analyses = session.tally(), session.analyses.tally()
    detector, segmenter = session.pipeline.detector, session.pipeline.segmenter
    engines = [engine for engine in (detector, segmenter) if engine]
    return {
        "source": session.source.name,
        "decoder": getattr(session.source, "decoder", None),
        "state": session.state,
        "warning": session.source.warning,
        "frames_captured": tally.captured,
        "frames_shown": tally.shown,
        "frames_analysed": analyses.shown,
        "frames_pending": tally.pending,
        "dropped": tally.dropped,
        "not_analysed": analyses.dropped,
        "alarms": vars(alarms) if alarms else None,
        "fps": fps_of(session),
        "video_delay_ms": session.video_delay_ms.summary(DELAY_PERCENTS),
        "annotation_delay_ms": session.annotation_delay_ms.summary(DELAY_PERCENTS),
        "stages_ms": {name: histogram.summary(STAGE_PERCENTS) for name, histogram in session.stages_ms.items()},
        "engine": " + ".join(dict.fromkeys(engine.name for engine in engines)) or "none",
        "engine_notes": [note for engine in engines for note in getattr(engine, "notes", ())],
        "device": " + ".join(dict.fromkeys(engine.device for engine in engines)) or "none",
        "models": {
            "detector": detector.model if detector else None,
            "segmenter": segmenter.model if segmenter else None,
        },
        "operating_point": _operating_point(session.pipeline.config),
        "versions": versions(),
    }


def _operating_point(config: PipelineConfig) -> dict[str, float | None]:
    """From what score on a box is shown, of which kind, and the times of its track; None without smoothing."""
    times = {name: getattr(config.temporal, name, None) for name in ("confirm_s", "hold_s", "release_s")}
    return {"score_threshold": round(config.score_threshold, 4), "fused": config.fusion is not None, **times}


def fps_of(session: Session) -> float:
    """Frames analysed a second, from the first frame in to the last result out."""
    duration_s = session.last_analysed_s - session.first_captured_s
    analysed = session.analyses.tally().shown
    return round(analysed / duration_s, 2) if analysed and duration_s > 0 else 0.0


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_summary(session: Session, path: Path, alarms: AlarmFigures | None = None) -> None:
    write_json(summary_of(session, alarms), path, "the summary")


def write_trace(trace: Trace, path: Path) -> None:
    write_json(events_of(trace.spans(), lost=trace.lost), path, "the trace", indent=None)


def write_json(content: object, path: Path, what: str, *, indent: int | None = 1) -> None:
    """Raises OutputError, one sentence."""
    try:
        path.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {what} to {path}: {error.strerror}") from error


def closing_lines(session: Session, alarms: AlarmFigures | None = None) -> str:
    """What a person reads when a headless run has ended."""
    summary = summary_of(session)
    delay = summary["annotation_delay_ms"]
    lines = [
        f"{summary['frames_analysed']} of {summary['frames_captured']} frames analysed, {summary['fps']:.1f} frames/s, "
        f"{summary['engine']} on {summary['device']}"
    ]
    if delay["p50"] is not None:
        lines.append(f"from decoded to overlay: {delay['p50']:.0f} ms (p50), {delay['p99']:.0f} ms (p99)")
    if alarms:
        lasting = "" if alarms.median_duration_s is None else f", {alarms.median_duration_s:.1f} s long (median)"
        lines.append(f"{alarms.count} alarm{'' if alarms.count == 1 else 's'}{lasting}")
    lines += [
        f"{stage:>12}  {values['p50']:7.2f} ms (p50) {values['p95']:7.2f} ms (p95)"
        for stage, values in summary["stages_ms"].items()
    ]
    for stage, reasons in summary["dropped"].items():
        lines += [f"dropped at {stage}: {count} ({reason})" for reason, count in reasons.items()]
    return "\n".join(lines)
