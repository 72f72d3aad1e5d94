"""Find and outline polyps in colonoscopy video: python run_live.py video.mp4 (see --help)."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before anything is imported that an older Python cannot read
    found = sys.version.split()[0] + " (" + sys.executable + ")"
    sys.stderr.write("realtime-polyp: needs Python 3.11 or 3.12, and this is " + found + ": ")
    sys.stderr.write("in a checkout run make demo, then .venv/bin/python run_live.py\n")
    raise SystemExit(2)

from realtime_polyp.cli.entry import main, run_process  # noqa: E402

__all__ = ["main"]

if __name__ == "__main__":
    run_process()
