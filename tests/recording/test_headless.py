"""`--record DIR` without a window, and where it is refused."""

import os
import sys

import cv2
import numpy as np
import pytest
from media import write_clip

from realtime_polyp.cli.main import main
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures

FAST = ["--headless", "--detector", "none", "--segmenter", "none"]


def run(*words) -> int:
    return main([str(word) for word in (*FAST, *words)])


def only_session(folder):
    (session,) = folder.iterdir()
    return RecordedSession(session)


def test_file_is_recorded_by_reference(tmp_path, capsys):
    clip = write_clip(tmp_path / "a b.mp4", count=12)
    assert run("--source", clip, "--record", tmp_path / "sessions") == 0
    session = only_session(tmp_path / "sessions")
    assert session.folder.name.endswith("Z-a-b.mp4") and str(session.folder) in capsys.readouterr().out
    assert session.ended and len(session.frames) == 12 and session.frames.analysed.all()
    assert session.frames.picture_s.tolist() == pytest.approx([at / 10 for at in range(12)])
    assert session.original == clip and session.facts["source"]["size_bytes"] == clip.stat().st_size
    assert len(session.facts["source_sha256"]) == 64 and session.facts["ended"]["frames"] == 12
    assert verify_chain(session) == ()
    assert (session.path.stat().st_mode & 0o777, session.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_file_is_copied_into_the_session(tmp_path):
    clip = write_clip(tmp_path / "a.avi", count=5)
    assert run("--source", clip, "--record", tmp_path / "sessions", "--copy-source") == 0
    session = only_session(tmp_path / "sessions")
    copy = session.folder / "original.avi"
    assert copy.read_bytes() == clip.read_bytes() and session.original == copy


@pytest.mark.parametrize("copies", [[], ["--copy-source"]])
def test_the_pictures_of_a_playlist_are_recorded_and_not_its_text(tmp_path, copies):
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, count=20)
    playlist = tmp_path / "both.ffconcat"
    playlist.write_text("ffconcat version 1.0\nfile a.mp4\nfile b.mp4\n")
    assert run("--source", playlist, "--allow-playlists", "--record", tmp_path / "sessions", *copies) == 0
    session = only_session(tmp_path / "sessions")
    assert session.original == session.folder / "original.mkv" and session.facts["source"]["path"] is None
    pictures = SessionPictures(session)
    assert pictures.problem is None and session.problems == ()
    assert all(pictures.find(number) is not None for number in range(1, 41))
    pictures.close()


def test_every_still_of_a_folder_is_recorded(tmp_path):
    folder = tmp_path / "stills"
    folder.mkdir()
    for number, name in enumerate("kiwi apple fig plum pear lime date nut corn rice bean leek".split()):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((48, 64, 3), 20 * number, np.uint8))
    assert run("--source", folder, "--record", tmp_path / "sessions") == 0
    session = only_session(tmp_path / "sessions")
    assert session.is_of_stills and len(session.frames) == 12 and session.problems == ()
    pictures = SessionPictures(session)
    levels = [float(pictures.image(number).mean()) for number in range(1, 13)]
    assert sorted(levels) == pytest.approx([20.0 * number for number in range(12)], abs=4)
    pictures.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_session_of_a_file_whose_name_is_not_utf_8_can_be_opened(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=5)
    odd = tmp_path / os.fsdecode(b"a\xff.mp4")
    clip.rename(odd)
    assert run("--source", odd, "--record", tmp_path / "sessions", "--copy-source") == 0
    session = only_session(tmp_path / "sessions")
    assert session.facts["source"]["path"] == f"{tmp_path}/a\\udcff.mp4" and len(session.frames) == 5


def test_part_of_a_file_keeps_the_times_of_the_file(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=12)
    run("--source", clip, "--start-s", 0.5, "--record", tmp_path / "sessions")
    frames = only_session(tmp_path / "sessions").frames
    assert frames.picture_s.tolist() == pytest.approx([at / 10 for at in range(5, 12)])
    assert frames.session_s.tolist() == pytest.approx([at / 10 for at in range(7)])


def test_each_of_several_sources_has_its_session(tmp_path):
    clips = [write_clip(tmp_path / name, count=4) for name in ("a.mp4", "b.mp4")]
    assert run("--source", *clips, "--record", tmp_path / "sessions") == 0
    sessions = [RecordedSession(folder) for folder in sorted((tmp_path / "sessions").iterdir())]
    assert [session.facts["source"]["name"] for session in sessions] == ["a.mp4", "b.mp4"]
    assert [len(session.frames) for session in sessions] == [4, 4]


def test_folder_that_cannot_take_sessions_is_refused(tmp_path, capsys):
    clip = write_clip(tmp_path / "a.mp4", count=3)
    assert run("--source", clip, "--record", clip) == 2
    assert "it is a file; name a folder" in capsys.readouterr().err
    assert run("--source", tmp_path, "--record", tmp_path / "in" / "it") == 2
    assert "it lies in the folder of stills that is analysed" in capsys.readouterr().err
    assert run("--source", clip, "--record", "/proc/x") == 2
    assert capsys.readouterr().err.startswith("realtime-polyp: cannot record to /proc/x: ")
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_options_that_need_a_recording_say_so(tmp_path, capsys):
    for words in (["--copy-source"], ["--pre-roll", "5"]):
        with pytest.raises(SystemExit):
            run("--source", tmp_path, *words)
        assert f"{words[0]} needs --record DIR" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--source", tmp_path, "--record", tmp_path, "--pre-roll", "5")
    assert "--pre-roll needs the window" in capsys.readouterr().err
