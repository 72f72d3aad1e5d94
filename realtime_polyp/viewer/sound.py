"""A soft sound when an alarm starts, on by default for live sources.

QtMultimedia plays it. Not every machine has its libraries: without them, or without an audio output, the viewer shows a
message and stays silent.
"""

import io
import math
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PyQt5.QtCore import QTemporaryDir, QUrl

from realtime_polyp.system_packages import install_hint, libraries_in

if TYPE_CHECKING:
    from PyQt5.QtMultimedia import QSoundEffect

Play = Callable[[float], None]
"""Plays the sound once, at a volume of 0..1, and returns at once."""

_RATE_HZ = 44_100
_LENGTH_S = 0.35
_NOTES = ((659.3, 0.0), (880.0, 0.09))  # pitch, Hz, and start, s; rising, to announce something new
_RISE_S, _FADE_S = 0.012, 0.09
_LOUDNESS = 0.25  # of full scale
_STILL_NEWS_S = 3.0  # an alarm that began so shortly before the audio output was open is heard


class SoundError(RuntimeError):
    """No sound can be played; the message is one sentence with the cure."""


def chime_wav() -> bytes:
    """Synthesise two short notes that fade, as a WAV file, mono, 16 bit."""
    times_s = np.arange(round(_LENGTH_S * _RATE_HZ)) / _RATE_HZ
    notes = sum(_note(times_s - start_s, pitch_hz) for pitch_hz, start_s in _NOTES)
    samples = np.round(notes / np.abs(notes).max() * _LOUDNESS * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE_HZ)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def _note(times_s: np.ndarray, pitch_hz: float) -> np.ndarray:
    """A note that starts at time 0 without a click and fades."""
    envelope = np.clip(times_s / _RISE_S, 0, 1) * np.exp(-times_s.clip(0) / _FADE_S)
    return np.asarray(envelope * np.sin(2 * np.pi * pitch_hz * times_s))


def open_speaker() -> Play:
    """Open the audio output; each call of the returned function plays the chime. Raises SoundError."""
    try:
        from PyQt5.QtMultimedia import QAudioDeviceInfo, QSoundEffect
    except ImportError as error:
        libraries = libraries_in(str(error)) or ["libpulse-mainloop-glib.so.0"]
        cure = f"{install_hint(libraries)}, then start again"
        raise SoundError(f"No sound: QtMultimedia cannot be loaded ({error}): {cure}") from error
    if QAudioDeviceInfo.defaultOutputDevice().isNull():
        raise SoundError("No sound: this machine has no audio output; connect one and switch the sound on again")
    return _Speaker(QSoundEffect())


class _Speaker:
    """Plays the chime from a temporary file, as QSoundEffect plays nothing but files."""

    def __init__(self, effect: "QSoundEffect") -> None:
        self._folder, self._effect = QTemporaryDir(), effect
        path = self._folder.filePath("chime.wav")
        Path(path).write_bytes(chime_wav())
        effect.setSource(QUrl.fromLocalFile(path))

    def __call__(self, volume: float) -> None:
        self._effect.setVolume(volume)
        self._effect.play()


class AlarmSound:
    """Plays a sound for new alarms while it is switched on.

    open_speaker: returns what plays the sound, or raises SoundError.
    """

    def __init__(self, open_speaker: Callable[[], Play] = open_speaker) -> None:
        self._open_speaker = open_speaker
        self._play: Play | None = None
        self._volume = 1.0
        self._missed_s = -math.inf  # when an alarm began for which there was no audio output yet
        self.waits = False
        """It is on, and the audio output is opened by `open`."""

    @property
    def on(self) -> bool:
        return self.waits or self._play is not None

    @property
    def volume(self) -> float:
        """0..1."""
        return self._volume

    @volume.setter
    def volume(self, volume: float) -> None:
        self._volume = round(min(1.0, max(0.0, volume)), 2)

    @property
    def audible(self) -> bool:
        """Whether a new alarm is heard."""
        return self.on and self._volume > 0

    def switch(self, *, on: bool) -> None:
        """Raises SoundError where it cannot be switched on."""
        self.waits = False
        self._play = self._open_speaker() if on else None

    def switch_on_later(self) -> None:
        """Switch it on, and leave it to `open` to open the audio output, which may take a while."""
        self.waits = True

    def open(self) -> None:
        """Open the audio output that is waited for. Raises SoundError; it is off then."""
        self.switch(on=True)
        self.play(int(time.monotonic() - self._missed_s < _STILL_NEWS_S))

    def play(self, new_alarms: int) -> None:
        """Play once, however many alarms start in this frame."""
        if self._play and new_alarms:
            self._play(self._volume)
        elif self.waits and new_alarms:
            self._missed_s = time.monotonic()
