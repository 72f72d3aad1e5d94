"""Soak: a live stream in the window for hours, recorded, with the questions that only hours answer.

The clip is sent over loopback as MPEG-TS, each packet when it is due, so that everything a real stream passes is under
test: network, decoder, models, window, recorder. The window runs in a process of its own (`soak_child.py`).
"""

import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from realtime_polyp.bench.commands import module_command, run_json_command
from realtime_polyp.bench.paced import screen
from realtime_polyp.bench.table import align, misses_text
from realtime_polyp.runtime import RuntimeConfig

MOST_DELAY_GROWTH = 1.10
"""p99 of the annotation delay in the last sixth, relative to the first sixth after the warm-up."""
MOST_MEMORY_GROWTH_MB = 20.0
"""From the end of the warm-up to the median of the last quarter of what follows."""

SOAK_KEY_EVERY = 30
"""Frames from one keyframe of the clip to the next, as streams have them: packets that come too late are skipped up to
the next one."""

_TICKS_HZ = 90_000
_CONNECT_S = 120.0


def measure_soak(config: RuntimeConfig, clip: Path, hours: float, rates_hz: list[int]) -> dict[str, Any]:
    """Soak at each frame rate in turn, `hours` each. Returns {"25": report, ...}; `verdicts` says what failed."""
    return {f"{rate_hz}": _soak_at(config, clip, hours, rate_hz) for rate_hz in rates_hz}


def _soak_at(config: RuntimeConfig, clip: Path, hours: float, rate_hz: int) -> dict[str, Any]:
    with screen() as (name, environment), sent_over_loopback(clip, rate_hz) as address:
        with tempfile.TemporaryDirectory() as folder:
            given = {"config": asdict(config), "source": address, "length_s": hours * 3600, "rate_hz": rate_hz}
            words = json.dumps(given | {"folder": folder})
            command = module_command("realtime_polyp.bench.soak_child", words)
            report = run_json_command(command, environment=environment, quiet=False)
    return {"hours": hours, "rate_hz": rate_hz, "screen": name, **report, "verdicts": verdicts_of(report)}


def verdicts_of(report: dict[str, Any]) -> list[str]:
    """One sentence for each thing that grew or was lost; none: the soak has passed."""
    found = []
    first, last = (report[name]["annotation_delay_ms"]["p99"] for name in ("first", "last"))
    if first is None or last is None:
        found.append("no overlay was painted in the first or in the last sixth")
    elif last > MOST_DELAY_GROWTH * first:
        found.append(f"the annotation delay (p99) grew from {first:.0f} to {last:.0f} ms")
    samples = [one for one in report["samples"] if one["s"] >= report["warm_s"]]
    grown = statistics.median(one["memory_mb"] for one in _ends(samples)[1]) - samples[0]["memory_mb"]
    if grown > MOST_MEMORY_GROWTH_MB:
        found.append(f"memory grew by {grown:.0f} MB after the first {report['warm_s']:.0f} s")
    for what in ("threads", "files"):
        early, late = (statistics.median(one[what] for one in part) for part in _ends(samples))
        if late > early:
            found.append(f"the number of {what} grew from {early:g} to {late:g}")
    for name, tally in (("pictures", report["pictures"]), ("analyses", report["analyses"])):
        sums = tally["shown"] + tally["dropped"] + tally["pending"]
        if tally["captured"] != sums or tally["pending"]:
            found.append(f"the account of {name} is not exact: {tally}")
    late = report["pictures"]["reasons"].get("decode", {}).get("late", 0)  # packets that were skipped: no pictures
    lacking = report["pictures"]["captured"] - late - report["recording"]["frames"]
    if lacking:
        found.append(f"the recording lacks {lacking} of the frames that were captured")
    return [*found, *(f"the recording: {problem}" for problem in report["recording"]["problems"])]


def soak_table(name: str, reports: dict[str, Any]) -> str:
    """The figures, and what failed."""
    return "\n\n".join(_table(name, report) for report in reports.values())


def _table(name: str, report: dict[str, Any]) -> str:
    samples = [one for one in report["samples"] if one["s"] >= report["warm_s"]]
    first, last = samples[0], samples[-1]
    rows = [
        (what, *(_ms(report[part][delay][percent]) for percent in ("p50", "p99", "max")))
        for what, part, delay in (
            ("overlay, first sixth", "first", "annotation_delay_ms"),
            ("overlay, last sixth", "last", "annotation_delay_ms"),
            ("picture, first sixth", "first", "video_delay_ms"),
            ("picture, last sixth", "last", "video_delay_ms"),
        )
    ]
    pictures, analyses = report["pictures"], report["analyses"]
    return "\n".join(
        [
            f"{name} at {report['rate_hz']} frames/s, {report['hours']:g} h, recorded, screen: {report['screen']}",
            f"captured {pictures['captured']}, shown {pictures['shown']}, analysed {analyses['shown']}; at the end one "
            f"frame in {report['every']} is analysed",
            f"not shown: {pictures['reasons'] or 'nothing'}; not analysed: {analyses['reasons'] or 'nothing'}",
            f"deadline misses: {misses_text(report['misses'])}",
            f"memory {first['memory_mb']:.0f} to {last['memory_mb']:.0f} MB, threads {first['threads']} to "
            f"{last['threads']}, open files {first['files']} to {last['files']}; cores busy {report['cores_busy']:.2f}",
            f"recording: {report['recording']['frames']} frames; left out: {report['recording']['left_out']}",
            align(("delay, ms", "p50", "p99", "max"), rows),
            *(f"FAILED: {verdict}" for verdict in report["verdicts"]),
            *([] if report["verdicts"] else ["passed"]),
        ]
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ends(samples: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first and the last quarter of the samples, at least one each."""
    count = max(1, len(samples) // 4)
    return samples[:count], samples[-count:]


@contextmanager
def sent_over_loopback(clip: Path, rate_hz: int) -> Iterator[str]:
    """Send a clip in a loop over TCP, at this frame rate; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(_CONNECT_S)
        sender = _Sender(clip, rate_hz, listening)
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            sender.close()


class _Sender:
    """Sends on a thread, to one client after the other, until it is closed."""

    def __init__(self, clip: Path, rate_hz: int, listening: socket.socket) -> None:
        self._clip, self._rate_hz, self._listening = clip, rate_hz, listening
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._listening.close()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                client, _ = self._listening.accept()
            except OSError:  # nobody came, or it is closed
                return
            with (
                client,
                client.makefile("wb", buffering=0) as wire,
                suppress(OSError, av.error.FFmpegError, ValueError),
            ):
                self._send(wire)  # until the client goes; it may come back

    def _send(self, wire: Any) -> None:
        began_s, sent = time.monotonic(), 0
        with av.open(wire, "w", format="mpegts", options={"flush_packets": "1"}) as target:
            stream = None
            while not self._end.is_set():
                with av.open(str(self._clip)) as source:
                    video = source.streams.video[0]
                    stream = stream or target.add_stream_from_template(video)
                    sent = self._send_once(source, video, target, stream, sent, began_s)

    def _send_once(self, source: Any, video: Any, target: Any, stream: Any, sent: int, began_s: float) -> int:
        """Send the clip once; returns how many frames were sent in all. Times are those of a steady `rate_hz`."""
        step = Fraction(_TICKS_HZ, self._rate_hz)
        period, begin, first = 1 / (video.average_rate * video.time_base), None, sent
        for packet in source.demux(video):
            if packet.dts is None or self._end.wait(max(0.0, began_s + sent / self._rate_hz - time.monotonic())):
                continue
            begin = packet.dts if begin is None else begin
            packet.dts, packet.pts = (
                round((first + (time - begin) / period) * step) for time in (packet.dts, packet.pts)
            )
            packet.time_base, packet.stream = Fraction(1, _TICKS_HZ), stream
            target.mux(packet)
            sent += 1
        return sent
