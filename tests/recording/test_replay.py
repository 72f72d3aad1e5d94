"""A recorded session's pictures through the same engines give the recorded results again."""

import numpy as np

from realtime_polyp.folders import asset
from realtime_polyp.pipeline import run_inline
from realtime_polyp.recording import blobs
from realtime_polyp.recording.start import start_recorder
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.runtime import open_runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import FileSource

DEMO, SPAN = asset("demo.mp4"), {"start_s": 6.0, "end_s": 7.5}


def test_replay_gives_the_recorded_results_bit_for_bit(tmp_path):
    runtime = open_runtime()
    pipeline, source = runtime.pipeline(), FileSource(DEMO, **SPAN)
    recorder = start_recorder(tmp_path, str(DEMO), source, pipeline, start_s=SPAN["start_s"], waits=True)
    session = Session(source, pipeline, recorder.write, on_frame=recorder.capture)
    session.start()
    session.wait()
    recorder.close()

    recorded = RecordedSession(recorder.folder)
    frames = FileSource(recorded.original, **SPAN).frames()
    again = list(run_inline(frames, runtime.pipeline(warm=False)))
    assert len(again) == len(recorded.frames) == 45 and recorded.problems == ()
    for number, result in enumerate(again, 1):
        raw = recorded.raw(number)
        assert result.raw is not None and result.raw.frame.index == raw.frame.index
        np.testing.assert_array_equal(raw.detections.boxes, result.raw.detections.boxes)
        np.testing.assert_array_equal(raw.detections.scores, result.raw.detections.scores)
        assert blobs.encode_mask(raw.mask) == blobs.encode_mask(result.raw.mask)
        assert raw.field_of_view == result.raw.field_of_view and raw.signal == result.raw.signal
        tracks = sorted(result.tracks, key=lambda track: track.id)
        assert [(track.id, track.state) for track in recorded.tracks(number)] == [(one.id, one.state) for one in tracks]
    assert sum(len(result.raw.detections) for result in again) > 30
