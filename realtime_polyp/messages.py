"""Makes text that comes from outside, such as paths and values of files, short and safe to print in messages."""

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_QUOTED = 40  # characters of a value
_PATH = 200  # characters of a path
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))  # Unicode's control, format, surrogate, ...


def printable(text: object) -> str:
    """Escape control characters, and bytes of a file name that are not UTF-8. text: a str or a path."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_escape(letter) if unicodedata.category(letter) in _UNPRINTABLE else letter for letter in text)


def full_path(path: Path | str) -> str:
    """Return the whole path of a file or folder that a person has to find, whatever folder the program was started in;
    printable."""
    with suppress(OSError):  # that folder was deleted
        path = Path(path).absolute()
    return printable(path)


def one_line(text: str) -> str:
    """Replace line breaks and other control characters by blanks."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def describe_error(error: BaseException) -> str:
    """Return the message of an error on one line, or its class if it has none, such as a MemoryError."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a model may raise anything
        message = ""
    return message or type(error).__name__


def shorten(text: str, longest: int = _QUOTED) -> str:
    """Cut a text after `longest` characters."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def quoted(value: object) -> str:
    """Return the shortened representation of a value."""
    return shorten(repr(value))


def each_once(names: Iterable[str | None], between: str = " + ") -> str:
    """Join names, each once: a joint model has one for both of its parts. None and "" are left out."""
    return between.join(dict.fromkeys(filter(None, names)))


def shorten_path(path: Path | str) -> str:
    """Return a path as text, without the middle if it is long."""
    text, half = str(path), _PATH // 2
    return text if len(text) <= _PATH else f"{text[:half]}...{text[-half:]}"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
