"""Where files lie: what comes with the package, and what this machine keeps for itself."""

import importlib.resources
import os
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
    ~/.cache/realtime-polyp. It need not exist, nor be writable."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base:
        try:
            base = str(Path.home() / ".cache")
        except RuntimeError:  # a user without a home folder
            base = tempfile.gettempdir()
    return Path(base) / "realtime-polyp"
