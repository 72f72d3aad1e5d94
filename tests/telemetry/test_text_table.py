"""Text tables: the first column is aligned to the left, the others to the right."""

import pytest

from realtime_polyp.telemetry.text_table import format_table


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    text = format_table(("name", "p50"), [("decode", "1.00"), ("x", "123.45")], indent="  ")
    assert text.splitlines() == ["  name       p50", "  decode    1.00", "  x       123.45"]


def test_lines_have_no_trailing_spaces() -> None:
    assert format_table(("", "a"), [("long name", "")]).splitlines() == ["           a", "long name"]


def test_a_table_may_have_a_header_only() -> None:
    assert format_table(("a", "b"), []) == "a  b"


def test_a_row_with_another_number_of_cells_is_an_error() -> None:
    with pytest.raises(ValueError, match="has 1 cells, the header has 2"):
        format_table(("a", "b"), [("x",)])
