"""Whether this user has seen the legend: an empty file beside the settings remembers it. No Qt."""

from contextlib import suppress
from pathlib import Path

from realtime_polyp.private_files import make_private_folder
from realtime_polyp.sources.paths import exists

LEGEND_SEEN = "legend-seen"


def legend_is_new(folder: Path) -> bool:
    """Whether the legend was never closed. folder: of the user's settings."""
    return not exists(str(folder / LEGEND_SEEN))


def remember_legend(folder: Path) -> None:
    """Note that the legend was closed; where that cannot be written, it opens again at the next start."""
    with suppress(OSError):
        make_private_folder(folder)
        (folder / LEGEND_SEEN).touch(mode=0o600)
