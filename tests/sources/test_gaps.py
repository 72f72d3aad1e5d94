"""What is missing in a recording is told with its place; a recording whose rate varies is not called damaged."""

from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import write_clip

from realtime_polyp.sources import FileSource
from realtime_polyp.sources.gaps import find_gaps

VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "20"}}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
H264 = {"options": {"g": "10", "bf": "2", "preset": "ultrafast"}}
KINDS: dict[str, dict[str, Any]] = {
    "vp9.mkv": VP9,
    "mjpeg.mkv": MJPEG,
    "mjpeg.avi": MJPEG,
    "h264.mp4": H264,
    "h264.mkv": H264,
    "h264.ts": H264,
}


def without(source: Path, dropped: range) -> Path:
    """A copy of the file without these packets, counted in the order of the file."""
    copy = source.with_name(f"hole.{source.name}")
    with av.open(str(source)) as given, av.open(str(copy), "w") as kept:
        stream = given.streams.video[0]
        out = kept.add_stream_from_template(stream)
        for number, packet in enumerate(given.demux(stream)):
            if number not in dropped and packet.size:
                packet.stream = out
                kept.mux(packet)
    return copy


def warning_of(path: Path, **options: float) -> str | None:
    source = FileSource(path, **options)  # type: ignore[arg-type]
    assert list(source.frames())
    return source.warning


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rate", [1, 25, 30, 60])
def test_a_hole_is_told_with_its_place_and_a_whole_file_is_silent(tmp_path: Path, name: str, rate: int) -> None:
    path = write_clip(tmp_path / name, count=50, size=(64, 48), rate=rate, **KINDS[name])
    assert warning_of(path) is None
    told = warning_of(without(path, range(20, 30)))  # whole groups of pictures
    assert told is not None
    assert f"{10 / rate:.2f} s are missing, from {20 / rate:.2f} s to {30 / rate:.2f} s" in told


@pytest.mark.parametrize("name", ["vp9.mkv", "mjpeg.mkv", "h264.mp4", "h264.ts"])
@pytest.mark.parametrize("dropped", [range(13, 16), range(41, 44)])
def test_a_few_missing_pictures_are_told_anywhere(tmp_path: Path, name: str, dropped: range) -> None:
    path = write_clip(tmp_path / name, count=50, size=(64, 48), rate=30, **KINDS[name])
    told = warning_of(without(path, dropped))
    assert told is not None and " s are missing, from " in told


@pytest.mark.parametrize("name", ["vp9.mkv", "mjpeg.mkv"])
def test_a_hole_at_the_start_is_told_as_one(tmp_path: Path, name: str) -> None:
    path = without(write_clip(tmp_path / name, count=50, size=(64, 48), rate=25, **KINDS[name]), range(20))
    assert warning_of(path) == (
        f"hole.{name} is damaged after 0.00 s (30 frames could be read): its first picture comes late, "
        "so the first 0.80 s are missing."
    )


def test_no_frame_continues_over_a_hole(tmp_path: Path) -> None:
    path = without(write_clip(tmp_path / "a.mkv", count=60, size=(64, 48), rate=10, **MJPEG), range(20, 40))
    marks = [frame.continues for frame in FileSource(path).frames()]
    assert [number for number, continues in enumerate(marks) if not continues] == [0, 20]


def test_no_frame_continues_over_a_clock_that_begins_anew(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", count=20, size=(64, 48), rate=10, **H264)
    path.write_bytes(path.read_bytes() * 2)
    marks = [frame.continues for frame in FileSource(path).frames()]
    assert [number for number, continues in enumerate(marks) if not continues] == [0, 20]


def test_a_hole_of_minutes_keeps_the_times_behind_it(tmp_path: Path) -> None:
    times_ms = [*range(0, 1000, 40), *range(76000, 77000, 40)]
    frames = FileSource(write_clip(tmp_path / "a.mkv", count=50, times_ms=times_ms, **MJPEG)).frames()
    assert [round(frame.pts_s * 1000) for frame in frames] == times_ms


def test_only_the_part_that_is_read_is_judged(tmp_path: Path) -> None:
    path = without(write_clip(tmp_path / "a.mkv", count=60, size=(64, 48), rate=10, **MJPEG), range(20, 30))
    assert warning_of(path, end_s=1.9) is None
    assert warning_of(path, start_s=3.2) is None
    assert "from 2.00 s to 3.00 s" in (warning_of(path, start_s=0.5, end_s=5.0) or "")


TICK_S = 1 / 90000
STEADY = [1 / 30] * 200


def gaps_of(steps: list[float], *, joins: bool = False, keys: bool = False) -> list[tuple[float, float]]:
    times = np.round(np.array([0.0, *accumulate(steps)]) / TICK_S) * TICK_S
    found = find_gaps([(times, np.full(len(times), keys))], joins_begin_with_keys=joins)
    return [(round(gap.begin_s, 2), round(gap.missing_s, 2)) for gap in found]


def noise(seed: int, count: int, spread: float) -> list[float]:
    return list((1 / 30) * np.random.default_rng(seed).uniform(1 - spread, 1 + spread, count))


@pytest.mark.parametrize(
    "steps",
    [
        [1 / 24 * factor for factor in [0.8, 1.2] * 100],  # telecined film
        STEADY + [1 / 30 * factor for factor in [1, 1.5] * 5],  # a little of it
        [1 / 30 * factor for factor in [1, 1, 1, 2] * 50],  # equal pictures left out
        STEADY[:90] + [0.001] + STEADY[:90],  # a picture stored twice
        [float(v) for v in np.random.default_rng(1).choice([1, 1, 1, 2, 5, 30], 300) / 30],  # a recorder of screens
        noise(2, 300, 0.3),  # a camera with a clock of its own
        [*noise(3, 150, 0.3), 3 / 30, *noise(4, 150, 0.3)],  # that dropped two pictures
        [3600.0] * 50,  # time lapse
        [0.04, 0.2, 0.04],  # too few to tell
        [],
    ],
)
def test_recordings_whose_rate_varies_are_not_damaged(steps: list[float]) -> None:
    assert gaps_of(steps) == []


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([*STEADY, 2 / 30, *STEADY], [(6.7, 0.03)]),
        ([*STEADY, 4 + 1 / 30, *STEADY], [(6.7, 4.0)]),
        (
            [*noise(3, 150, 0.2), 4.0, *noise(4, 150, 0.2)],
            [(pytest.approx(5.03, abs=0.15), pytest.approx(3.97, abs=0.01))],
        ),
        ([1.0] * 20 + [2.0] + [1.0] * 20, [(21.0, 1.0)]),
        ([1 / 30] * 12 + [0.5] + [1 / 30] * 3, [(0.43, 0.47)]),
    ],
)
def test_a_jump_in_even_steps_is_found(steps: list[float], expected: list[tuple[float, float]]) -> None:
    assert gaps_of(steps) == expected


def test_a_short_gap_before_a_key_picture_may_be_a_join() -> None:
    steps = [*STEADY, 2 / 30, *STEADY]
    assert gaps_of(steps, joins=True, keys=True) == []
    assert gaps_of(steps, joins=True, keys=False) == [(6.7, 0.03)]
