"""The gate's table: each figure of the reference, of the engine and their difference, a row a group of stills."""

from calibration.accuracy.figures import Comparison, noted
from realtime_polyp.engines.gate import GateRecord

_PERCENT = 100
_TITLES = {
    "AP": "AP",
    "AP50": "AP50",
    "AP_s": "AP_s",
    "AP_small_original": "AP_small*",
    "dice": "Dice",
    "miou": "mIoU",
    "worst_dice": "worst",
}
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
    """In percent and px of the stored stills; figures as "reference change"."""
    first = next(iter(compared.values()))
    figures, agreement = list(first.reference), list(first.agreement)
    head = [f"{_TITLES[name]:>14}" for name in figures] + [f"{_AGREEMENT[name]:>11}" for name in agreement]
    lines = [
        f"{record.model}, {record.engine} ({record.key}) against eager float32; {record.data}",
        f"{'':14}{'images':>7}{''.join(head)}",
        *(_row(group, one, figures, agreement) for group, one in compared.items()),
        *_notes(figures),
        *(f"noted: {reason}" for reason in noted(compared)),
        *(f"refused: {reason}" for reason in record.reasons),
    ]
    return "\n".join([*lines, "refused" if record.reasons else "accepted"])


def _row(group: str, one: Comparison, figures: list[str], agreement: list[str]) -> str:
    cells = [f"{_change(one.reference[name], one.engine[name]):>14}" for name in figures]
    cells += [f"{_value(name, one.agreement[name]):>11}" for name in agreement]
    return f"{group:14}{one.images:>7}{''.join(cells)}"


def _change(before: float | None, after: float | None) -> str:
    """ "86.2 -0.34", in percent."""
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
    """What the columns mean."""
    if "AP" in figures:
        return [
            "percent, then the engine's change; AP_s under 32² stored px, * under 100² original px",
            "boxes: the reference's at score 0.3; px: how far their farthest edge moved, of the stored still",
        ]
    return [
        "percent, then the engine's change; worst: the still with a polyp that is outlined worst",
        "worst loss: of one still that the reference outlined (Dice 50 or more); alarms: on stills without a polyp",
    ]
