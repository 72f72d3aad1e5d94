import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import av
import pytest
from fpdf import FPDF
from media import write_clip
from pyarrow import parquet
from recorded_toys import RATE_HZ, SIZE, make_session, picture, true_box

from realtime_polyp.review import report_pdf
from realtime_polyp.review.action_log import ActionLog
from realtime_polyp.review.actions import (
    Mark,
    Note,
    PolypFields,
    SamePolyp,
    Stretch,
    Verdict,
    Withdrawal,
    judge,
    read_actions,
)
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.report import ReportOptions, main, write_report
from realtime_polyp.review.report_chart import draw_timeline
from realtime_polyp.review.report_data import Report, gather
from realtime_polyp.review.report_html import format_html
from realtime_polyp.review.report_pdf import format_pdf
from realtime_polyp.telemetry.summary import clock

COUNT = 100
MARKED = Stretch(-1, (30, 32), tuple((number, (10.0, 10.0, 40.0, 40.0)) for number in range(30, 33)))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "disc.mp4"
    options = {"crf": "14", "preset": "ultrafast"}
    return write_clip(
        path, count=COUNT, size=SIZE, rate=RATE_HZ, options=options, draw=lambda index, _: picture(index + 1)
    )


@pytest.fixture
def folder(tmp_path, video) -> Path:
    """A session in which polyp 1 has two alarms: frames 1 to 20 and 61 to 100."""
    return make_session(tmp_path / "session", COUNT, unseen=range(21, 61), video=video)


def say(folder: Path, *said) -> None:
    with ActionLog(folder, author="A. Nurse") as log:
        for one in said:
            log.add(one)


def report_of(folder: Path) -> Report:
    session = RecordedSession(folder)
    return gather(session, judge(read_actions(session.database)))


def test_polyp_is_reported_with_its_alarms_and_what_persons_said(folder):
    say(
        folder,
        Verdict(1, accepted=True),
        PolypFields(1, {"site": "sigmoid", "size_mm": "4"}),
        Note(1.0, "lifted well", polyp=1),
        MARKED,
        Mark(2.0),
        Withdrawal("start", 0.5),
        Withdrawal("end", 3.5),
    )
    report = report_of(folder)
    first, second = report.polyps
    assert (first.name, first.verdict, first.fields["site"]) == ("1", True, "sigmoid")
    assert [clock(start_s) for start_s, _ in first.spans] == ["0:00.0", "0:02.4"]
    assert first.shown_s == pytest.approx(60 / RATE_HZ)
    assert report.notes == {1: ("0:01.0 lifted well",)}
    assert (second.name, second.peak_score, second.alarms) == ("M1", None, ())
    figures = {name: value for value, name in report.key_figures}
    assert figures["alarms"] == "2" and figures["alarms per minute"] == "30.00"
    assert figures["withdrawal time"] == "0:03.0" and figures["polyps accepted"] == "2"
    assert report.marks == ((2.0, "look at this later"),)


def test_delays_and_drops_of_a_live_session_are_reported(tmp_path):
    folder = make_session(tmp_path / "session", 5)
    session = RecordedSession(folder)
    delays = {"p50": 8.04, "p95": 11.0, "p99": 20.5, "max": 30.0}
    summary = {"frames_captured": 7, "annotation_delay_ms": delays, "dropped": {"queue": {"newer frame": 2}}}
    session.facts |= {"source": {"name": "scope", "live": True}, "summary": summary}
    tables = {table.title: dict(table.rows) for table in gather(session, judge(())).tables}
    assert tables["Times: median / 95 % / 99 %"]["overlay after, ms"] == "8.0 / 11.0 / 20.5"
    assert tables["Events and drops"]["dropped in queue: newer frame"] == "2"


def test_rejected_polyps_stand_last_and_the_same_polyp_once(folder):
    say(folder, MARKED, SamePolyp(-1, 1), Verdict(1, accepted=False))
    assert [one.verdict for one in report_of(folder).polyps] == [False]
    assert len(report_of(folder).polyps[0].spans) == 3


def test_page_stands_alone_and_escapes_what_persons_wrote(folder):
    say(folder, PolypFields(1, {"site": "<script>alert(1)</script>"}), Note(0.2, "<b>bold</b>"))
    page = format_html(report_of(folder), {1: b"\xff\xd8jpeg"})
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "&lt;b&gt;bold" in page
    assert "Research use only \u2013 not a medical device" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "data:image/jpeg;base64,/9hqcGVn" in page


def test_timeline_has_a_bar_for_every_span(folder):
    report = report_of(folder)
    drawn = ElementTree.fromstring(draw_timeline(report))
    colours = [one.get("fill") for one in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    assert colours.count("#b45309") == len(report.polyps[0].spans) == 2
    assert any(one.text == "polyp 1" for one in drawn.iter("{http://www.w3.org/2000/svg}text"))


def test_pdf_takes_any_text(folder):
    say(folder, PolypFields(1, {"site": "\u5927\u8178 \u2013 sigma " + "long " * 80}), MARKED)
    data = format_pdf(report_of(folder), {})
    assert data.startswith(b"%PDF-") and data.count(b"/Type /Page\n") >= 1


def test_command_writes_page_pdf_tables_and_clips(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folder), "--out", str(out), "--clip", "1", "1.4", "--no-clips"]) == 0
    names = {path.name for path in out.iterdir()}
    assert {
        "report.html",
        "report.pdf",
        "frames.csv",
        "tracks.parquet",
        "clip-1-1.4.mp4",
        "clip-1-1.4-plain.mp4",
    } <= names
    rows = list(csv.DictReader(io.StringIO((out / "alarms.csv").read_text())))
    assert [(row["number"], row["first"], row["last"]) for row in rows] == [("1", "1", "20"), ("2", "61", "100")]
    assert parquet.read_table(out / "frames.parquet").num_rows == COUNT
    with av.open(str(out / "clip-1-1.4.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 10
    assert (out / "report.html").stat().st_mode & 0o077 == 0
    assert "open" in capsys.readouterr().out


def test_clip_of_an_alarm_shows_what_lies_around_it(folder):
    written = {path.name for path in write_report(folder, options=ReportOptions())}
    assert {"alarm-001.mp4", "alarm-001-plain.mp4", "alarm-002.mp4"} <= written
    with av.open(str(folder / "report" / "alarm-001.mp4")) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 45  # 0.8 s and 1 s after it


def test_folder_without_a_session_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "is no recorded session" in capsys.readouterr().err


def test_verdict_is_found_by_its_place_as_in_the_window(folder):
    box = tuple(true_box(10).tolist())
    say(folder, Verdict(7, accepted=True, first=1, last=20, at=10, box=box))
    report = report_of(folder)
    assert [(one.name, one.verdict) for one in report.polyps] == [("1", True)] and not report.problems


def test_what_was_said_about_a_polyp_that_is_not_recorded_is_told(folder):
    say(folder, Verdict(7, accepted=True, first=30, last=35, at=32, box=(5.0, 5.0, 30.0, 30.0)))
    say(folder, Note(1.2, "flat", polyp=7))
    report = report_of(folder)
    expected = "Polyp 7 at 0:01.2 was accepted at other settings than those of the recording: it is not in this report"
    assert report.problems == (expected,) and report.marks == ((1.2, "polyp 7: flat"),)


def test_problems_that_are_not_listed_are_counted(folder):
    session = RecordedSession(folder)
    session.problems = tuple(f"fault {number}" for number in range(20))
    problems = gather(session, judge(())).problems
    assert len(problems) == 12 and problems[10:] == ("Fault 10", "9 more problems are not listed here")


def test_checksum_of_the_source_is_reported(folder):
    session = RecordedSession(folder)
    session.facts["source_sha256"] = "ab12"
    tables = {table.title: dict(table.rows) for table in gather(session, judge(())).tables}
    assert tables["Files and audit"]["source sha256"] == "ab12"


def test_timeline_of_many_polyps_fits_on_a_page(folder, monkeypatch):
    drawn = []

    def image(pdf, picture, **options):
        drawn.append(options)
        return FPDF.image(pdf, picture, **options)

    monkeypatch.setattr(report_pdf._Document, "image", image)
    report = report_of(folder)
    format_pdf(replace(report, polyps=report.polyps * 100), {})
    assert len(drawn) == 1 and drawn[0]["w"] == 180 and drawn[0]["h"] <= 297 - 15 - 18


def test_clip_without_pictures_is_named_and_leaves_no_file(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(folder), "--out", str(out), "--clip", "50", "51", "--no-clips"]) == 0
    assert "no picture from 0:50.0 to 0:51.0, so no clip" in capsys.readouterr().err
    assert not list(out.glob("*.mp4"))
