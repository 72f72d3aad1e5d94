"""Several videos on one pair of models, without a window: one session each, their frames in shared batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from realtime_polyp.cli.headless import (
    capture_to,
    close_outputs,
    deliver_to,
    exit_code,
    finish_output,
    followed_session,
    note_end,
    open_group,
    open_recorder,
)
from realtime_polyp.cli.options import Options
from realtime_polyp.cli.waiting import run_to_end
from realtime_polyp.inference.guarded import unguarded
from realtime_polyp.inference.shared import SharedInference
from realtime_polyp.outputs import AlarmFigures, Output, OutputError, OutputGroup, alarm_figures, open_outputs
from realtime_polyp.outputs.recorder import Recorder
from realtime_polyp.recording.recorder import SessionRecorder
from realtime_polyp.runtime import Runtime
from realtime_polyp.session import Session
from realtime_polyp.sources import Source
from realtime_polyp.telemetry.board import Board
from realtime_polyp.telemetry.summary import SUMMARY_FORMAT, measure_fps, summarise, write_json
from realtime_polyp.watchdog import Stall


@dataclass
class MultiSession:
    """How several sessions went.

    Attributes:
        sessions: one per source. A session that fails ends alone.
        batch_sizes: {images in a batch: number of such batches}.
        alarms: of each source; None where they were not followed.
        output_errors: one for each output that failed.
        stalls: stages that hang and were abandoned.
    """

    sessions: list[Session] = field(default_factory=list)
    batch_sizes: dict[int, int] = field(default_factory=dict)
    alarms: list[AlarmFigures | None] = field(default_factory=list)
    output_errors: list[OutputError] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)

    @property
    def fps(self) -> float:
        """Frames analysed per second, all together, from the first frame in to the last result out."""
        start_s = min((one.first_captured_s for one in self.sessions if one.first_captured_s), default=0.0)
        duration_s = max((one.last_analysed_s for one in self.sessions), default=0.0) - start_s
        analysed = sum(one.analyses.tally().shown for one in self.sessions)
        return round(analysed / duration_s, 2) if analysed and duration_s > 0 else 0.0

    @property
    def mean_batch(self) -> float:
        batches = sum(self.batch_sizes.values())
        images = sum(size * count for size, count in self.batch_sizes.items())
        return round(images / batches, 2) if batches else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types: what --summary writes for several sources."""
        return {
            "format": SUMMARY_FORMAT,
            "streams": [summarise(*one) for one in zip(self.sessions, self.alarms, strict=True)],
            "fps": self.fps,
            "mean_batch": self.mean_batch,
            "batch_sizes": {str(size): count for size, count in sorted(self.batch_sizes.items())},
        }


def run_multi_session(sources: Sequence[Source], runtime: Runtime, options: Options, board: Board | None = None) -> int:
    """Analyse all sources together and print how it went; returns the exit code. Raises as `run_headless`."""
    specs = options.output_specs
    runtime.pipeline()  # warms up the models, which the sessions share, before any output is begun
    outputs = [open_outputs(spec, source.rate_hz) for spec, source in zip(specs, sources, strict=True)]
    went = analyse_together(sources, outputs, runtime, options, board)
    if (path := options.summary) is not None:
        write = lambda: write_json(went.to_dict(), path, "the summary")  # noqa: E731
        went.stalls += finish_output(write, went.sessions[0], went.output_errors)
    print(format_multi_session(went))
    return exit_code(went.sessions, went.output_errors, went.stalls)


def analyse_together(
    sources: Sequence[Source],
    outputs: Sequence[Sequence[Output]],
    runtime: Runtime,
    options: Options | None = None,
    board: Board | None = None,
) -> MultiSession:
    """Analyse all sources to their ends. outputs: of each source. Ctrl-C and SIGTERM end all; everything is kept.

    options: the command line, which may ask for recordings. board: follows all of them.
    """
    board = board or Board()
    went, groups = MultiSession(), list[OutputGroup | Recorder]()
    recorders: list[SessionRecorder | None] = []
    totals = [source.frames_total for source in sources]
    total = None if None in totals else sum(one for one in totals if one is not None)
    shared = SharedInference(unguarded(runtime.inference))
    with tqdm(total=total, unit="frame", desc=f"{len(sources)} streams", disable=None) as bar:
        for number, (source, one) in enumerate(zip(sources, outputs, strict=True), 1):
            pipeline = runtime.pipeline(inference=shared, name=f"{number}", warm=False)
            text = options.sources[number - 1] if options else source.name
            recorder = open_recorder(source, text, pipeline, options) if options else None
            group = open_group(source, [*one, recorder] if recorder else one)
            follow = deliver_to(group, bar), capture_to(group, recorder), board.stream(f"{number}")
            went.sessions.append(followed_session(source, pipeline, *follow))
            groups.append(group)
            recorders.append(recorder)
        went.stalls = run_to_end(went.sessions)
    if not went.stalls:  # else closing could wait forever for a model that hangs
        shared.close()
    went.batch_sizes = shared.batch_sizes
    for session, group, recorder, one in zip(went.sessions, groups, recorders, outputs, strict=True):
        note_end(recorder, session)
        went.stalls += close_outputs(group, session, recorder)
        went.output_errors += group.errors
        went.alarms.append(alarm_figures(one))
    return went


def format_multi_session(went: MultiSession) -> str:
    """The table that the terminal prints at the end."""
    lines = [f"{'stream':>8} {'frames':>8} {'of':>8} {'polyps':>8} {'frames/s':>9} {'overlay p99 ms':>15}  source"]
    for number, (session, alarms) in enumerate(zip(went.sessions, went.alarms, strict=True), 1):
        analysed, captured = session.analyses.tally().shown, session.tally().captured
        delay_ms = session.annotation_delay_ms.percentile(99)
        delay, found = "-" if delay_ms is None else f"{delay_ms:.0f}", alarms.count if alarms else "-"
        lines.append(
            f"{number:8} {analysed:8} {captured:8} {found:>8} {measure_fps(session):9.1f} {delay:>15}  "
            f"{session.source.name}"
        )
    return "\n".join([*lines, f"together {went.fps:.1f} frames/s, {went.mean_batch:.1f} frames a batch"])
