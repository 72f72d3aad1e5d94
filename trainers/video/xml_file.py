"""Read an XML file from an untrusted origin: UTF-8 text without entities, of bounded size and depth."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from realtime_polyp.json_files import read_bytes

MOST_BYTES = 256 << 20
_DEEPEST = 64  # elements inside one another
_CHUNK = 1 << 16  # characters parsed between two checks of the depth
_DECLARATIONS = ("<!DOCTYPE", "<!ENTITY")


def read_xml(path: Path, *, what: str) -> Element:
    """Return the root of an XML file. what: names what the file should be, with its article.

    Raises:
        ValueError: the file is not XML, is too large or too deep, or declares entities, which can fill memory.
    """
    try:
        text = read_bytes(path, what=what, limit=MOST_BYTES).decode("utf-8-sig")
        for declaration in _DECLARATIONS:
            if declaration in text:
                raise ValueError(f"{path} is not {what}: it contains {declaration}, which is not allowed")
        return _parse(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not an XML file: it is not text in UTF-8 (byte {error.start})") from error
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not an XML file: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is not {what}: it has elements more than {_DEEPEST} deep") from None


def _parse(text: str) -> Element:
    """Parse the text. Raises RecursionError for elements that are nested too deeply."""
    parser: ElementTree.XMLPullParser[Element] = ElementTree.XMLPullParser(events=("start", "end"))
    root: list[Element] = []
    depth = 0
    for start in range(0, len(text) + _CHUNK, _CHUNK):
        if start < len(text):
            parser.feed(text[start : start + _CHUNK])
        else:
            parser.close()  # the parser may hold back its last events until it is closed
        for event, element in cast("Iterator[tuple[str, Element]]", parser.read_events()):
            root = root or [element]
            depth += 1 if event == "start" else -1
            if depth > _DEEPEST:
                raise RecursionError
    return root[0]
