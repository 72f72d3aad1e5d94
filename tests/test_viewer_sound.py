"""The sound of a new alarm: once each, only when wanted, and a sentence where none can be heard."""

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import io
import sys
import wave
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fakes import RATE_HZ, frames_of
from hypothesis import given
from hypothesis import strategies as st

from realtime_polyp.field import whole
from realtime_polyp.packets import NO_DETECTIONS, Result, Track
from realtime_polyp.viewer.shown_alarms import ShownAlarms, merged
from realtime_polyp.viewer.sound import AlarmSound, SoundError, chime, open_speaker


class Speaker:
    """Counts what it is asked to play; `broken` cannot be opened."""

    def __init__(self, *, broken: bool = False) -> None:
        self.played, self._broken = 0, broken

    def open(self):
        if self._broken:
            raise SoundError("No sound: the fake speaker is broken: mend it")
        return self.play

    def play(self) -> None:
        self.played += 1


def results(shown: list[dict[int, float]]) -> list[Result]:
    """One a frame, of {id: score} of the tracks that it shows."""
    box = np.array([10, 10, 40, 40], np.float32)
    made, first_s = [], dict[int, float]()
    for frame, scores in zip(frames_of(len(shown)), shown, strict=True):
        first_s = {key: frame.pts_s for key in scores} | first_s
        tracks = tuple(
            Track(key, box, score, "shown", frame.pts_s - first_s[key], 0.0) for key, score in scores.items()
        )
        made.append(Result(frame, whole(frame.image), NO_DETECTIONS, tracks, None))
    return made


def heard(shown: list[dict[int, float]], *, on_from: int = 0, min_score: float = 0.3) -> int:
    speaker = Speaker()
    sound, alarms = AlarmSound(speaker.open), ShownAlarms()
    for index, result in enumerate(results(shown)):
        if index == on_from:
            sound.switch(on=True)
        sound.tell(alarms.hear(result, min_score))
        sound.tell(alarms.hear(result, min_score))  # painted again: a live picture with the newest result
        sound.tell(alarms.hear(None, min_score))
    return speaker.played


def test_once_for_each_alarm() -> None:
    assert heard([{}] * 3 + [{1: 0.9}] * 20) == 1
    assert heard([{1: 0.9}] * 5 + [{1: 0.9, 2: 0.8}] * 5) == 2
    assert heard([{}] * 20) == 0


def test_a_polyp_that_blinks_is_not_told_twice_one_that_returns_late_is() -> None:
    assert heard([{1: 0.9}] * 5 + [{}] * (RATE_HZ // 2) + [{1: 0.9}] * 5) == 1
    assert heard([{1: 0.9}] * 5 + [{}] * (2 * RATE_HZ) + [{1: 0.9}] * 5) == 2


def test_what_the_threshold_hides_is_not_heard() -> None:
    assert heard([{1: 0.5}] * 9, min_score=0.6) == 0


def test_switched_on_late_it_does_not_tell_what_has_long_been_shown() -> None:
    assert heard([{1: 0.9}] * 9, on_from=5) == 0
    assert heard([{1: 0.9}] * 6 + [{1: 0.9, 2: 0.9}] * 3, on_from=5) == 1


def test_switched_off_it_is_silent() -> None:
    speaker = Speaker()
    sound = AlarmSound(speaker.open)
    sound.switch(on=True)
    sound.switch(on=False)
    sound.tell(1)
    assert speaker.played == 0 and not sound.on


def test_a_black_picture_alarms_nobody() -> None:
    alarms = ShownAlarms()
    assert alarms.hear(replace(results([{1: 0.9}])[0], signal="black"), 0.3) == 0 and not alarms.spans


def test_spans_are_when_something_was_shown() -> None:
    alarms = ShownAlarms()
    for result in results([{}] * RATE_HZ + [{1: 0.9}] * RATE_HZ + [{}] * (2 * RATE_HZ) + [{1: 0.9, 2: 0.4}] * 6):
        alarms.hear(result, 0.5)
    period_s = 1 / RATE_HZ
    first, second = alarms.spans
    assert first == pytest.approx((1.0, 2.0)) and second == pytest.approx((4.0, 4 + 5 * period_s))


def test_what_is_watched_twice_is_marked_once() -> None:
    alarms, seen = ShownAlarms(), results([{}] * 3 + [{1: 0.9}] * 20)
    for result in [*seen[:12], *(replace(one) for one in seen)]:
        alarms.hear(result, 0.5)
    assert alarms.spans == (pytest.approx((seen[3].frame.pts_s, seen[-1].frame.pts_s)),)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6))))
def test_merged_spans_are_apart_and_cover_the_same(pairs: list[tuple[int, int]]) -> None:
    spans = tuple((float(start), float(start + length)) for start, length in pairs)
    found = merged(spans)
    assert all(before[1] < after[0] for before, after in pairwise(found))
    for half in range(100):
        inside = [any(start <= half / 2 <= end for start, end in some) for some in (spans, found)]
        assert inside[0] == inside[1]


def test_the_chime_is_short_and_soft_and_does_not_click() -> None:
    with wave.open(io.BytesIO(chime())) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert 0.2 < file.getnframes() / file.getframerate() < 0.5
    assert 0.2 < np.abs(samples).max() < 0.3
    assert np.abs(samples[:20]).max() < 0.02 and np.abs(samples[-200:]).max() < 0.02
    assert np.abs(np.diff(samples)).max() < 0.06  # no step beyond what a soft note has


def test_without_qtmultimedia_a_sentence_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyQt5.QtMultimedia", None)
    with pytest.raises(SoundError, match="QtMultimedia cannot be loaded .*apt-get install libpulse-mainloop-glib0"):
        open_speaker()


def test_without_a_loudspeaker_a_sentence_says_so() -> None:
    multimedia = pytest.importorskip("PyQt5.QtMultimedia", exc_type=ImportError)
    if not multimedia.QAudioDeviceInfo.defaultOutputDevice().isNull():
        pytest.skip("this machine has an audio output")
    with pytest.raises(SoundError, match="no audio output"):
        open_speaker()
