"""What must be right before Qt starts; importing this module does not import Qt."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

if TYPE_CHECKING:
    from PyQt5.QtWidgets import QApplication

_CV2_SETS = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
_NEEDS_NO_SCREEN = ("offscreen", "minimal", "vnc")
_PROBE = "from PyQt5.QtWidgets import QApplication; QApplication([])"
_PROBE_LIMIT_S = 15.0


def forget_cv2_plugins() -> None:
    """opencv-python points Qt at the plugins of its own Qt, which abort PyQt5 under X11: undo that, and only that."""
    ours = str(Path(cv2.__file__).parent)
    for name in _CV2_SETS:
        if os.environ.get(name, "").startswith(ours):
            del os.environ[name]


def display_problem() -> str | None:
    """Why no window can be opened here, in one sentence; None when one can.

    Qt aborts the whole process when it cannot reach the screen, so another process tries first (0.2 s).
    """
    platform = os.environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    if platform in _NEEDS_NO_SCREEN:
        return None
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "no display: neither DISPLAY nor WAYLAND_DISPLAY is set"
    forget_cv2_plugins()
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no display: it did not answer within {_PROBE_LIMIT_S:g} s"
    if probe.returncode == 0:
        return None
    said = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
    if not said:
        return f"no usable display: Qt ended with code {probe.returncode}"
    # Qt says the reason first; where it cannot even be imported, Python says it last.
    return f"no usable display: {said[-1] if said[0].startswith('Traceback') else said[0]}"


def has_display() -> bool:
    """Whether a window can be opened here."""
    return display_problem() is None


@functools.cache  # kept: it must outlive every widget
def application() -> "QApplication":
    """The one QApplication, sharp on high-DPI screens."""
    forget_cv2_plugins()
    from PyQt5.QtCore import Qt
    from PyQt5.QtGui import QGuiApplication
    from PyQt5.QtWidgets import QApplication

    running = QApplication.instance()
    if isinstance(running, QApplication):
        return running
    QApplication.setAttribute(Qt.AA_EnableHighDpiScaling)
    QApplication.setAttribute(Qt.AA_UseHighDpiPixmaps)
    # Whole factors only: a bare X server's 100 dpi would else scale everything by 1.04, the picture's pixels too.
    QGuiApplication.setHighDpiScaleFactorRoundingPolicy(Qt.HighDpiScaleFactorRoundingPolicy.Round)
    return QApplication(["realtime-polyp"])
