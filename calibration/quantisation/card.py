"""Writes the INT8 section of a model card: calibration frames, layers in float32 and their sensitivity, command."""

from pathlib import Path

from calibration.quantisation.sensitivity import Choice

TITLE = "## INT8"
_SHOWN = 8  # layers of the table: the most sensitive


def section(choice: Choice, bound: float, frames: str, command: str) -> str:
    """Return the section as Markdown.

    bound: highest error of the outputs. frames: the table of `frames.format_table`. command: reproduces the engine.
    """
    return "\n".join(
        [
            TITLE,
            f"`{command}`: NNCF, minimum-maximum ranges over the frames below, biases corrected layer by layer. "
            "Weights have 7 bits, except for depthwise convolutions, so that every CPU computes the same integers. The "
            "operations after backbone, neck and towers (of a mask: after its projection) stay in float32.",
            "",
            frames,
            "",
            _summary(choice, bound),
            "",
            "| layer | kind | error alone | elements moved | precision |",
            "|---|---|---|---|---|",
            *_rows(choice),
            "",
        ]
    )


def _summary(choice: Choice, bound: float) -> str:
    steps = ", ".join(f"{error:.4f}" for error in choice.errors)
    reached = "reached" if choice.errors[-1] <= bound else "not reached"
    return (
        f"{len(choice.kept)} layers stay in float32, of {len(choice.layers)} that were measured. Error of the outputs "
        "on held-out training stills, before bias correction, with 0, 1, 2, ... layers in float32: "
        f"{steps}; bound {bound:g}, {reached}. "
        "The error is the root mean square of 1 - IoU with the float model's boxes for a detector, and of the change "
        "in probability for a segmenter; for a joint model the larger of the two, each as a share of its bound. The "
        "most sensitive layers, each alone in INT8:"
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
    """Write the section into the card: in place of an earlier one, else before the figures, else at the end.

    A model without a card does not get one, because its training is not known here.
    """
    if not path.is_file():
        return
    before, after = _split_card(path.read_text(encoding="utf-8"))
    path.write_text(before.rstrip("\n") + "\n\n" + text.rstrip("\n") + "\n" + after, encoding="utf-8")


def _split_card(card: str) -> tuple[str, str]:
    """Return the text before the section and the text after it."""
    start = card.find(f"{TITLE}\n")
    if start >= 0:
        following = card.find("\n## ", start)
        return card[:start], card[following:] if following >= 0 else ""
    figures = card.find("\n## Figures")
    return (card[:figures], card[figures:]) if figures >= 0 else (card, "")
