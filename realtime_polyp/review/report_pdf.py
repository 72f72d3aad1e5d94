"""A session's report as PDF pages (A4)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from fpdf import FPDF

from realtime_polyp.outputs.sharing import CAPTION
from realtime_polyp.review.polyps import Polyp
from realtime_polyp.review.report_chart import WIDTH, draw_timeline, quality_legend, timeline_height
from realtime_polyp.review.report_data import VERDICTS, Facts, Report, spans_text
from realtime_polyp.review.report_html import FIELD_NAMES, when_text
from realtime_polyp.telemetry.summary import clock

_WIDTH_MM, _MARGIN_MM, _LINE_MM = 180.0, 15.0, 5.0
_PICTURE_MM = 70.0
_VERDICT_COLOURS = {True: (21, 128, 61), None: (180, 83, 9), False: (100, 116, 139)}


class _Document(FPDF):
    def footer(self) -> None:
        self.set_y(-12)
        self.set_font("Helvetica", "", 8)
        self.set_text_color(100)
        self.cell(0, 5, f"{CAPTION}   page {self.page_no()} of {{nb}}", align="C")


def format_pdf(report: Report, pictures: Mapping[int, bytes]) -> bytes:
    """Return the PDF. pictures: {polyp: its best frame as JPEG}.

    Characters outside Latin-1 are replaced by "?": the fonts that every PDF reader has are without them.
    """
    pdf = _new_document()
    pdf.add_page()
    _head(pdf, report)
    _key_figures(pdf, report)
    _timeline(pdf, report)
    _title(pdf, "Polyps")
    if not report.polyps:
        _text(pdf, "No polyp was shown or marked.")
    for polyp in report.polyps:
        _polyp(pdf, polyp, report.notes.get(polyp.number, ()), pictures.get(polyp.number))
    marks = tuple((clock(time_s), text) for time_s, text in report.marks)
    for table in ((Facts("Marks and notes", marks),) if marks else ()) + report.tables:
        _table(pdf, table)
    return bytes(pdf.output())


def _new_document() -> FPDF:
    pdf = _Document(format="A4")
    pdf.set_margins(_MARGIN_MM, _MARGIN_MM)
    pdf.set_auto_page_break(True, 18)
    return pdf


def _head(pdf: FPDF, report: Report) -> None:
    pdf.set_font("Helvetica", "B", 18)
    pdf.multi_cell(0, 8, latin(report.title), new_x="LMARGIN", new_y="NEXT")
    _text(pdf, when_text(report), grey=True)
    pdf.set_fill_color(254, 243, 199)
    _text(pdf, CAPTION, bold=True, fill=True)
    pdf.set_fill_color(254, 226, 226)
    for problem in report.problems:
        pdf.ln(1)
        _text(pdf, problem, fill=True)
    pdf.ln(3)


def _key_figures(pdf: FPDF, report: Report) -> None:
    """A row of boxes: a large value and what it is."""
    width = _WIDTH_MM / len(report.key_figures)
    left, top = pdf.get_x(), pdf.get_y()
    for place, (value, name) in enumerate(report.key_figures):
        pdf.set_xy(left + place * width, top)
        pdf.set_font("Helvetica", "B", 12)
        pdf.cell(width, 6, latin(value))
        pdf.set_xy(left + place * width, top + 6)
        pdf.set_font("Helvetica", "", 7.5)
        pdf.set_text_color(71, 85, 105)
        pdf.multi_cell(width - 2, 3.2, latin(name), align="L")
        pdf.set_text_color(0)
    pdf.set_xy(left, top + 16)


def _timeline(pdf: FPDF, report: Report) -> None:
    _title(pdf, "Timeline")
    height_mm = timeline_height(report) * _WIDTH_MM / WIDTH
    height_mm = min(height_mm, pdf.eph - _LINE_MM)  # many polyps make it smaller: it must fit on a page
    pdf.image(io.BytesIO(draw_timeline(report).encode()), w=_WIDTH_MM, h=height_mm, keep_aspect_ratio=True)
    pdf.set_font("Helvetica", "", 8)
    pdf.ln(1)
    for name, colour in quality_legend(report):
        pdf.set_fill_color(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))
        pdf.cell(3, 3, "", border=1, fill=True)
        pdf.cell(pdf.get_string_width(name) + 5, 3, f" {name}")
    pdf.ln(6)


def _polyp(pdf: FPDF, polyp: Polyp, notes: Sequence[str], picture: bytes | None) -> None:
    """The best frame on the left, what is known about the polyp on the right; never over a page break."""
    height = _PICTURE_MM * 0.75
    if pdf.get_y() + height > pdf.h - 20:
        pdf.add_page()
    left, top = pdf.get_x(), pdf.get_y()
    bottom = top + 20
    if picture:
        drawn: Any = pdf.image(io.BytesIO(picture), x=left, y=top, w=_PICTURE_MM, h=height, keep_aspect_ratio=True)
        bottom = top + float(getattr(drawn, "rendered_height", height))
    pdf.set_left_margin(left + _PICTURE_MM + 6)
    pdf.set_xy(left + _PICTURE_MM + 6, top)
    pdf.set_font("Helvetica", "B", 13)
    pdf.cell(pdf.get_string_width(f"Polyp {polyp.name}") + 4, 6, f"Polyp {polyp.name}")
    pdf.set_font("Helvetica", "B", 9)
    pdf.set_text_color(*_VERDICT_COLOURS[polyp.verdict])
    pdf.cell(0, 6, VERDICTS[polyp.verdict], new_x="LMARGIN", new_y="NEXT")
    pdf.set_text_color(0)
    for line in _lines(polyp, notes):
        _text(pdf, line)
    bottom = max(bottom, pdf.get_y())
    pdf.set_left_margin(left)
    pdf.set_xy(left, bottom + 4)


def _lines(polyp: Polyp, notes: Sequence[str]) -> list[str]:
    known = "marked by a person" if polyp.peak_score is None else f"highest score {100 * polyp.peak_score:.0f} %"
    shown = f"on the screen for {polyp.shown_s:.1f} s, {known}" if polyp.alarms else known
    fields = [f"{FIELD_NAMES.get(name, name)}: {value}" for name, value in polyp.fields.items()]
    return [spans_text(polyp.spans), shown, *fields, *(f"Note: {note}" for note in notes)]


def _table(pdf: FPDF, table: Facts) -> None:
    _title(pdf, table.title)
    pdf.set_font("Helvetica", "", 8)
    for name, value in table.rows:
        left, top = pdf.get_x(), pdf.get_y()
        if top > pdf.h - 24:
            pdf.add_page()
            top = pdf.get_y()
        pdf.set_text_color(71, 85, 105)
        pdf.cell(62, 4, latin(name)[:48])
        pdf.set_text_color(0)
        pdf.multi_cell(_WIDTH_MM - 62, 4, latin(value), new_x="LMARGIN", new_y="NEXT", align="L")
        pdf.set_x(left)


def _title(pdf: FPDF, text: str) -> None:
    if pdf.get_y() > pdf.h - 40:
        pdf.add_page()
    pdf.ln(3)
    pdf.set_font("Helvetica", "B", 13)
    pdf.cell(0, 7, text, new_x="LMARGIN", new_y="NEXT")


def _text(pdf: FPDF, text: str, *, bold: bool = False, grey: bool = False, fill: bool = False) -> None:
    pdf.set_font("Helvetica", "B" if bold else "", 9)
    pdf.set_text_color(100 if grey else 0)
    pdf.multi_cell(0, _LINE_MM, latin(text), fill=fill, new_x="LMARGIN", new_y="NEXT", align="L")
    pdf.set_text_color(0)


def latin(text: str) -> str:
    """Replace what the standard fonts cannot show; dashes become hyphens."""
    return text.replace("\u2013", "-").encode("latin-1", "replace").decode("latin-1")
