"""Measures the review of a recorded session: a long one is made by repeating the session of a clip."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from realtime_polyp.recording.filter_settings import FACT, settings_of, to_fact
from realtime_polyp.recording.store import EncodedFrame, SessionStore, encode_result
from realtime_polyp.review.recorded import RecordedSession
from realtime_polyp.review.session_pictures import SessionPictures
from realtime_polyp.review.session_tracks import SessionTracks
from realtime_polyp.runtime import RuntimeConfig, open_runtime
from realtime_polyp.viewer.review_feed import ReviewFeed

_SEEKS, _STEPS = 30, 60
_COMMIT_FRAMES = 900
_SHIFT_PX, _SCORE_CHANGE = 3.0, 0.03
_THRESHOLDS = (0.1, 0.5, 0.2, 0.7)
_DEADLINE_S = 60.0


def measure_review(config: RuntimeConfig, clip: Path, minutes: float, folder: Path) -> dict[str, Any]:
    """Return how long it takes to open a session of so many minutes, to seek, to step back and to filter again.

    folder: takes the session and its video; it must have room for both.
    """
    video = repeat_video(clip, folder / "long.mp4", minutes * 60)
    session = folder / "session"
    frames = make_session(config, clip, video, session, minutes * 60)
    start_s = time.perf_counter()
    opened = RecordedSession(session)
    pictures, tracks = SessionPictures(opened.again()), SessionTracks(opened)
    _first_result(_feed(opened, pictures, tracks, 0.0))
    open_s = time.perf_counter() - start_s
    tracks.wait(_DEADLINE_S)
    alarms_s = time.perf_counter() - start_s
    _wait(lambda: tracks.detections(1, 0.0) is not None)
    loaded_s = time.perf_counter() - start_s
    occupied = float(np.isin(opened.frames.number, tracks.state.tracks.number).mean())
    seeks_ms, steps_ms = _seek(opened, pictures, tracks), _step_back(opened, pictures, tracks)
    shown_ms, whole_s = _filter_again(opened, tracks)
    tracks.close()
    return {
        "minutes": minutes,
        "frames": frames,
        "session_mb": round((session / "session.sqlite").stat().st_size / 2**20, 1),
        "followed_share": round(occupied, 3),
        "open_s": round(open_s, 3),
        "alarms_s": round(alarms_s, 3),
        "loaded_s": round(loaded_s, 3),
        "seek_ms": _figures(seeks_ms),
        "step_back_ms": _figures(steps_ms),
        "on_screen_ms": _figures(shown_ms),
        "whole_s": _figures(whole_s),
    }


def review_table(name: str, report: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        f"review of a session of {report['minutes']:g} minutes of {name}: {report['frames']} frames, "
        f"{report['session_mb']:g} MB, something followed in {report['followed_share']:.0%} of them",
        f"open         {report['open_s']:.2f} s to the first picture, {report['alarms_s']:.2f} s to all alarms, "
        f"{report['loaded_s']:.2f} s until thresholds can change",
    ]
    titles = {"seek_ms": "seek", "step_back_ms": "step back", "on_screen_ms": "re-threshold what is on the screen"}
    for key, title in titles.items():
        lines.append(f"{title}: {report[key]['median']:.0f} ms at the median, {report[key]['max']:.0f} ms at most")
    lines.append(f"re-threshold the whole session: {report['whole_s']['median']:.2f} s at the median")
    return "\n".join(lines)


def repeat_video(clip: Path, path: Path, seconds: float) -> Path:
    """Copy the packets of a clip again and again, without encoding, to a video of this length."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copied, base = target.add_stream_from_template(stream), stream.time_base or Fraction(1)
        shift, step = 0, 0
        while shift * base < seconds:
            source.seek(0)
            end = 0
            for packet in source.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                step = packet.duration or step
                end = max(end, packet.pts + step)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copied
                target.mux(packet)
            shift += end
    return path


def make_session(config: RuntimeConfig, clip: Path, video: Path, folder: Path, seconds: float) -> int:
    """Analyse a clip, and store its results again and again, slightly changed; returns the number of frames."""
    runtime = open_runtime(config)
    results = [(result.frame.pts_s, encode_result(result)) for result in runtime.results(clip)]
    period_s = (results[-1][0] - results[0][0]) / (len(results) - 1)
    length_s = results[-1][0] - results[0][0] + period_s
    folder.mkdir()
    store, random = SessionStore(folder), np.random.default_rng(0)
    store.set_fact("source", {"name": video.name, "path": str(video), "size_bytes": video.stat().st_size})
    store.set_fact(FACT, to_fact(settings_of(runtime.pipeline_config)))
    for repetition in range(max(1, round(seconds / length_s))):
        shift_px = random.uniform(-_SHIFT_PX, _SHIFT_PX)
        change = 1 - random.uniform(0, _SCORE_CHANGE)
        for place, (pts_s, encoded) in enumerate(results):
            time_s = pts_s - results[0][0] + repetition * length_s
            index = repetition * len(results) + place
            store.add(_changed(encoded, index, time_s, shift_px, change), session_s=time_s, picture_s=time_s)
            if index % _COMMIT_FRAMES == 0:
                store.commit()
    store.set_fact("ended", True)
    store.close()
    return store.last_number


def _changed(frame: EncodedFrame, index: int, time_s: float, shift_px: float, change: float) -> EncodedFrame:
    """The same frame elsewhere: its boxes moved, its scores lowered."""
    assert frame.cues is not None
    cut, fused, camera, appearances = frame.cues
    boxes = np.frombuffer(fused, "<f4").reshape(-1, 5).copy()
    boxes[:, :4] += shift_px
    boxes[:, 4] *= change
    tracks = tuple((*one[:1], *(value + shift_px for value in one[1:5]), *one[5:]) for one in frame.tracks)
    cues = (int(cut or (index > 0 and not frame.rest[0])), boxes.astype("<f4").tobytes(), camera, appearances)
    return replace(frame, source=(index, time_s), cues=cues, tracks=tracks)


def _feed(session: RecordedSession, pictures: SessionPictures, tracks: SessionTracks, start_s: float) -> ReviewFeed:
    feed = ReviewFeed(session.again(), pictures, tracks, start_s)
    feed.start()
    return feed


def _first_result(feed: ReviewFeed) -> int:
    """Wait for the first result of a feed and end it; returns the frame's number."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while (result := feed.next_result()) is None:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no picture came within {_DEADLINE_S:g} s")
        time.sleep(0.0005)
    feed.stop()
    _wait(feed.is_over)
    return result.frame.index


def _seek(session: RecordedSession, pictures: SessionPictures, tracks: SessionTracks) -> list[float]:
    """Go to random places; ms each, from the request to the picture with its tracks."""
    random, taken_ms = np.random.default_rng(1), []
    for start_s in random.uniform(0, session.frames.duration_s, _SEEKS):
        since = time.perf_counter()
        _first_result(_feed(session, pictures, tracks, float(start_s)))
        taken_ms.append((time.perf_counter() - since) * 1e3)
    return taken_ms


def _step_back(session: RecordedSession, pictures: SessionPictures, tracks: SessionTracks) -> list[float]:
    """Step back from the middle of the session; ms each, to the picture with its results."""
    reader, taken_ms = session.again(), []
    middle = len(session.frames) // 2
    for number in range(middle, max(1, middle - _STEPS), -1):
        since = time.perf_counter()
        reader.result(number, pictures.image(number))
        tracks.state.at(number)
        pictures.before(number)
        taken_ms.append((time.perf_counter() - since) * 1e3)
    reader.close()
    return taken_ms


def _filter_again(session: RecordedSession, tracks: SessionTracks) -> tuple[list[float], list[float]]:
    """Ask for other thresholds; ms until what is on the screen is there, and s until everything is."""
    shown_ms, whole_s = [], []
    for threshold in _THRESHOLDS:
        since = time.perf_counter()
        tracks.set(replace(tracks.recorded, score_threshold=threshold), len(session.frames) // 2)
        shown_ms.append((time.perf_counter() - since) * 1e3)
        tracks.wait(_DEADLINE_S)
        whole_s.append(time.perf_counter() - since)
    return shown_ms, whole_s


def _wait(so: Callable[[], bool]) -> None:
    """Raises TimeoutError after a minute."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while not so():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"nothing came within {_DEADLINE_S:g} s")
        time.sleep(0.0005)


def _figures(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "max": round(max(values), 3)}
