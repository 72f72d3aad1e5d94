"""What a session's report says, gathered from the session file: numbers and texts, without layout."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime_polyp.json_files import parse_json
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.review.actions import Judgement, polyp_name
from realtime_polyp.review.alarms import SessionAlarm, find_alarms, frame_period_s
from realtime_polyp.review.labels import UnrecordedAlarm, alarm_verdicts, unrecorded_alarms
from realtime_polyp.review.polyps import Polyp, list_polyps
from realtime_polyp.review.recorded import FrameTable, RecordedSession, SessionFileError
from realtime_polyp.review.tracks import recorded_tracks
from realtime_polyp.telemetry.summary import clock

VERDICTS = {True: "accepted", False: "rejected", None: "not judged"}
_PERCENTILES = (50, 95, 99)
_MOST_PROBLEMS = 12


@dataclass(frozen=True)
class Facts:
    """A titled table of names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """Everything that a report shows.

    Attributes:
        title: name of the source. start_utc: ISO 8601, or "" where it is not known.
        duration_s: of the session. period_s: of its frames.
        frames: the table of its frames, for the timeline.
        polyps: accepted and unjudged ones first, in order of time; rejected ones last.
        alarms: as recorded.
        notes: {number of a polyp: what persons wrote about it}.
        marks: (time, text), s on the session's clock.
        withdrawal_s: start and end; None where not marked.
        key_figures: the boxes at the top: (value, what it is).
        tables: everything else, as tables.
        problems: what is missing or wrong, one sentence each; empty: nothing.
    """

    title: str
    start_utc: str
    duration_s: float
    period_s: float
    frames: FrameTable
    polyps: tuple[Polyp, ...]
    alarms: tuple[SessionAlarm, ...]
    notes: Mapping[int, tuple[str, ...]]
    marks: tuple[tuple[float, str], ...]
    withdrawal_s: tuple[float | None, float | None]
    key_figures: tuple[tuple[str, str], ...]
    tables: tuple[Facts, ...]
    problems: tuple[str, ...]


def gather(session: RecordedSession, judgement: Judgement, picture_problem: str | None = None) -> Report:
    """Gather the report of a session. picture_problem: why there are no pictures; None: they are at hand.

    Raises sqlite3.Error.
    """
    frames, tracks = session.frames, recorded_tracks(session)
    alarms = find_alarms(frames, tracks)
    period_s = frame_period_s(frames)
    duration_s = frames.duration_s + (period_s if len(frames) else 0.0)
    listed = list_polyps(frames, alarms, judgement, rulings=alarm_verdicts(judgement, alarms, tracks))
    polyps = tuple(sorted(listed, key=lambda one: one.verdict is False))
    missing = _not_recorded(frames, unrecorded_alarms(judgement, alarms, tracks))
    problems = _problems(session, [*missing, picture_problem])
    start_s, end_s = judgement.withdrawal_s
    return Report(
        title=str(session.facts.get("source", {}).get("name") or session.folder.name),
        start_utc=str(session.facts.get("start_utc", "")),
        duration_s=duration_s,
        period_s=period_s,
        frames=frames,
        polyps=polyps,
        alarms=alarms,
        notes=_notes(judgement),
        marks=_marks(judgement, {one.number for one in polyps}),
        withdrawal_s=(start_s, end_s),
        key_figures=_key_figures(frames, alarms, polyps, duration_s, judgement),
        tables=(
            _time_table(frames, duration_s, period_s),
            _events_table(session),
            _delays_table(session),
            _line_table(session),
            _files_table(session),
        ),
        problems=problems,
    )


def _notes(judgement: Judgement) -> dict[int, tuple[str, ...]]:
    """{polyp: its notes, with their times}."""
    found: dict[int, tuple[str, ...]] = {}
    for _, note in judgement.notes:
        if note.polyp is not None:
            polyp = judgement.number_of(note.polyp)
            found[polyp] = (*found.get(polyp, ()), f"{clock(note.session_s)} {note.text}")
    return found


def _marks(judgement: Judgement, listed: Container[int]) -> tuple[tuple[float, str], ...]:
    """Marks, notes about no polyp, and those about a polyp that is not listed, such as one of another threshold."""
    found = [(mark.session_s, "look at this later") for _, mark in judgement.marks]
    for _, note in judgement.notes:
        if note.polyp is None:
            found.append((note.session_s, note.text))
        elif (number := judgement.number_of(note.polyp)) not in listed:
            found.append((note.session_s, f"polyp {polyp_name(number)}: {note.text}"))
    return tuple(sorted(found))


def _not_recorded(frames: FrameTable, unrecorded: Iterable[UnrecordedAlarm]) -> list[str]:
    """One sentence for each accepted alarm of which the recording shows nothing."""
    return [
        f"polyp {polyp_name(one.polyp)} at {clock(float(frames.session_s[min(one.frames) - 1]))} was accepted at other "
        "settings than those of the recording: it is not in this report"
        for one in unrecorded
        if not one.partly_recorded and min(one.frames) <= len(frames)
    ]


def _key_figures(
    frames: FrameTable,
    alarms: Sequence[SessionAlarm],
    polyps: Sequence[Polyp],
    duration_s: float,
    judgement: Judgement,
) -> tuple[tuple[str, str], ...]:
    accepted = sum(one.verdict is True for one in polyps)
    open_count = sum(one.verdict is None for one in polyps)
    start_s, end_s = judgement.withdrawal_s
    withdrawal = (
        clock(end_s - start_s) if start_s is not None and end_s is not None and end_s > start_s else "not marked"
    )
    per_minute = f"{len(alarms) / duration_s * 60:.2f}" if duration_s else "none"
    return (
        (clock(duration_s), "recorded"),
        (str(accepted), "polyps accepted"),
        (str(open_count), "polyps not judged"),
        (str(len(alarms)), "alarms"),
        (per_minute, "alarms per minute"),
        (percent(clear_share(frames)), "of analysed frames clear"),
        (withdrawal, "withdrawal time"),
    )


def clear_share(frames: FrameTable) -> float:
    """Share of the analysed frames with a live picture whose quality is clear; 0 without any."""
    rows = frames.analysed & (frames.signal == "ok")
    return float((frames.quality[rows] == "clear").mean()) if rows.any() else 0.0


def _time_table(frames: FrameTable, duration_s: float, period_s: float) -> Facts:
    rows = [
        ("duration", clock(duration_s)),
        ("frames recorded", f"{len(frames)}"),
        ("of them analysed", f"{int(frames.analysed.sum())}"),
        ("frame period", f"{period_s * 1000:.1f} ms"),
    ]
    rows += [(f"quality: {name}", percent(share)) for name, share in _shares(frames.quality[frames.analysed])]
    rows += [(f"signal: {name}", percent(share)) for name, share in _shares(frames.signal) if name != "ok"]
    return Facts("Frames and view", tuple(rows))


def _shares(values: NDArray[np.str_]) -> list[tuple[str, float]]:
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(str(names[i]), counts[i] / counts.sum()) for i in order]


def _events_table(session: RecordedSession) -> Facts:
    """Counts of what was noted while recording: seeks, drops, states."""
    query = "SELECT kind, COUNT(*), MIN(session_s) FROM events GROUP BY kind ORDER BY kind"
    rows = [(kind, f"{count}, first at {clock(first_s)}") for kind, count, first_s in session.database.execute(query)]
    drops: dict[str, int] = {}
    for (detail,) in session.database.execute("SELECT detail FROM events WHERE kind = 'drop'"):
        one = json_object(detail)
        drops[str(one.get("what", "?"))] = drops.get(str(one.get("what", "?")), 0) + int(one.get("count", 0))
    rows += [(f"{what} not recorded", str(count)) for what, count in sorted(drops.items())]
    summary = session.facts.get("summary", {})
    rows += [
        (f"frames {name}", str(summary[f"frames_{name}"]))
        for name in ("captured", "shown")
        if summary.get(f"frames_{name}")
    ]
    for stage, reasons in summary.get("dropped", {}).items():
        rows += [(f"dropped in {stage}: {reason}", str(count)) for reason, count in reasons.items() if count]
    return Facts("Events and drops", tuple(rows) or (("none", ""),))


def _delays_table(session: RecordedSession) -> Facts:
    """Time per stage and frame: medians and high percentiles."""
    times: dict[str, list[float]] = {}
    for (stages,) in session.database.execute("SELECT stages_ms FROM outputs"):
        for name, value in json_object(stages).items():
            times.setdefault(name, []).append(float(value))
    rows = [
        (f"{name}, ms", " / ".join(f"{value:.1f}" for value in np.percentile(values, _PERCENTILES)))
        for name, values in times.items()
    ]
    summary = session.facts.get("summary", {})
    for name, what in (("video_delay_ms", "picture on the screen after"), ("annotation_delay_ms", "overlay after")):
        if not session.facts.get("source", {}).get("live", False):
            break  # a recording is shown when it is due: no delay
        rows += [(f"{what}, ms", text) for text in [_percentiles_text(summary.get(name, {}))] if text]
    return Facts("Times: median / 95 % / 99 %", tuple(rows) or (("not recorded", ""),))


def _percentiles_text(summary: Mapping[str, Any]) -> str:
    return " / ".join(
        f"{summary[key]:.1f}" for key in ("p50", "p95", "p99") if isinstance(summary.get(key), int | float)
    )


def _line_table(session: RecordedSession) -> Facts:
    """Models, engines, checksums and operating point."""
    rows: list[tuple[str, str]] = []
    for task, engine in session.facts.get("engines", {}).items():
        rows.append((task, f"{engine.get('model')} on {engine.get('engine')} ({engine.get('device')})"))
        rows += [(f"SHA-256 of {name}", value) for name, value in engine.get("sha256", {}).items()]
    if not rows:
        rows = [(task, str(model or "none")) for task, model in session.facts.get("models", {}).items()]
    rows += _flat(session.facts.get("pipeline", {}))
    rows += [(f"version of {name}", str(value)) for name, value in session.facts.get("versions", {}).items()]
    return Facts("Models and configuration", tuple(rows))


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Single values of the configuration; lists, such as a classifier's weights, are left out."""
    if not isinstance(values, dict):
        return []
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, bool | int | float | str):
            rows.append((f"{prefix}{name}", "none" if value is None else str(value)))
    return rows


def _files_table(session: RecordedSession) -> Facts:
    source, original = session.facts.get("source", {}), session.facts.get("original", {})
    rows = [("session", session.folder.name), ("source", str(source.get("name", "unknown")))]
    known = {**source, "sha256": session.facts.get("source_sha256")}
    rows += [(f"source {name}", str(known[name])) for name in ("size_bytes", "sha256", "rate_hz") if known.get(name)]
    rows += [
        (f"original {name}", str(value)) for name, value in original.items() if isinstance(value, str | int | float)
    ]
    last = session.database.execute("SELECT entry, sha256 FROM audit ORDER BY entry DESC LIMIT 1").fetchone()
    if last:
        rows.append(("audit chain", f"{last[0]} entries, last SHA-256 {last[1]}"))
    return Facts("Files and audit", tuple(rows))


def _problems(session: RecordedSession, others: Iterable[str | None]) -> tuple[str, ...]:
    chain = [f"The audit log does not fit: {problem}" for problem in verify_chain(session)]
    found = tuple(dict.fromkeys(one[0].upper() + one[1:] for one in (*session.problems, *chain, *others) if one))
    if len(found) <= _MOST_PROBLEMS:
        return found
    shown = found[: _MOST_PROBLEMS - 1]
    return (*shown, f"{len(found) - len(shown)} more problems are not listed here")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object of the session file. Raises SessionFileError."""
    return parse_json(text, dict[str, Any], "the session file", "a JSON object", SessionFileError)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def spans_text(spans: Iterable[tuple[float, float]]) -> str:
    """Time spans as "0:01.2 - 0:03.4, ..."."""
    return ", ".join(f"{clock(start_s)} \u2013 {clock(end_s)}" for start_s, end_s in spans)
