"""Checks and settings before Qt starts. Importing this module does not import Qt."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from realtime_polyp.system_packages import QT_LIBRARIES, install_hint, libraries_in, missing_libraries

if TYPE_CHECKING:
    from PyQt5.QtWidgets import QApplication

_SET_BY_CV2 = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
_PLATFORMS_WITHOUT_SCREEN = ("offscreen", "minimal", "vnc")
_PROBE = "from PyQt5.QtWidgets import QApplication; QApplication([])"
_PROBE_LIMIT_S = 15.0
_PYQT = "PyQt5==5.15.11"


def unset_cv2_plugin_paths() -> None:
    """Remove the plugin paths that opencv-python sets for its own Qt: under X11 they abort PyQt5. Other paths stay."""
    cv2_folder = str(Path(cv2.__file__).parent)
    for name in _SET_BY_CV2:
        if os.environ.get(name, "").startswith(cv2_folder):
            del os.environ[name]


def display_problem() -> str | None:
    """Return why no window can be opened here, in one sentence, or None where one can.

    Qt aborts the whole process when it cannot reach the display, so another process tries first (0.2 s).
    """
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    if platform in _PLATFORMS_WITHOUT_SCREEN:
        return None
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display: neither DISPLAY nor WAYLAND_DISPLAY is set (over ssh, connect with ssh -X)"
    unset_cv2_plugin_paths()
    try:
        # -P: else Python would run a folder called PyQt5 in the current folder.
        command = [sys.executable, "-P", "-c", _PROBE]
        probe = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no display: it did not answer within {_PROBE_LIMIT_S:g} s"
    if probe.returncode == 0:
        return None
    return f"no usable display: {explain(probe.stderr) or f'Qt ended with code {probe.returncode}'}"


def explain(said: str) -> str:
    """Turn what Qt or Python printed when it failed into one sentence with the cure."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    # Qt prints the reason first; an import error of Python's has it on the last line.
    reason = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    if "No module named 'PyQt5'" in reason:
        return f"PyQt5 is not installed in {sys.prefix}: run make demo in a checkout, or pip install {_PYQT}"
    if libraries := [name for line in lines for name in libraries_in(line) if "cannot open shared object" in line]:
        return f"Qt lacks {', '.join(libraries)}: {install_hint(libraries)}"
    if "could not connect to display" in said:
        return f"no screen answers at DISPLAY={os.environ.get('DISPLAY', '')}; over ssh, connect with ssh -X"
    if "platform plugin" in said:
        lacking = missing_libraries(_platform_plugin())
        which = f"Qt lacks {', '.join(lacking)}" if lacking else "Qt's platform plugin cannot be loaded"
        return f"{which}: {install_hint(lacking or QT_LIBRARIES)}"
    return reason


def _platform_plugin() -> Path:
    """Qt's plugin for X11; it need not be there."""
    found = importlib.util.find_spec("PyQt5")
    folder = Path(found.origin).parent if found and found.origin else Path()
    return folder / "Qt5" / "plugins" / "platforms" / "libqxcb.so"


@functools.cache  # cached: it must outlive every widget
def application() -> "QApplication":
    """Return the process's only QApplication, set up for high-DPI screens."""
    unset_cv2_plugin_paths()
    from PyQt5.QtCore import Qt
    from PyQt5.QtGui import QGuiApplication
    from PyQt5.QtWidgets import QApplication

    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    QApplication.setAttribute(Qt.AA_EnableHighDpiScaling)
    QApplication.setAttribute(Qt.AA_UseHighDpiPixmaps)
    # Whole factors only: the 100 dpi of a bare X server would scale everything by 1.04, the picture too.
    QGuiApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.Round)
    return QApplication(["realtime-polyp"])
