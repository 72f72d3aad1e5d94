"""Which package of the operating system holds a library that Qt needs. Imports only modules that load fast."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# Library: packages of Debian and Ubuntu, and of Fedora.
_PACKAGES = {
    "libGL.so.1": ("libgl1", "libglvnd-glx"),
    "libEGL.so.1": ("libegl1", "libglvnd-egl"),
    "libX11-xcb.so.1": ("libx11-xcb1", "libX11-xcb"),
    "libX11.so.6": ("libx11-6", "libX11"),
    "libdbus-1.so.3": ("libdbus-1-3", "dbus-libs"),
    "libfontconfig.so.1": ("libfontconfig1", "fontconfig"),
    "libfreetype.so.6": ("libfreetype6", "freetype"),
    "libglib-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libxcb-icccm.so.4": ("libxcb-icccm4", "xcb-util-wm"),
    "libxcb-image.so.0": ("libxcb-image0", "xcb-util-image"),
    "libxcb-keysyms.so.1": ("libxcb-keysyms1", "xcb-util-keysyms"),
    "libxcb-randr.so.0": ("libxcb-randr0", "libxcb"),
    "libxcb-render-util.so.0": ("libxcb-render-util0", "xcb-util-renderutil"),
    "libxcb-render.so.0": ("libxcb-render0", "libxcb"),
    "libxcb-shape.so.0": ("libxcb-shape0", "libxcb"),
    "libxcb-util.so.1": ("libxcb-util1", "xcb-util"),
    "libxcb-xinerama.so.0": ("libxcb-xinerama0", "libxcb"),
    "libxcb-xkb.so.1": ("libxcb-xkb1", "libxcb"),
    "libxcb.so.1": ("libxcb1", "libxcb"),
    "libxkbcommon-x11.so.0": ("libxkbcommon-x11-0", "libxkbcommon-x11"),
    "libxkbcommon.so.0": ("libxkbcommon0", "libxkbcommon"),
    "libpulse-mainloop-glib.so.0": ("libpulse-mainloop-glib0", "pulseaudio-libs-glib2"),
    "libpulse.so.0": ("libpulse0", "pulseaudio-libs"),
}
QT_LIBRARIES = tuple(name for name in _PACKAGES if "pulse" not in name)
_SO_NAME = re.compile(r"lib[\w.+-]+\.so[\w.]*")


def libraries_in(text: str) -> list[str]:
    """The libraries that a message names, such as "libGL.so.1: cannot open shared object file"."""
    return list(dict.fromkeys(name for name in _SO_NAME.findall(text) if not name.startswith("libq")))


def missing_libraries(plugin: Path) -> list[str]:
    """The libraries that a shared library needs and that the system does not find; empty where that is not known."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["ldd", str(plugin)], capture_output=True, text=True, timeout=10, check=False)
        return list(dict.fromkeys(line.split()[0] for line in done.stdout.splitlines() if "not found" in line))
    return []


def install_hint(libraries: list[str] | tuple[str, ...]) -> str:
    """Return the commands that install libraries, such as "apt-get install libgl1 (Debian, Ubuntu)".

    On a known Linux, its own command alone. An unknown library is searched for by its file name. Raises nothing.
    """
    debian = sorted({_PACKAGES.get(name, (_guess(name), ""))[0] for name in libraries})
    fedora = sorted({_PACKAGES.get(name, ("", f"'*/{name}'"))[1] for name in libraries})
    commands = {
        "debian": f"apt-get install {' '.join(debian)} (Debian, Ubuntu)",
        "fedora": f"dnf install {' '.join(fedora)} (Fedora)",
    }
    kind = _linux_kind()
    return commands[kind] if kind else " or ".join(commands.values())


def _guess(library: str) -> str:
    """Debian's name for a library by its rule: libfoo.so.4 is in libfoo4."""
    stem, _, version = library.partition(".so.")
    return f"{stem}{'-' if stem[-1:].isdigit() else ''}{version}".lower()


def _linux_kind() -> str | None:
    """Debian and Fedora with what is derived from them; None for every other system."""
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError):
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
        names = re.findall(r'^(?:ID|ID_LIKE)="?([^"\n]*)', text, re.MULTILINE)
        words = set(" ".join(names).split())
        if words & {"debian", "ubuntu"}:
            return "debian"
        if words & {"fedora", "rhel", "centos"}:
            return "fedora"
    return None
