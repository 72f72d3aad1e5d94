"""Several videos on one pair of models: a session each, their frames in shared batches, without a window."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from realtime_polyp.cli.headless import stopping_on_signals
from realtime_polyp.config import PipelineConfig
from realtime_polyp.inference.host import Inference
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.outputs import AlarmFigures, Output, OutputError, alarms_of
from realtime_polyp.outputs.recorder import close_all
from realtime_polyp.packets import Result
from realtime_polyp.pipeline import Pipeline
from realtime_polyp.session import Session, SessionError
from realtime_polyp.sources import Source
from realtime_polyp.telemetry.summary import fps_of, summary_of
from realtime_polyp.telemetry.trace import Trace

_LOOK_EVERY_S = 0.1  # so that Ctrl-C is heard while waiting


@dataclass(frozen=True)
class Stream:
    """One video and where its results go."""

    source: Source
    outputs: Sequence[Output] = ()


@dataclass
class Streams:
    """How several sessions went. batch_sizes: {images in a batch: how often}. alarms: of each, None if not followed."""

    sessions: list[Session] = field(default_factory=list)
    batch_sizes: dict[int, int] = field(default_factory=dict)
    alarms: list[AlarmFigures | None] = field(default_factory=list)

    @property
    def error(self) -> SessionError | None:
        """The first stream's that failed; the others went on to their ends."""
        return next((session.error for session in self.sessions if session.error), None)

    @property
    def stopped(self) -> bool:
        return any(session.state == "stopped" for session in self.sessions)

    @property
    def fps(self) -> float:
        """Frames analysed a second, all streams together, from the first frame in to the last result out."""
        began_s = min((one.first_captured_s for one in self.sessions if one.first_captured_s), default=0.0)
        duration_s = max((one.last_analysed_s for one in self.sessions), default=0.0) - began_s
        analysed = sum(one.analyses.tally().shown for one in self.sessions)
        return round(analysed / duration_s, 2) if analysed and duration_s > 0 else 0.0

    def summary(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "streams": [summary_of(*one) for one in zip(self.sessions, self.alarms, strict=True)],
            "fps": self.fps,
            "mean_batch": self.mean_batch,
            "batch_sizes": {str(size): count for size, count in sorted(self.batch_sizes.items())},
        }

    @property
    def mean_batch(self) -> float:
        batches = sum(self.batch_sizes.values())
        images = sum(size * count for size, count in self.batch_sizes.items())
        return round(images / batches, 2) if batches else 0.0


def run_streams(
    streams: Sequence[Stream], inference: Inference, config: PipelineConfig, *, trace: Trace | None = None
) -> Streams:
    """Analyse all to their ends; a stream that fails ends alone. Ctrl-C and SIGTERM end all, everything kept."""
    went = Streams()
    with SharedInference(inference) as shared:
        with tqdm(total=_total(streams), unit="frame", desc=f"{len(streams)} streams", disable=None) as bar:
            for number, stream in enumerate(streams, 1):
                pipeline = Pipeline(
                    inference.detector, inference.segmenter, config, inference=shared, trace=trace, name=f"{number}"
                )
                went.sessions.append(Session(stream.source, pipeline, _deliver(stream, bar)))
            with stopping_on_signals(*went.sessions):
                _run(went.sessions)
        went.batch_sizes = shared.batch_sizes
    for stream, session in zip(streams, went.sessions, strict=True):
        _close(stream, session)
        went.alarms.append(alarms_of(stream.outputs))
    return went


def _deliver(stream: Stream, bar: "tqdm[Any]") -> Callable[[Result], None]:
    def deliver(result: Result) -> None:
        for output in stream.outputs:
            output.write(result)
        bar.update()

    return deliver


def _run(sessions: Sequence[Session]) -> None:
    for session in sessions:
        session.start()
    running = list(sessions)
    while running:
        time.sleep(_LOOK_EVERY_S)
        running = [session for session in running if not _is_over(session)]


def _is_over(session: Session) -> bool:
    """Its threads are gone; that it failed is in its `error`."""
    try:
        return session.wait(0)
    except SessionError:
        return True


def _close(stream: Stream, session: Session) -> None:
    try:
        close_all(stream.outputs)
    except OutputError as error:
        session.error = session.error or SessionError("output", None, error)


def _total(streams: Sequence[Stream]) -> int | None:
    totals = [stream.source.frames_total for stream in streams]
    return None if None in totals else sum(total for total in totals if total is not None)


def together_lines(went: Streams) -> str:
    """What a person reads when all have ended."""
    lines = [f"{'stream':>8} {'frames':>8} {'of':>8} {'frames/s':>9} {'overlay p99 ms':>15}  source"]
    for number, session in enumerate(went.sessions, 1):
        analysed, captured = session.analyses.tally().shown, session.tally().captured
        delay_ms = session.annotation_delay_ms.percentile(99)
        delay = "-" if delay_ms is None else f"{delay_ms:.0f}"
        lines.append(f"{number:8} {analysed:8} {captured:8} {fps_of(session):9.1f} {delay:>15}  {session.source.name}")
    return "\n".join([*lines, f"together {went.fps:.1f} frames/s, {went.mean_batch:.1f} frames a batch"])
