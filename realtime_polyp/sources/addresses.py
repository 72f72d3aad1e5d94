"""Checks addresses of network streams, and hides their secrets in messages."""

import re
from urllib.parse import urlsplit

from realtime_polyp.sources.base import SourceError

_HIDDEN = "***"
_MAY_LISTEN = {"udp", "rtp", "srt", "tcp"}  # these schemes need a port; an empty host means all local addresses

# Parameters whose values are shown. All other values are hidden: they may be passwords or patient data.
_HARMLESS = frozenset(
    "bitrate buffer_size channel codec compression connect_timeout fifo_size format fps height latency listen "
    "localport mode overrun_nonfatal pkt_size proto quality rate res resolution reuse rcvlatency size stream subtype "
    "timeout transport ttl unicast videocodec width".split()
)
_HARMLESS_VALUE = re.compile(r"[A-Za-z0-9.:,_-]{0,16}")
_PARAMETER = re.compile(r"([?&;#/]?)([^?&;#/=]*)=([^?&;#]*)")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+)([^/?#]*)(.*)", re.DOTALL)
_STREAM_KEY = re.compile(r"(/[^/]*/).+", re.DOTALL)  # rtmp://host/app/KEY
_NESTED_USER = re.compile(r"[^/?&#;=@]*:[^/@?&#]*@")


def hide_secrets(address: str) -> str:
    """Return an address for messages and logs, without user, password, the values of unknown parameters, and an RTMP
    stream's key.

    Text that is not an address is returned unchanged.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    scheme, authority, rest = match.groups()
    path, mark, query = _split_query(rest)
    if "@" in path and "@" not in authority and ":" in authority:  # a password with a slash
        authority, path = "", path.rpartition("@")[2]
    if scheme.lower().startswith("rtmp"):
        path = _STREAM_KEY.sub(rf"\1{_HIDDEN}", path)
    host = authority.rpartition("@")[2]
    shown = _PARAMETER.sub(_hide_value, _NESTED_USER.sub("", path))
    return f"{scheme}{host}{shown}{mark}{_hide_query(query)}"


def check_address(address: str) -> str:
    """Check an address and return its scheme in lower case. Raises SourceError for an invalid address."""
    shown = hide_secrets(address)
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in address):
        raise SourceError(f"{shown} is not an address: it holds a blank or a control character; write %20 for a blank.")
    try:
        parts = urlsplit(address)
        scheme, host = parts.scheme.lower(), parts.hostname
    except ValueError as error:
        raise SourceError(f"{shown} is not an address: its host is malformed; an IPv6 host is [::1].") from error
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise SourceError(f"{shown} is not an address: the port must be a number from 1 to 65535.")
    if port is None and scheme in _MAY_LISTEN:
        raise SourceError(f"{shown} is not an address: {scheme} needs a port, as in {scheme}://host:5000.")
    if not host and scheme not in _MAY_LISTEN:
        raise SourceError(f"{shown} is not an address: it names no host.")
    return scheme


def host_of(address: str) -> str:
    """Return the host of an address in lower case; "" if it has none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _split_query(rest: str) -> tuple[str, str, str]:
    place = next((at for at, letter in enumerate(rest) if letter in "?#"), len(rest))
    return rest[:place], rest[place : place + 1], rest[place + 1 :]


def _hide_query(query: str) -> str:
    """Hide the values in "a=1&b=2#c"; a piece without a name counts as a value."""
    pieces = re.split(r"([?&;#])", query)
    return "".join(piece if piece in ("?", "&", ";", "#", "") else _hide_piece(piece) for piece in pieces)


def _hide_piece(piece: str) -> str:
    return _PARAMETER.sub(_hide_value, piece) if "=" in piece else _HIDDEN


def _hide_value(match: re.Match[str]) -> str:
    mark, name, value = match.groups()
    harmless = name.lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(value)
    return match.group() if harmless or not value else f"{mark}{name}={_HIDDEN}"
