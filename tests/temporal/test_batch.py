"""Many frames at once give what they give one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from realtime_polyp.packets import Boxes, Detections
from realtime_polyp.temporal.appearance import Appearance
from realtime_polyp.temporal.camera_motion import Motion
from realtime_polyp.temporal.config import PROBABILITIES, TemporalConfig
from realtime_polyp.temporal.track import Batch, rules_of
from realtime_polyp.temporal.tracker import Tracker, TrackerInput

COUNT, START_SCORE, FLOOR = 400, 0.4, 0.1
STATES = ("tentative", "shown", "held")


def random_batch(seed: int) -> Batch:
    """Three boxes that wander, come and go, over a camera that moves, jolts and is cut, and with jumps of the clock."""
    random = np.random.default_rng(seed)
    boxes, scores, starts = [], [], [0]
    centres = random.uniform(100, 400, (3, 2))
    is_known = random.random(COUNT) >= 0.05
    for index in range(COUNT):
        centres += random.normal(0, 4, (3, 2)) if is_known[index] else random.normal(0, 60, 2)
        there = (index // 40 + np.arange(3)) % 3 > 0
        found = [
            (random.uniform(0.05, 1.0) ** 0.3, *centre - 30, *centre + 30)
            for centre in centres[there & (random.random(3) < 0.9)]
        ]
        found.sort(reverse=True)
        boxes += [one[1:] for one in found]
        scores += [one[0] for one in found]
        starts.append(len(scores))
    camera = np.tile(np.eye(2, 3, dtype=np.float32), (COUNT, 1, 1)) + random.normal(0, 0.01, (COUNT, 2, 3))
    camera[~is_known] = np.eye(2, 3)
    return Batch(
        pts_s=np.cumsum(np.where(random.random(COUNT) < 0.01, 1.3, 0.04)),
        starts=np.array(starts, np.int64),
        boxes=np.array(boxes, np.float32),
        scores=np.array(scores, np.float32),
        camera=camera.astype(np.float32),
        zooms=np.array([Motion(one.astype(np.float32)).zoom for one in camera]),
        is_known=is_known,
        cut=random.random(COUNT) < 0.01,
        is_clear=random.random(COUNT) < 0.8,
        resets=np.zeros(COUNT, np.bool_),
        can_see=np.ones(COUNT, np.bool_),
    )


def appearance_at(entry: int, box: Boxes) -> Appearance:
    """Boxes of similar place look alike."""
    return np.asarray(np.random.default_rng(int(box[0]) // 60 + 1000).normal(size=(12, 12, 3)), np.float32)


def one_by_one(batch: Batch, config: TemporalConfig) -> NDArray[np.float64]:
    tracker, rows = Tracker(config), []
    for entry in range(COUNT):
        part = slice(batch.starts[entry], batch.starts[entry + 1])
        strong = batch.scores[part] >= np.float32(FLOOR)
        found = TrackerInput(
            Detections(batch.boxes[part][strong], batch.scores[part][strong]),
            None,
            float(batch.pts_s[entry]),
            Motion(batch.camera[entry], known=bool(batch.is_known[entry]), cut=bool(batch.cut[entry])),
            lambda box, entry=entry: appearance_at(entry, box),
            START_SCORE,
            PROBABILITIES,
            bool(batch.is_clear[entry]),
        )
        rows += [
            (entry, one.id, *one.box, one.score, STATES.index(one.state), one.age_s, one.unseen_s)
            for one in tracker.update(found)[0]
        ]
    return np.array(rows, np.float64)


@pytest.mark.parametrize("seed", range(3))
def test_many_frames_at_once_give_what_they_give_one_by_one(seed: int) -> None:
    batch, config = random_batch(seed), TemporalConfig()
    tracker, rules = Tracker(config), rules_of(config, PROBABILITIES, START_SCORE)
    parts = [
        tracker.run_batch(batch, first, first + 100, rules, FLOOR, appearance_at) for first in range(0, COUNT, 100)
    ]
    found, expected = np.concatenate(parts), one_by_one(batch, config)
    assert len(found) > COUNT and (found[:, 1] > 2).any(), "several polyps are numbered"
    np.testing.assert_array_equal(found, expected)
