"""The reader of JSON: whatever a file holds, one sentence with its name, of the error class that was asked for."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from conftest import ROOT

from realtime_polyp.json_files import Count, Finite, parse_json, read_json, read_json_lines


class Inner(msgspec.Struct, frozen=True):
    temperature: Annotated[float, msgspec.Meta(ge=0.01, le=100)]
    names: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True):
    scores: Inner
    count: Count = 0
    kind: Literal["", "a"] = ""


class ToyError(ValueError):
    pass


def read(path: Path, data: bytes) -> Outer:
    path.write_bytes(data)
    return read_json(path, Outer, what="a calibration", error=ToyError)


def test_a_file_becomes_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read(path, b'{"scores": {"temperature": 2, "names": ["x"], "new": 1}}') == Outer(Inner(2.0, ("x",)))
    assert read(path, b'\xef\xbb\xbf{"scores": {"temperature": 0.5}, "count": 7}\r\n') == Outer(Inner(0.5), 7)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"scores":' * 100_000, "it is nested too deeply"),
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"scores":\n {"temperature": 1e400}}', "1e400 is too large a number in line 2"),
        (b'{"count": ' + b"9" * 400 + b"}", f"{'9' * 40}... is too large a number in line 1"),
        (b'{"count": NaN}', "NaN is not a valid number in line 1"),
        (b'{"count":\n -Infinity}', "-Infinity is not a valid number in line 2"),
        (b'{"a": "\xff"}', "it is not text in UTF-8 (byte 7, in line 1)"),
        (b'{"a": "\\ud800"}', "a text in it holds half a surrogate pair, which is not Unicode"),
        (b'{"count": 1, "count": 2}', "it names 'count' twice in one object"),
        (b'{"scores":\n', "it is not JSON (expecting value in line 2, column 1)"),
        (b"{}", "`scores` is missing"),
        (b"[]", "expected `object`, got `array`"),
        (b'{"scores": {"temperature": "1"}}', "at `scores.temperature`: expected `float`, got `str`"),
        (
            b'{"scores": {"temperature": 1}, "kind": "\\u001b[2J' + b"a" * 1000 + b'"}',
            "at `kind`: invalid enum value '\\x1b[2J",
        ),
        (b'{"scores": {"temperature": true}}', "at `scores.temperature`: expected `float`, got `bool`"),
        (b'{"scores": {"temperature": 1e-300}}', "at `scores.temperature`: expected `float` >= 0.01"),
        (b'{"scores": {"temperature": 1, "names": [1]}}', "at `scores.names[0]`: expected `str`, got `int`"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(ToyError) as error:
        read(tmp_path / "a.json", data)
    said, expected = str(error.value), f"{tmp_path / 'a.json'} is not a calibration: {problem}"
    assert said == expected or (said.startswith(expected) and said.endswith("a...") and len(said) < 500)


def test_what_is_no_file_at_all(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    places = {
        tmp_path: "it is a folder",
        tmp_path / "none": "No such file or directory",
        tmp_path / "pipe": "it is not an ordinary file",
        Path("/dev/zero"): "it is not an ordinary file",
        tmp_path / "loop": "Too many levels of symbolic links",
        tmp_path / ("a" * 300): "File name too long",
        tmp_path / "a\0b": "embedded null byte",
    }
    for path, problem in places.items():
        with pytest.raises(ToyError) as error:
            read_json(path, dict[str, Any], what="a list", error=ToyError)
        assert str(error.value) == f"cannot read {path}: {problem}"
        with pytest.raises(ToyError, match="cannot read"):
            next(read_json_lines(path, dict[str, Any], what="a list", error=ToyError))


def test_a_file_of_6_gb_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(6 << 30)  # sparse
    for read_one in (
        lambda: read_json(path, dict[str, Any], what="a list"),
        lambda: list(read_json_lines(path, dict[str, Any], what="a result")),
    ):
        with pytest.raises(ValueError, match="6 GB, at most 64 MB are read|line 1 of .* is longer than 16 MB"):
            read_one()


def test_lines_are_numbered_and_an_incomplete_last_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"temperature": 1}\r\n{"temperature": 2}\n{"tempera')
    assert list(read_json_lines(path, Inner, what="a result")) == [(1, Inner(1.0)), (2, Inner(2.0))]
    path.write_bytes(b'{"temperature": 1}\n{}\n')
    with pytest.raises(ToyError, match=r"^line 2 of .*a\.jsonl is not a result: `temperature` is missing"):
        list(read_json_lines(path, Inner, what="a result", error=ToyError))


def test_the_cure_ends_the_sentence() -> None:
    with pytest.raises(ValueError, match=r"^a\.json is not a list: it is empty; write it again$"):
        parse_json(b"", dict[str, Finite], "a.json", "a list", cure="write it again")


def test_nothing_else_parses_json() -> None:
    places = [
        path for part in ("realtime_polyp", "trainers", "calibration", "assets") for path in (ROOT / part).rglob("*.py")
    ]
    parsing = {
        path.name for path in places if re.search(r"json\.loads?\((?!json\.dumps)", path.read_text(encoding="utf-8"))
    }
    assert parsing == {"json_files.py"}
