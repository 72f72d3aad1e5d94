"""Where files lie: what comes with the package, and what this machine keeps for itself."""

import errno
import importlib.resources
import os
import stat
import sys
import tempfile
from pathlib import Path


def asset(*parts: str) -> Path:
    """Return the path of a file that comes with the project, such as `asset("weights", "manifest.json")`.

    An installed package has its assets inside it, a checkout in `assets/` beside it. The path need not exist: a wheel
    has no demo clip.
    """
    package = Path(str(importlib.resources.files("realtime_polyp")))
    inside = package / "assets"
    return (inside if inside.is_dir() else package.parent / "assets").joinpath(*parts)


def cache_folder() -> Path:
    """Return the folder for what this machine built for itself: $XDG_CACHE_HOME/realtime-polyp, else
    ~/.cache/realtime-polyp. It need not exist, nor be writable: see `private_folder`."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "realtime-polyp"
    try:
        return Path.home() / ".cache" / "realtime-polyp"
    except RuntimeError:  # a user without a home folder shares the temporary folder with others
        return Path(tempfile.gettempdir()) / (
            f"realtime-polyp-{os.getuid()}" if os.name == "posix" else "realtime-polyp"
        )


def settings_folder() -> Path:
    """Return the folder of the user's settings: $XDG_CONFIG_HOME/realtime-polyp, else where the system keeps them.

    It need not exist. A user without a home folder has it in the temporary folder.
    """
    base = os.environ.get("XDG_CONFIG_HOME") or (os.environ.get("APPDATA") if sys.platform == "win32" else None)
    try:
        usual = Path.home() / ("Library/Application Support" if sys.platform == "darwin" else ".config")
    except RuntimeError:
        usual = cache_folder().parent
    return (Path(base) if base else usual) / "realtime-polyp"


def private_folder(path: Path) -> Path:
    """Create a folder and its missing parents with mode 0700, and return it. Files in it are run as code, so no other
    user may write there.

    Raises OSError if the folder cannot be created or written, or is not private.
    """
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    require_private(path)
    with tempfile.TemporaryFile(dir=path):
        return path


def require_private(path: Path) -> None:
    """Raise PermissionError if another user owns a file or folder, or can write to it. Nothing is
    checked on Windows, where the folders of a user are private."""
    if os.name != "posix":
        return
    found = path.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise PermissionError(errno.EPERM, "another user owns it", str(path))
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(errno.EPERM, f"other users can write to it: chmod 700 {path}", str(path))
