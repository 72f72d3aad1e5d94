"""A session's report as one HTML page that needs no other file."""

import base64
from collections.abc import Mapping
from importlib import resources

import jinja2
from markupsafe import Markup

from realtime_polyp.outputs.sharing import CAPTION
from realtime_polyp.review.report_chart import draw_timeline, quality_legend
from realtime_polyp.review.report_data import VERDICTS, Report, spans_text
from realtime_polyp.telemetry.summary import clock

FIELD_NAMES = {"site": "site", "size_mm": "size, mm", "paris": "Paris class", "histology": "histology"}


def format_html(report: Report, pictures: Mapping[int, bytes]) -> str:
    """Return the page. pictures: {polyp: its best frame as JPEG}; polyps without one say so.

    Texts that a person entered are escaped.
    """
    template = resources.files("realtime_polyp.review") / "templates" / "report.html"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    encoded = {polyp.number: _base64(pictures.get(polyp.number)) for polyp in report.polyps}
    return environment.from_string(template.read_text("utf-8")).render(
        report=report,
        when=when_text(report),
        notice=CAPTION.replace(" - ", " \u2013 "),
        timeline=Markup(draw_timeline(report)),  # noqa: S704 - it escapes its texts
        legend=quality_legend(report),
        pictures=encoded,
        verdicts=VERDICTS,
        names=FIELD_NAMES,
        spans_text=spans_text,
        clock=clock,
    )


def when_text(report: Report) -> str:
    """When the session was recorded, for people."""
    stamp = report.start_utc[:19].replace("T", " ")
    return f"recorded {stamp} UTC" if stamp else "time of recording not known"


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data).decode("ascii") if data else ""
