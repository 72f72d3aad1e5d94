"""Addresses of network streams: checked before they are opened, and shown without what is secret."""

import re
from urllib.parse import urlsplit

from realtime_polyp.sources.base import SourceError

_HIDDEN = "***"
_MAY_LISTEN = {"udp", "rtp", "srt", "tcp"}  # they need a port; an empty host means this machine's own addresses

# Parameters whose value says nothing secret. Every other value is hidden: it may be a password or a patient.
_HARMLESS = frozenset(
    "bitrate buffer_size channel codec compression connect_timeout fifo_size format fps height latency listen "
    "localport mode overrun_nonfatal pkt_size proto quality rate res resolution reuse rcvlatency size stream subtype "
    "timeout transport ttl unicast videocodec width".split()
)
_HARMLESS_VALUE = re.compile(r"[A-Za-z0-9.:,_-]{0,16}")
_PARAMETER = re.compile(r"([?&;#/]?)([^?&;#/=]*)=([^?&;#]*)")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+)([^/?#]*)(.*)", re.DOTALL)
_NESTED_USER = re.compile(r"[^/?&#;=@]*:[^/@?&#]*@")


def hide_secrets(address: str) -> str:
    """Return an address to be shown and logged: without user, password and the value of unknown parameters.

    Takes any text; one that is no address comes back as it is.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return address
    scheme, authority, rest = match.groups()
    path, mark, query = _split_query(rest)
    if "@" in path and "@" not in authority and ":" in authority:  # a password with a slash
        authority, path = "", path.rpartition("@")[2]
    host = authority.rpartition("@")[2]
    shown = _PARAMETER.sub(_hide_value, _NESTED_USER.sub("", path))
    return f"{scheme}{host}{shown}{mark}{_hide_query(query)}"


def check_address(address: str) -> str:
    """Return the scheme in lower case. Raises SourceError, one sentence, for an address that cannot be meant."""
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
    """Return the host of a checked address, in lower case; "" without one."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _split_query(rest: str) -> tuple[str, str, str]:
    place = next((at for at, letter in enumerate(rest) if letter in "?#"), len(rest))
    return rest[:place], rest[place : place + 1], rest[place + 1 :]


def _hide_query(query: str) -> str:
    """Hide the values of "a=1&b=2#c"; a piece without a name is a value."""
    pieces = re.split(r"([?&;#])", query)
    return "".join(piece if piece in ("?", "&", ";", "#", "") else _hide_piece(piece) for piece in pieces)


def _hide_piece(piece: str) -> str:
    return _PARAMETER.sub(_hide_value, piece) if "=" in piece else _HIDDEN


def _hide_value(match: re.Match[str]) -> str:
    mark, name, value = match.groups()
    harmless = name.lower() in _HARMLESS and _HARMLESS_VALUE.fullmatch(value)
    return match.group() if harmless or not value else f"{mark}{name}={_HIDDEN}"
