from pathlib import Path

import pytest
from interlaced_toys import write_interlaced

from realtime_polyp.bench import deinterlacing


def test_it_says_how_combed_a_video_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deinterlacing.main([str(write_interlaced(tmp_path / "a.mp4", count=4, flagged=False))]) == 0
    words = capsys.readouterr().out.split()
    assert words[0] == "a.mp4:" and float(words[2]) > 4 and float(words[5]) < 1 and float(words[8]) > 0


def test_what_cannot_be_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert deinterlacing.main([]) == 2 and deinterlacing.main(["missing.mp4"]) == 2
    assert "missing.mp4" in capsys.readouterr().err
