"""The board's snapshot as metrics of Prometheus. They are made when somebody asks, on the thread that asks."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from realtime_polyp.telemetry.board import Board, Status
from realtime_polyp.telemetry.deadlines import limits_ms, misses_of
from realtime_polyp.telemetry.histogram import Histogram
from realtime_polyp.telemetry.summary import package_version

PREFIX = "realtime_polyp"
_BUCKETS_MS = (1, 2, 5, 10, 16.7, 20, 33.4, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000)


class BoardCollector:
    """Yields the metrics of every stream, with the label `stream`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._missed: dict[tuple[str, str], tuple[int, int]] = {}  # of a stream and a limit: its source, and the count

    def collect(self) -> Iterator[Metric]:
        statuses = self._board.snapshot()
        yield from _counters(statuses)
        yield self._misses(statuses)
        yield from _gauges(statuses)
        yield from _delays(statuses)
        info = InfoMetricFamily(PREFIX, "Version, models and engines", labels=["stream"])
        for one in statuses:
            names = {"models": " + ".join(one.models), "engines": " + ".join(one.engines)}
            info.add_metric([one.stream], {"version": package_version(), **names})
        yield info

    def _misses(self, statuses: Iterable[Status]) -> Metric:
        """The count never falls: a frame whose overlay is still to come is due, and no miss once it has come."""
        missed = CounterMetricFamily(
            f"{PREFIX}_deadline_misses",
            "Frames whose own overlay was painted too late or never",
            labels=["stream", "limit"],
        )
        for one in statuses:
            for name, limit_ms in limits_ms(one.rate_hz).items() if one.live else ():  # of a recording, nothing is late
                found = misses_of(one.pictures, one.annotation_delay_ms, limit_ms)
                source, highest = self._missed.get((one.stream, name), (one.source, 0))
                count = max(found.due - found.in_time, highest if source == one.source else 0)
                self._missed[one.stream, name] = one.source, count
                missed.add_metric([one.stream, name], count)
        return missed


def open_registry(board: Board) -> CollectorRegistry:
    """The metrics of the board and of the process: memory, processor time, open files."""
    registry = CollectorRegistry()
    registry.register(BoardCollector(board))
    ProcessCollector(registry=registry)
    return registry


def text_of(registry: CollectorRegistry) -> bytes:
    """What a scrape gets, in Prometheus' text format."""
    return generate_latest(registry)


def _counters(statuses: Iterable[Status]) -> Iterator[Metric]:
    def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
        return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=["stream", *labels])

    captured = counter("frames_captured", "Frames read from the source")
    shown = counter("frames_shown", "Frames shown, or delivered where there is no screen")
    analysed = counter("frames_analysed", "Frames that the models have analysed")
    dropped = counter("frames_dropped", "Frames not shown", "stage", "reason")
    polyps = counter("polyps", "Polyps that were shown")
    for one in statuses:
        captured.add_metric([one.stream], one.pictures.captured)
        shown.add_metric([one.stream], one.pictures.shown)
        analysed.add_metric([one.stream], one.analyses.shown)
        polyps.add_metric([one.stream], one.polyps)
        for stage, reasons in one.pictures.dropped.items():
            for reason, count in reasons.items():
                dropped.add_metric([one.stream, stage, reason], count)
    yield from (captured, shown, analysed, dropped, polyps)


def _gauges(statuses: Iterable[Status]) -> Iterator[Metric]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["stream", *labels])

    pending = gauge("frames_pending", "Frames neither shown nor dropped yet")
    state = gauge("state", "1: the state of the stream; the others are absent", "state")
    healthy = gauge("healthy", "0: the state is one in which nothing can be seen or found")
    since = gauge("state_seconds", "Time in this state")
    every = gauge("analysed_every", "Every n-th frame is analysed")
    for one in statuses:
        pending.add_metric([one.stream], one.pictures.pending)
        state.add_metric([one.stream, one.condition.name], 1)
        healthy.add_metric([one.stream], one.condition.tone != "bad")
        since.add_metric([one.stream], one.since_s)
        every.add_metric([one.stream], one.every)
    yield from (pending, state, healthy, since, every)


def _delays(statuses: Iterable[Status]) -> Iterator[Metric]:
    def histogram(name: str, text: str, *labels: str) -> HistogramMetricFamily:
        return HistogramMetricFamily(f"{PREFIX}_{name}", text, labels=["stream", *labels])

    video = histogram("video_delay_seconds", "From capture to the painted frame")
    annotation = histogram("annotation_delay_seconds", "From capture to the painted overlay of that frame")
    stages = histogram("stage_seconds", "Share of one frame in the time of each stage", "stage")
    for one in statuses:
        video.add_metric([one.stream], *_buckets(one.video_delay_ms))
        annotation.add_metric([one.stream], *_buckets(one.annotation_delay_ms))
        for stage, times in one.stages_ms.items():
            stages.add_metric([one.stream, stage], *_buckets(times))
    yield from (video, annotation, stages)


def _buckets(durations: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts up to each limit, s, and the sum, s."""
    counts = [(f"{limit / 1e3:g}", float(durations.count_within(limit))) for limit in _BUCKETS_MS]
    return [*counts, ("+Inf", float(durations.count))], durations.total_ms / 1e3
