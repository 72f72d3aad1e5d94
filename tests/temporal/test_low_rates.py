"""At a few frames per second one good look is enough; at usual rates nothing changes, bit for bit."""

import numpy as np
import pytest
from test_batch import COUNT, FLOOR, START_SCORE, appearance_at, one_by_one, random_batch

from realtime_polyp.packets import Detections
from realtime_polyp.temporal import tracker as tracker_module
from realtime_polyp.temporal.config import PROBABILITIES, TemporalConfig
from realtime_polyp.temporal.track import rules_of
from realtime_polyp.temporal.tracker import Tracker, TrackerInput

BOX = np.array([[100, 100, 180, 170]], np.float32)


def shown(rate_hz: float, scores: list[float], *, is_clear: bool = True, first_s: float = 0.0) -> list[bool]:
    """Whether a polyp is shown in each frame. scores: of the one box in each frame; 0: there is none."""
    tracker, found = Tracker(TemporalConfig()), []
    for index, score in enumerate(scores):
        count = int(score > 0)
        boxes = Detections(BOX[:count] + 150 * index, np.full(count, score, np.float32))  # never twice in one place
        frame = TrackerInput(
            boxes, None, first_s + index / rate_hz, start_score=0.3, evidence=PROBABILITIES, is_clear=is_clear
        )
        found.append(any(track.visible for track in tracker.update(frame)[0]))
    return found


@pytest.mark.parametrize("rate_hz", [0.5, 1, 29.97 / 30, 2, 5])
def test_a_polyp_in_one_frame_is_shown_at_a_low_rate(rate_hz: float) -> None:
    assert shown(rate_hz, [0, 0, 0, 0.96, 0, 0.96, 0]) == [False, False, False, True, False, True, False]
    assert shown(rate_hz, [0, 0, 0, 0.94, 0, 0.4, 0]) == [False, False, False, True, False, False, False]
    assert not any(shown(rate_hz, [0, 0, 0, 0.96, 0], is_clear=False))


@pytest.mark.parametrize("rate_hz", [8, 25, 60])
def test_a_polyp_in_one_frame_is_not_shown_at_a_usual_rate(rate_hz: float) -> None:
    assert not any(shown(rate_hz, [0, 0, 0, 0.99, 0, 0.99, 0]))


@pytest.mark.parametrize("rate_hz", [25, 60])
def test_nothing_changes_at_usual_rates(monkeypatch: pytest.MonkeyPatch, rate_hz: float) -> None:
    batch, config = at_rate(0, rate_hz), TemporalConfig()
    found = one_by_one(batch, config)
    monkeypatch.setattr(tracker_module, "evidence_of_one", lambda *_: 0.0)
    np.testing.assert_array_equal(found, one_by_one(batch, config))
    assert len(found) > COUNT


@pytest.mark.parametrize("rate_hz", [1])
def test_many_frames_at_once_give_what_they_give_one_by_one(monkeypatch: pytest.MonkeyPatch, rate_hz: float) -> None:
    batch, config = at_rate(1, rate_hz), TemporalConfig()
    expected = one_by_one(batch, config)
    tracker, rules = Tracker(config), rules_of(config, PROBABILITIES, START_SCORE)
    parts = [tracker.run_batch(batch, first, first + 50, rules, FLOOR, appearance_at) for first in range(0, COUNT, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    monkeypatch.setattr(tracker_module, "evidence_of_one", lambda *_: 0.0)
    assert not np.array_equal(one_by_one(batch, config), expected), "the rate makes a difference"


def at_rate(seed: int, rate_hz: float):  # type: ignore[no-untyped-def]
    """The random boxes of `test_batch` at another rate, with gaps of 1.3 s and of 0.4 s, never two in a row."""
    random = np.random.default_rng(seed)
    gaps = random.choice([1, 0.4 * rate_hz, 1.3 * rate_hz], COUNT, p=[0.98, 0.01, 0.01])
    gaps[1:][gaps[:-1] > 1] = 1
    return random_batch(seed)._replace(pts_s=np.cumsum(gaps / rate_hz))
