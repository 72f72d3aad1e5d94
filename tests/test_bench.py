"""The benchmark's own parts; what it measures is measured by running it, never asserted here."""

import time

import numpy as np

from realtime_polyp import bench
from realtime_polyp.field import Field
from realtime_polyp.packets import NO_DETECTIONS, Frame, Result


def result(index: int) -> Result:
    frame = Frame(index, index / 30, time.monotonic(), np.zeros((2, 2, 3), np.uint8))
    return Result(frame, Field(0, 0, 2, 2), NO_DETECTIONS, (), None)


def test_memory_is_sampled_until_the_time_is_over() -> None:
    stops: list[int] = []
    watch = bench.MemoryWatch(0.05)
    watch.stop = lambda: stops.append(1)
    for index in range(100):
        watch.see(result(index))
        if stops:
            break
        time.sleep(0.002)
    assert stops, "it never said stop"
    assert len(watch.samples) > 5
    assert all(megabytes > 10 for _, megabytes in watch.samples)
    assert watch.settled() in [megabytes for _, megabytes in watch.samples]


def test_resident_memory_follows_what_is_allocated() -> None:
    before = bench.resident_mb()
    block = np.ones(64 * 2**20, np.uint8)
    assert bench.resident_mb() - before > 48
    del block


def test_the_table_names_every_stage_and_every_run() -> None:
    report = {
        "machine": {"cores": 2, "cpu": "a processor"},
        "engine": "openvino-int8",
        "models": {"detector": "d", "segmenter": "s"},
        "source": "clip.mp4",
        "frames_analysed": 9,
        "frames_captured": 10,
        "fps": 31.4,
        "decode_alone_fps": 200.0,
        "stages_ms": {"decode": {"p50": 1.0, "p95": 2.0}, "detect": {"p50": 3.25, "p95": 4.0}},
    }
    table = bench.table_of(report, [30.0, 31.4, 33.0])
    for text in ("9 of 10 frames", "30.0, 31.4, 33.0", "decode", "detect", "3.25", "2 cores, a processor"):
        assert text in table
