"""Find and outline polyps in colonoscopy video: python run_live.py --source video.mp4 (see --help)."""

import sys

from realtime_polyp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
