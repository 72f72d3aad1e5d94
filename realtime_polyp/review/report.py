"""Write the report of a recorded session: python -m realtime_polyp.review.report SESSION

A folder with report.html (one self-contained page), report.pdf, the tables as CSV and Parquet, and a clip of every
alarm with and without its overlay. docs/review.md describes them.
"""

import argparse
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from realtime_polyp.atomic_write import write_private
from realtime_polyp.console import EXIT_BAD_INPUT
from realtime_polyp.field_of_view import Image
from realtime_polyp.outputs import OutputError
from realtime_polyp.outputs.labels import LabelPlacer
from realtime_polyp.outputs.overlay import NO_SHAPES, draw, shapes_of
from realtime_polyp.outputs.sharing import blank_outside, caption_below
from realtime_polyp.private_files import make_private_folder
from realtime_polyp.review.actions import judge, read_actions
from realtime_polyp.review.clips import clip_of, write_clip
from realtime_polyp.review.pictures import PictureFile
from realtime_polyp.review.polyps import Polyp
from realtime_polyp.review.recorded import RecordedSession, SessionFileError
from realtime_polyp.review.report_data import Report, gather
from realtime_polyp.review.report_html import format_html
from realtime_polyp.review.report_pdf import format_pdf
from realtime_polyp.review.report_tables import MissingPackageError, collect_tables, format_csv, format_parquet
from realtime_polyp.review.session_pictures import find_original
from realtime_polyp.sources.base import SourceError
from realtime_polyp.telemetry.summary import clock

REPORT_FOLDER = "report"
PAGE_FILE, PDF_FILE = "report.html", "report.pdf"
"""The page is written before the PDF, and both before the tables and clips."""
_PICTURE_PX = 640  # width of a best frame
_MARKED_COLOUR = (64, 255, 128)
_EPILOG = """examples:
  python -m realtime_polyp.review.report SESSION
  python -m realtime_polyp.review.report SESSION --out REPORT --no-clips
  python -m realtime_polyp.review.report SESSION --clip 61.5 70 --out REPORT

exit codes: 0 written, 2 bad input or a folder that cannot be written"""

Progress = Callable[[str], None]
"""Called with the name of each file before it is written."""


def _ignore(name: str) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report contains.

    Attributes:
        clips: a clip of each alarm, with and without overlay.
        stretches: further clips: (start, end), s on the session's clock.
        blank: make everything outside the field of view black in pictures and clips, where names and dates stand.
        source_at: the file with the pictures, where it was moved.
    """

    clips: bool = True
    stretches: tuple[tuple[float, float], ...] = ()
    blank: bool = True
    source_at: Path | None = None


def write_report(
    folder: Path, out: Path | None = None, options: ReportOptions = ReportOptions(), *, progress: Progress = _ignore
) -> list[Path]:
    """Write the report of a session into a folder, by default `SESSION/report`; returns what was written.

    Files of an earlier report are replaced. Formats whose package is missing are left out. Raises SessionFileError,
    OutputError, SourceError.
    """
    session = RecordedSession(folder)
    try:
        original, problem = find_original(session)
        if original is None and options.source_at:  # checked by its SHA-256, which takes time
            original, problem = find_original(session, options.source_at)
        report = gather(session, judge(read_actions(session.database)), problem)
        target = out or folder / REPORT_FOLDER
        written: list[Path] = []

        def put(name: str, make: Callable[[], bytes]) -> None:
            progress(name)
            try:
                data = make()
            except MissingPackageError as error:
                progress(f"left out {name}: {error}")
                return
            _write(target / name, data)
            written.append(target / name)

        _make_folder(target)
        pictures = best_pictures(session, original, report, blank=options.blank)
        put(PAGE_FILE, lambda: format_html(report, pictures).encode())
        put(PDF_FILE, lambda: format_pdf(report, pictures))
        for table, columns in collect_tables(session, report).items():
            put(f"{table}.csv", lambda columns=columns: format_csv(columns))  # type: ignore[misc]
            put(f"{table}.parquet", lambda columns=columns: format_parquet(columns))  # type: ignore[misc]
        clips = _clips(report, options)
        if clips and original is None:
            progress(f"left out the clips: {problem}")
        for name, start_s, end_s in clips if original else ():
            for suffix, overlay in (("", True), ("-plain", False)):
                path = target / f"{name}{suffix}.mp4"
                progress(path.name)
                if write_clip(session, original, start_s, end_s, path, overlay=overlay, blank=options.blank):  # type: ignore[arg-type]
                    written.append(path)
                else:
                    progress(f"left out {path.name}: no picture from {clock(start_s)} to {clock(end_s)}, so no clip")
        return written
    except sqlite3.Error as error:
        raise SessionFileError(f"{session.path} cannot be read: {error}") from error
    finally:
        session.close()


def best_pictures(
    session: RecordedSession, original: Path | None, report: Report, *, blank: bool = True
) -> dict[int, bytes]:
    """Return {polyp: its best frame with overlay as JPEG}, without those whose picture is not at hand.

    original: the file with the pictures; None: it is gone.
    """
    if original is None:
        return {}
    found: dict[int, bytes] = {}
    try:
        pictures = PictureFile(original, deinterlace=session.deinterlace)
    except SourceError:
        return {}
    try:
        for polyp in sorted(report.polyps, key=lambda one: one.best):
            picture_s = float(session.frames.picture_s[polyp.best - 1])
            picture = None if np.isnan(picture_s) else pictures.at(picture_s)
            if picture is not None:
                found[polyp.number] = _jpeg(session, polyp, picture.image, blank=blank)
    finally:
        pictures.close()
    return found


def _jpeg(session: RecordedSession, polyp: Polyp, image: Image, *, blank: bool) -> bytes:
    """The frame with its overlay, or with the box that a person marked; the notice below. blank: the field alone."""
    image = session.frame(polyp.best, image).image  # of the size that was analysed, as the overlay is
    result = session.result(polyp.best, image) if session.frames.analysed[polyp.best - 1] else None
    base = blank_outside(image, result) if blank else image.copy()
    if polyp.number >= 0 and result is not None:
        base = draw(base, shapes_of(result), LabelPlacer())
    else:
        base = draw(base, NO_SHAPES, LabelPlacer())
        first, second = ((round(x), round(y)) for x, y in (polyp.box[:2], polyp.box[2:]))
        cv2.rectangle(base, first, second, _MARKED_COLOUR, max(2, image.shape[0] // 270))
    if blank and result is not None:
        base = np.ascontiguousarray(result.field_of_view.crop(base))
    scale = min(1.0, _PICTURE_PX / base.shape[1])
    size = (round(base.shape[1] * scale), round(base.shape[0] * scale))
    small = caption_below(cv2.resize(base, size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return data.tobytes()


def _clips(report: Report, options: ReportOptions) -> list[tuple[str, float, float]]:
    """(name, start, end) of each clip, s."""
    alarms = [(f"alarm-{one.number:03d}", *clip_of(one, report.duration_s)) for one in report.alarms]
    stretches = [(f"clip-{start_s:g}-{end_s:g}", start_s, end_s) for start_s, end_s in options.stretches]
    return (alarms if options.clips else []) + stretches


def _make_folder(target: Path) -> None:
    try:
        make_private_folder(target)
    except OSError as error:
        raise OutputError(f"cannot write the report to {target}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m realtime_polyp.review.report",
        description="Write the report of a recorded session: HTML, PDF, tables and clips. Research use only.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", type=Path, help="folder of the session")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the folder `report` in the session")
    parser.add_argument("--no-clips", dest="clips", action="store_false", help="no clip of each alarm")
    parser.add_argument(
        "--clip", nargs=2, type=float, action="append", default=[], metavar=("START_S", "END_S"),
        help="a further clip, seconds on the session's clock; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--keep-outside", dest="blank", action="store_false",
        help="keep what lies outside the field of view, where the names of patients stand",
    )  # fmt: skip
    parser.add_argument("--source-at", type=Path, metavar="FILE", help="the session's video, where it was moved")
    found = parser.parse_args(arguments)
    for start_s, end_s in found.clip:
        if not 0 <= start_s < end_s < float("inf"):
            parser.error(f"--clip needs a start from 0 and a later end, got {start_s:g} {end_s:g}")
    stretches = tuple((start_s, end_s) for start_s, end_s in found.clip)
    options = ReportOptions(found.clips, stretches, found.blank, found.source_at)
    return run_report(found.session, found.out, options)


def run_report(session: Path, out: Path | None, options: ReportOptions = ReportOptions()) -> int:
    """Write a report with a progress bar and print what was written; returns the exit code."""
    left_out: list[str] = []
    with tqdm(unit="file", desc="report", dynamic_ncols=True, disable=None) as bar:

        def progress(name: str) -> None:
            if name.startswith("left out"):
                left_out.append(name)
            else:
                bar.update()
                bar.set_postfix_str(name)

        try:
            written = write_report(session, out, options, progress=progress)
        except (SessionFileError, OutputError, SourceError) as error:
            bar.close()
            print(f"realtime-polyp: {error}", file=sys.stderr)
            return EXIT_BAD_INPUT
    for sentence in sorted({one.split(": ", 1)[1] for one in left_out}):
        print(f"realtime-polyp: {sentence}", file=sys.stderr)
    print(f"wrote {len(written)} files; open {written[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
