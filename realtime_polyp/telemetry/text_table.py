"""Text tables with aligned columns, for terminals."""

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Align the first column to the left and the others to the right; trailing spaces are removed.

    header, rows: cells of equal number. indent: starts each line.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    lines = [header, *rows]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"the row {list(row)} has {len(row)} cells, the header has {len(header)}")
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]
    text = []
    for row in lines:
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        text.append((indent + "  ".join([row[0].ljust(widths[0]), *others])).rstrip())
    return "\n".join(text)
