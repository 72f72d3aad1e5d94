"""The sound of a new alarm: once each, only when switched on, and a message where it cannot be played."""

import io
import sys
import wave

import numpy as np
import pytest
from fakes import RATE_HZ, results_of

from realtime_polyp.viewer import sound as sound_of_alarms
from realtime_polyp.viewer.shown_alarms import ShownAlarms
from realtime_polyp.viewer.sound import AlarmSound, SoundError, chime_wav, open_speaker


class Speaker:
    """Counts how often it plays; a `broken` one cannot be opened."""

    def __init__(self, *, broken: bool = False) -> None:
        self.played, self._broken = 0, broken

    def open(self):
        if self._broken:
            raise SoundError("No sound: the fake speaker is broken: mend it")
        return self.play

    def play(self, volume: float) -> None:
        self.played += 1
        self.volume = volume


def heard(shown: list[dict[int, float]], *, on_from: int = 0, min_score: float = 0.3) -> int:
    speaker = Speaker()
    sound, alarms = AlarmSound(speaker.open), ShownAlarms()
    for index, result in enumerate(results_of(shown)):
        if index == on_from:
            sound.switch(on=True)
        sound.play(alarms.update(result, min_score))
        sound.play(alarms.update(result, min_score))  # painted again: a live picture with the newest result
        sound.play(alarms.update(None, min_score))
    return speaker.played


def test_once_for_each_alarm() -> None:
    assert heard([{}] * 3 + [{1: 0.9}] * 20) == 1
    assert heard([{1: 0.9}] * 5 + [{1: 0.9, 2: 0.8}] * 5) == 2
    assert heard([{}] * 20) == 0


def test_a_polyp_that_blinks_plays_once_one_that_returns_late_plays_again() -> None:
    assert heard([{1: 0.9}] * 5 + [{}] * (RATE_HZ // 2) + [{1: 0.9}] * 5) == 1
    assert heard([{1: 0.9}] * 5 + [{}] * (2 * RATE_HZ) + [{1: 0.9}] * 5) == 2


def test_what_the_threshold_hides_is_not_heard() -> None:
    assert heard([{1: 0.5}] * 9, min_score=0.6) == 0


def test_switched_on_late_it_plays_nothing_for_what_is_shown_already() -> None:
    assert heard([{1: 0.9}] * 9, on_from=5) == 0
    assert heard([{1: 0.9}] * 6 + [{1: 0.9, 2: 0.9}] * 3, on_from=5) == 1


def test_switched_off_it_is_silent() -> None:
    speaker = Speaker()
    sound = AlarmSound(speaker.open)
    sound.switch(on=True)
    sound.switch(on=False)
    sound.play(1)
    assert speaker.played == 0 and not sound.on


def test_what_starts_shortly_before_the_output_is_open_is_heard_then() -> None:
    speaker = Speaker()
    sound = AlarmSound(speaker.open)
    sound.switch_on_later()
    assert sound.on and sound.audible and sound.waits
    sound.play(1)
    assert speaker.played == 0, "nothing is open yet"
    sound.open()
    assert speaker.played == 1 and sound.on and not sound.waits
    sound.switch(on=False)
    sound.switch_on_later()
    sound.switch(on=False)
    assert not sound.on and not sound.waits


def test_an_alarm_long_before_the_output_is_open_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_of_alarms, "_STILL_NEWS_S", 0.0)
    speaker = Speaker()
    sound = AlarmSound(speaker.open)
    sound.switch_on_later()
    sound.play(1)
    sound.open()
    assert speaker.played == 0


def test_an_output_that_cannot_be_opened_later_leaves_it_off() -> None:
    sound = AlarmSound(Speaker(broken=True).open)
    sound.switch_on_later()
    with pytest.raises(SoundError, match="the fake speaker is broken"):
        sound.open()
    assert not sound.on and not sound.waits


def test_the_chime_is_short_and_soft_and_does_not_click() -> None:
    with wave.open(io.BytesIO(chime_wav())) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
        assert 0.2 < file.getnframes() / file.getframerate() < 0.5
    assert 0.2 < np.abs(samples).max() < 0.3
    assert np.abs(samples[:20]).max() < 0.02 and np.abs(samples[-200:]).max() < 0.02
    assert np.abs(np.diff(samples)).max() < 0.06  # no step beyond what a soft note has


def test_without_qtmultimedia_a_sentence_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PyQt5.QtMultimedia", None)
    with pytest.raises(SoundError, match="QtMultimedia cannot be loaded .* install "):
        open_speaker()


def test_without_a_loudspeaker_a_sentence_says_so() -> None:
    multimedia = pytest.importorskip("PyQt5.QtMultimedia", exc_type=ImportError)
    if not multimedia.QAudioDeviceInfo.defaultOutputDevice().isNull():
        pytest.skip("this machine has an audio output")
    with pytest.raises(SoundError, match="no audio output"):
        open_speaker()
