"""The INT8 section of a model card: from which frames, which layers stayed in float32 and why, by which command."""

from pathlib import Path

from calibration.quantisation.sensitivity import Choice

TITLE = "## INT8"
_SHOWN = 8  # layers of the table: the most sensitive


def section(choice: Choice, bound: float, frames: str, command: str) -> str:
    """frames: the table of `frames.frame_table`. command: what makes this engine again."""
    return "\n".join(
        [
            TITLE,
            f"`{command}`: NNCF, ranges from the least to the most seen on the frames below, biases corrected layer by "
            "layer. What follows backbone, neck and towers (of a segmenter, its projection) stays in float32.",
            "",
            frames,
            "",
            _told(choice, bound),
            "",
            "| layer | kind | error alone | elements moved | precision |",
            "|---|---|---|---|---|",
            *_rows(choice),
            "",
        ]
    )


def _told(choice: Choice, bound: float) -> str:
    steps = ", ".join(f"{error:.4f}" for error in choice.errors)
    reached = "reached" if choice.errors[-1] <= bound else "not reached"
    return (
        f"Of {len(choice.layers)} layers {len(choice.kept)} stay in float32. The answers' error on training stills "
        f"that set no range, before biases were corrected, with 0, 1, 2, ... layers in float32: {steps}; "
        f"bound {bound:g}, {reached}. A detector's error is the root mean square of 1 - IoU with the float model's "
        "boxes, a segmenter's that of the change in probability. The most sensitive layers, each alone in INT8:"
    )


def _rows(choice: Choice) -> list[str]:
    kept = {layer.name for layer in choice.kept}
    most = sorted(choice.layers, key=lambda layer: -layer.error)[:_SHOWN]
    shown = [*most, *(layer for layer in choice.kept if layer not in most)]
    return [
        f"| {layer.module or layer.name} | {layer.kind} | {layer.error:.4f} | {layer.moved / 1e6:.2f} M | "
        f"{'float32' if layer.name in kept else 'INT8'} |"
        for layer in shown
    ]


def write_section(path: Path, text: str) -> None:
    """Put the section into the card, in place of an earlier one or before the figures; at the end where there are none.

    A model without a card gets none: its training is not known here.
    """
    if not path.is_file():
        return
    before, after = _around(path.read_text(encoding="utf-8"))
    path.write_text(before.rstrip("\n") + "\n\n" + text.rstrip("\n") + "\n" + after, encoding="utf-8")


def _around(card: str) -> tuple[str, str]:
    """What stands before the section and after it."""
    start = card.find(f"{TITLE}\n")
    if start >= 0:
        following = card.find("\n## ", start)
        return card[:start], card[following:] if following >= 0 else ""
    figures = card.find("\n## Figures")
    return (card[:figures], card[figures:]) if figures >= 0 else (card, "")
