"""Tells what a recorded session lacks, in sentences for the person who opens it."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from realtime_polyp.json_files import parse_json
from realtime_polyp.messages import printable
from realtime_polyp.recording.folders import WHERE, Found
from realtime_polyp.recording.matroska import last_time_s
from realtime_polyp.recording.schema import ORIGINAL_FILE
from realtime_polyp.telemetry.summary import clock

if TYPE_CHECKING:
    from realtime_polyp.review.recorded import RecordedSession

_TOO_SLOW = {"results": "the disk", "pictures": "the disk or the encoder"}
_SAME_PLACE_S = 0.3  # what is not worth a word


def find_problems(session: "RecordedSession") -> tuple[str, ...]:
    """One sentence for each thing that is missing; empty for a complete session. Reads little."""
    return tuple([*_end(session), *_original(session), *_losses(session)])


def _end(session: "RecordedSession") -> Iterator[str]:
    """Whether recording ended in an orderly way."""
    if session.ended:
        return
    after = clock(session.frames.duration_s)
    if failed := session.facts.get("failed"):
        yield f"recording ended early, after {after}: {failed.get('reason', 'no reason')}"
    elif not len(session.frames):
        yield "recording was cut off before the first frame"
    else:
        yield f"recording was cut off after {after}: up to one second after that is missing"


def _original(session: "RecordedSession") -> Iterator[str]:
    """Whether the picture is there, as long as the results."""
    source, kept = session.facts.get("source", {}), session.facts.get("original", {})
    if kept.get("how") == "none":
        yield "the picture was not recorded"
        return
    path = session.original
    if path is None:
        place = source.get("path") if kept.get("how", "reference") == "reference" else ORIGINAL_FILE
        yield f"the picture is gone: there is no {printable(place)}"
    elif path.name == ORIGINAL_FILE and path.parent == session.folder:
        yield from _live_original(session, path)
    elif (size := source.get("size_bytes")) is not None and os.path.getsize(path) != size:
        found = os.path.getsize(path)
        yield f"the picture may be another: {printable(path)} has {found} bytes, and had {size} when it was recorded"


def _live_original(session: "RecordedSession", path: Path) -> Iterator[str]:
    places = session.frames.picture_s
    last_s = float(np.nanmax(places)) if np.isfinite(places).any() else 0.0
    end_s = last_time_s(path)
    if end_s is None:
        if last_s > 0:
            yield "the picture is missing: its file has no frame"
    elif last_s - end_s > _SAME_PLACE_S:
        yield f"the last {last_s - end_s:.1f} s of the picture are missing"
    elif end_s - last_s > _SAME_PLACE_S and len(places):
        yield f"of the last {end_s - last_s:.1f} s there is only the picture, without results"


def _losses(session: "RecordedSession") -> Iterator[str]:
    """What the program itself noted while recording."""
    lost: dict[str, int] = {}
    copies = session.facts.get("original", {}).get("how") == "copy"
    incomplete = "the video was not copied" if copies else "the picture is not complete"
    try:
        rows = session.database.execute("SELECT kind, detail FROM events ORDER BY event").fetchall()
    except sqlite3.Error as error:
        yield f"the events cannot be read: {error}"
        return
    for kind, text in rows:
        detail: dict[str, Any] = parse_json(text, dict[str, Any], "an event of the session", "JSON")
        if kind == "drop":
            lost[detail["what"]] = lost.get(detail["what"], 0) + detail["count"]
        elif kind == "picture lost":
            yield f"{incomplete}: {detail.get('reason', 'no reason')}"
        elif kind.startswith("folder ") and kind.removeprefix("folder ") in WHERE:
            found: Found = kind.removeprefix("folder ")
            yield WHERE[found].format(folder=printable(session.folder))
    for what, count in lost.items():
        counted = f"{count} {what} were" if count > 1 else f"1 {what.removesuffix('s')} was"
        yield f"{counted} not recorded: {_TOO_SLOW.get(what, 'something')} was too slow"
