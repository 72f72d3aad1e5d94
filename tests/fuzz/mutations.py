"""Mutations of a file: a seed and a number decide what is done, so that each can be made again."""

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NUMBERS = (
    *(b"0", b"-1", b"1e308", b"-1e308", b"1e-320", b"NaN", b"-Infinity", b"Infinity", b"0.1", b"1e999", b"7e5"),
    *(b"2147483647", b"2147483648", b"4294967296", b"9223372036854775807", b"-9223372036854775809", b"9" * 400),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x" * 2000, "\0", "../../x", "NaN", [], {}, [[]], {"": {}}, [None], 0, -1, 1, 0.5),
    *(1e308, -1e308, 1e-320, float("nan"), float("inf"), -float("inf"), 2**31, 2**32, 2**53, 2**63, -(2**63), 10**400),
    *(
        "\ud800",
        "clear",
        [0, 0, 0, 0],
        [1e39] * 4,
        {"size": [2**31, 2**31], "counts": "0"},
        {"size": [1, 1], "counts": []},
    ),
)
_WORDS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF0)


def mutate(seed: bytes, random_: random.Random, *, text: bool) -> bytes:
    """Return the file with one to four changes."""
    kinds = _OF_TEXT if text else _OF_BYTES
    data = seed
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        data = random_.choice(kinds)(data, random_)
    return data


def _flip(data: bytes, random_: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice((1, 2, 8, 32))):
        if changed:
            changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def _cut(data: bytes, random_: random.Random) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _span(data: bytes, random_: random.Random) -> tuple[int, int]:
    begin = random_.randrange(len(data) + 1)
    return begin, min(len(data), begin + random_.choice((1, 2, 4, 16, 64, 512, 4096)))


def _remove(data: bytes, random_: random.Random) -> bytes:
    begin, end = _span(data, random_)
    return data[:begin] + data[end:]


def _repeat(data: bytes, random_: random.Random) -> bytes:
    begin, end = _span(data, random_)
    return data[:end] + data[begin:end] * random_.choice((1, 2, 50)) + data[end:]


def _insert(data: bytes, random_: random.Random) -> bytes:
    place = random_.randrange(len(data) + 1)
    return data[:place] + random_.randbytes(random_.choice((1, 4, 64))) + data[place:]


def _fill(data: bytes, random_: random.Random) -> bytes:
    begin, end = _span(data, random_)
    return data[:begin] + bytes([random_.choice((0, 0xFF, 0x80))]) * (end - begin) + data[end:]


def _swap(data: bytes, random_: random.Random) -> bytes:
    begin, end = _span(data, random_)
    return data[:begin] + data[end : end + (end - begin)] + data[begin:end] + data[end + (end - begin) :]


def _write_word(data: bytes, random_: random.Random) -> bytes:
    size = random_.choice((1, 2, 4, 4, 8))
    if len(data) < size:
        return data
    word = random_.choice(_WORDS) & ((1 << 8 * size) - 1)
    # Headers lie at the beginning more often than elsewhere.
    place = random_.randrange(min(len(data), random_.choice((64, 512, len(data)))) - size + 1) if len(data) > 8 else 0
    return data[:place] + word.to_bytes(size, random_.choice(("big", "little"))) + data[place + size :]


def _replace_number(data: bytes, random_: random.Random) -> bytes:
    places = list(_NUMBER.finditer(data))
    if not places:
        return data
    found = random_.choice(places)
    return data[: found.start()] + random_.choice(_NUMBERS) + data[found.end() :]


def _nest(data: bytes, random_: random.Random) -> bytes:
    place, depth = random_.randrange(len(data) + 1), random_.choice((200, 100_000))
    return data[:place] + random_.choice((b"[", b'{"a":', b"<a>")) * depth + data[place:]


def _encode(data: bytes, random_: random.Random) -> bytes:
    return data.decode("utf-8", "replace").encode(random_.choice(("utf-16", "utf-8-sig", "utf-32", "utf-16-be")))


def _change_json(data: bytes, random_: random.Random) -> bytes:
    """Change one value of a JSON document, or of one line of JSON Lines."""
    lines = data.split(b"\n") if data.count(b"\n{") else [data]
    chosen = random_.randrange(len(lines))
    try:
        document = json.loads(lines[chosen])
    except (ValueError, RecursionError):
        return _replace_number(data, random_)
    lines[chosen] = json.dumps(_changed(document, random_)).encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _changed(document: Any, random_: random.Random) -> Any:
    places = list(_places(document))
    if not places:
        return random_.choice(_VALUES)
    holder, key = random_.choice(places)
    what = random_.choice(("value", "value", "value", "remove", "copy", "many", "rename"))
    if what == "remove":
        del holder[key]
    elif what == "copy":
        other, place = random_.choice(places)
        holder[key] = copy.deepcopy(other[place]) if place in range(len(other)) or isinstance(other, dict) else None
    elif what == "many":
        holder[key] = [holder[key]] * 1000
    elif what == "rename" and isinstance(holder, dict):
        holder[random_.choice(("", "format", "id", "x" * 300, key.upper()))] = holder.pop(key)
    else:
        holder[key] = random_.choice(_VALUES)
    return document


def _places(document: Any) -> Any:
    """Yield (holder, key) of every value in a document."""
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


Mutation = Callable[[bytes, random.Random], bytes]
_OF_BYTES: tuple[Mutation, ...] = (
    _flip,
    _flip,
    _cut,
    _remove,
    _repeat,
    _insert,
    _fill,
    _swap,
    _write_word,
    _write_word,
)
_OF_TEXT: tuple[Mutation, ...] = (
    *(_flip, _cut, _remove, _repeat, _insert, _swap, _nest, _encode),
    *(_replace_number,) * 4,
    *(_change_json,) * 16,
)
