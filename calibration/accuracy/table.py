"""Formats the gate's table: the figures of the reference and their change, one row per group of stills."""

from calibration.accuracy.figures import NEGATIVES, Comparison, tolerated_losses
from realtime_polyp.engines.gate import GateRecord
from realtime_polyp.telemetry.text_table import format_table

_PERCENT = 100
_TITLES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP_s": "AP_s",
    "AP_small_original": "AP_small*",
    "dice": "Dice",
    "miou": "mIoU_p+b",
    "worst_dice": "worst",
}
_SHARES = {"box_share": "box", "mask_share": "any mask", "area_share": "mask > 0.1 %"}
_NO_NEGATIVES = "frames without a polyp were not compared: --negatives names them"
_AGREEMENT = {
    "boxes": "boxes",
    "lost": "lost",
    "new": "new",
    "shift_mean_px": "mean px",
    "shift_p95_px": "p95 px",
    "shift_max_px": "max px",
    "worst_loss": "worst loss",
    "false_alarms": "new alarms",
    "alarms_gone": "gone",
}


def table(record: GateRecord, compared: dict[str, Comparison]) -> str:
    """Return the table as text. Figures are in percent, as "reference change", and in px of the stored stills."""
    first = next(iter(compared.values()))
    figures, agreement = list(first.reference), list(first.agreement)
    header = ["", "images", *(_TITLES[name] for name in figures), *(_AGREEMENT[name] for name in agreement)]
    rows = [
        [
            group,
            str(one.images),
            *(_change(one.reference[name], one.engine[name]) for name in figures),
            *(_value(name, one.agreement[name]) for name in agreement),
        ]
        for group, one in compared.items()
        if group != NEGATIVES
    ]
    lines = [
        f"{record.model}, {record.engine} ({record.key}) against eager float32; {record.data}",
        format_table(header, rows),
        *_notes(figures),
        *(_negative_lines(compared[NEGATIVES]) if NEGATIVES in compared else (_NO_NEGATIVES,)),
        *(f"noted: {reason}" for reason in tolerated_losses(compared)),
        *(f"refused: {reason}" for reason in record.reasons),
    ]
    return "\n".join([*lines, "refused" if record.reasons else "accepted"])


def _negative_lines(one: Comparison) -> list[str]:
    """Return the table of the frames without a polyp and its legend."""
    header = ["", "frames", *(_SHARES[name] for name in one.reference)]
    changes = [_change(share, one.engine[name]) for name, share in one.reference.items()]
    legend = "frames without a polyp, each alone: percent of them in which a box is shown or a mask drawn, and change"
    return [format_table(header, [[NEGATIVES, str(one.images), *changes]]), legend]


def _change(before: float | None, after: float | None) -> str:
    """Return the reference and the change in percent, such as "86.2 -0.34"."""
    if before is None or after is None:
        return "-"
    return f"{_PERCENT * before:.1f} {_PERCENT * (after - before):+.2f}"


def _value(name: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if name.endswith("_px") else f"{_PERCENT * value:.1f}"


def _notes(figures: list[str]) -> list[str]:
    """Return the legend of the columns."""
    notes = []
    if "AP" in figures:
        notes += [
            "percent and change by the engine; AP_s: below 32² stored px, *: below 100² original px",
            "boxes: of the reference at score 0.3; px: displacement of the edge that moved most, in the stored still",
        ]
    if "dice" in figures:
        notes += [
            "percent and change by the engine; worst: lowest Dice of a still with a polyp",
            "worst loss: largest loss of Dice on a still where the reference has 50 or more",
            "alarms: stills without a polyp on which Dice fell (new) or rose (gone)",
        ]
    return notes
