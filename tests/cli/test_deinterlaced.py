import json
from pathlib import Path

import av
import numpy as np
import pytest
from interlaced_toys import combed_share, luma_of, write_interlaced

import run_live
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.sources import FileSource
from realtime_polyp.sources.deinterlace import Mode

FAKES = ["--headless", "--detector", "fake", "--segmenter", "fake"]
FRAMES = {"auto": 12, "off": 12, "field-rate": 24}


@pytest.mark.parametrize("mode", FRAMES)
def test_a_session_shows_the_pictures_that_were_analysed(
    fake_engines: dict[str, object], tmp_path: Path, mode: Mode
) -> None:
    path, sessions = write_interlaced(tmp_path / "a.mp4"), tmp_path / "sessions"
    arguments = [*FAKES, "--source", path, "--record", sessions, "--deinterlace", mode]
    assert run_live.main([str(one) for one in arguments]) == 0
    session = RecordedSession(next(sessions.iterdir()))
    analysed = [frame.image for frame in FileSource(path, deinterlace=mode).frames()]
    pictures = SessionPictures(session)
    shown = [pictures.image(int(number)) for number in session.frames.number]
    pictures.close()
    session.close()
    assert len(shown) == FRAMES[mode] and session.deinterlace == mode
    assert all(np.array_equal(one, other) for one, other in zip(shown, analysed, strict=True))
    assert (max(combed_share(one[..., 1]) for one in shown) > 0.03) == (mode == "off")


@pytest.mark.parametrize("mode", FRAMES)
def test_saved_video_and_summary(tmp_path: Path, mode: Mode) -> None:
    path, saved, summary = write_interlaced(tmp_path / "a.mp4"), tmp_path / "o.mp4", tmp_path / "s.json"
    arguments = ["--headless", "--detector", "none", "--segmenter", "none", "--source", path]
    arguments += ["--save", saved, "--summary", summary, "--deinterlace", mode]
    assert run_live.main([str(one) for one in arguments]) == 0
    assert json.loads(summary.read_text())["conversions"] == ([] if mode == "off" else ["de-interlaced"])
    with av.open(str(saved)) as container:
        pictures = [luma_of(frame) for frame in container.decode(video=0)]
        stream = container.streams.video[0]
        assert len(pictures) == FRAMES[mode] and stream.average_rate == (50 if mode == "field-rate" else 25)
    combed = max(combed_share(picture[40:88, 40:]) for picture in pictures)  # without the texts at the edges
    assert combed > 0.03 if mode == "off" else combed < 0.01


def test_another_mode_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_live.main(["--source", "a.mp4", "--deinterlace", "blend"])
    assert "auto" in capfd.readouterr().err
