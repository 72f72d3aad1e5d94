"""Marking by two frames on the demo clip, whose truth is known: docs/review.md has the figures of all its stretches."""

import numpy as np
import pytest
from conftest import ROOT

from realtime_polyp.geometry import iou_matrix
from realtime_polyp.metrics.truth import read_truth
from realtime_polyp.recording.store import SessionStore
from realtime_polyp.review.fill import fill
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.runtime import RuntimeConfig, open_runtime

pytestmark = pytest.mark.slow

FIRST, LAST = 400, 480  # frames of the clip that are analysed
STRETCHES = ((3, 405, 470),)  # polyp, and the frames in which its box is drawn


def test_boxes_between_two_frames_agree_with_the_truth(tmp_path):
    store = SessionStore(tmp_path)
    runtime = open_runtime(RuntimeConfig())
    for result in runtime.results(str(ROOT / "assets" / "demo.mp4"), start_s=FIRST / 30, end_s=LAST / 30):
        store.add_result(result, session_s=result.frame.pts_s - FIRST / 30, picture_s=result.frame.pts_s)
    store.close()
    session, truth = RecordedSession(tmp_path), read_truth(ROOT / "assets" / "demo_truth.json")
    number_of = dict(zip(session.frames.source_index.tolist(), session.frames.number.tolist(), strict=True))
    overlaps = []
    for polyp, first, last in STRETCHES:
        keys = {number_of[index]: truth.frames[index].polyps[polyp] for index in (first, last)}
        filled = {one.number: one.box for one in fill(session, keys)}
        for index in range(first + 1, last):
            true, found = truth.frames[index].polyps[polyp], filled[number_of[index]]
            overlaps.append(float(iou_matrix(true[None], found[None])[0, 0]))
    assert np.mean(overlaps) > 0.8  # 0.88 when this was written
