"""Alarms: when they begin and end, what counts as one, and which frame is their best."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import frames_of, pipeline_of
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.field_of_view import FieldOfView
from realtime_polyp.outputs import AlarmsWriter, OutputError, OutputSpec, alarm_figures, open_outputs
from realtime_polyp.outputs.paths import check_folder
from realtime_polyp.packets import NO_DETECTIONS, Frame, FrameQuality, Result, Signal, Track, TrackStatus
from realtime_polyp.pipeline import run_inline
from realtime_polyp.temporal.alarms import SAME_ALARM_S, Alarm, AlarmKeeper, score_and_sharpness, sharpness

RATE_HZ = 20
PERIOD_S = 1 / RATE_HZ
IMAGE = np.random.default_rng(0).integers(60, 200, (60, 80, 3), np.uint8)
FIELD = FieldOfView(0, 0, 80, 60)
BOX = np.float32([20, 10, 60, 50])


def track(number: int = 1, score: float = 0.8, state: TrackStatus = "shown", age_s: float = 1e3) -> Track:
    return Track(number, BOX, score, state, age_s, 0.0)


def result(
    place: float, *tracks: Track, image: np.ndarray = IMAGE, is_still: bool = False, signal: Signal = "ok",
    view: FrameQuality = "clear",
) -> Result:  # fmt: skip
    """Of the frame at `place` periods."""
    frame = Frame(round(place), place * PERIOD_S, 0.0, image, is_still)
    return Result(frame, FIELD, NO_DETECTIONS, tracks, None, signal=signal, frame_quality=view)


def play(results: list[Result], **options: object) -> list[Alarm]:
    """Every alarm that ended."""
    keeper = AlarmKeeper(period_s=PERIOD_S, **options)  # type: ignore[arg-type]
    changed = [alarm for one in results for alarm in keeper.update(one)] + list(keeper.close())
    begun = [alarm for alarm in changed if alarm.ended is None]
    ended = [alarm for alarm in changed if alarm.ended]
    assert [alarm.number for alarm in begun] == list(range(1, len(begun) + 1))
    assert sorted(alarm.number for alarm in ended) == [alarm.number for alarm in begun]
    assert not keeper.open_alarms and keeper.close() == ()
    return ended


def test_an_alarm_lasts_from_the_first_frame_that_shows_it_to_the_first_that_does_not() -> None:
    keeper = AlarmKeeper(period_s=PERIOD_S)
    assert keeper.update(result(0)) == () == keeper.update(result(1, track(-1, state="tentative")))
    (begun,) = keeper.update(result(2, track(score=0.6)))
    assert begun.ended is None and begun.start_s == begun.end_s == 2 * PERIOD_S and begun.track == 1
    assert keeper.update(result(3, track(score=0.9))) == () == keeper.update(result(4, track(state="held")))
    assert keeper.update(result(5)) == ()
    assert keeper.open_alarms[0].end_s == pytest.approx(5 * PERIOD_S)
    ended = [alarm for place in range(6, 40) for alarm in keeper.update(result(place))]
    assert [alarm.ended for alarm in ended] == ["gone"]
    assert ended[0].duration_s == pytest.approx(3 * PERIOD_S) == ended[0].shown_s
    assert ended[0].peak_score == 0.9 and ended[0].best.index == 3


@pytest.mark.parametrize(("away_s", "alarms"), [(0.5, 1), (SAME_ALARM_S, 1), (SAME_ALARM_S + PERIOD_S, 2), (3.0, 2)])
def test_a_polyp_that_comes_back_soon_goes_on_with_its_alarm(away_s: float, alarms: int) -> None:
    away = round(away_s * RATE_HZ)
    found = play([result(i, *([] if 10 <= i < 10 + away else [track()])) for i in range(30 + away)])
    assert len(found) == alarms and {alarm.track for alarm in found} == {1}
    assert sum(alarm.shown_s for alarm in found) == pytest.approx(30 * PERIOD_S)
    assert sum(alarm.duration_s for alarm in found) == pytest.approx((30 + (away if alarms == 1 else 0)) * PERIOD_S)


def test_two_polyps_at_once_are_two_alarms() -> None:
    found = play([result(i, *[track(n) for n in (1, 2) if i >= 5 * n]) for i in range(20)])
    assert [(alarm.number, alarm.track, alarm.start_s, alarm.ended) for alarm in found] == [
        (1, 1, 0.25, "end"),
        (2, 2, 0.5, "end"),
    ]
    assert all(alarm.end_s == pytest.approx(1.0) for alarm in found)


@pytest.mark.parametrize("jump_s", [-0.05, -30.0, SAME_ALARM_S + 0.1, 30.0])
def test_a_cut_or_a_seek_ends_every_alarm(jump_s: float) -> None:
    places = [*range(10), *(10 + jump_s * RATE_HZ - 1 + i for i in range(10))]
    first, second = play([result(100 + place, track()) for place in places])
    assert first.ended == "cut" and second.ended == "end"
    assert first.duration_s == pytest.approx(10 * PERIOD_S) == second.duration_s
    assert second.start_s - first.end_s == pytest.approx(jump_s - PERIOD_S)


def test_a_polyp_that_had_left_before_a_cut_was_gone() -> None:
    (alarm,) = play([*(result(i, track()) for i in range(5)), result(5), result(100)])
    assert alarm.ended == "gone" and alarm.end_s == pytest.approx(5 * PERIOD_S)


def test_a_clock_that_stands_still_is_no_cut() -> None:
    assert len(play([result(place, track()) for place in (0, 1, 1, 2)])) == 1


def test_stills_are_alarms_of_their_own() -> None:
    found = play([result(i, track(), is_still=True) for i in range(3)])
    assert [alarm.duration_s for alarm in found] == pytest.approx([PERIOD_S] * 3)


def test_a_seek_ends_every_alarm_with_its_own_reason() -> None:
    keeper = AlarmKeeper(period_s=PERIOD_S)
    for place in range(10):
        keeper.update(result(place, track()))
    (ended,) = keeper.seek()
    assert ended.ended == "seek" and ended.duration_s == pytest.approx(10 * PERIOD_S)
    (begun,) = keeper.update(result(10, track(age_s=0.0)))
    assert begun.number == 2 and begun.track == 1 and keeper.open_alarms[0].start_s == 10 * PERIOD_S


def test_a_number_is_one_polyp_however_young_its_track_is() -> None:
    """After a change of pace the tracker starts anew and finds the polyp's number again."""
    old = [result(i, track(age_s=i * PERIOD_S)) for i in range(10)]
    new = [result(15 + i, track(age_s=i * PERIOD_S)) for i in range(10)]
    assert [alarm.start_s for alarm in play([*old, *new])] == [0.0]


def test_nothing_is_announced_over_a_picture_that_is_black_or_frozen() -> None:
    assert play([result(i, track(), signal="black") for i in range(9)]) == []


def blurred(image: np.ndarray, size: int) -> np.ndarray:
    return cv2.blur(image, (size, size))


def test_the_sharper_of_two_frames_is_the_better_one() -> None:
    images = [blurred(IMAGE, 9), blurred(IMAGE, 3), blurred(IMAGE, 15)]
    measures = [sharpness(image, BOX) for image in images]
    assert measures[1] > measures[0] > measures[2] > 0
    (alarm,) = play([result(i, track(), image=image) for i, image in enumerate(images)])
    assert alarm.best.index == 1 and alarm.best.result.frame.image is images[1]
    assert alarm.best.box == tuple(BOX.tolist()) and alarm.best.score == 0.8


def test_a_frame_in_which_the_polyp_is_unseen_or_the_view_is_not_clear_is_the_best_only_for_want_of_others() -> None:
    poor = [result(0, track(score=0.9, state="held")), result(1, track(score=0.9), view="blurred")]
    assert play(poor)[0].best.index == 0
    (alarm,) = play([*poor, result(2, track(score=0.3)), result(3, track(score=0.9, state="held"))])
    assert alarm.best.index == 2 and alarm.best.score == 0.3 and alarm.peak_score == 0.9


@pytest.mark.parametrize("box", [(-30, -30, 30, 30), (70, 50, 200, 200), (200, 200, 300, 300), (5, 5, 5, 5)])
def test_a_box_beyond_the_picture_has_the_sharpness_of_what_is_in_it(box: tuple[int, ...]) -> None:
    x1, y1, x2, y2 = box
    inside = IMAGE[max(0, y1) : y2, max(0, x1) : x2]
    assert sharpness(IMAGE, np.float32(box)) == (sharpness(inside, np.float32([0, 0, 80, 60])) if inside.size else 0)


# against another way of telling the same

Sightings = list[tuple[float, dict[int, float]]]


def brute_force(frames: Sightings) -> list[tuple[float, ...]]:
    """Of each: its stretches on the screen, joined where at most SAME_ALARM_S apart, parted where the clock jumps."""
    found = []
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(frames)) if not 0 <= b[0] - a[0] <= 1.0), len(frames)]
    for begin, end in pairwise(cuts):
        part = frames[begin:end]
        stop_s = [*(pts_s for pts_s, _ in part[1:]), part[-1][0] + PERIOD_S]
        for number in {number for _, shown in part for number in shown}:
            lasting = zip(part, stop_s, strict=True)
            open_ = [(pts_s, stop, shown[number]) for (pts_s, shown), stop in lasting if number in shown]
            joined = [[open_[0]]]
            for a, b in pairwise(open_):
                if b[0] - a[1] > SAME_ALARM_S + 1e-6:
                    joined.append([])
                joined[-1].append(b)
            for one in joined:
                shown_s = sum(stop - start for start, stop, _ in one)
                found.append((one[0][0], number, one[-1][1], shown_s, max(score for *_, score in one)))
    return sorted(found)


steps_s = st.sampled_from([PERIOD_S, PERIOD_S, 0.4, 0.7, 1.0, 1.3, -0.2])
shown = st.dictionaries(st.integers(1, 3), st.sampled_from([0.2, 0.5, 0.9]), max_size=3)


@given(st.lists(st.tuples(steps_s, shown), min_size=1, max_size=40))
def test_alarms_are_those_of_a_look_at_the_whole_video(script: list[tuple[float, dict[int, float]]]) -> None:
    now_s, frames = 100.0, []
    for step_s, seen in script:
        now_s += step_s
        frames.append((now_s, seen))
    results = [
        result(pts_s / PERIOD_S, *(track(number, score) for number, score in seen.items())) for pts_s, seen in frames
    ]
    frames = [(one.frame.pts_s, seen) for one, (_, seen) in zip(results, frames, strict=True)]
    found = play(results, measure=lambda result, track: track.score)
    rows = sorted((one.start_s, one.track, one.end_s, one.shown_s, one.peak_score) for one in found)
    expected = brute_force(frames)
    assert len(rows) == len(expected)
    assert np.allclose(np.array(rows).reshape(-1, 5), np.array(expected).reshape(-1, 5))
    assert all(one.best.score == one.peak_score for one in found)


# as files


def lines_of(path: Path) -> list[dict]:  # type: ignore[type-arg]
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_on_disk_as_soon_as_its_alarm_has_ended(tmp_path: Path) -> None:
    writer = AlarmsWriter(tmp_path / "a.jsonl", period_s=PERIOD_S)
    for place in range(31):
        writer.write(result(place, *([track(score=0.25)] if 3 <= place < 8 else [])))
    assert len(lines_of(tmp_path / "a.jsonl")) == 1
    writer.close()
    writer.close()
    (line,) = lines_of(tmp_path / "a.jsonl")
    best = line.pop("best")
    assert line == {
        "format": 2,
        "alarm": 1, "track": 1, "start_s": 0.15, "end_s": 0.4, "duration_s": 0.25, "shown_s": 0.25, "peak_score": 0.25,
        "ended": "gone", "picture": None,
    }  # fmt: skip
    assert best == {"index": 3, "pts_s": 0.15, "box": BOX.tolist(), "score": 0.25}


def test_the_best_frame_is_a_picture_with_and_without_its_box(tmp_path: Path) -> None:
    smooth = blurred(IMAGE, 9)
    writer = AlarmsWriter(tmp_path / "a.jsonl", pictures=tmp_path / "new" / "pictures", period_s=PERIOD_S)
    for place in range(3):
        writer.write(result(place, track(), image=smooth))
    writer.close()
    assert lines_of(tmp_path / "a.jsonl")[0]["picture"] == "alarm-0001.jpg"
    folder = tmp_path / "new" / "pictures"
    assert sorted(path.name for path in folder.iterdir()) == ["alarm-0001-overlay.jpg", "alarm-0001.jpg"]
    plain, marked = (
        cv2.imread(str(folder / f"alarm-0001{end}.jpg"))[..., ::-1].astype(int) for end in ("", "-overlay")
    )
    height = smooth.shape[0]
    assert np.abs(plain[:height] - smooth).mean() < 3 and plain[height:].max() > 100  # the research-use notice below
    assert marked[30, 20, 1] > plain[30, 20, 1] + 50  # the box's left side is green


def test_alarms_of_the_whole_line_are_the_same_each_time(tmp_path: Path) -> None:
    """Of fakes, whose polyp is away during every fourth ten of frames."""
    texts = []
    for name in ("a", "b"):
        wanted = OutputSpec(events=tmp_path / f"{name}.jsonl")
        (writer,) = open_outputs(wanted, None)
        for one in run_inline(frames_of(160), pipeline_of()):
            writer.write(one)
        writer.close()
        texts.append((tmp_path / f"{name}.jsonl").read_text())
    assert texts[0] == texts[1] and texts[0].count("\n") >= 1
    figures = alarm_figures([writer])
    assert figures is not None and figures.count == texts[0].count("\n") and figures.median_duration_s


def test_alarms_can_be_counted_without_being_written() -> None:
    (counter,) = open_outputs(OutputSpec(count_alarms=True), None)
    assert alarm_figures([counter]) is not None and alarm_figures([]) is None
    for place in range(3):
        counter.write(result(place, track()))
    counter.close()
    assert alarm_figures([counter]).to_dict() == {
        "count": 1,
        "polyps": 1,
        "median_duration_s": pytest.approx(2 * PERIOD_S + 1 / 30, abs=1e-3),
    }


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write events to .*no/a.jsonl: No such file"):
        AlarmsWriter(tmp_path / "no" / "a.jsonl")
    writer = AlarmsWriter(Path("/dev/full"))
    writer.write(result(0, track()))
    with pytest.raises(OutputError, match="No space left"):
        writer.close()
    pictures = tmp_path / "pictures"
    writer = AlarmsWriter(tmp_path / "a.jsonl", pictures=pictures)
    writer.write(result(0, track()))
    pictures.rmdir()
    with pytest.raises(OutputError, match="pictures: it was deleted or its folder moved"):
        writer.close()


def test_a_folder_for_pictures_may_be_new_but_no_file(tmp_path: Path) -> None:
    check_folder(None)
    check_folder(tmp_path)
    check_folder(tmp_path / "new" / "deeper")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: it is a file; name a folder"):
        check_folder(tmp_path / "file")


def test_the_usual_measure_weighs_the_score_with_the_sharpness() -> None:
    one = result(0, track(score=0.5))
    assert score_and_sharpness(one, one.tracks[0]) == 0.5 * sharpness(IMAGE, BOX)
