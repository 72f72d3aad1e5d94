"""Recordings that begin and end while a source plays, and what has just passed."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from fakes import wait_until
from media import write_clip

from realtime_polyp.pipeline import Pipeline
from realtime_polyp.recording.audit import verify_chain
from realtime_polyp.recording.control import RecordingControl, RecordSpec
from realtime_polyp.review.cue_table import recorded_settings
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.session import Session
from realtime_polyp.sources import open_source
from realtime_polyp.sources.wrapper import SourceWrapper


def play(spec, actions, *, said=None):
    """Play a source to its end; actions: {frame index: function of the control}, called before the frame is captured,
    those of `stop` when its result is there."""
    source, pipeline = open_source(spec.source), Pipeline(None, None)
    control = RecordingControl(spec, pipeline, said.append if said is not None else lambda text: None)
    control.attach(source)

    def capture(frame):
        if frame.index in actions and actions[frame.index] is not RecordingControl.stop:
            actions[frame.index](control)
        control.capture(frame)

    def write(result):
        control.write(result)
        if actions.get(result.frame.index) is RecordingControl.stop:
            control.stop()

    session = Session(source, pipeline, write, on_frame=capture)
    session.start()
    session.wait()
    assert control.close(20.0)
    return control


def sessions(folder):
    return [RecordedSession(one) for one in sorted(folder.iterdir())]


def until_on(control):
    control.start()
    deadline_s = time.monotonic() + 20
    while control.recorder is None and time.monotonic() < deadline_s:
        time.sleep(0.01)


def test_recording_begins_and_ends_while_a_file_plays(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=30)
    said = []
    spec = RecordSpec(tmp_path / "out", str(clip))
    play(spec, {10: until_on, 20: RecordingControl.stop}, said=said)
    (session,) = sessions(tmp_path / "out")
    frames = session.frames
    assert session.ended and frames.source_index[0] == 10 and 11 <= len(frames) <= 20 and frames.session_s[0] == 0
    assert session.original == clip and session.problems == () and verify_chain(session) == ()
    assert [text.split(" ")[0] for text in said] == ["Recording", "Recorded"]


def test_a_folder_that_was_named_from_the_current_one_is_said_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, clip = [], write_clip(tmp_path / "a.mp4", count=30)
    play(RecordSpec(Path("out"), str(clip)), {10: until_on, 20: RecordingControl.stop}, said=said)
    (session,) = (tmp_path / "out").iterdir()
    assert said == [f"Recording to {session}", f"Recorded in {session}"]


def test_what_has_just_passed_is_kept(tmp_path):
    """Frames, results and pictures of the second before the key are there, with the event that marks it."""
    said = []
    spec = RecordSpec(tmp_path / "out", "pattern:160x120@25:4", pre_roll_s=1.0)
    play(spec, {60: RecordingControl.keep}, said=said)
    (session,) = sessions(tmp_path / "out")
    frames = session.frames
    assert session.ended and verify_chain(session) == () and not any("missing" in one for one in session.problems)
    assert frames.source_index[-1] == 99 and 25 <= frames.source_index[0] < 60 and frames.session_s[0] == 0
    assert np.isfinite(frames.picture_s).any() and 0 <= np.nanmin(frames.picture_s) < 1.5
    assert session.facts["pre_roll_s"] > 0.2
    events = session.database.execute("SELECT kind, detail FROM events").fetchall()
    assert ("keep", '{"seconds": 1.0}') in events and "Recording, with the last 1 s before now" in said


def test_what_is_known_of_a_recording_with_a_past_is_as_of_when_it_begins(tmp_path):
    """The threshold was changed long before, and the hold while it records."""

    def change(control):
        control._pipeline.set_score_threshold(0.9)
        control._pipeline.set_times(0.3, None)

    opened = datetime.now(UTC)
    spec = RecordSpec(tmp_path / "out", "pattern:160x120@25:4", pre_roll_s=0.5)
    later = {10: change, 60: RecordingControl.keep, 90: lambda control: control._pipeline.set_times(0.3, 1.5)}
    play(spec, later)
    (session,) = sessions(tmp_path / "out")
    settings = recorded_settings(session)
    assert settings.score_threshold == session.facts["pipeline"]["score_threshold"] == 0.9
    assert settings.temporal is not None and settings.temporal.confirm_s == 0.3
    started_s = (datetime.fromisoformat(session.facts["start_utc"]) - opened).total_seconds()
    assert started_s > 1  # 60 frames after the source was opened, without half a second
    states = [
        json.loads(detail) for (detail,) in session.database.execute("SELECT detail FROM events WHERE kind = 'state'")
    ]
    assert [(one["state"], one["value"]) for one in states] == [("hold_s", 1.5)]


def test_stretch_is_marked_while_recording(tmp_path):
    spec = RecordSpec(tmp_path / "out", str(write_clip(tmp_path / "a.mp4", count=20)))
    play(spec, {0: until_on, 15: RecordingControl.keep})
    (session,) = sessions(tmp_path / "out")
    ((session_s,),) = session.database.execute("SELECT session_s FROM events WHERE kind = 'keep'").fetchall()
    assert 0 <= session_s < 2 and len(session.frames) == 20


def test_folder_that_cannot_be_written_is_said_and_playing_goes_on(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=10)
    said = []
    with pytest.raises(ValueError, match="it is a file"):
        play(RecordSpec(clip, str(clip)), {2: RecordingControl.start}, said=said)
    assert len(said) == 1 and "it is a file; name a folder" in said[0]


class Broken(SourceWrapper):
    """A source whose driver does not say how large its pictures are."""

    @property
    def size(self):
        raise RuntimeError("the driver is gone")


def test_whatever_fails_at_the_start_is_said_and_leaves_nothing_behind(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=10)
    said, source = [], open_source(str(clip))
    control = RecordingControl(RecordSpec(tmp_path / "out", str(clip)), Pipeline(None, None), said.append)
    control.attach(Broken(source))
    control.start()
    wait_until(lambda: bool(said))
    assert said == [f"cannot record to {tmp_path / 'out'}: RuntimeError: the driver is gone"]
    assert control.failure == said[0] and not control.is_on and list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ValueError, match="the driver is gone"):
        control.close(20.0)
    source.close()


def test_a_recording_that_failed_is_a_failure_until_another_one_begins(tmp_path):
    clip = write_clip(tmp_path / "a.mp4", count=10)
    source = open_source(str(clip))
    control = RecordingControl(RecordSpec(clip, str(clip)), Pipeline(None, None))
    control.attach(source)
    assert control.failure is None
    control.start()
    deadline_s = time.monotonic() + 20
    while control.failure is None and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert "it is a file; name a folder" in control.failure
    control.spec = RecordSpec(tmp_path / "sessions", str(clip))
    until_on(control)
    assert control.failure is None and control.recorder is not None
    assert control.close(20.0)
    source.close()
