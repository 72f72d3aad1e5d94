"""The viewer on a real X server, where cv2's own Qt plugins would abort it; offscreen tests do not show that."""

import os
import subprocess
import sys

from conftest import ROOT, needs

_HERE = ROOT / "tests"
_PLAY = """
import cv2, os, sys
assert "QT_QPA_PLATFORM" not in os.environ
from viewer_fakes import FakeSource, Feeds
from realtime_polyp.viewer.qt_setup import display_problem
assert display_problem() is None, display_problem()
from realtime_polyp.viewer.app import SourceInfo, run_viewer
feeds = Feeds(lambda start_s: FakeSource(40, start_s))
code = run_viewer(feeds, title="X", info=SourceInfo("x.mp4", False, 0.8), quit_at_end=True)
from PyQt5.QtWidgets import QApplication
assert QApplication.platformName() == "xcb", QApplication.platformName()
feeds.check_accounts()
assert feeds.opened[0].tally().shown == 40, feeds.opened[0].tally()
sys.exit(code)
"""


@needs("xvfb")
def test_plays_to_the_end_after_cv2_was_imported():
    env = {name: value for name, value in os.environ.items() if not name.startswith("QT_")}
    env["PYTHONPATH"] = os.pathsep.join([str(_HERE.parent), str(_HERE)])
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24", sys.executable, "-c", _PLAY]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
