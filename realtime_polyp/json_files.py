"""The reader of all JSON: checks a file against a schema and says in one sentence what is wrong, and where.

A schema is a type that msgspec knows: `msgspec.Struct`, a dataclass, `dict[str, Any]`, `list[...]`. Numbers carry their
range in the schema (`Finite`, `bounded`), because a number that is valid JSON may still overflow where it is used.
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

MOST_BYTES = 64 << 20  # of a file, unless the reader says otherwise: parsing takes about ten times as much memory
MOST_LINE_BYTES = 16 << 20  # of one line in a file of JSON Lines
_MOST_DIGITS = 20  # of a whole number: 64 bits
_MOST_SHOWN = 40  # characters of a value that an error message quotes
_MOST_SAID = 200  # characters of msgspec's message
_PLACE = re.compile(r"^(?P<problem>.*?)(?: - at `\$\.?(?P<place>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^object missing required field (`.*`)$")
_BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}

T = TypeVar("T")
Finite = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A finite number of a size that may be squared, in float32 too."""
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
        kind: the schema; the result is of this type.
        what: names what the file should be, with its article, for the message: "a calibration".
        error: the class of exception for everything that can be wrong.
        cure: ends the message: "write it again with python -m calibration.gate".
        limit: largest size of the file, bytes; a larger one is not read.

    Raises:
        error: the file is missing, unreadable, too large, not JSON or does not fit the schema. The message is one
            sentence with the file's path and the place in it.
    """
    return parse_json(read_bytes(path, what, error, cure, limit), kind, str(path), what, error, cure)


def parse_json(
    data: bytes | str, kind: type[T], where: str, what: str, error: type[Exception] = ValueError, cure: str = ""
) -> T:
    """Parse JSON in UTF-8 and check it against a schema; arguments and errors as of `read_json`.

    where: names the text in the message, such as the file's path.
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
    """Check parsed JSON against a schema and return it as that type; arguments and errors as of `parse_json`."""
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

    default: the format of a document without a number; None: there is none.
    """
    found = document.get("format", default)
    if type(found) is not int or found != accepted:
        raise error(_sentence(f"{where} is not {what} of format {accepted}; its format is {shown(found)}", cure))


def read_json_lines(
    path: Path, kind: type[T], *, what: str, error: type[Exception] = ValueError, cure: str = ""
) -> Iterator[tuple[int, T]]:
    """Yield (line number from 1, value) of a file with one JSON document a line; errors as of `read_json`.

    The file is read line by line and may have any size. A last line without its end, as a crash leaves it, is left out.
    what: names what a line should be.
    """
    for number, line in read_lines(path, what=what, error=error):
        yield number, parse_json(line, kind, f"line {number} of {path}", what, error, cure)


def read_lines(path: Path, *, what: str, error: type[Exception] = ValueError) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of the lines that are whole. Raises `error` as `read_json` does."""
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
    """Return the content of an ordinary file of at most `limit` bytes. Raises `error` for anything else."""
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(limit + 1) if size <= limit else b""
    except OSError as problem:
        raise error(_sentence(f"cannot read {path}: {_reason(problem)}", cure)) from problem
    if max(size, len(data)) > limit:
        said = f"it has {_size(max(size, len(data)))}, at most {_size(limit)} are read"
        raise error(_sentence(f"{path} is not {what}: {said}", cure))
    return data


def _open(path: Path) -> BinaryIO:
    """Open an ordinary file without waiting for the writer of a pipe. Raises OSError for anything else."""
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
    """A number in the text cannot be used. `number` is how it is written there."""

    def __init__(self, number: str, problem: str) -> None:
        super().__init__(f"{shortened(number)} {problem}")
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
        raise ValueError(f"it names {shown(next(key for key in keys if keys.count(key) > 1))} twice in one object")
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
    """Raise ValueError for half a surrogate pair, which no file and no terminal takes."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a surrogate pair, which is not Unicode") from None


def _explain(message: str) -> str:
    """Return msgspec's message with the place first: "`scores.temperature`: expected `float`, got `str`"."""
    found = cast(re.Match[str], _PLACE.match(message))
    problem, place = found["problem"], found["place"]
    problem = _MISSING.sub(r"\1 is missing", f"{problem[:1].lower()}{problem[1:]}")
    said = f"at `{place}`: {problem}" if place else problem
    said = said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}..."
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in said)


def _sentence(problem: str, cure: str) -> str:
    return f"{problem}; {cure}" if cure else problem


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem)


def shown(value: object) -> str:
    """Return a value for an error message: its representation, shortened."""
    return shortened(repr(value))


def shortened(text: str) -> str:
    """Return a text cut to the length that an error message has room for."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _size(count: int) -> str:
    unit = next(name for name, size in reversed(_BYTES.items()) if count >= size or size == 1)
    return f"{count / _BYTES[unit]:.3g} {unit}"
