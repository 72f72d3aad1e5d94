"""The review of a session that is made by repeating a clip."""

from pathlib import Path

import pytest
from session_toys import write_source

from realtime_polyp.bench.review import measure_review, repeat_video, review_table
from realtime_polyp.runtime import RuntimeConfig
from realtime_polyp.sources.file import FileSource

COUNT = 30


def test_packets_are_repeated_without_a_gap(tmp_path: Path) -> None:
    clip = write_source(tmp_path / "clip.mp4", COUNT)
    long = repeat_video(clip, tmp_path / "long.mp4", 3.0)
    frames = list(FileSource(long).frames())
    assert len(frames) == 3 * COUNT and frames[-1].pts_s == pytest.approx((3 * COUNT - 1) / 25)
    assert (frames[COUNT].image == frames[0].image).all()


def test_review_of_a_short_session_is_measured(tmp_path: Path, fake_engines: dict[str, object]) -> None:
    clip = write_source(tmp_path / "clip.mp4", COUNT)
    report = measure_review(RuntimeConfig(detector="fake", segmenter="fake"), clip, 0.06, tmp_path)
    assert report["frames"] == 90 and report["followed_share"] > 0.2
    assert all(report[key]["median"] >= 0 for key in ("seek_ms", "step_back_ms", "on_screen_ms", "whole_s"))
    assert "review of a session of 0.06 minutes of clip: 90 frames" in review_table("clip", report)
