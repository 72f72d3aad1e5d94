"""What the paper says of its models, and whether our runs agree: the difference of two sides on the same images.

The interval of a difference comes from a paired bootstrap: both sides are measured on the same resamples of patients or
videos, so that the images' difficulty cancels out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from realtime_polyp.atomic_write import write_json
from realtime_polyp.json_files import Finite, read_json
from realtime_polyp.metrics.bootstrap import Interval
from realtime_polyp.telemetry.text_table import format_table

Verdict = Literal["confirmed", "contradicted", "undecided"]
FOLDER = "claims"  # in the folder of result files
_FORMAT = 1
_ENCODER_DECODERS = ("unetpp", "pranet", "acsnet", "acfnet")
_ONE_STAGE = ("retinanet-r50", "fcos-r50", "paa-r50", "atss-r50")
_TWO_STAGE = ("faster-rcnn-r50", "cascade-rcnn-r50", "double-head-r50", "d2det-r50")
_MULTI_SCALE = "gflv2-x101-dcn-ms"


@dataclass(frozen=True)
class Claim:
    """One claim: that the first side is better than the second.

    Attributes:
        text: the claim in a few words.
        first, second: recipes; of several, the mean counts.
        figure: what is compared.
        paper: the paper's difference, percent.
        second_at_scales: the second side is measured with multi-scale testing.
    """

    text: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    figure: str
    paper: float | None
    second_at_scales: bool = False

    @property
    def configs(self) -> tuple[str, ...]:
        return (*self.first, *self.second)


CLAIMS = (
    Claim("ATSS over FCOS", ("atss-r50",), ("fcos-r50",), "AP", 1.8),
    Claim("GFLv2 over ATSS", ("gflv2-r50",), ("atss-r50",), "AP", 1.1),
    Claim("k = 13 over 9 (ATSS)", ("atss-r50",), ("atss-r50-k9",), "AP", None),  # the paper gives no figure
    Claim("one-stage over two-stage", _ONE_STAGE, _TWO_STAGE, "AP", 1.0),
    Claim("FPN over PAFPN", (_MULTI_SCALE,), ("gflv2-x101-dcn-pafpn-ms",), "AP", 3.0),
    Claim("FPN over BiFPN", (_MULTI_SCALE,), ("gflv2-x101-dcn-bifpn-ms",), "AP", 0.5),
    Claim("one scale over multi-scale testing", (_MULTI_SCALE,), (_MULTI_SCALE,), "AP", 4.2, second_at_scales=True),
    Claim("low-rank module over none", ("lowrank-hrnet-w48",), ("hrnet-w48",), "dice", 2.0),
    Claim("HRNet-like over encoder-decoder", ("hrnet-w48",), _ENCODER_DECODERS, "dice", 19.2),
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, measured.

    Attributes:
        claim: its text.
        figure: what was compared.
        difference: first side minus second, 0..1.
        interval: of the difference, 95 %; None if the figure is undefined too often.
        paper: the paper's difference, 0..1; None if it gives none.
        verdict: "confirmed" if the interval lies above 0, "contradicted" if below, else "undecided".
    """

    claim: str
    figure: str
    difference: Finite | None
    interval: tuple[Finite, Finite] | None
    paper: Finite | None
    verdict: Verdict


class ClaimsFile(msgspec.Struct, kw_only=True):
    """The schema of a file of findings. data: name of the set; images: their number; budget: of the runs, in words."""

    format: int
    data: str
    images: int
    budget: str
    findings: list[Finding]


def judge(interval: Interval | None) -> Verdict:
    """Return the verdict on "the first side is better" from the interval of the difference."""
    if interval is None or interval.low <= 0 <= interval.high:
        return "undecided"
    return "confirmed" if interval.low > 0 else "contradicted"


def write_claims(path: Path, findings: list[Finding], *, data: str, images: int, budget: str) -> None:
    """Write the findings on one set. Creates the folder."""
    content = {"format": _FORMAT, "data": data, "images": images, "budget": budget}
    rows = [{name: getattr(one, name) for name in one.__struct_fields__} for one in findings]
    write_json(path, {**content, "findings": rows})


def read_claims(path: Path) -> ClaimsFile:
    """Read a file of findings. Raises OSError or ValueError naming the file."""
    found = read_json(path, ClaimsFile, what="a file of findings")
    if found.format != _FORMAT:
        raise ValueError(f"{path} has format {found.format}, this version reads format {_FORMAT}")
    return found


def format_claims(found: ClaimsFile, *, markdown: bool = False) -> str:
    """Format the findings as a table, in percent."""
    rows = []
    for one in found.findings:
        ends = "" if one.interval is None else f"[{100 * one.interval[0]:+.1f} {100 * one.interval[1]:+.1f}]"
        paper, ours = (("-" if value is None else f"{100 * value:+.1f}") for value in (one.paper, one.difference))
        rows.append([one.claim, one.figure, paper, ours, ends, one.verdict])
    head = f"The paper's claims on {found.data}, {found.images} images, {found.budget}; differences in %"
    headings = ("claim", "figure", "paper", "ours", "95 %", "verdict")
    if not markdown:
        return f"{head}\n{format_table(headings, rows)}"
    lines = [" | ".join(cells) for cells in (headings, ("---",) * len(headings), *rows)]
    return "\n".join([f"{head}.", "", *(f"| {line} |" for line in lines)])
