"""A session's frames, tracks, alarms and polyps as tables: CSV, and Parquet where pyarrow is installed."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.report_data import VERDICTS, Report
from realtime_polyp.review.tracks import STATES, recorded_tracks

Columns = Mapping[str, Sequence[Any]]
"""{name of a column: its values}."""


class MissingPackageError(ImportError):
    """A format needs a package that is not installed; the message names it and how to install it."""


def collect_tables(session: RecordedSession, report: Report) -> dict[str, Columns]:
    """Return {name of a table: its columns}. Times are s on the session's clock, boxes xyxy source px.

    Raises sqlite3.Error.
    """
    return {
        "frames": _frames(session),
        "tracks": _tracks(session),
        "alarms": _alarms(report),
        "polyps": _polyps(report),
        "events": _rows(session, "events", ("event", "session_s", "utc", "kind", "detail")),
        "actions": _rows(session, "actions", ("action", "utc", "author", "kind", "detail")),
    }


def format_csv(columns: Columns) -> bytes:
    """UTF-8 with a header row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def format_parquet(columns: Columns) -> bytes:
    """Raises MissingPackageError without the extra `report`."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError("Parquet tables need pyarrow: pip install 'realtime-polyp[report]'") from error
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), sink)
    return sink.getvalue()


def _frames(session: RecordedSession) -> Columns:
    frames = session.frames
    names = (
        "number", "source_index", "pts_s", "session_s", "picture_s", "continues", "analysed", "signal", "quality",
        "best_score",
    )  # fmt: skip
    return {name: getattr(frames, name).tolist() for name in names}


def _tracks(session: RecordedSession) -> Columns:
    tracks = recorded_tracks(session)
    columns = {name: getattr(tracks, name).tolist() for name in ("number", "id", "score", "age_s", "unseen_s")}
    boxes = {name: tracks.box[:, place].tolist() for place, name in enumerate(("x1", "y1", "x2", "y2"))}
    return {**columns, **boxes, "state": [STATES[state] for state in tracks.state]}


def _alarms(report: Report) -> Columns:
    names = ("number", "track", "start_s", "end_s", "shown_s", "peak_score", "first", "last", "best")
    return {name: [getattr(alarm, name) for alarm in report.alarms] for name in names}


def _polyps(report: Report) -> Columns:
    polyps = report.polyps
    extra = sorted({name for one in polyps for name in one.fields})
    return {
        "polyp": [one.name for one in polyps],
        "verdict": [VERDICTS[one.verdict] for one in polyps],
        "start_s": [one.first_s for one in polyps],
        "end_s": [one.last_s for one in polyps],
        "shown_s": [one.shown_s for one in polyps],
        "peak_score": [one.peak_score for one in polyps],
        "best_number": [one.best for one in polyps],
        **{name: [one.fields.get(name, "") for one in polyps] for name in extra},
    }


def _rows(session: RecordedSession, table: str, names: Sequence[str]) -> Columns:
    rows = session.database.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY 1").fetchall()
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
