"""Find and outline polyps in colonoscopy video: python run_live.py --source video.mp4 (see --help)."""

from realtime_polyp.cli.entry import main, run_process

__all__ = ["main"]

if __name__ == "__main__":
    run_process()
