"""The token of the remote page: it is made once, and kept in a file that only its owner can read."""

import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from realtime_polyp.atomic_write import atomic_write_bytes
from realtime_polyp.folders import settings_folder
from realtime_polyp.messages import printable
from realtime_polyp.operations.errors import OperationsError
from realtime_polyp.outputs.base import reason_of
from realtime_polyp.private_files import make_private_folder

TOKEN_FILE = "remote-token"
_TOKEN_BYTES = 24
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")
_FILE_LIMIT = 4096


def token_path() -> Path:
    """Where the user's own token is; nothing need be there."""
    return settings_folder() / TOKEN_FILE


def read_or_make_token(path: Path) -> str:
    """Return the token of the file; a file that is missing gets a new one. So a page survives a restart.

    Raises OperationsError, also where other users can read the file.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT).decode("ascii", "replace").strip()
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        return _make_token(path)
    except (OSError, ValueError) as error:
        raise OperationsError(f"the token {printable(path)} cannot be read: {reason_of(error)}") from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OperationsError(f"other users can read the token {printable(path)}: chmod 600 it, or delete it")
    if not _TOKEN.fullmatch(text):
        raise OperationsError(
            f"{printable(path)} holds no token of 16 to 256 letters, digits, - and _: delete it to have one made"
        )
    return text


def is_token(given: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _make_token(path: Path) -> str:
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        make_private_folder(path.parent)
        atomic_write_bytes(path, f"{token}\n".encode(), private=True)
    except OSError as error:
        raise OperationsError(f"cannot write a token to {printable(path)}: {reason_of(error)}") from error
    return token
