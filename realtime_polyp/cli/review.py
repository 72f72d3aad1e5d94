"""Recorded sessions without a window: what one holds, and a second analysis compared with the first."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from realtime_polyp.cli.main import warn
from realtime_polyp.cli.options import Options
from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.messages import each_once
from realtime_polyp.packets import Result
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.facts import describe_engine
from realtime_polyp.recording.filter_settings import FACT, settings_of, to_fact
from realtime_polyp.review.actions import judge, read_actions
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.compare import compare_alarms, comparison_table
from realtime_polyp.review.labels import alarm_verdicts
from realtime_polyp.review.polyps import Polyp, list_polyps
from realtime_polyp.review.reanalysis import SessionSource, analyse_again, list_analyses
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.report import ReportOptions, run_report
from realtime_polyp.review.session_pictures import find_original
from realtime_polyp.review.tracks import recorded_tracks
from realtime_polyp.runtime import open_runtime
from realtime_polyp.telemetry.summary import clock
from realtime_polyp.telemetry.text_table import format_table

_VERDICTS = {True: "accepted", False: "rejected", None: ""}


def print_session(options: Options) -> int:
    """Print a session's length, frames, polyps and problems; returns the exit code: 2 where something is wrong."""
    session = open_session(options.review)
    text, problems = describe(session, options.source_at)
    print(text)
    for problem in problems:
        print(f"realtime-polyp: {problem}", file=sys.stderr)
    return EXIT_BAD_INPUT if problems else 0


def write_session_report(options: Options) -> int:
    """Write a session's report; returns the exit code."""
    session = options.review or Path()
    out = options.report if options.report and options.report != Path() else None
    return run_report(session, out, ReportOptions(source_at=options.source_at))


def open_session(folder: Path | None) -> RecordedSession:
    """Raises SessionFileError also for a session without a frame."""
    session = RecordedSession(folder or Path())
    if not len(session.frames):
        raise SessionFileError(f"{folder} holds no frame: {'; '.join(session.problems) or 'it is empty'}")
    return session


def describe(session: RecordedSession, source_at: Path | None) -> tuple[str, list[str]]:
    """Return what a session holds as text, and what is wrong with it, one sentence each."""
    frames, facts = session.frames, session.facts
    tracks = recorded_tracks(session)
    alarms, judgement = find_alarms(frames, tracks), judge(read_actions(session.database))
    polyps = list_polyps(frames, alarms, judgement, rulings=alarm_verdicts(judgement, alarms, tracks))
    models = each_once(facts.get("models", {}).values()) or "no model"
    analysed = int(frames.analysed.sum())
    name = facts.get("source", {}).get("name") or session.folder.name
    lines = [
        f"{name}, recorded {facts.get('start_utc', 'at an unknown time')}",
        f"duration {clock(frames.duration_s)}, {len(frames)} frames, {analysed} analysed with {models}",
        f"alarms {len(alarms)}, polyps {len(polyps)}",
    ]
    if polyps:
        lines.append(polyp_table(polyps))
    lines += [
        f"second analysis {one.analysis}, {one.utc}: {' + '.join(filter(None, one.detail.get('models', {}).values()))}"
        for one in list_analyses(session)
    ]
    path, picture_problem = find_original(session, source_at)
    lines.append(f"picture {path}" if path else "picture missing")
    chain = verify_chain(session)
    lines.append("audit log: complete and unchanged" if not chain else "audit log: does not fit")
    return "\n".join(lines), [*([picture_problem] if picture_problem else []), *session.problems, *chain]


def polyp_table(polyps: tuple[Polyp, ...]) -> str:
    """Return the list of polyps as text."""
    rows = [
        [
            one.name,
            clock(one.first_s),
            clock(one.last_s),
            f"{one.shown_s:.1f} s",
            "" if one.peak_score is None else f"{one.peak_score:.2f}",
            str(len(one.alarms)),
            _VERDICTS[one.verdict],
        ]
        for one in polyps
    ]
    return format_table(["polyp", "first", "last", "shown", "peak", "alarms", ""], rows, indent="  ")


def reanalyse(options: Options) -> int:
    """Run the models over a session again, store the result in it and print how the alarms differ."""
    session = open_session(options.review)
    source = SessionSource(session.again(), options.source_at)
    runtime = open_runtime(options.runtime_config(live=False))
    warn(runtime)
    engines = {"detector": runtime.detector, "segmenter": runtime.segmenter}
    detail = {
        "models": {task: engine.model if engine else None for task, engine in engines.items()},
        "engines": {task: describe_engine(engine) for task, engine in engines.items() if engine},
        FACT: to_fact(settings_of(runtime.pipeline_config)),
    }

    def run(source: SessionSource) -> Iterator[Result]:
        yield from tqdm(
            runtime.results(source), total=source.frames_total, unit="frame", desc=source.name, disable=None
        )

    tracks, recorded = analyse_again(session, source, run, detail), recorded_tracks(session)
    a, b = find_alarms(session.frames, recorded), find_alarms(session.frames, tracks)
    names = (
        each_once(session.facts.get("models", {}).values()),
        each_once(engine.model for engine in engines.values() if engine),
    )
    print(f"A: as recorded, {names[0]}\nB: {names[1]}")
    print(comparison_table(compare_alarms(a, recorded, b, tracks)))
    if source.missing:
        print(f"realtime-polyp: {source.missing} frames have no picture and were left out", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0
