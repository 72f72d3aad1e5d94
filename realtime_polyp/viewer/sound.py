"""A soft sound when an alarm begins, for whoever asks for it.

Played by QtMultimedia, which needs libraries that not every machine has: without them, or without a loudspeaker, the
viewer says so once and stays silent.
"""

import io
import wave
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PyQt5.QtCore import QTemporaryDir, QUrl

if TYPE_CHECKING:
    from PyQt5.QtMultimedia import QSoundEffect

Play = Callable[[], None]

_RATE_HZ = 44_100
_LENGTH_S = 0.35
_NOTES = ((659.3, 0.0), (880.0, 0.09))  # Hz, and when each begins, s: upwards, as something that has come
_RISE_S, _FADE_S = 0.012, 0.09
_LOUDNESS = 0.25  # of full scale


class SoundError(RuntimeError):
    """Nothing can be heard here; the message is one sentence with the cure."""


class AlarmSound:
    """Plays while it is on."""

    def __init__(self, open_player: Callable[[], Play] | None = None) -> None:
        self._open_player = open_player or open_speaker
        self._play: Play | None = None

    @property
    def on(self) -> bool:
        return self._play is not None

    def switch(self, *, on: bool) -> None:
        """Raises SoundError when it is to be on and cannot be."""
        self._play = self._open_player() if on else None

    def tell(self, begun: int) -> None:
        """Once, however many alarms begin in this frame."""
        if self._play and begun:
            self._play()


def chime() -> bytes:
    """A WAV file of two short notes that fade, mono 16 bit."""
    times_s = np.arange(round(_LENGTH_S * _RATE_HZ)) / _RATE_HZ
    notes = sum(_note(times_s - begins_s, pitch_hz) for pitch_hz, begins_s in _NOTES)
    samples = np.round(notes / np.abs(notes).max() * _LOUDNESS * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(_RATE_HZ)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def _note(times_s: np.ndarray, pitch_hz: float) -> np.ndarray:
    """Silent before 0; it swells instead of clicking, and dies away."""
    envelope = np.clip(times_s / _RISE_S, 0, 1) * np.exp(-times_s.clip(0) / _FADE_S)
    return np.asarray(envelope * np.sin(2 * np.pi * pitch_hz * times_s))


def open_speaker() -> Play:
    """Plays the chime at each call and returns at once. Raises SoundError."""
    try:
        from PyQt5.QtMultimedia import QAudioDeviceInfo, QSoundEffect
    except ImportError as error:
        cure = "on Debian, apt-get install libpulse-mainloop-glib0"
        raise SoundError(f"No sound: QtMultimedia cannot be loaded ({error}): {cure}") from error
    if QAudioDeviceInfo.defaultOutputDevice().isNull():
        raise SoundError("No sound: this machine has no audio output: connect one and switch the sound on again")
    return _Speaker(QSoundEffect())


class _Speaker:
    """Keeps the chime as a file, which is all that QSoundEffect plays, for as long as it may be heard."""

    def __init__(self, effect: "QSoundEffect") -> None:
        self._folder, self._effect = QTemporaryDir(), effect
        path = self._folder.filePath("chime.wav")
        Path(path).write_bytes(chime())
        effect.setSource(QUrl.fromLocalFile(path))

    def __call__(self) -> None:
        self._effect.play()
