"""Reads JSON files and checks them against a schema. An error is one sentence that names the fault and its place.

A schema is a type that msgspec supports: `msgspec.Struct`, a dataclass, `dict[str, Any]`, `list[...]`. It gives
numbers a range (`Finite`, `Share`), because a number that is valid JSON may still overflow in a computation.
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar, cast

import msgspec

from realtime_polyp.messages import printable, quoted, shorten

MOST_BYTES = 64 << 20  # default limit of a file; parsing takes about ten times as much memory
MOST_LINE_BYTES = 16 << 20  # of one line in a file of JSON Lines
_MOST_DIGITS = 20  # of a whole number: 64 bits
_LONGEST_PROBLEM = 200  # characters of msgspec's message that are quoted
_PLACE = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<place>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^object missing required field (`.*`)$")
_BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

T = TypeVar("T")
Finite = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A finite number, small enough to be squared in float32."""
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
"""A number in 0..1, such as a score."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
"""A whole number from 0."""


def read_json(
    path: Path,
    kind: type[T],
    *,
    what: str,
    error: type[Exception] = ValueError,
    cure: str = "",
    limit: int = MOST_BYTES,
) -> T:
    """Read a file of JSON and check it against a schema.

    Args:
        kind: the schema, and the type of the result.
        what: what the file should be, with an article, for the message: "a calibration".
        error: class of the exception to raise.
        cure: advice at the end of the message: "write it again with python -m calibration.gate".
        limit: largest size of a file that is read, bytes.

    Raises:
        error: the file is missing, unreadable, too large, not JSON or does not fit the schema. The message is one
            sentence with the file's path and the place in it.
    """
    return parse_json(read_bytes(path, what, error, cure, limit), kind, str(path), what, error, cure)


def parse_json(
    data: bytes | str, kind: type[T], where: str, what: str, error: type[Exception] = ValueError, cure: str = ""
) -> T:
    """Parse UTF-8 JSON and check it against a schema. Arguments and errors are those of `read_json`.

    where: name of the text for the message, such as the path of the file.
    """
    try:
        document = _load(data)
    except RecursionError:
        raise error(_sentence(f"{where} is not {what}: it is nested too deeply", cure)) from None
    except ValueError as problem:
        raise error(_sentence(f"{where} is not {what}: {problem}", cure)) from None
    return check_json(document, kind, where, what, error, cure)


def check_json(
    document: object, kind: type[T], where: str, what: str, error: type[Exception] = ValueError, cure: str = ""
) -> T:
    """Convert parsed JSON to the type of a schema. Arguments and errors are those of `parse_json`."""
    try:
        return msgspec.convert(document, kind)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise error(_sentence(f"{where} is not {what}: {_explain(str(problem))}", cure)) from None


def check_format(
    document: dict[str, Any],
    accepted: int,
    where: str,
    what: str,
    error: type[Exception] = ValueError,
    cure: str = "",
    *,
    default: int | None = None,
) -> None:
    """Raise `error` unless the document has this format number.

    default: format of a document that has no number; None: such a document is refused.
    """
    found = document.get("format", default)
    if type(found) is not int or found != accepted:
        raise error(_sentence(f"{where} is not {what} of format {accepted}; its format is {quoted(found)}", cure))


def read_json_lines(
    path: Path, kind: type[T], *, what: str, error: type[Exception] = ValueError
) -> Iterator[tuple[int, T]]:
    """Yield (line number from 1, value) for each line of a JSON Lines file. Raises `error` as `read_json` does.

    The file is read line by line and may have any size. An incomplete last line, as a crash leaves it, is ignored.
    what: what a line should be, with an article.
    """
    for number, line in read_lines(path, what=what, error=error):
        yield number, parse_json(line, kind, f"line {number} of {path}", what, error)


def read_lines(path: Path, *, what: str, error: type[Exception] = ValueError) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) for each complete line. Raises `error` as `read_json` does."""
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), 1):
                if len(line) > MOST_LINE_BYTES:
                    raise error(f"line {number} of {path} is not {what}: it is longer than {_size(MOST_LINE_BYTES)}")
                if line.endswith(b"\n"):
                    yield number, line
    except OSError as problem:
        raise error(f"cannot read {path}: {_reason(problem)}") from problem


def read_bytes(
    path: Path, what: str, error: type[Exception] = ValueError, cure: str = "", limit: int = MOST_BYTES
) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raises `error` for anything else."""
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else b""
    except OSError as problem:
        raise error(_sentence(f"cannot read {path}: {_reason(problem)}", cure)) from problem
    if max(size, len(data)) > limit:
        excess = f"it has {_size(max(size, len(data)))}, at most {_size(limit)} are read"
        raise error(_sentence(f"{path} is not {what}: {excess}", cure))
    return data


def _open(path: Path) -> BinaryIO:
    """Open a regular file. Raises OSError for anything else; does not block on a pipe."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as problem:  # a zero byte in the path
        raise OSError(str(problem)) from problem
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(number, "rb")
    os.close(number)
    raise OSError("it is a folder" if stat.S_ISDIR(mode) else "it is not an ordinary file")


class _NumberError(ValueError):
    """A number in the text cannot be used. `number` is its text."""

    def __init__(self, number: str, problem: str) -> None:
        super().__init__(f"{shorten(number)} {problem}")
        self.number = number


def _load(data: bytes | str) -> Any:
    """Parse JSON strictly. Raises ValueError that says what is wrong and where, RecursionError for deep nesting."""
    text = data if isinstance(data, str) else _decode(data)
    if not text.strip():
        raise ValueError("it is empty")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_parse_float,
            parse_int=_parse_int,
        )
    except json.JSONDecodeError as problem:
        place = f"line {problem.lineno}, column {problem.colno}"
        raise ValueError(f"it is not JSON ({problem.msg[:1].lower()}{problem.msg[1:]} in {place})") from None
    except _NumberError as problem:
        line = text.count("\n", 0, text.find(problem.number)) + 1
        raise ValueError(f"{problem} in line {line}") from None
    if "\\u" in text:
        _check_surrogates(document)
    return document


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")  # an editor may have put a byte order mark in front
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise ValueError(f"it is not text in UTF-8 (byte {problem.start}, in line {line})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it names {quoted(next(key for key in keys if keys.count(key) > 1))} twice in one object")
    return content


def _refuse_constant(text: str) -> None:
    raise _NumberError(text, "is not a valid number")


def _parse_float(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _NumberError(text, "is too large a number")
    return value


def _parse_int(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _NumberError(text, "is too large a number")
    return int(text)


def _check_surrogates(document: Any) -> None:
    """Raise ValueError for half a surrogate pair, which cannot be encoded for a file or a terminal."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a surrogate pair, which is not Unicode") from None


def _explain(message: str) -> str:
    """Return msgspec's message with the place first: "`scores.temperature`: expected `float`, got `str`"."""
    found = cast(re.Match[str], _PLACE.match(message))
    problem, place = found["problem"], found["place"]
    problem = _MISSING.sub(r"\1 is missing", f"{problem[:1].lower()}{problem[1:]}")
    text = f"at `{place}`: {problem}" if place else problem
    return printable(shorten(text, _LONGEST_PROBLEM))


def _sentence(problem: str, cure: str) -> str:
    return f"{problem}; {cure}" if cure else problem


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def _size(count: int) -> str:
    unit = next(name for name, size in reversed(_BYTES.items()) if count >= size or size == 1)
    return f"{count / _BYTES[unit]:.3g} {unit}"
