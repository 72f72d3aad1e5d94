"""Analyses a recording ahead of the person who watches it: key pictures, then samples of all of it, then every frame.

The key pictures come within seconds, the samples soon after, and they show where a polyp may be. There every frame is
analysed next, as it would be while playing, and then everywhere else.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from realtime_polyp.packets import Frame, Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources.base import Source, SourceError
from realtime_polyp.temporal.alarms import SAME_ALARM_S, AlarmKeeper

Span = tuple[float, float]
OpenPart = Callable[[float, float | None], Source]
"""Opens the part of the recording from a start to an end, s; the end is None for all of it. Raises SourceError."""

_MOST_SAMPLES = 1500
_CLOSEST_S, _FARTHEST_S = 0.25, 1.0  # between samples
_REPORTED = 8  # results per report
_LIKELY = 0.6  # of the threshold: a sample with a score above this is looked at more closely
_MARGIN_S = 0.75  # and so much around it
_PRE_ROLL_S = 1.0  # analysed before a part, so that the tracker is ready where it begins
_SKIPPED_S = 10.0  # left out where a frame fails: more than the frames under way and the pre-roll
_FAILURES_ALLOWED = 3  # consecutive


@dataclass(frozen=True)
class Report:
    """What became known about a part of the recording.

    Attributes:
        span: the part that is covered so far, s.
        complete: every frame of it was analysed; else samples of it.
        times_s, best_scores, qualities, signals: of the frames since the last report; see `Result`.
        alarms: start and end of all alarms in the part, s; none for samples.
        problem: why the part could not be analysed; "": it was, as far as the rest says.
    """

    span: Span
    complete: bool
    times_s: tuple[float, ...]
    best_scores: tuple[float, ...]
    qualities: tuple[str, ...]
    signals: tuple[str, ...]
    alarms: tuple[Span, ...] = ()
    problem: str = ""


def look_ahead(
    open_part: OpenPart,
    runtime: Runtime,
    start_s: float,
    end_s: float,
    *,
    keys: Iterable[Frame],
    thin: Callable[[Source, float], Source],
) -> Iterator[Report]:
    """Yield what is found out about the recording between two times, s.

    keys: its key pictures. thin: leaves out the frames of a source that are closer together than so many seconds. A
    part that cannot be read or analysed is left out, and reported with its problem; all others go on.
    """
    yield from _analyse_keys(runtime.pipeline(), keys, start_s)
    step_s = min(max((end_s - start_s) / _MOST_SAMPLES, _CLOSEST_S), _FARTHEST_S)
    likely_score = _LIKELY * runtime.pipeline_config.score_threshold
    likely: list[Span] = []
    for report in _sample(open_part, runtime, (start_s, end_s), lambda source: thin(source, step_s)):
        reach_s = step_s + _MARGIN_S
        pairs = zip(report.times_s, report.best_scores, strict=True)
        near = [at_s for at_s, best in pairs if best >= likely_score]
        likely += [(max(start_s, at_s - reach_s), min(end_s, at_s + reach_s)) for at_s in near]
        yield report
    first = join(likely, SAME_ALARM_S)
    for span in [*first, *gaps(first, start_s, end_s)]:
        yield from _analyse(open_part, runtime, span)


def _analyse_keys(pipeline: Pipeline, keys: Iterable[Frame], start_s: float) -> Iterator[Report]:
    """The key pictures, up to the first that fails: it is met again, and told, where every frame is analysed."""
    try:
        for frame in keys:
            yield _report((start_s, frame.pts_s), pipeline.analyse([frame]), complete=False)
    except Exception:  # noqa: BLE001 - whatever a model raises, the parts go on
        return


def _sample(open_part: OpenPart, runtime: Runtime, span: Span, thinned: Callable[[Source], Source]) -> Iterator[Report]:
    """Some frames of a part, up to the first that fails."""
    try:
        for results in _grouped(_results(runtime, thinned(open_part(span[0], None)))):
            yield _report((span[0], min(results[-1].frame.pts_s, span[1])), results, complete=False)
    except (SourceError, SessionError):
        return
    yield _report(span, [], complete=False)


def _analyse(open_part: OpenPart, runtime: Runtime, span: Span) -> Iterator[Report]:
    """Every frame of a part, and its alarms. Where a frame fails, some seconds are left out, and reported so."""
    start_s, end_s = span
    failures = 0
    while start_s < end_s:
        reached_s = start_s
        try:
            for report in _analyse_from(open_part, runtime, start_s, end_s):
                reached_s, failures = report.span[1], 0
                yield report
            return
        except SourceError as error:
            yield Report((start_s, end_s), False, (), (), (), (), problem=str(error))
            return
        except SessionError as error:
            failures += 1
            start_s = end_s if failures >= _FAILURES_ALLOWED else min(end_s, reached_s + _SKIPPED_S)
            yield Report((reached_s, start_s), False, (), (), (), (), problem=str(error))


def _analyse_from(open_part: OpenPart, runtime: Runtime, start_s: float, end_s: float) -> Iterator[Report]:
    """Every frame between two times, and the alarms there. Raises SourceError, SessionError."""
    source = open_part(max(0.0, start_s - _PRE_ROLL_S), end_s)
    keeper, ended = AlarmKeeper(measure=lambda result, track: track.score), []
    alarms: tuple[Span, ...] = ()
    for results in _grouped(_results(runtime, source)):
        for result in results:
            ended += [one for one in keeper.update(result) if one.ended]
        found = [(one.start_s, one.end_s) for one in (*ended, *keeper.open_alarms)]
        alarms = tuple(one for one in join(found) if one[1] >= start_s)
        inside = [result for result in results if result.frame.pts_s >= start_s - 1e-6]
        if inside:
            yield _report((start_s, inside[-1].frame.pts_s), inside, complete=True, alarms=alarms)
    yield _report((start_s, end_s), [], complete=True, alarms=alarms)


def _results(runtime: Runtime, source: Source) -> Iterator[Result]:
    """The engines are warm after the first part."""
    return Session(source, runtime.pipeline(warm=False), lambda result: None).iterate()


def _grouped(results: Iterator[Result]) -> Iterator[list[Result]]:
    group: list[Result] = []
    for result in results:
        group.append(result)
        if len(group) == _REPORTED:
            yield group
            group = []
    if group:
        yield group


def _report(span: Span, results: list[Result], *, complete: bool, alarms: tuple[Span, ...] = ()) -> Report:
    return Report(
        span,
        complete,
        tuple(result.frame.pts_s for result in results),
        tuple(best_score(result) for result in results),
        tuple(result.frame_quality for result in results),
        tuple(result.signal for result in results),
        alarms,
    )


def best_score(result: Result) -> float:
    """Highest score of a frame's detections after fusion, whatever the threshold; 0 without one."""
    detections = result.cues.detections if result.cues else result.detections
    return float(detections.scores.max(initial=0.0))


def join(spans: list[Span], gap_s: float = 0.0) -> list[Span]:
    """Join spans that overlap or are no farther apart than `gap_s`; returns them in order."""
    joined: list[Span] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1] + gap_s:
            joined[-1] = (joined[-1][0], max(end_s, joined[-1][1]))
        else:
            joined.append((start_s, end_s))
    return joined


def gaps(spans: list[Span], start_s: float, end_s: float) -> list[Span]:
    """What joined spans leave out between two times."""
    edges = [start_s, *(edge for span in spans for edge in span), end_s]
    return [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2) if edges[i + 1] > edges[i]]
