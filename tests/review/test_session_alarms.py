import numpy as np
import pytest

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result, Track
from realtime_polyp.review.alarms import find_alarms
from realtime_polyp.review.recorded import FrameTable
from realtime_polyp.review.timeline_data import timeline_of
from realtime_polyp.review.tracks import STATES, table_of
from realtime_polyp.temporal.alarms import Alarm, AlarmKeeper

COUNT, PERIOD_S = 600, 1 / 25


def random_session(seed: int) -> tuple[FrameTable, np.ndarray]:
    """A table of frames with cuts, gaps and black pictures, and rows of tracks that come and go."""
    random = np.random.default_rng(seed)
    steps = np.where(random.random(COUNT) < 0.01, 1.5, PERIOD_S)
    times_s = np.cumsum(steps) - steps[0]
    numbers = np.arange(1, COUNT + 1)
    frames = FrameTable(
        number=numbers,
        source_index=numbers - 1,
        pts_s=times_s,
        session_s=times_s,
        picture_s=times_s,
        continues=random.random(COUNT) > 0.01,
        analysed=np.ones(COUNT, np.bool_),
        signal=np.where(random.random(COUNT) < 0.02, "black", "ok"),
        quality=np.where(random.random(COUNT) < 0.2, "blurred", "clear"),
        best_score=np.zeros(COUNT, np.float32),
    )
    rows = []
    for track in (1, 2, 3):
        present = np.repeat(random.random(COUNT // 15) < 0.5, 15) & (random.random(COUNT) < 0.8)
        rows += [
            (number, track, 1, 2, 30, 40, random.random(), random.integers(0, 3), 0.0, 0.0)
            for number in numbers[present]
        ]
    return frames, np.array(sorted(rows), np.float64)


def alarms_as_live(frames: FrameTable, rows: np.ndarray) -> list[Alarm]:
    keeper = AlarmKeeper(period_s=PERIOD_S, measure=lambda result, track: track.score)
    ended: list[Alarm] = []
    for row, number in enumerate(frames.number):
        frame = Frame(
            int(number), frames.pts_s[row], 0.0, np.zeros((50, 60, 3), np.uint8), continues=frames.continues[row]
        )
        # Ages rise all the time, so that no track is taken for a younger one of the same id.
        tracks = tuple(
            Track(int(one[1]), one[2:6].astype(np.float32), one[6], STATES[int(one[7])], 1e6 + frame.pts_s, 0.0)
            for one in rows[rows[:, 0] == number]
        )
        field, signal, quality = FieldOfView(0, 0, 60, 50), str(frames.signal[row]), str(frames.quality[row])
        result = Result(frame, field, NO_DETECTIONS, tracks, None, signal=signal, frame_quality=quality)  # type: ignore[arg-type]
        ended += [alarm for alarm in keeper.update(result) if alarm.ended]
    return sorted((*ended, *keeper.close()), key=lambda alarm: alarm.number)


@pytest.mark.parametrize("seed", range(4))
def test_alarms_of_a_session_are_those_of_the_live_rules(seed):
    frames, rows = random_session(seed)
    expected = alarms_as_live(frames, rows)
    found = find_alarms(frames, table_of(rows))
    assert len(found) == len(expected) > 10
    for one, live in zip(found, expected, strict=True):
        assert (one.number, one.track) == (live.number, live.track)
        assert one.start_s == live.start_s and one.end_s == pytest.approx(live.end_s)
        assert one.shown_s == pytest.approx(live.shown_s) and one.peak_score == live.peak_score
        assert one.best == live.best.index and one.box == live.best.box


def test_timeline_holds_curves_alarms_and_marks():
    frames, rows = random_session(0)
    alarms = find_alarms(frames, table_of(rows))
    timeline = timeline_of(frames, alarms, [(3.0, "later"), (1.0, "look")], alarms[:1])
    assert timeline.alarms[0] == (alarms[0].start_s, alarms[0].end_s, alarms[0].track)
    assert timeline.marks == ((1.0, "look"), (3.0, "later")) and len(timeline.other_alarms) == 1
    assert timeline.times_s is frames.session_s
